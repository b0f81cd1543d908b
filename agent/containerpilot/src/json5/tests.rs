//! What is read, where it is, and what is wrong with what is not.

use super::*;

fn text_of<'t>(text: &'t str, span: &Range<usize>) -> &'t str {
    &text[span.clone()]
}

/// The first value of `{a: ...}`.
#[track_caller]
fn value(text: &str) -> Value {
    let text = format!("{{a: {text}}}");
    let parsed = parse(&text);
    assert_eq!(parsed.mistakes, [], "{text}");
    let Some(Node { value: Value::Object(members), .. }) = parsed.root else { panic!("{text}") };
    members.into_iter().next().unwrap().node.value
}

#[track_caller]
fn mistakes(text: &str, expected: &[(&str, &str)]) {
    let parsed = parse(text);
    let found: Vec<(&str, &str)> =
        parsed.mistakes.iter().map(|mistake| (text_of(text, &mistake.span), mistake.reason.as_str())).collect();
    assert_eq!(found, expected, "{text}");
}

#[test]
fn numbers_of_all_kinds_are_read() {
    let numbers = ["1", "-1.5", "+7", "0x1F", "-0x10", ".5", "5.", "1e3", "0"];
    let read = numbers.map(|number| match value(number) {
        Value::Number(value) => value,
        other => panic!("{number}: {other:?}"),
    });
    assert_eq!(read.map(|value| value.to_string()), ["1", "-1.5", "7", "31", "-16", "0.5", "5", "1000", "0"]);
    assert_eq!(value("-Infinity"), Value::Number(f64::NEG_INFINITY));
    assert!(matches!(value("NaN"), Value::Number(value) if value.is_nan()));
}

#[test]
fn texts_of_all_kinds_are_read() {
    let text = |written: &str| match value(written) {
        Value::Text(text) => text,
        other => panic!("{written}: {other:?}"),
    };
    assert_eq!(text(r#""it's""#), "it's");
    assert_eq!(text(r#"'say "x"'"#), "say \"x\"");
    assert_eq!(text(r#""\n\t\\\/\u00e4\ud83d\ude00\ud83d""#), "\n\t\\/ä😀\u{fffd}");
    assert_eq!(text("'one \\\ntwo'"), "one two");
}

#[test]
fn comments_trailing_commas_and_bare_keys_are_taken_and_keys_have_places() {
    let text = "// x\n{ /* y */ $a_1: [1, 2,], 'b': {}, \"c\": null, // z\n}\n// end";
    let parsed = parse(text);
    assert_eq!(parsed.mistakes, []);
    let Some(Node { value: Value::Object(members), .. }) = parsed.root else { panic!() };
    let places: Vec<(&str, &str)> =
        members.iter().map(|member| (text_of(text, &member.key_span), text_of(text, &member.node.span))).collect();
    assert_eq!(places, [("$a_1", "[1, 2,]"), ("'b'", "{}"), ("\"c\"", "null")]);
}

#[test]
fn every_missing_comma_is_found_in_one_reading() {
    let comma = "there is no comma behind this value";
    mistakes(
        "{a: \"x\"\n b: 10 // c\n c: [1 2] d: {} e: 1}",
        &[("\"", comma), ("0", comma), ("1", comma), ("]", comma), ("}", comma)],
    );
}

#[test]
fn other_small_mistakes_are_named_and_reading_goes_on() {
    mistakes(
        "{a = 1, b 2, c: app, d: 5s, }",
        &[
            ("=", "a key is followed by a colon"),
            ("b", "there is no colon between this key and its value"),
            ("app", "a text stands between quotes"),
            ("5s", "this is no number"),
        ],
    );
    mistakes(
        "{a: 1,, b: [,1], my-key: 01}",
        &[
            (",", "this comma is one too many"),
            (",", "this comma is one too many"),
            ("my-key", "a key without quotes has only letters, digits, `_` and `$`"),
            ("01", "a number does not begin with a zero"),
        ],
    );
    mistakes("{a: consul:8500, b: 1}", &[("consul:8500", "a text stands between quotes")]);
    mistakes("{a: 'x\\yz'} # end", &[("\\y", "there is no such escape"), ("#", "a comment begins with `//`")]);
}

#[test]
fn brackets_and_quotes_that_are_never_closed_are_named_where_they_begin() {
    mistakes("{a: [1, {b: 2}", &[("[", "this `[` is never closed")]);
    mistakes("{a: [1, 2}", &[("}", "this does not close the `[`")]);
    mistakes("{a: 'x\n}", &[("'x", "this text is never closed")]);
    mistakes("{a: 1 /* x }", &[("/*", "this comment is never closed")]);
    mistakes("{a: }", &[("}", "a value should be here")]);
    mistakes("{a: 1}}", &[("}", "something follows behind the end of the configuration")]);
    mistakes("", &[("", "this file is empty")]);
    mistakes("{a: 1e999}", &[("1e999", "this number is too large")]);
}

#[test]
fn a_byte_order_mark_and_a_key_with_an_accent_are_refused() {
    mistakes("\u{feff}{}", &[("\u{feff}", "this file begins with a byte order mark")]);
    mistakes("{ä: 1}", &[("ä", "a key without quotes has only letters, digits, `_` and `$`")]);
}

#[test]
fn beyond_a_hundred_mistakes_reading_ends() {
    let parsed = parse(&format!("[{}]", "1 ".repeat(100_000)));
    assert_eq!(parsed.mistakes.len(), 101);
    assert_eq!(parsed.root, None);
}

#[test]
fn a_text_that_is_too_deep_is_refused() {
    mistakes(&"[".repeat(100_000), &[("[", "values stand too deep in each other")]);
}
