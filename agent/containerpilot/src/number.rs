//! Whole numbers as Go reads them from text.

/// `strconv.ParseInt(text, 0, 64)`: decimal, `0x` hexadecimal, or octal with a leading zero; with a sign or without.
pub(crate) fn go_int(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (digits, radix) = if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        (hex, 16)
    } else if digits.len() > 1 && digits.starts_with('0') {
        (&digits[1..], 8)
    } else {
        (digits, 10)
    };
    if !digits.starts_with(|c: char| c.is_ascii_hexdigit()) {
        return None;
    }
    let value = i128::from(u64::from_str_radix(digits, radix).ok()?);
    i64::try_from(if negative { -value } else { value }).ok()
}

/// `strconv.Atoi(text)`: decimal only, with a sign or without.
pub(crate) fn atoi(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let decimal = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    decimal.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leading_zero_means_octal_where_the_base_is_open() {
        assert_eq!(
            ["10", "010", "0x10", "-0X1f", "0", "+7"].map(go_int),
            [Some(10), Some(8), Some(16), Some(-31), Some(0), Some(7)]
        );
        assert_eq!(["", "5s", "09", "0x", "--1", "1.5", "9223372036854775808"].map(go_int), [None; 7]);
    }

    #[test]
    fn where_the_base_is_ten_a_leading_zero_means_nothing() {
        assert_eq!(["10", "010", "+3", "-3"].map(atoi), [Some(10), Some(10), Some(3), Some(-3)]);
        assert_eq!(["", "0x10", "1.0", "+"].map(atoi), [None; 4]);
    }
}
