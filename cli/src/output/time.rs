//! Lengths of time and instants, as short as people like them in a table.

use jiff::{SignedDuration, Timestamp};

/// `5s`, `3m`, `2h`, `4d`: the largest whole unit; with a second one below ten minutes: `1m30s`.
pub(crate) fn short(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..600 if seconds % 60 != 0 => format!("{}m{}s", seconds / 60, seconds % 60),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// How long ago `then` was.
pub(crate) fn age(then: Option<Timestamp>, now: Timestamp) -> String {
    then.map_or_else(|| "-".to_owned(), |then| short(now.duration_since(then)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_is_told_by_its_largest_units() {
        for (seconds, text) in [
            (-3, "0s"),
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (90, "1m30s"),
            (600, "10m"),
            (3_599, "59m"),
            (7_200, "2h"),
            (172_800, "2d"),
        ] {
            assert_eq!(short(SignedDuration::from_secs(seconds)), text);
        }
    }
}
