//! Whether data that became empty or old may be used: a wiped prefix, a token without rights, a Consul that has just restarted all look like
//! nothing at all, and an application must not be restarted with nothing because of that.
//!
//! Data that held something and holds nothing, or whose index went back, is refused. It is believed when it has been so for `patience`
//! without a break, or at once where emptiness is allowed. An index that goes back means a Consul that was restored or a snapshot that
//! is behind; it says nothing about being empty on purpose, so allowing emptiness does not allow it.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// What a source shows now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    /// Consul's index of it.
    pub index: u64,
    /// Whether it holds nothing.
    pub empty: bool,
}

/// What is remembered of a source; it belongs into the service's state, so that a restart of the agent is no way around it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Believed {
    /// The index that was believed last.
    pub index: u64,
    /// Whether it held something then.
    pub held_something: bool,
}

/// What is wrong with what a source shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// It held something and holds nothing.
    Emptied,
    /// Its index went back.
    WentBack,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Doubt::Emptied => "it held something and is empty now",
            Doubt::WentBack => "its index went back",
        })
    }
}

/// Whether what a source shows may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Use it.
    Use,
    /// Keep what there is; look again then.
    Keep {
        /// What is wrong.
        doubt: Doubt,
        /// When it will be believed if it stays so.
        until: Duration,
    },
}

/// Guards one source.
#[derive(Clone, Debug)]
pub struct Guard {
    patience: Duration,
    allow_empty: bool,
    believed: Believed,
    doubtful_since: Option<Duration>,
}

impl Guard {
    /// A guard that goes on from what is remembered.
    pub fn new(patience: Duration, allow_empty: bool, believed: Believed) -> Self {
        Self { patience, allow_empty, believed, doubtful_since: None }
    }

    /// What has to be remembered.
    pub fn believed(&self) -> Believed {
        self.believed
    }

    /// Judges what the source shows at `now`, by a clock that never goes back.
    pub fn judge(&mut self, now: Duration, sight: Sight) -> Verdict {
        let Some(doubt) = self.doubt(sight) else {
            return self.believe(sight);
        };
        let until = self.doubtful_since.get_or_insert(now).saturating_add(self.patience);
        if now >= until { self.believe(sight) } else { Verdict::Keep { doubt, until } }
    }

    fn doubt(&self, sight: Sight) -> Option<Doubt> {
        if sight.index < self.believed.index {
            Some(Doubt::WentBack)
        } else if sight.empty && self.believed.held_something && !self.allow_empty {
            Some(Doubt::Emptied)
        } else {
            None
        }
    }

    fn believe(&mut self, sight: Sight) -> Verdict {
        self.doubtful_since = None;
        self.believed = Believed { index: sight.index, held_something: !sight.empty };
        Verdict::Use
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const fn sight(index: u64, empty: bool) -> Sight {
        Sight { index, empty }
    }

    fn guard(allow_empty: bool) -> Guard {
        let mut guard = Guard::new(s(60), allow_empty, Believed::default());
        assert_eq!(guard.judge(s(0), sight(10, false)), Verdict::Use);
        guard
    }

    #[test]
    fn data_that_became_empty_is_refused_until_it_has_been_so_for_the_time() {
        let mut guard = guard(false);
        let keep = Verdict::Keep { doubt: Doubt::Emptied, until: s(61) };
        assert_eq!(guard.judge(s(1), sight(11, true)), keep);
        assert_eq!(guard.judge(s(60), sight(12, true)), keep);
        assert_eq!(guard.judge(s(61), sight(12, true)), Verdict::Use);
        assert_eq!(guard.judge(s(62), sight(13, true)), Verdict::Use);
    }

    #[test]
    fn data_that_comes_back_in_between_begins_anew() {
        let mut guard = guard(false);
        guard.judge(s(1), sight(11, true));
        assert_eq!(guard.judge(s(30), sight(12, false)), Verdict::Use);
        assert_eq!(guard.judge(s(50), sight(13, true)), Verdict::Keep { doubt: Doubt::Emptied, until: s(110) });
    }

    #[test]
    fn an_index_that_goes_back_is_refused_even_where_emptiness_is_allowed() {
        let mut guard = guard(true);
        assert_eq!(guard.judge(s(1), sight(11, true)), Verdict::Use);
        assert_eq!(guard.judge(s(2), sight(3, false)), Verdict::Keep { doubt: Doubt::WentBack, until: s(62) });
        assert_eq!(guard.judge(s(62), sight(3, false)), Verdict::Use);
    }

    #[test]
    fn what_was_empty_from_the_beginning_is_used() {
        let mut guard = Guard::new(s(60), false, Believed::default());
        assert_eq!(guard.judge(s(0), sight(1, true)), Verdict::Use);
    }

    #[test]
    fn a_restart_of_the_agent_is_no_way_around_it() {
        let noted = serde_json::to_string(&guard(false).believed()).unwrap();
        let mut guard = Guard::new(s(60), false, serde_json::from_str(&noted).unwrap());
        assert!(matches!(guard.judge(s(0), sight(11, true)), Verdict::Keep { doubt: Doubt::Emptied, .. }));
    }
}
