//! When a rollout may start or come forward: windows in which it may, and freezes in which it may not.
//!
//! A time is a cron expression of five fields in a time zone; its clock is the wall clock there, summer time included. A start that
//! falls into the hour that a change to summer time leaves out comes an hour later, and one that comes twice counts the first time. How long a window lasts is real time:
//! one of 24 h that begins before such a change ends an hour later by the wall clock.

use cronexpr::{Crontab, MakeTimestamp};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::period::Period;

/// When a rollout may start or come forward. What was given up goes back at any time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Schedule {
    /// The time zone of all that follows, by its name in the IANA database, such as `Europe/Berlin`. Default `UTC`.
    #[serde(default = "default_time_zone")]
    #[schemars(
        regex(pattern = r"^[A-Za-z][A-Za-z0-9_+/-]{0,63}$"),
        extend("x-allowed" = "the name of a time zone such as `UTC` or `Europe/Berlin`")
    )]
    pub time_zone: String,
    /// The times at which it may. Default: always.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), extend("x-default" = "always"))]
    pub windows: Vec<Window>,
    /// The times at which it may not, windows or not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub freezes: Vec<Freeze>,
}

/// A time that comes again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Window {
    /// When it begins: minute, hour, day of the month, month, day of the week, such as `0 9 * * MON-FRI`.
    #[schemars(length(min = 9, max = 200))]
    pub start: String,
    /// How long it lasts.
    #[schemars(extend("x-min" = "1m", "x-max" = "30d"))]
    pub duration: Period,
}

/// A time at which nothing may change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Freeze {
    /// When it begins: minute, hour, day of the month, month, day of the week, such as `0 0 23 12 *`.
    #[schemars(length(min = 9, max = 200))]
    pub start: String,
    /// How long it lasts.
    #[schemars(extend("x-min" = "1m", "x-max" = "30d"))]
    pub duration: Period,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub reason: String,
}

/// Whether a rollout may start or come forward.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// It may; at the latest at `until` that has to be looked at again.
    Open {
        /// When a window ends or a freeze begins.
        until: Option<Timestamp>,
    },
    /// It may not.
    Shut {
        /// Why not, in words.
        why: String,
        /// When it may again; none if that is too far off to be told.
        until: Option<Timestamp>,
    },
}

/// What is wrong with a time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadTime(String);

/// So many changes are looked ahead for the end of a time at which nothing may change.
const AHEAD: usize = 64;

impl Schedule {
    /// Whether a rollout may start or come forward at an instant. A time that cannot be read allows nothing.
    pub fn at(&self, now: Timestamp) -> Access {
        match self.look(now) {
            Ok(Look { shut: None, change }) => Access::Open { until: change },
            Ok(Look { shut: Some(why), .. }) => Access::Shut { why, until: self.opens_after(now) },
            Err(BadTime(why)) => Access::Shut { why, until: None },
        }
    }

    /// When it is open next.
    fn opens_after(&self, now: Timestamp) -> Option<Timestamp> {
        let mut at = now;
        for _ in 0..AHEAD {
            let look = self.look(at).ok()?;
            if look.shut.is_none() {
                return Some(at);
            }
            at = look.change.filter(|change| *change > at)?;
        }
        None
    }

    fn look(&self, now: Timestamp) -> Result<Look, BadTime> {
        let mut change: Option<Timestamp> = None;
        let mut until = |at: Option<Timestamp>| change = change.into_iter().chain(at).min();
        let mut frozen = None;
        for freeze in &self.freezes {
            match self.state(&freeze.start, freeze.duration, now)? {
                State::Within { end } => {
                    until(Some(end));
                    frozen.get_or_insert_with(|| freeze.describe());
                }
                State::Before { next } => until(next),
            }
        }
        let mut within = self.windows.is_empty();
        for window in &self.windows {
            match self.state(&window.start, window.duration, now)? {
                State::Within { end } => {
                    until(Some(end));
                    within = true;
                }
                State::Before { next } => until(next),
            }
        }
        let outside = (!within).then(|| "outside the windows of its schedule".to_owned());
        Ok(Look { shut: frozen.or(outside), change })
    }

