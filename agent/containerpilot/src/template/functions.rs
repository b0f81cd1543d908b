//! The functions that a template may call: those of ContainerPilot and those of Go.

use std::{cmp::Ordering, collections::BTreeMap};

use super::{printf::printf, value::Value};
use crate::{near::near, number::atoi};

/// What is wrong with a call.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) reason: String,
    pub(super) fix: Option<String>,
}

type Outcome<'e> = Result<Value<'e>, Wrong>;

/// All names, for suggestions.
const NAMES: &[&str] = &[
    "and",
    "default",
    "env",
    "eq",
    "ge",
    "gt",
    "index",
    "join",
    "le",
    "len",
    "loop",
    "lt",
    "ne",
    "not",
    "or",
    "print",
    "printf",
    "println",
    "regexReplaceAll",
    "replaceAll",
    "split",
];

/// A function gets and gives at most so many bytes: 1 MiB.
const LARGEST: usize = 1 << 20;

/// A `loop` counts at most so far.
const LONGEST_LOOP: u64 = 100_000;

/// Calls a function.
pub(super) fn call<'e>(name: &str, arguments: &[Value<'e>], env: &BTreeMap<String, String>) -> Outcome<'e> {
    small(name, arguments.iter().map(Value::size).sum())?;
    match name {
        "default" => default(arguments),
        "env" => {
            let [name] = texts::<1>("env", arguments)?;
            Ok(Value::Text(env.get(name).cloned().unwrap_or_default()))
        }
        "split" => split(arguments),
        "join" => join(arguments),
        "replaceAll" => {
            let [from, to, text] = texts::<3>("replaceAll", arguments)?;
            small(name, text.matches(from).count().saturating_mul(to.len()))?;
            Ok(Value::Text(text.replace(from, to)))
        }
        "regexReplaceAll" => regex_replace_all(arguments),
        "loop" => count(arguments),
        "and" => decide("and", arguments, false),
        "or" => decide("or", arguments, true),
        "not" => match arguments {
            [value] => Ok(Value::Bool(!value.is_true())),
            _ => Err(arity("not", "1", arguments.len())),
        },
        "len" => length(arguments),
        "index" => index(arguments),
        "print" => Ok(Value::Text(print(arguments))),
        "println" => {
            let words: Vec<String> = arguments.iter().map(ToString::to_string).collect();
            Ok(Value::Text(words.join(" ") + "\n"))
        }
        "printf" => match arguments {
            [Value::Text(format), rest @ ..] => Ok(Value::Text(printf(format, rest).map_err(wrong)?)),
            _ => Err(wrong("`printf` takes a format, and the values for it")),
        },
        "eq" => equal(arguments),
        "ne" => match arguments {
            [one, other] => Ok(Value::Bool(compare(one, other)? != Ordering::Equal)),
            _ => Err(arity("ne", "2", arguments.len())),
        },
        "lt" => order("lt", arguments, Ordering::is_lt),
        "le" => order("le", arguments, Ordering::is_le),
        "gt" => order("gt", arguments, Ordering::is_gt),
        "ge" => order("ge", arguments, Ordering::is_ge),
        "call" | "html" | "js" | "urlquery" | "slice" => {
            Err(wrong(format!("`{name}` is not supported in these files")))
        }
        _ => Err(Wrong {
            reason: format!("there is no function `{name}`"),
            fix: Some(match near(name, NAMES.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("a variable of the environment is `.{name}`, a text is `\"{name}\"`"),
            }),
        }),
    }
}

/// Refuses what grows out of all proportion.
fn small(name: &str, bytes: usize) -> Result<(), Wrong> {
    if bytes > LARGEST { Err(wrong(format!("the values of `{name}` are larger than 1 MiB"))) } else { Ok(()) }
}

fn wrong(reason: impl Into<String>) -> Wrong {
    Wrong { reason: reason.into(), fix: None }
}

