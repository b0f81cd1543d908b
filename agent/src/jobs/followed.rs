//! What follows from what the agent tells; pure.

use std::collections::BTreeMap;

use helium_supervisor::{Code, Event};

use super::protocol::{Look, Told};

/// What was told last.
#[derive(Debug, Default)]
pub(crate) struct Followed {
    watched: BTreeMap<String, Look>,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Follows {
    /// Something happened in Consul.
    Happened(Event),
    /// The main process is well, or is not.
    Main(bool),
}

impl Followed {
    /// Takes what is told. What is told again has no consequence, so an agent may do that whenever it likes.
    pub(crate) fn take(&mut self, told: Told) -> Vec<Follows> {
        let mut follows = Vec::new();
        for (name, look) in told.watched {
            let before = self.watched.insert(name.clone(), look.clone());
            follows.extend(codes(before.as_ref(), &look).map(|code| Follows::Happened(Event::of_watch(code, &name))));
        }
        follows.extend(told.healthy.map(Follows::Main));
        follows
    }
}

/// What has happened between two looks. At the first one, whatever is there has come, and what is not there has not changed.
fn codes(before: Option<&Look>, now: &Look) -> impl Iterator<Item = Code> {
    let was_present = before.is_some_and(|before| before.present);
    let changed = before.map_or(now.present, |before| before.print != now.print);
    let turned = before.is_none() || was_present != now.present;
    let state = if now.present { Code::Healthy } else { Code::Unhealthy };
    [changed.then_some(Code::Changed), turned.then_some(state)].into_iter().flatten()
}
