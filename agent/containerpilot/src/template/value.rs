//! The values that a template computes with, and how Go prints them.

use std::{collections::BTreeMap, fmt};

/// A value of a template.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value<'e> {
    /// `nil`.
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Value<'e>>),
    /// The environment: what `.` is at the top.
    Env(&'e BTreeMap<String, String>),
}

impl Value<'_> {
    /// Whether `if` takes it for true: all but zero and what is empty.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Value::Nil => false,
            Value::Bool(value) => *value,
            Value::Int(value) => *value != 0,
            Value::Float(value) => *value != 0.0,
            Value::Text(value) => !value.is_empty(),
            Value::List(value) => !value.is_empty(),
            Value::Env(value) => !value.is_empty(),
        }
    }

    /// About how many bytes it holds.
    pub(super) fn size(&self) -> usize {
        match self {
            Value::Text(text) => text.len(),
            Value::List(values) => values.iter().map(|value| 24 + value.size()).sum(),
            _ => 0,
        }
    }

    /// What a message calls it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Nil => "nil",
            Value::Bool(_) => "a boolean",
            Value::Int(_) => "a whole number",
            Value::Float(_) => "a number with a fraction",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Env(_) => "the environment",
        }
    }
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Nil => f.write_str("<no value>"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Int(value) => write!(f, "{value}"),
            Value::Float(value) => f.write_str(&float(*value)),
            Value::Text(value) => f.write_str(value),
            Value::List(values) => {
                let words: Vec<String> = values.iter().map(ToString::to_string).collect();
                write!(f, "[{}]", words.join(" "))
            }
            Value::Env(env) => {
                let words: Vec<String> = env.iter().map(|(name, value)| format!("{name}:{value}")).collect();
                write!(f, "map[{}]", words.join(" "))
            }
        }
    }
}

/// A number as Go's `%v` prints it: the shortest text, with an exponent below 1e-4 and from 1e21 on.
pub(crate) fn float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value != 0.0 && !(-4..21).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    format!("{value}")
}

#[cfg(test)]
mod tests {
    use super::float;

    #[test]
    fn numbers_are_printed_as_go_prints_them() {
        let printed = [0.0, 10.1, 100.0, 1e20, 1e21, 1.5e-5, 0.0001, -2.5].map(float);
        assert_eq!(printed, ["0", "10.1", "100", "100000000000000000000", "1e+21", "1.5e-05", "0.0001", "-2.5"]);
    }
}
