//! Durations as these files write them: Go's syntax (`1m30s`, `500ms`), or a bare whole number, which is seconds.

use crate::number::atoi;

/// Nanoseconds; Go's durations have a sign.
pub(crate) type Nanos = i64;

/// One millisecond: nothing that repeats or times out may be shorter.
pub(crate) const MILLISECOND: Nanos = 1_000_000;

/// A bare whole number is seconds; the rest is Go's syntax.
pub(crate) fn seconds_or_duration(text: &str) -> Option<Nanos> {
    match atoi(text) {
        Some(seconds) => seconds.checked_mul(1_000_000_000),
        None => duration(text),
    }
}

/// Go's `time.ParseDuration`: a sign, and numbers each with a unit (`ns us µs ms s m h`); of bare numbers only `0`.
pub(crate) fn duration(text: &str) -> Option<Nanos> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanos: i128 = 0;
    while !rest.is_empty() {
        let (part, after) = part(rest)?;
        nanos = nanos.checked_add(part)?;
        rest = after;
    }
    Nanos::try_from(if negative { -nanos } else { nanos }).ok()
}

/// `1.5h` and what follows it.
fn part(text: &str) -> Option<(i128, &str)> {
    let (whole, rest) = digits(text);
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => digits(rest),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let letters = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(letters);
    let unit: i128 = match unit {
        "ns" => 1,
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let whole: i128 = if whole.is_empty() { 0 } else { i128::from(whole.parse::<i64>().ok()?) };
    // More digits than these are less than a nanosecond of an hour.
    let fraction = &fraction[..fraction.len().min(15)];
    let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    let fraction: i128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    Some((whole.checked_mul(unit)? + fraction * unit / scale, rest))
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_syntax_of_go_is_read() {
        let read =
            ["1s", "1m30s", "500ms", "1.5h", ".5s", "5.s", "-1s", "0", "1us", "1µs", "2h3m4s5ms6us7ns"].map(duration);
        let expected: [Nanos; 11] = [
            1_000_000_000,
            90_000_000_000,
            500_000_000,
            5_400_000_000_000,
            500_000_000,
            5_000_000_000,
            -1_000_000_000,
            0,
            1_000,
            1_000,
            7_384_005_006_007,
        ];
        assert_eq!(read, expected.map(Some));
        assert_eq!(["", "5", "s", "1", "1.5", "1d", "1 s", ".s", "-", "99999999999h", "xx"].map(duration), [None; 11]);
    }

    #[test]
    fn a_bare_number_is_seconds() {
        assert_eq!(seconds_or_duration("10"), Some(10_000_000_000));
        assert_eq!(seconds_or_duration("10ms"), Some(10_000_000));
        assert_eq!(["1.5", "", "9999999999999"].map(seconds_or_duration), [None; 3]);
    }
}
