//! Texts and numbers of JSON5.

/// A number, by the grammar of ContainerPilot's parser.
pub(super) fn number(word: &str) -> Result<f64, &'static str> {
    let (negative, digits) = match word.as_bytes().first() {
        Some(b'-') => (true, &word[1..]),
        Some(b'+') => (false, &word[1..]),
        _ => (false, word),
    };
    let signed = digits.len() < word.len();
    let value = match digits {
        "Infinity" => f64::INFINITY,
        "NaN" if !signed => f64::NAN,
        _ => match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
            Some(hex) => hexadecimal(hex)?,
            None => decimal(digits)?,
        },
    };
    Ok(if negative { -value } else { value })
}

#[allow(clippy::cast_precision_loss, reason = "every number of these files is a float, as in Go")]
fn hexadecimal(digits: &str) -> Result<f64, &'static str> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err("a hexadecimal number has the digits 0 to 9 and a to f behind `0x`");
    }
    i64::from_str_radix(digits, 16).map(|value| value as f64).map_err(|_| "this number is too large")
}

fn decimal(digits: &str) -> Result<f64, &'static str> {
    const NO_NUMBER: &str = "this is no number";
    let bytes = digits.as_bytes();
    let leading = digits.len() - digits.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    if leading > 1 && bytes[0] == b'0' {
        return Err("a number does not begin with a zero");
    }
    if !bytes.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-')) {
        return Err(NO_NUMBER);
    }
    match digits.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        Ok(_) => Err("this number is too large"),
        Err(_) => Err(NO_NUMBER),
    }
}

/// One escape, from behind its backslash: the character, if it makes one, and how many bytes it takes.
pub(super) fn escape(rest: &str) -> Result<(Option<char>, usize), &'static str> {
    let Some(code) = rest.chars().next() else { return Err("this text is never closed") };
    let simple = match code {
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        '\\' | '/' | '"' | '\'' => code,
        '\n' => return Ok((None, 1)),
        '\r' => return Ok((None, if rest.starts_with("\r\n") { 2 } else { 1 })),
        'u' => return unicode(rest),
        _ => return Err("there is no such escape"),
    };
    Ok((Some(simple), 1))
}

/// `uXXXX`, or two of them that are one character.
fn unicode(rest: &str) -> Result<(Option<char>, usize), &'static str> {
    const FOUR: &str = "`\\u` is followed by four hexadecimal digits";
    let first = hex4(rest).ok_or(FOUR)?;
    if let Some(character) = char::from_u32(first) {
        return Ok((Some(character), 5));
    }
    let second = rest[5..].strip_prefix('\\').and_then(hex4).filter(|low| (0xDC00..0xE000).contains(low));
    match second {
        Some(low) if first < 0xDC00 => {
            let both = 0x10000 + ((first - 0xD800) << 10) + (low - 0xDC00);
            Ok((char::from_u32(both), 11))
        }
        // Half a character is replaced, as Go does.
        _ => Ok((Some(char::REPLACEMENT_CHARACTER), 5)),
    }
}

fn hex4(rest: &str) -> Option<u32> {
    let digits = rest.strip_prefix('u')?.get(..4)?;
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok()).flatten()
}
