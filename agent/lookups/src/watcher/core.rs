//! What a watcher does next, as a pure machine: events in, effects out.
//!
//! Render; if answers are lacking, again with each one that comes; when all are there, put the files in place and react. From then on a
//! change is rendered when changes have ceased for a while. A failure keeps the old set, is told once, and is tried again with the next
//! change only. A reaction stays owed until it has come to a good end.

use std::{path::PathBuf, time::Duration};

use helium_runtime::ports::Ports;
use helium_templates::quiet::{Quiet, Wait};

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Templates, values or answers may be others now.
    Changed,
    /// Time has passed.
    Time,
    /// A render has ended.
    Rendered(Seen),
    /// The files were put in place, and these changed; or not.
    Applied(Result<Vec<PathBuf>, String>),
    /// The reactions have ended.
    Reacted(Result<(), String>),
}

/// What came of a render.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// All files.
    Ready,
    /// Answers are lacking.
    Pending,
    /// Nothing.
    Failed(String),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Render everything.
    Render,
    /// Put the files of the last render in place.
    Apply,
    /// React to what has changed, or is owed from earlier.
    React,
    /// Tell of a failure.
    Tell(String),
    /// Tell that the failure that was told is over.
    Mended,
}

/// The machine.
#[derive(Debug)]
pub(crate) struct Core {
    quiet: Quiet,
    /// Until a render has come to an end, nobody waits for changes to cease.
    settled: bool,
    told: Option<String>,
    owed: bool,
}

impl Core {
    /// A machine that has done nothing yet; reactions may be owed by an earlier one.
    pub(crate) fn new(wait: Wait, owed: bool) -> Self {
        Self { quiet: Quiet::new(wait), settled: false, told: None, owed }
    }

    /// When to come back with [`Event::Time`].
    pub(crate) fn due(&self) -> Option<Duration> {
        self.quiet.due()
    }