fn arity(name: &str, wanted: &str, given: usize) -> Wrong {
    wrong(format!("`{name}` takes {wanted} values, and gets {given}"))
}

/// Exactly `N` texts.
fn texts<'a, const N: usize>(name: &str, arguments: &'a [Value<'_>]) -> Result<[&'a str; N], Wrong> {
    let mut texts = [""; N];
    if arguments.len() != N {
        return Err(arity(name, &N.to_string(), arguments.len()));
    }
    for (place, argument) in texts.iter_mut().zip(arguments) {
        match argument {
            Value::Text(text) => *place = text,
            other => return Err(wrong(format!("`{name}` takes texts, and gets {}", other.kind()))),
        }
    }
    Ok(texts)
}

/// The second if it is a text that is not empty, and else the first.
fn default<'e>(arguments: &[Value<'e>]) -> Outcome<'e> {
    match arguments {
        [_, Value::Text(text)] if !text.is_empty() => Ok(Value::Text(text.clone())),
        [otherwise, _] => Ok(Value::Text(match otherwise {
            Value::Nil => "<nil>".to_owned(),
            value => value.to_string(),
        })),
        _ => Err(arity("default", "2", arguments.len())),
    }
}

fn split<'e>(arguments: &[Value<'e>]) -> Outcome<'e> {
    let [separator, text] = texts::<2>("split", arguments)?;
    let text = text.trim();
    let parts: Vec<&str> = match (text, separator) {
        ("", _) => Vec::new(),
        // As Go splits: into characters, with no empty text before or after.
        (_, "") => text.split("").filter(|part| !part.is_empty()).collect(),
        _ => text.split(separator).collect(),
    };
    Ok(Value::List(parts.into_iter().map(|part| Value::Text(part.to_owned())).collect()))
}

fn join<'e>(arguments: &[Value<'e>]) -> Outcome<'e> {
    let [Value::Text(separator), Value::List(parts)] = arguments else {
        return Err(wrong("`join` takes a separator and a list of texts"));
    };
    let parts: Option<Vec<&str>> =
        parts.iter().map(|part| if let Value::Text(text) = part { Some(text.as_str()) } else { None }).collect();
    match parts {
        Some(parts) => Ok(Value::Text(parts.join(separator))),
        None => Err(wrong("`join` takes a list of texts, and this one holds numbers")),
    }
}

fn regex_replace_all<'e>(arguments: &[Value<'e>]) -> Outcome<'e> {
    let [pattern, to, text] = texts::<3>("regexReplaceAll", arguments)?;
    small("regexReplaceAll", to.len().saturating_mul(text.len()) / 8)?;
    let regex = regex_lite::Regex::new(pattern)
        .map_err(|error| wrong(format!("`{pattern}` is no regular expression: {error}")))?;
    Ok(Value::Text(regex.replace_all(text, to).into_owned()))
}

/// `loop 3` is 0, 1, 2; `loop 2 4` is 2, 3; `loop 4 2` is 4, 3.
fn count<'e>(arguments: &[Value<'e>]) -> Outcome<'e> {
    let number = |value: &Value<'_>| match value {
        Value::Int(value) => Ok(*value),
        Value::Text(text) => {
            atoi(text).ok_or_else(|| wrong(format!("`loop` counts, and \"{text}\" is no whole number")))
        }
        other => Err(wrong(format!("`loop` counts, and gets {}", other.kind()))),
    };
    let (start, stop) = match arguments {
        [stop] => (0, number(stop)?),
        [start, stop] => (number(start)?, number(stop)?),
        _ => return Err(arity("loop", "1 or 2", arguments.len())),
    };
    if start.abs_diff(stop) > LONGEST_LOOP {
        return Err(wrong(format!("`loop` counts at most {LONGEST_LOOP} steps")));
    }
    let numbers: Vec<i64> = if stop < start { (stop + 1..=start).rev().collect() } else { (start..stop).collect() };
    Ok(Value::List(numbers.into_iter().map(Value::Int).collect()))
}

