//! The verbs of `printf` that make sense for texts, numbers and lists.

use super::value::Value;

/// Widths above this are cut: nobody formats a configuration by more.
const WIDEST: usize = 1000;

/// A format and its values into a text. Known are `%s %d %v %q %t %f %g %x %%`, with the flags `-` and `0`, a width and a precision.
pub(super) fn printf(format: &str, values: &[Value<'_>]) -> Result<String, String> {
    let mut text = String::new();
    let mut values = values.iter();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        text += &rest[..at];
        let (verb, after) = Verb::parse(&rest[at + 1..])?;
        rest = after;
        if verb.letter == '%' {
            text.push('%');
            continue;
        }
        let value = values.next().ok_or_else(|| format!("`printf` has no value for `%{}`", verb.letter))?;
        text += &verb.pad(&verb.print(value)?);
    }
    text += rest;
    match values.len() {
        0 => Ok(text),
        more => Err(format!("`printf` has {more} values too many for its format")),
    }
}

/// One `%...`.
struct Verb {
    letter: char,
    left: bool,
    zeros: bool,
    width: usize,
    precision: Option<usize>,
}

impl Verb {
    /// What follows a percent sign, and what comes after it.
    fn parse(text: &str) -> Result<(Self, &str), String> {
        let flags = text.len() - text.trim_start_matches(['-', '0']).len();
        let (flags, rest) = text.split_at(flags);
        let (width, mut rest) = digits(rest);
        let mut precision = None;
        if let Some(after) = rest.strip_prefix('.') {
            let (digits, after) = digits(after);
            precision = Some(digits.unwrap_or(0));
            rest = after;
        }
        let letter = rest.chars().next().ok_or("the format of `printf` ends behind a percent sign")?;
        let left = flags.contains('-');
        let verb = Self { letter, left, zeros: flags.contains('0') && !left, width: width.unwrap_or(0), precision };
        Ok((verb, &rest[letter.len_utf8()..]))
    }

    fn print(&self, value: &Value<'_>) -> Result<String, String> {
        let text = match (self.letter, value) {
            ('v', value) | ('s', value @ Value::List(_)) | ('g', value @ Value::Float(_)) => value.to_string(),
            ('s', Value::Text(text)) => match self.precision {
                Some(most) => text.chars().take(most).collect(),
                None => text.clone(),
            },
            ('d', Value::Int(number)) => number.to_string(),
            ('x', Value::Int(number)) if *number < 0 => format!("-{:x}", number.unsigned_abs()),
            ('x', Value::Int(number)) => format!("{number:x}"),
            ('x', Value::Text(text)) => text.bytes().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}")),
            ('t', Value::Bool(value)) => value.to_string(),
            ('q', Value::Text(text)) => format!("{text:?}"),
            ('f', Value::Float(number)) => format!("{number:.*}", self.precision.unwrap_or(6)),
            ('s' | 'd' | 'x' | 't' | 'q' | 'f' | 'g', _) => {
                return Err(format!("`%{}` of `printf` does not print {}", self.letter, value.kind()));
            }
            (letter, _) => return Err(format!("`%{letter}` of `printf` is not supported in these files")),
        };
        Ok(text)
    }

    fn pad(&self, text: &str) -> String {
        let width = self.width;
        match (self.left, self.zeros) {
            (true, _) => format!("{text:<width$}"),
            (false, false) => format!("{text:>width$}"),
            (false, true) => match text.strip_prefix('-') {
                Some(digits) if width > 0 => format!("-{digits:0>width$}", width = width - 1),
                _ => format!("{text:0>width$}"),
            },
        }
    }
}

fn digits(text: &str) -> (Option<usize>, &str) {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = &text[..text.len() - rest.len()];
    let value = (!digits.is_empty()).then(|| digits.parse().unwrap_or(WIDEST).min(WIDEST));
    (value, rest)
}