    fn state(&self, start: &str, duration: Period, now: Timestamp) -> Result<State, BadTime> {
        let times = Times::parse(start, &self.time_zone)?;
        let after = |at: Timestamp| times.after(at);
        // The first that begins after this is the one that is on, if it has begun.
        let since = now.checked_sub(duration.as_signed()).unwrap_or(Timestamp::MIN);
        let on = after(since).filter(|begin| *begin <= now);
        Ok(match on {
            Some(begin) => State::Within { end: begin + duration.as_signed() },
            None => State::Before { next: after(now) },
        })
    }
}

/// What one look gives: why nothing may change, if so, and when that has to be looked at again.
struct Look {
    shut: Option<String>,
    change: Option<Timestamp>,
}

enum State {
    Within { end: Timestamp },
    Before { next: Option<Timestamp> },
}

impl Freeze {
    fn describe(&self) -> String {
        if self.reason.is_empty() { "frozen by its schedule".to_owned() } else { format!("frozen: {}", self.reason) }
    }
}

/// A time that comes again, by the wall clock of its zone.
///
/// The expression is followed on the wall clock alone, as if that knew no summer time, and each time that it gives is then looked up in
/// the zone: one that a change leaves out comes as much later as was left out, and one that comes twice counts the first time.
struct Times {
    wall: Crontab,
    zone: TimeZone,
}

/// Around a change of summer time the wall clock is ambiguous by no more than this.
const AMBIGUOUS: SignedDuration = SignedDuration::from_hours(3);

impl Times {
    fn parse(start: &str, time_zone: &str) -> Result<Self, BadTime> {
        let zone = TimeZone::get(time_zone).map_err(|_| BadTime(format!("there is no time zone `{time_zone}`")))?;
        let wall = cronexpr::parse_crontab(&format!("{start} UTC"));
        let wall = wall.map_err(|error| BadTime(format!("`{start}`: {}", first_line(&error.to_string()))))?;
        Ok(Self { wall, zone })
    }

    /// The first time after an instant.
    fn after(&self, at: Timestamp) -> Option<Timestamp> {
        let wall_clock = self.zone.to_datetime(at.checked_sub(AMBIGUOUS).ok()?);
        let mut from = TimeZone::UTC.to_timestamp(wall_clock).ok()?;
        loop {
            from = self.wall.find_next(MakeTimestamp(from)).ok()?.timestamp();
            let found = self.zone.to_timestamp(TimeZone::UTC.to_datetime(from)).ok()?;
            if found > at {
                return Some(found);
            }
        }
    }
}

/// Whether a time can be read.
///
/// # Errors
/// A field or a time zone that does not exist.
pub fn check(start: &str, time_zone: &str) -> Result<(), BadTime> {
    Times::parse(start, time_zone).map(drop)
}

fn first_line(text: &str) -> String {
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned()
}

