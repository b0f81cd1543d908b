//! An eye that stays on one service in Consul while a story goes on: how few of its instances passed, how many there were.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use serde_json::Value;

use crate::{Http, wait};

/// How often the service is looked at; a check runs once a second at most.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What was seen of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The fewest instances that passed all their checks at once.
    pub fewest_passing: usize,
    /// The most instances that were registered at once.
    pub most_registered: usize,
    /// How often it was looked at.
    pub looks: usize,
}

/// The eye; it looks until [`Availability::seen`] is called.
#[derive(Debug)]
pub struct Availability {
    done: Arc<AtomicBool>,
    looking: Option<JoinHandle<Seen>>,
}

impl Availability {
    /// Begins to look at a service through the API of a Consul. While that does not answer, nothing is seen.
    pub fn of(consul: Http, service: &str) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let (path, stop) = (format!("/v1/health/service/{service}"), Arc::clone(&done));
        let looking = thread::spawn(move || look(&consul, &path, &stop));
        Self { done, looking: Some(looking) }
    }

    /// Ends the look.
    #[track_caller]
    pub fn seen(mut self) -> Seen {
        self.done.store(true, Ordering::Relaxed);
        let seen = self.looking.take().unwrap().join().unwrap();
        assert!(seen.looks > 0, "the service was never seen");
        seen
    }
}

impl Drop for Availability {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
    }
}

fn look(http: &Http, path: &str, done: &AtomicBool) -> Seen {
    let mut seen = Seen { fewest_passing: usize::MAX, most_registered: 0, looks: 0 };
    while !done.load(Ordering::Relaxed) {
        if let Some(instances) = http.json(path).as_array() {
            let passing = instances.iter().filter(|instance| passes(instance)).count();
            seen.fewest_passing = seen.fewest_passing.min(passing);
            seen.most_registered = seen.most_registered.max(instances.len());
            seen.looks += 1;
        }
        wait::pause(LOOK_EVERY);
    }
    seen
}

/// Whether all checks of an instance pass, its node's among them.
fn passes(instance: &Value) -> bool {
    instance["Checks"].as_array().is_some_and(|checks| checks.iter().all(|check| check["Status"] == "passing"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_critical_check_is_enough_not_to_pass() {
        let with = |statuses: &[&str]| json!({ "Checks": statuses.iter().map(|status| json!({ "Status": status })).collect::<Vec<_>>() });
        assert!(passes(&with(&["passing", "passing"])));
        assert!(!passes(&with(&["passing", "critical"])));
        assert!(!passes(&json!({})));
    }
}