    /// The failure that stands.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.told.as_deref()
    }

    pub(crate) fn step(&mut self, event: Event, now: Duration, ports: &Ports) -> Vec<Effect> {
        match event {
            Event::Changed if !self.settled => vec![Effect::Render],
            Event::Changed => {
                self.quiet.changed(now, ports);
                self.render_if_due(now)
            }
            Event::Time => self.render_if_due(now),
            Event::Rendered(Seen::Pending) => {
                // What comes next completes this one, and nobody has seen anything of it yet.
                self.settled = false;
                Vec::new()
            }
            Event::Rendered(Seen::Failed(words)) | Event::Applied(Err(words)) => {
                self.settled = true;
                self.tell(words)
            }
            Event::Rendered(Seen::Ready) => vec![Effect::Apply],
            Event::Applied(Ok(changed)) => {
                self.settled = true;
                self.owed |= !changed.is_empty();
                if self.owed { vec![Effect::React] } else { self.mend() }
            }
            Event::Reacted(Ok(())) => {
                self.owed = false;
                self.mend()
            }
            Event::Reacted(Err(words)) => self.tell(words),
        }
    }

    fn render_if_due(&mut self, now: Duration) -> Vec<Effect> {
        if self.quiet.take(now) { vec![Effect::Render] } else { Vec::new() }
    }

    fn tell(&mut self, words: String) -> Vec<Effect> {
        if self.told.as_ref() == Some(&words) {
            return Vec::new();
        }
        self.told = Some(words.clone());
        vec![Effect::Tell(words)]
    }

    fn mend(&mut self) -> Vec<Effect> {
        if self.told.take().is_some() { vec![Effect::Mended] } else { Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    struct Machine(Core, Ports);

    impl Machine {
        fn new(owed: bool) -> Self {
            Self(Core::new(Wait::of(ms(100)), owed), Ports::real())
        }

        fn at(&mut self, now: u64, event: Event) -> Vec<Effect> {
            self.0.step(event, ms(now), &self.1)
        }

        /// One that has put its first files in place.
        fn settled() -> Self {
            let mut machine = Self::new(false);
            machine.at(0, Event::Changed);
            machine.at(0, Event::Rendered(Seen::Ready));
            machine.at(0, applied(&["a"]));
            machine.at(0, Event::Reacted(Ok(())));
            machine
        }
    }

    fn applied(files: &[&str]) -> Event {
        Event::Applied(Ok(files.iter().map(PathBuf::from).collect()))
    }

    fn tell(words: &str) -> Vec<Effect> {
        vec![Effect::Tell(words.to_owned())]
    }

    #[test]
    fn the_first_render_waits_for_nothing_and_one_that_lacks_answers_is_made_again_with_each() {
        let mut machine = Machine::new(false);
        assert_eq!(machine.at(0, Event::Changed), [Effect::Render]);
        assert_eq!(machine.at(1, Event::Rendered(Seen::Pending)), []);
        assert_eq!(machine.at(2, Event::Changed), [Effect::Render]);
        assert_eq!(machine.at(3, Event::Rendered(Seen::Ready)), [Effect::Apply]);
        assert_eq!(machine.at(4, applied(&["a"])), [Effect::React]);
        assert_eq!(machine.at(5, Event::Reacted(Ok(()))), []);
    }

    #[test]
    fn a_burst_of_changes_is_one_render_and_one_reaction() {
        let mut machine = Machine::settled();
        let mut renders = 0;
        for now in 1000..2000 {
            let event = if now < 1240 { Event::Changed } else { Event::Time };
            renders += machine.at(now, event).len();
        }
        assert_eq!(renders, 1);
    }

    #[test]
    fn what_changes_nothing_has_no_reaction() {
        let mut machine = Machine::settled();
        assert_eq!(machine.at(1000, Event::Changed), []);
        assert_eq!(machine.at(1100, Event::Time), [Effect::Render]);
        assert_eq!(machine.at(1100, Event::Rendered(Seen::Ready)), [Effect::Apply]);
        assert_eq!(machine.at(1100, applied(&[])), []);
    }

    #[test]
    fn a_failure_is_told_once_and_tried_again_with_the_next_change_only() {
        let mut machine = Machine::settled();
        machine.at(1000, Event::Changed);
        assert_eq!(machine.at(1100, Event::Time), [Effect::Render]);
        assert_eq!(machine.at(1100, Event::Rendered(Seen::Failed("bad".into()))), tell("bad"));
        assert_eq!((machine.at(9000, Event::Time), machine.0.due()), (vec![], None));
        machine.at(10_000, Event::Changed);
        assert_eq!(machine.at(10_100, Event::Time), [Effect::Render]);
        assert_eq!(machine.at(10_100, Event::Rendered(Seen::Failed("bad".into()))), []);
        assert_eq!(machine.0.failure(), Some("bad"));
        machine.at(11_000, Event::Changed);
        machine.at(11_100, Event::Time);
        machine.at(11_100, Event::Rendered(Seen::Ready));
        assert_eq!(machine.at(11_100, applied(&[])), [Effect::Mended]);
    }

    #[test]
    fn a_reaction_that_failed_is_owed_even_if_the_next_change_changes_no_file() {
        let mut machine = Machine::settled();
        machine.at(1000, Event::Changed);
        machine.at(1100, Event::Time);
        assert_eq!(machine.at(1100, applied(&["a"])), [Effect::React]);
        assert_eq!(machine.at(1100, Event::Reacted(Err("no".into()))), tell("no"));
        machine.at(2000, Event::Changed);
        machine.at(2100, Event::Time);
        assert_eq!(machine.at(2100, applied(&[])), [Effect::React]);
        assert_eq!(machine.at(2100, Event::Reacted(Ok(()))), [Effect::Mended]);
    }

    #[test]
    fn what_an_earlier_run_owed_is_done_though_no_file_changes() {
        let mut machine = Machine::new(true);
        machine.at(0, Event::Changed);
        machine.at(0, Event::Rendered(Seen::Ready));
        assert_eq!(machine.at(0, applied(&[])), [Effect::React]);
    }
}