fn default_time_zone() -> String {
    "UTC".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn schedule(zone: &str, windows: &[(&str, u64)], freezes: &[(&str, u64)]) -> Schedule {
        let hours = |hours: u64| Period::from_secs(hours * 3600);
        Schedule {
            time_zone: zone.to_owned(),
            windows: windows
                .iter()
                .map(|(start, length)| Window { start: (*start).to_owned(), duration: hours(*length) })
                .collect(),
            freezes: freezes
                .iter()
                .map(|(start, length)| Freeze {
                    start: (*start).to_owned(),
                    duration: hours(*length),
                    reason: "holidays".to_owned(),
                })
                .collect(),
        }
    }

    fn open(schedule: &Schedule, now: &str) -> bool {
        matches!(schedule.at(at(now)), Access::Open { .. })
    }

    /// When it is open again.
    fn opens(schedule: &Schedule, now: &str) -> String {
        match schedule.at(at(now)) {
            Access::Shut { until: Some(until), .. } => until.to_string(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_window_is_open_from_its_start_and_shut_at_its_end() {
        let office = schedule("UTC", &[("0 9 * * MON-FRI", 8)], &[]);
        assert!(!open(&office, "2026-06-01T08:59:59Z"), "a Monday");
        assert!(open(&office, "2026-06-01T09:00:00Z"));
        assert!(open(&office, "2026-06-01T16:59:59Z"));
        assert!(!open(&office, "2026-06-01T17:00:00Z"));
        assert_eq!(opens(&office, "2026-06-05T17:00:00Z"), "2026-06-08T09:00:00Z", "from Friday to Monday");
        assert_eq!(office.at(at("2026-06-01T10:00:00Z")), Access::Open { until: Some(at("2026-06-01T17:00:00Z")) });
    }

    #[test]
    fn a_freeze_shuts_what_a_window_opens() {
        let frozen = schedule("UTC", &[("0 9 * * *", 8)], &[("0 0 24 12 *", 72)]);
        assert!(open(&frozen, "2026-12-23T10:00:00Z"));
        assert!(!open(&frozen, "2026-12-25T10:00:00Z"));
        assert_eq!(opens(&frozen, "2026-12-25T10:00:00Z"), "2026-12-27T09:00:00Z", "the freeze ends at night");
        let Access::Shut { why, .. } = frozen.at(at("2026-12-25T10:00:00Z")) else { panic!() };
        assert_eq!(why, "frozen: holidays");
    }

    #[test]
    fn without_windows_it_is_always_open_and_an_end_is_told() {
        assert_eq!(schedule("UTC", &[], &[]).at(at("2026-01-01T00:00:00Z")), Access::Open { until: None });
        let frozen = schedule("UTC", &[], &[("0 0 1 1 *", 1)]);
        assert_eq!(frozen.at(at("2026-12-31T00:00:00Z")), Access::Open { until: Some(at("2027-01-01T00:00:00Z")) });
    }

    /// Europe/Berlin goes from UTC+1 to UTC+2 on 2026-03-29 at 02:00, which is 03:00 then, and back on 2026-10-25 at 03:00.
    #[test]
    fn windows_keep_to_the_wall_clock_over_changes_of_summer_time() {
        let morning = schedule("Europe/Berlin", &[("0 9 * * *", 1)], &[]);
        assert!(open(&morning, "2026-03-28T08:30:00Z"), "09:30 in winter");
        assert!(open(&morning, "2026-03-29T07:30:00Z"), "09:30 in summer");
        assert!(!open(&morning, "2026-03-29T08:30:00Z"));
        assert!(open(&morning, "2026-10-25T08:30:00Z"), "09:30 in winter again");
    }

    #[test]
    fn a_start_that_a_change_of_summer_time_leaves_out_or_doubles_opens_once_and_for_its_whole_length() {
        let night = schedule("Europe/Berlin", &[("30 2 * * *", 2)], &[]);
        let opened = |from: &str, hours: i64| {
            let quarter = |number: i64| at(from) + jiff::SignedDuration::from_mins(15 * number);
            (0..hours * 4).filter(|number| matches!(night.at(quarter(*number)), Access::Open { .. })).count()
        };
        assert_eq!(opened("2026-03-28T12:00:00Z", 24), 8, "02:30 does not exist");
        assert_eq!(opened("2026-10-24T12:00:00Z", 24), 8, "02:30 comes twice");
        assert_eq!(opened("2026-06-01T12:00:00Z", 24), 8, "an ordinary night");
    }

    #[test]
    fn what_cannot_be_read_allows_nothing() {
        for (start, zone) in [("0 25 * * *", "UTC"), ("0 9 * *", "UTC"), ("0 9 * * *", "Europe/Berlln")] {
            let broken = schedule(zone, &[(start, 1)], &[]);
            assert!(
                matches!(broken.at(at("2026-01-01T00:00:00Z")), Access::Shut { until: None, .. }),
                "{start} {zone}"
            );
            assert!(check(start, zone).is_err());
        }
    }
}