/// The first value whose truth decides, or the last.
fn decide<'e>(name: &str, arguments: &[Value<'e>], by: bool) -> Outcome<'e> {
    let decisive = arguments.iter().find(|value| value.is_true() == by).or(arguments.last());
    decisive.cloned().ok_or_else(|| arity(name, "1 or more", 0))
}

fn length<'e>(arguments: &[Value<'e>]) -> Outcome<'e> {
    let length = match arguments {
        [Value::Text(text)] => text.len(),
        [Value::List(list)] => list.len(),
        [Value::Env(env)] => env.len(),
        [other] => return Err(wrong(format!("{} has no length", other.kind()))),
        _ => return Err(arity("len", "1", arguments.len())),
    };
    Ok(Value::Int(i64::try_from(length).unwrap_or(i64::MAX)))
}

fn index<'e>(arguments: &[Value<'e>]) -> Outcome<'e> {
    let Some((first, keys)) = arguments.split_first() else { return Err(arity("index", "1 or more", 0)) };
    let mut value = first.clone();
    for key in keys {
        value = match (&value, key) {
            (Value::Env(env), Value::Text(name)) => Value::Text(env.get(name).cloned().unwrap_or_default()),
            (Value::List(list), Value::Int(at)) => match usize::try_from(*at).ok().and_then(|at| list.get(at)) {
                Some(value) => value.clone(),
                None => return Err(wrong(format!("there is no element {at} in a list of {}", list.len()))),
            },
            (Value::Text(text), Value::Int(at)) => {
                match usize::try_from(*at).ok().and_then(|at| text.as_bytes().get(at)) {
                    Some(byte) => Value::Int(i64::from(*byte)),
                    None => return Err(wrong(format!("there is no byte {at} in a text of {}", text.len()))),
                }
            }
            (value, key) => return Err(wrong(format!("{} cannot be indexed by {}", value.kind(), key.kind()))),
        };
    }
    Ok(value)
}

/// With a space between two values of which neither is a text.
fn print(arguments: &[Value<'_>]) -> String {
    let mut text = String::new();
    let mut after_text = true;
    for argument in arguments {
        let is_text = matches!(argument, Value::Text(_));
        if !after_text && !is_text {
            text.push(' ');
        }
        text += &argument.to_string();
        after_text = is_text;
    }
    text
}

/// The first equals one of the others.
fn equal<'e>(arguments: &[Value<'e>]) -> Outcome<'e> {
    let [first, others @ ..] = arguments else { return Err(arity("eq", "2 or more", 0)) };
    if others.is_empty() {
        return Err(arity("eq", "2 or more", 1));
    }
    for other in others {
        if compare(first, other)? == Ordering::Equal {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

fn order<'e>(name: &str, arguments: &[Value<'e>], is: fn(Ordering) -> bool) -> Outcome<'e> {
    match arguments {
        [Value::Bool(_), _] => Err(wrong("booleans have no order")),
        [one, other] => Ok(Value::Bool(is(compare(one, other)?))),
        _ => Err(arity(name, "2", arguments.len())),
    }
}

fn compare(one: &Value<'_>, other: &Value<'_>) -> Result<Ordering, Wrong> {
    let ordering = match (one, other) {
        (Value::Bool(one), Value::Bool(other)) => Some(one.cmp(other)),
        (Value::Int(one), Value::Int(other)) => Some(one.cmp(other)),
        (Value::Float(one), Value::Float(other)) => one.partial_cmp(other),
        (Value::Text(one), Value::Text(other)) => Some(one.cmp(other)),
        _ => None,
    };
    ordering.ok_or_else(|| Wrong {
        reason: format!("{} and {} cannot be compared", one.kind(), other.kind()),
        fix: Some("what comes from the environment is a text: write the other between double quotes".to_owned()),
    })
}
