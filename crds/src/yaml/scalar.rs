//! What a word without quotes means: to YAML 1.2, which Helium reads, and to the many tools that still read YAML 1.1.
//!
//! Where text is wanted, Helium refuses a plain word that any of them would read as something else. `version: 1.10` is the
//! number 1.1 to most tools, `no` is false to others, `22:22` is 1342 to some: who meant text writes quotes.

use std::sync::LazyLock;

use regex_lite::Regex;

/// What a plain word is to YAML 1.2's core schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plain {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number, `0o17` and `0x1f` among them.
    Integer,
    /// Any other number.
    Float,
    /// Text.
    Text,
}

/// How a plain word is misread as something else than text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Misread {
    /// As this number: `1.10` is 1.1.
    Number(String),
    /// As true or false: `on`, `yes`, `n`.
    Boolean(bool),
    /// As a number to the base 60: `22:22` is 1342.
    Sexagesimal(String),
    /// As a date: `2026-11-21`.
    Date,
}

/// What a plain word is.
pub(crate) fn resolve(text: &str) -> Plain {
    static INTEGER: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"^([-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$").ok());
    static FLOAT: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r"^([-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$").ok()
    });
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Plain::Null,
        "true" | "True" | "TRUE" => Plain::Boolean(true),
        "false" | "False" | "FALSE" => Plain::Boolean(false),
        _ if fits(&INTEGER, text) => Plain::Integer,
        _ if fits(&FLOAT, text) => Plain::Float,
        _ => Plain::Text,
    }
}

/// How a plain word that stands where text is wanted would be misread; none if every tool reads it as text. Null is not text to
/// anybody, and so is not among these.
pub(crate) fn misread(text: &str) -> Option<Misread> {
    static UNDERSCORES: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?$").ok());
    static BASE_60: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"^[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?$").ok());
    static DATE: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"^[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt ].*)?$").ok());
    match resolve(text) {
        Plain::Null => None,
        Plain::Boolean(value) => Some(Misread::Boolean(value)),
        Plain::Integer | Plain::Float => Some(Misread::Number(number(text))),
        Plain::Text => match text {
            "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(Misread::Boolean(true)),
            "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(Misread::Boolean(false)),
            _ if fits(&BASE_60, text) => Some(Misread::Sexagesimal(base_60(text))),
            _ if fits(&DATE, text) => Some(Misread::Date),
            _ if fits(&UNDERSCORES, text) => Some(Misread::Number(number(&text.replace('_', "")))),
            _ => None,
        },
    }
}

impl Plain {
    /// In words, with the article.
    pub(crate) fn describe(self, text: &str) -> String {
        match self {
            Plain::Null => "nothing".to_owned(),
            Plain::Boolean(value) => format!("the truth value {value}"),
            Plain::Integer | Plain::Float => format!("the number {text}"),
            Plain::Text => "text".to_owned(),
        }
    }
}

impl Misread {
    /// What other tools read, in words.
    pub(crate) fn describe(&self) -> String {
        match self {
            Misread::Number(number) => format!("the number {number}"),
            Misread::Boolean(value) => format!("the truth value {value}"),
            Misread::Sexagesimal(number) => format!("the number {number} (base 60)"),
            Misread::Date => "a date".to_owned(),
        }
    }
}

fn fits(regex: &LazyLock<Option<Regex>>, text: &str) -> bool {
    regex.as_ref().is_some_and(|regex| regex.is_match(text))
}

/// The number as a program would print it back: `1.10` is 1.1, `1e3` is 1000, and a number too large for a program is itself.
fn number(text: &str) -> String {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value.abs() < 1e15 => value.to_string(),
        _ => text.to_owned(),
    }
}

/// `22:22` is 22 * 60 + 22 = 1342.
fn base_60(text: &str) -> String {
    let digits = text.trim_start_matches(['-', '+']).replace('_', "");
    let value = digits.split(':').filter_map(|part| part.parse::<f64>().ok()).fold(0.0, |sum, part| sum * 60.0 + part);
    format!("{}{value}", if text.starts_with('-') { "-" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_word_is_what_yaml_1_2_says() {
        for text in ["", "~", "null", "NULL"] {
            assert_eq!(resolve(text), Plain::Null, "{text}");
        }
        for text in ["0", "-1", "+7", "007", "0o17", "0xFf"] {
            assert_eq!(resolve(text), Plain::Integer, "{text}");
        }
        for text in ["1.10", "1.", ".5", "1e3", "-.inf", ".NaN"] {
            assert_eq!(resolve(text), Plain::Float, "{text}");
        }
        for text in ["1.2.3", "on", "22:22", "1_000", "2026-11-21", "10s", "25%", "e3", "-", "."] {
            assert_eq!(resolve(text), Plain::Text, "{text}");
        }
    }

    #[test]
    fn a_plain_word_that_others_misread_is_known_with_what_they_read() {
        for (text, read) in [
            ("1.10", "the number 1.1"),
            ("8080", "the number 8080"),
            ("1e3", "the number 1000"),
            ("1_000", "the number 1000"),
            ("true", "the truth value true"),
            ("on", "the truth value true"),
            ("No", "the truth value false"),
            ("22:22", "the number 1342 (base 60)"),
            ("1:30:00", "the number 5400 (base 60)"),
            ("2026-11-21", "a date"),
        ] {
            assert_eq!(misread(text).map(|misread| misread.describe()).as_deref(), Some(read), "{text}");
        }
        for text in ["1.0.0", "v1.10", "hi", "10s", "25%", "1.10-rc1", "a:b", "host:8080", "", "22:99"] {
            assert_eq!(misread(text), None, "{text}");
        }
    }
}
