//! Who may upgrade next: functions of the queue, of what is known about the sessions in it, and of the time.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::{Bad, Hold, Limits, Queue, Waiter};

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Me {
    /// The node or instance. There is one entry for each; a next life takes over that of the one before.
    pub who: String,
    /// Its session.
    pub session: String,
    /// The version that it wants.
    pub version: String,
}

/// What is known.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The queue as it is.
    pub queue: &'a Queue,
    /// The mark of the wanted version, if it is bad.
    pub bad: Option<&'a Bad>,
    /// Sessions that are known to have ended.
    pub dead: &'a BTreeSet<String>,
    /// The present instant.
    pub now: Timestamp,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Give up: the version is bad. If there is a queue, write it: it is the one without us.
    Refuse {
        /// Why.
        bad: Bad,
        /// What to write, if anything.
        queue: Option<Queue>,
    },
    /// Write this queue, on condition that the version is not bad; then the place is ours.
    Enter {
        /// What to write.
        queue: Queue,
    },
    /// The place is ours.
    Held(Hold),
    /// Write this queue: we are in line in it, and what has ended is gone.
    LineUp {
        /// What to write.
        queue: Queue,
    },
    /// Wait for a change of the queue, and at the latest after so long look after the sessions that are ahead.
    Wait {
        /// How long at most.
        look_in: SignedDuration,
    },
}

/// What `me` does next.
pub fn decide(view: View<'_>, me: &Me, limits: &Limits) -> Decision {
    if let Some(bad) = view.bad {
        let without = without(view.queue, &me.who);
        return Decision::Refuse { bad: bad.clone(), queue: (without != *view.queue).then_some(without) };
    }
    let mut queue = tidied(view, me);
    if let Some(hold) = queue.holders.iter().find(|hold| hold.who == me.who).cloned() {
        return if queue == *view.queue { Decision::Held(hold) } else { Decision::Enter { queue } };
    }
    let free = limits.at_most.max(1).saturating_sub(queue.holders.len());
    let place = queue.waiting.iter().position(|waiter| waiter.who == me.who);
    if place.unwrap_or(queue.waiting.len()) < free {
        queue.waiting.retain(|waiter| waiter.who != me.who);
        queue.holders.push(hold_of(me, view.now, limits));
        return Decision::Enter { queue };
    }
    if place.is_none() {
        let Me { who, session, version } = me.clone();
        queue.waiting.push(Waiter { who, session, version, since: view.now });
    }
    if queue != *view.queue {
        return Decision::LineUp { queue };
    }
    Decision::Wait { look_in: look_in(&queue, place.unwrap_or_default(), view.now, limits) }
}

/// The queue without an entry of `who`.
pub fn without(queue: &Queue, who: &str) -> Queue {
    let mut queue = queue.clone();
    queue.holders.retain(|hold| hold.who != who);
    queue.waiting.retain(|waiter| waiter.who != who);
    queue
}

/// The queue without those whose session has ended and those who are over their time, and with our entry under our present session.
fn tidied(View { queue, dead, now, .. }: View<'_>, me: &Me) -> Queue {
    let mut queue = queue.clone();
    for hold in queue.holders.iter_mut().filter(|hold| hold.who == me.who) {
        hold.session.clone_from(&me.session);
        hold.version.clone_from(&me.version);
    }
    for waiter in queue.waiting.iter_mut().filter(|waiter| waiter.who == me.who) {
        waiter.session.clone_from(&me.session);
        waiter.version.clone_from(&me.version);
    }
    queue.holders.retain(|hold| hold.until > now && !dead.contains(&hold.session));
    queue.waiting.retain(|waiter| !dead.contains(&waiter.session));
    queue
}

fn hold_of(me: &Me, now: Timestamp, limits: &Limits) -> Hold {
    let Me { who, session, version } = me.clone();
    let long = SignedDuration::try_from(limits.hold).unwrap_or(SignedDuration::MAX);
    Hold { who, session, version, since: now, until: now.saturating_add(long).unwrap_or(Timestamp::MAX) }
}

/// The first in line looks each `look_every`, the second each two of them, and so on up to five; and everybody when the first holder is over
/// its time, which no change of the queue tells.
fn look_in(queue: &Queue, place: usize, now: Timestamp, limits: &Limits) -> SignedDuration {
    let turns = u32::try_from(place.min(4)).unwrap_or(4) + 1;
    let look = SignedDuration::try_from(limits.look_every.saturating_mul(turns)).unwrap_or(SignedDuration::MAX);
    let over = queue.holders.iter().map(|hold| hold.until.duration_since(now)).min();
    over.map_or(look, |over| over.min(look)).max(SignedDuration::from_millis(1))
}

#[cfg(test)]
mod tests;
