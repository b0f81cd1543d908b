//! Reads single values, and finds the words for what is wrong with one.

use serde_json::{Value as Json, json};

use super::{Code, Path};
use crate::{
    Percent, Period,
    schema::{Field, ObjectShape, Shape, ShapeKind},
    size::{Bytes, Cores},
    yaml::scalar::{self, Misread},
};

/// What is wrong with a value; the message goes on after the field's name.
pub(super) struct Complaint {
    pub(super) code: Code,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

impl Complaint {
    fn new(code: Code, message: impl Into<String>, help: impl Into<Option<String>>) -> Self {
        Self { code, message: message.into(), help: help.into() }
    }
}

/// Reads a length of time.
pub(super) fn period(text: &str, min: Period, max: Period) -> Result<Json, Complaint> {
    match text.parse::<Period>() {
        Ok(period) if period < min || period > max => {
            Err(Complaint::new(Code::OutOfRange, format!("must be between {min} and {max}, but is {text}"), None))
        }
        Ok(_) => Ok(json!(text)),
        Err(_) => Err(bad_period(text)),
    }
}

fn bad_period(text: &str) -> Complaint {
    let unit_lacks = text.parse::<f64>().is_ok();
    let message =
        if unit_lacks { format!("is {text} without a unit") } else { format!("is no length of time: `{text}`") };
    let help = match meant_period(text) {
        Some(meant) if unit_lacks => format!("add a unit: `{meant}`"),
        Some(meant) => format!("did you mean `{meant}`?"),
        None => "write a number and a unit, such as `500ms`, `10s`, `5m30s`, `2h` or `1d`".to_owned(),
    };
    Complaint::new(Code::BadDuration, message, help)
}

/// The length of time that was most likely meant: `10` and `10 sec` are `10s`.
fn meant_period(text: &str) -> Option<String> {
    let compact: String = text.chars().filter(|c| !c.is_whitespace()).flat_map(char::to_lowercase).collect();
    let at = compact.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(compact.len());
    let (number, unit) = compact.split_at(at);
    let unit = match unit {
        "" | "sec" | "secs" | "second" | "seconds" => "s",
        "min" | "mins" | "minute" | "minutes" => "m",
        "hr" | "hrs" | "hour" | "hours" => "h",
        "day" | "days" => "d",
        "msec" | "millis" | "milliseconds" => "ms",
        other => other,
    };
    let meant = format!("{number}{unit}");
    meant.parse::<Period>().is_ok().then_some(meant)
}

/// Reads a percentage.
pub(super) fn percent(text: &str, min: Percent) -> Result<Json, Complaint> {
    match text.parse::<Percent>() {
        Ok(share) if share < min => {
            Err(Complaint::new(Code::OutOfRange, format!("must be between {min} and 100%, but is {text}"), None))
        }
        Ok(_) => Ok(json!(text)),
        Err(_) => Err(bad_percent(text)),
    }
}

fn bad_percent(text: &str) -> Complaint {
    let digits = text.trim_end_matches('%').trim_end();
    let signed = text.ends_with('%');
    let help = match (digits.parse::<u8>().ok().and_then(Percent::new), digits.parse::<f64>()) {
        (Some(meant), _) if signed => format!("did you mean `{meant}`?"),
        (Some(meant), _) => format!("add the sign: `{meant}`"),
        (None, Ok(share)) if !signed && share > 0.0 && share < 1.0 && (share * 100.0).fract() == 0.0 => {
            format!("did you mean `{}%`?", share * 100.0)
        }
        _ => "write a whole number from `0%` to `100%`, with the sign".to_owned(),
    };
    Complaint::new(Code::BadPercent, format!("is no percentage: `{text}`"), help)
}

/// Reads a size.
pub(super) fn bytes(text: &str, min: Bytes) -> Result<Json, Complaint> {
    match text.parse::<Bytes>() {
        Ok(size) if size < min => {
            let bounds = format!("must be between {min} and {}, but is {text}", Bytes::MAX);
            Err(Complaint::new(Code::OutOfRange, bounds, None))
        }
        Ok(_) => Ok(json!(text)),
        Err(_) => Err(bad_bytes(text)),
    }
}

fn bad_bytes(text: &str) -> Complaint {
    let unit_lacks = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let message = if unit_lacks { format!("is {text} without a unit") } else { format!("is no size: `{text}`") };
    let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let at = compact.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(compact.len());
    let (number, unit) = compact.split_at(at);
    let unit = match unit.to_ascii_lowercase().trim_end_matches('b') {
        "k" | "ki" => "Ki",
        "g" | "gi" => "Gi",
        "t" | "ti" => "Ti",
        "" if number == "0" => "B",
        _ => "Mi",
    };
    let meant = format!("{number}{unit}");
    let help = match meant.parse::<Bytes>() {
        Ok(_) if unit_lacks => format!("add a unit: `{meant}`"),
        Ok(_) => format!("did you mean `{meant}`?"),
        Err(_) => "write a number and a unit, such as `256Mi` or `1.5G`".to_owned(),
    };
    Complaint::new(Code::BadText, message, help)
}

/// Reads a share of processors: a number, or text in thousandths.
pub(super) fn cores(text: &str, plain: bool) -> Result<Json, Complaint> {
    let help = "write a number such as `0.5`, or thousandths such as `500m`".to_owned();
    let bounds = || {
        let message = format!("must be between {} and {}, but is {text}", Cores::MIN, Cores::MAX);
        Complaint::new(Code::OutOfRange, message, None)
    };
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
    match (text.strip_suffix('m'), number) {
        (Some(millis), _) if !millis.is_empty() && millis.len() < 10 && millis.bytes().all(|b| b.is_ascii_digit()) => {
            text.parse::<Cores>().map(|_| json!(text)).map_err(|_| bounds())
        }
        (None, Some(number)) if plain => {
            serde_json::from_value::<Cores>(json!(number)).map(|cores| json!(cores)).map_err(|_| bounds())
        }
        (None, Some(_)) => {
            let help = format!("leave the quotes out: {text}");
            Err(Complaint::new(Code::WrongType, "must be a number, but is text".to_owned(), help))
        }
        _ => Err(Complaint::new(Code::BadText, format!("is no number of processors: `{text}`"), help)),
    }
}

/// Reads a whole number.
pub(super) fn integer(text: &str, plain: bool, min: u64, max: u64) -> Result<Json, Complaint> {
    let out_of_range = || {
        let bounds =
            if max >= u64::from(u32::MAX) { format!("{min} or more") } else { format!("between {min} and {max}") };
        Complaint::new(Code::OutOfRange, format!("must be {bounds}, but is {text}"), None)
    };
    let wrong = |help: Option<String>| {
        let what = if plain { scalar::resolve(text).describe(text) } else { "text".to_owned() };
        let shown = if what == "text" { format!(", but is text: {text:?}") } else { format!(", but is {what}") };
        Complaint::new(Code::WrongType, format!("must be a whole number{shown}"), help)
    };
    let digits = text.strip_prefix('-').unwrap_or(text);
    let decimal = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    match (decimal, plain) {
        (true, false) => Err(wrong(Some(format!("leave the quotes out: {text}")))),
        (true, true) if digits.len() > 1 && digits.starts_with('0') => {
            let meant = digits.trim_start_matches('0');
            Err(wrong(Some(format!("some tools read it as an octal number; write {meant}"))))
        }
        (true, true) => match text.parse::<u64>() {
            Ok(number) if (min..=max).contains(&number) => Ok(json!(number)),
            _ => Err(out_of_range()),
        },
        (false, _) => Err(wrong(misread_number(text).map(|meant| format!("did you mean {meant}?")))),
    }
}

/// Reads a number.
pub(super) fn number(text: &str, plain: bool) -> Result<Json, Complaint> {
    let wrong = |help: Option<String>| {
        let shown = if plain { format!("`{text}`") } else { format!("text: {text:?}") };
        Complaint::new(Code::WrongType, format!("must be a number, but is {shown}"), help)
    };
    let digits = |text: &str| text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
    match text.parse::<f64>().ok().filter(|value| value.is_finite() && digits(text)).map(|value| (value, plain)) {
        Some((value, true)) => Ok(json!(value)),
        Some((_, false)) => Err(wrong(Some(format!("leave the quotes out: {text}")))),
        None => {
            let share = text.strip_suffix('%').and_then(|digits| digits.parse::<f64>().ok());
            Err(wrong(share.map(|share| format!("write {} or {share}, whichever the metric counts in", share / 100.0))))
        }
    }
}

/// `1_000` is 1000 and `3.0` is 3 to who wrote them.
fn misread_number(text: &str) -> Option<u64> {
    let whole = text.strip_suffix(".0").unwrap_or(text).replace('_', "");
    whole.parse().ok()
}

/// Reads a whole number or a percentage.
pub(super) fn amount(text: &str, plain: bool, max: u64) -> Result<Json, Complaint> {
    if text.contains('%') {
        return percent(text, Percent::ZERO);
    }
    integer(text, plain, 0, max).map_err(|complaint| match complaint.code {
        Code::WrongType => Complaint {
            message: complaint.message.replace("a whole number", "a number or a percentage"),
            help: complaint.help.or_else(|| Some("write `1` or `25%`".to_owned())),
            ..complaint
        },
        _ => complaint,
    })
}

/// What is wrong with a word that is not `true` or `false`.
pub(super) fn not_boolean(text: &str) -> Complaint {
    let help = match scalar::misread(text) {
        Some(Misread::Boolean(value)) => {
            format!("write {value}, without quotes; `{text}` is a truth value only to some tools")
        }
        _ => "write true or false, without quotes".to_owned(),
    };
    Complaint::new(Code::WrongType, format!("must be true or false, but is `{text}`"), help)
}

/// What is wanted in a place, in words.
pub(super) fn wanted(kind: &ShapeKind) -> String {
    match kind {
        ShapeKind::Object(_) | ShapeKind::Map { .. } | ShapeKind::Free => "a mapping".to_owned(),
        ShapeKind::List { .. } => "a list".to_owned(),
        ShapeKind::Text { .. } => "text".to_owned(),
        ShapeKind::Choice(choices) => {
            let words: Vec<&str> = choices.iter().map(|(word, _)| word.as_str()).collect();
            either(&words)
        }
        ShapeKind::Period { .. } => "a length of time such as `10s`".to_owned(),
        ShapeKind::Percent { .. } => "a percentage such as `25%`".to_owned(),
        ShapeKind::Bytes { .. } => "a size such as `256Mi`".to_owned(),
        ShapeKind::Cores => "a number of processors such as `0.5`".to_owned(),
        ShapeKind::Integer { .. } => "a whole number".to_owned(),
        ShapeKind::Amount { .. } => "a number or a percentage such as `25%`".to_owned(),
        ShapeKind::Number => "a number".to_owned(),
        ShapeKind::Boolean => "true or false".to_owned(),
        ShapeKind::Anything => "anything".to_owned(),
    }
}

/// The mappings of a kind that have a field of this name: `spec.template`.
pub(super) fn places_of(root: &Shape, name: &str) -> Vec<String> {
    fn search(shape: &Shape, at: &str, name: &str, found: &mut Vec<String>) {
        match &shape.kind {
            ShapeKind::Object(object) => {
                if !at.is_empty() && object.names().any(|field| field == name) {
                    found.push(at.to_owned());
                }
                for field in &object.fields {
                    let inner = if at.is_empty() { field.name.clone() } else { format!("{at}.{}", field.name) };
                    search(&field.shape, &inner, name, found);
                }
            }
            ShapeKind::List { item, .. } => search(item, &format!("{at}[]"), name, found),
            _ => {}
        }
    }
    let mut found = Vec::new();
    search(root, "", name, &mut found);
    found
}

/// What to do where a list's item has two fields of which only one may be there; items are often run together by mistake.
pub(super) fn one_an_item(path: &Path, object: &ObjectShape, first: &str, second: &str) -> Option<String> {
    let nothing_is_shared = !object.fields.iter().any(|field| field.required);
    (nothing_is_shared && path.to_string().ends_with(']'))
        .then(|| format!("for one after the other write two items: `- {first}: ...` and `- {second}: ...`"))
}

/// What a missing field would say: its only possible value, or what it is for.
pub(super) fn what_to_write(field: &Field) -> Option<String> {
    match &field.shape.kind {
        ShapeKind::Choice(choices) if choices.len() == 1 => Some(format!("write `{}: {}`", field.name, choices[0].0)),
        _ => first_sentence(&field.shape.description),
    }
}

/// What a field of this name is for.
pub(super) fn meaning_of(object: &ObjectShape, name: &str) -> Option<String> {
    object.field(name).and_then(|field| first_sentence(&field.shape.description))
}

/// The first sentence of a description.
fn first_sentence(description: &str) -> Option<String> {
    let end = description.find(". ").or_else(|| description.find(".\n")).unwrap_or(description.len());
    let sentence = description[..end].trim_end_matches('.');
    (!sentence.is_empty()).then(|| sentence.to_owned())
}

/// `a`, `b`, `c`.
pub(super) fn list(names: &[impl AsRef<str>]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{}`", name.as_ref())).collect();
    quoted.join(", ")
}

/// `a`, `b` or `c`.
pub(super) fn either(names: &[impl AsRef<str>]) -> String {
    match names {
        [rest @ .., last] if !rest.is_empty() => format!("{} or `{}`", list(rest), last.as_ref()),
        _ => list(names),
    }
}
