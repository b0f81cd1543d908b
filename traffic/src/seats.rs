//! Which server takes which slot, and what has to be said to HAProxy for it. Pure.
//!
//! The table that HAProxy has is all the memory there is: a server keeps the slot that sends to its address. The others take free slots, the
//! first ones first. A slot is free when it is in maintenance and has no session left, so none is given on while its last server drains.
//! Where none is free, more slots are laid out, which HAProxy learns by a reload of its file.

use std::net::SocketAddr;

use crate::{
    haproxy::{Change, Command, Slot, SlotState},
    server::Server,
};

/// The servers of one backend in their slots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seats(pub Vec<Option<Server>>);

impl Seats {
    /// Seats `servers`, of which no two are at one place, beside what `table` shows. There are as many slots as the table has, at least
    /// `slots`, and so many more at a time as are lacking.
    pub fn of(servers: &[Server], table: &[Slot], slots: usize) -> Self {
        let mut seats = vec![None; table.len().max(slots)];
        let mut standing = Vec::new();
        for server in servers {
            match place_of(server.at, table) {
                Some(place) => seats[place] = Some(server.clone()),
                None => standing.push(server.clone()),
            }
        }
        let mut next = 0;
        for server in standing {
            while seats.get(next).is_some_and(Option::is_some) || table.get(next).is_some_and(|slot| !slot.is_free()) {
                next += 1;
            }
            if next == seats.len() {
                seats.resize(next + slots.max(1), None);
            }
            seats[next] = Some(server);
        }
        Self(seats)
    }

    /// What has to be said to HAProxy: first who comes, then who goes, so that a backend is not empty in between.
    pub fn commands(&self, table: &[Slot]) -> Vec<Command> {
        let pairs = || table.iter().zip(&self.0).enumerate();
        let coming = pairs().filter_map(|(slot, (has, seat))| Some(admit(slot, has, seat.as_ref()?)));
        let going = pairs().filter(|(_, (_, seat))| seat.is_none()).filter_map(|(slot, (has, _))| dismiss(slot, has));
        coming.flatten().chain(going).collect()
    }

    /// The servers for which HAProxy has no slot until it has read its file again.
    pub fn beyond<'a>(&'a self, table: &[Slot]) -> impl Iterator<Item = &'a Server> {
        self.0.iter().skip(table.len()).flatten()
    }

    /// All servers, by slot.
    pub fn servers(&self) -> Vec<Server> {
        self.0.iter().flatten().cloned().collect()
    }

    /// The table that a HAProxy has that has just started from a file with these seats.
    pub fn as_table(&self) -> Vec<Slot> {
        let slot = |seat: &Option<Server>| {
            let (at, weight) = seat.as_ref().map_or((NOWHERE, 1), |server| (server.at, server.weight));
            let state = if seat.is_some() { SlotState::Ready } else { SlotState::Maint };
            Slot { at, state, weight, sessions: 0 }
        };
        self.0.iter().map(slot).collect()
    }
}

/// Where a slot without a server points: a port that nobody listens on.
pub(crate) const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);

/// The slots that get requests.
pub fn live(table: &[Slot]) -> impl Iterator<Item = &Slot> {
    table.iter().filter(|slot| slot.state == SlotState::Ready)
}

/// The slot that sends to a place; of several the one that is the most in use.
fn place_of(at: SocketAddr, table: &[Slot]) -> Option<usize> {
    let rank = |slot: &Slot| match slot.state {
        SlotState::Ready => 0,
        SlotState::Drain => 1,
        SlotState::Maint => 2,
    };
    let there = table.iter().enumerate().filter(|(_, slot)| slot.at == at);
    there.min_by_key(|(place, slot)| (rank(slot), *place)).map(|(place, _)| place)
}

/// What lets a server in: its address before its weight, and both before the first request.
fn admit(slot: usize, has: &Slot, server: &Server) -> impl Iterator<Item = Command> + use<> {
    let moves = (has.at != server.at).then_some(Change::Move(server.at));
    let weighs = (has.weight != server.weight).then_some(Change::Weigh(server.weight));
    let enters = (has.state != SlotState::Ready).then_some(Change::Enter(SlotState::Ready));
    [moves, weighs, enters].into_iter().flatten().map(move |change| Command { slot, change })
}

/// What takes a server out: it finishes its sessions first.
fn dismiss(slot: usize, has: &Slot) -> Option<Command> {
    let state = match has.state {
        SlotState::Ready => SlotState::Drain,
        SlotState::Drain if has.sessions == 0 => SlotState::Maint,
        SlotState::Drain | SlotState::Maint => return None,
    };
    Some(Command { slot, change: Change::Enter(state) })
}

#[cfg(test)]
#[path = "seats_tests.rs"]
mod tests;
