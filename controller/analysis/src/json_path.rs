//! JSONPath as RFC 9535 has it, with a bound to the work that a path may ask for.

use serde_json::Value;
use serde_json_path::JsonPath;

/// All that `path` finds in a document.
///
/// A path comes from a spec and a document from anywhere. `..` of `..` finds each value as often as there are ways to it, and a `$` in a
/// filter looks through the whole document for each value: of a megabyte either makes more than a machine can hold. So both may stand in a
/// path once. `match()` and `search()` are left out of the library: they would compile their expression anew for each value.
pub(crate) fn find<'v>(path: &str, document: &'v Value) -> Result<Vec<&'v Value>, Error> {
    let parsed = JsonPath::parse(path).map_err(|error| Error::Syntax {
        path: path.to_owned(),
        at: error.position() + 1,
        reason: error.message().to_owned(),
    })?;
    bound(path)?;
    Ok(parsed.query(document).all())
}

fn bound(path: &str) -> Result<(), Error> {
    let plain = without_texts(path);
    let too_much = |what, most| Err(Error::TooMuch { path: path.to_owned(), what, most });
    if plain.matches("..").count() > 1 {
        return too_much("`..`", "once");
    }
    if plain.matches('$').count() > 1 {
        return too_much("`$`", "once");
    }
    // Each comma may double what is found.
    if plain.matches(',').count() > 3 {
        return too_much("`,`", "three times");
    }
    Ok(())
}

/// The path without what stands in quotes.
fn without_texts(path: &str) -> String {
    let (mut plain, mut quote, mut escaped) = (String::new(), None, false);
    for c in path.chars() {
        match quote {
            None if c == '\'' || c == '"' => quote = Some(c),
            None => plain.push(c),
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
        }
    }
    plain
}

/// What is wrong with a path.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error("the JSONPath `{path}` is wrong at character {at}: {reason}")]
    Syntax { path: String, at: usize, reason: String },
    #[error("the JSONPath `{path}` asks for too much: {what} may stand in it {most}")]
    TooMuch { path: String, what: &'static str, most: &'static str },
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_of_the_standard_find_what_they_should() {
        let document =
            json!({"data": {"p99": 7, "a b": [1, {"n": 2}, 3]}, "rows": [{"k": "x", "v": 1}, {"k": "y", "v": 2}]});
        for (path, found) in [
            ("$.data.p99", json!([7])),
            ("$.data['a b'][-1]", json!([3])),
            ("$..n", json!([2])),
            ("$.rows[?@.k == 'y'].v", json!([2])),
            ("$.rows[*].v", json!([1, 2])),
            ("$.rows[?length(@.k) == 1].v", json!([1, 2])),
            ("$.nothing", json!([])),
        ] {
            assert_eq!(json!(find(path, &document).unwrap()), found, "{path}");
        }
    }

    #[test]
    fn a_wrong_path_says_where() {
        let wrong = find("$.data[?", &json!({})).unwrap_err().to_string();
        assert!(wrong.starts_with("the JSONPath `$.data[?` is wrong at character "), "{wrong}");
        for path in ["data", "$.a[?match(@, 'x')]"] {
            assert!(matches!(find(path, &json!({})), Err(Error::Syntax { .. })), "{path}");
        }
    }

    #[test]
    fn a_path_that_asks_for_more_than_a_machine_can_do_is_refused() {
        for path in ["$..a..b", "$.a[?$.b]", "$[0,0,0,0,0]", "$..*[?@..x]"] {
            assert!(matches!(find(path, &json!({})), Err(Error::TooMuch { .. })), "{path}");
        }
        assert!(find("$['a..b..c', \"$$\\\"..$\", ',,,,,,,,,,,']", &json!({})).is_ok());
    }
}
