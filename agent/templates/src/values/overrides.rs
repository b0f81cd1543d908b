//! Keys in Consul as values: `db/port` below the prefix is `port` in the map `db`.
//!
//! A value that is JSON has its type, any other is a text. A number is a number only if it prints as it was written: `1.10` and a long
//! account number stay the texts that they are, and no template shows `1.1`. Helios knew neither maps nor types: in its naming only the last
//! part of a key counts and every value is a text.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Layer, Origin, ValueError, tree};

/// How a key names a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Naming {
    /// Parts of the key are maps; values that are JSON have their type.
    #[default]
    Nested,
    /// Only the last part of the key counts, and every value is a text, as Helios does it.
    Flat,
}

/// One key below the prefix of a service. It has no debug output, for its value may be secret.
#[derive(Clone)]
pub struct Override<'a> {
    /// The key as a person would look it up: `config/web/db/port`.
    pub key: &'a str,
    /// The key without the prefix: `db/port`.
    pub path: &'a str,
    /// What it holds.
    pub value: &'a [u8],
    /// Whether nobody may see it.
    pub secret: bool,
}

impl Layer {
    /// The keys below a prefix. Keys that end in `/` are folders, and names that begin with a dot belong to whoever keeps the prefix:
    /// neither is a value.
    pub fn of_overrides<'a>(
        overrides: impl IntoIterator<Item = Override<'a>>,
        naming: Naming,
    ) -> Result<Self, ValueError> {
        let mut layer = Self::default();
        let mut names: BTreeMap<&str, &str> = BTreeMap::new();
        for each in overrides {
            let parts: Vec<&str> = each.path.split('/').filter(|part| !part.is_empty()).collect();
            let Some(last) = parts.last().filter(|last| !last.starts_with('.') && !each.path.ends_with('/')) else {
                continue;
            };
            let origin = Origin::Key(each.key.to_owned());
            let text = str::from_utf8(each.value).map_err(|_| ValueError::NotText { origin: origin.clone() })?;
            match naming {
                Naming::Nested => tree::put(&mut layer.root, &parts, typed(text), &origin, each.secret)?,
                Naming::Flat => {
                    if let Some(other) = names.insert(last, each.key) {
                        let (one, name) = (Origin::Key(other.to_owned()), (*last).to_owned());
                        return Err(ValueError::SameName { one, other: origin, name });
                    }
                    tree::put(&mut layer.root, &[last], Value::String(text.to_owned()), &origin, each.secret)?;
                }
            }
        }
        Ok(layer)
    }
}

/// A text as JSON where it is, and as itself where it is not.
fn typed(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(Value::Number(number)) if number.to_string() != text.trim() => Value::String(text.to_owned()),
        Ok(value) => value,
        Err(_) => Value::String(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::values::Values;

    fn read(pairs: &[(&str, &str)], naming: Naming) -> Result<Values, ValueError> {
        let keys: Vec<String> = pairs.iter().map(|(path, _)| format!("config/web/{path}")).collect();
        let each = keys.iter().zip(pairs).map(|(key, (path, value))| Override {
            key,
            path,
            value: value.as_bytes(),
            secret: false,
        });
        Ok(Values::merge([Layer::of_overrides(each, naming)?]))
    }

    #[test]
    fn nested_keys_are_nested_values_with_the_types_of_json() {
        let values = read(
            &[
                ("db/port", "5432"),
                ("db/host", "a.example"),
                ("on", "true"),
                ("list", "[1,2]"),
                ("dir/", ""),
                (".keep", ""),
            ],
            Naming::Nested,
        )
        .unwrap();
        assert_eq!(values.to_json(), json!({"db": {"port": 5432, "host": "a.example"}, "on": true, "list": [1, 2]}));
        assert_eq!(values.origin("db.port").unwrap().to_string(), "config/web/db/port");
    }

    #[test]
    fn a_number_that_would_print_otherwise_stays_a_text() {
        let texts = [("v", "1.10"), ("e", "1e3"), ("long", "123456789012345678901234567890"), ("zip", "01234")];
        let values = read(&texts, Naming::Nested).unwrap().to_json();
        for (name, text) in texts {
            assert_eq!(values[name], json!(text));
        }
    }

    #[test]
    fn in_flat_naming_the_last_part_is_the_name_and_values_are_texts() {
        let values = read(&[("db/port", "5432"), ("a/b/host", "x")], Naming::Flat).unwrap();
        assert_eq!(values.to_json(), json!({"port": "5432", "host": "x"}));
        let error = read(&[("a/port", "1"), ("b/port", "2")], Naming::Flat).unwrap_err().to_string();
        insta::assert_snapshot!(error, @r#"config/web/a/port and config/web/b/port both mean "port", as only the last part of a key counts: rename one of them"#);
    }

    #[test]
    fn a_key_that_is_a_value_and_a_folder_names_both() {
        for pairs in [[("db", "x"), ("db/port", "1")], [("db/port", "1"), ("db", "x")]] {
            let error = read(&pairs, Naming::Nested).unwrap_err().to_string();
            assert_eq!(
                error,
                "config/web/db is a value, and config/web/db/port needs it to be a map: remove one of the two"
            );
        }
        let merged = read(&[("db", r#"{"host": "a"}"#), ("db/port", "1")], Naming::Nested).unwrap();
        assert_eq!(merged.to_json(), json!({"db": {"host": "a", "port": 1}}));
    }
}
