//! From wanted counts to moves, within the budget.
//!
//! One arithmetic serves everything: a roll, a canary step, an abort, a promotion, a rescale, counts by hand, a restart. The
//! caller says how many instances each group should have; this says which to make and which to stop *now*, so that at every
//! instant
//!
//! - no more than `wanted + surge` take room, those still stopping included, and
//! - no healthy instance is stopped unless `wanted - unavailable` available ones remain without it.
//!
//! Example: wanted 3, surge 1, unavailable 0, from 3 old to 3 new. Make 1 (4 take room). When it is available, 4 are, so 1 old
//! one may stop; when that one is gone, the next new one is made; and so on.
//!
//! An instance that is not healthy serves nobody: stopping it costs nothing, which is why a broken stable version never
//! blocks a fix.

use std::collections::BTreeMap;

use helium_crds::{InstanceId, RevisionId};
use jiff::Timestamp;

use crate::{
    census::{Census, Member, State, count},
    world::{Trusted, World},
};

/// Instances that are counted together: of one revision, made before or after the last restart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Group {
    pub(crate) revision: RevisionId,
    /// Made before the last restart, so to be replaced.
    pub(crate) outdated: bool,
}

/// How many instances each group should have. A group that is not named should have none.
pub(crate) type Targets = BTreeMap<Group, u32>;

/// The bounds of every move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    pub(crate) wanted: u32,
    pub(crate) surge: u32,
    pub(crate) unavailable: u32,
}

impl Budget {
    /// The least number of available instances.
    pub(crate) fn floor(self) -> u32 {
        self.wanted.saturating_sub(self.unavailable)
    }

    /// The greatest number of instances that take room.
    pub(crate) fn ceiling(self) -> u32 {
        self.wanted.saturating_add(self.surge)
    }
}

/// What may be made and stopped now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moves {
    /// How many instances to make, by revision, in this order.
    pub(crate) create: Vec<(RevisionId, u32)>,
    /// How many of each revision are lacking beside these, for want of room.
    pub(crate) short: BTreeMap<RevisionId, u32>,
    /// Surplus instances to stop.
    pub(crate) stop: Vec<InstanceId>,
    /// Whether stops wait for others to become available.
    pub(crate) held_by_availability: bool,
}

/// The group of an instance.
pub(crate) fn group_of(member: &Member, restart_before: Option<Timestamp>) -> Group {
    let outdated = restart_before.is_some_and(|before| member.instance.created_at < before);
    Group { revision: member.instance.revision.clone(), outdated }
}

/// What may be made and stopped now to come nearer to `targets`. `first` is served before the others.
pub(crate) fn moves(
    world: &World,
    census: &Trusted<Census>,
    targets: &Targets,
    budget: Budget,
    restart_before: Option<Timestamp>,
    first: Option<&RevisionId>,
) -> Moves {
    let census = census.get();
    let mut live: BTreeMap<Group, Vec<&Member>> = BTreeMap::new();
    for member in census.live() {
        live.entry(group_of(member, restart_before)).or_default().push(member);
    }
    let (create, short) = creations(census, &live, targets, budget, first);
    let surplus = live.iter().flat_map(|(group, members)| {
        let wanted = targets.get(group).copied().unwrap_or(0) as usize;
        surplus_of(world, members, members.len().saturating_sub(wanted))
    });
    let (mut stop, held_by_availability) = stops(world, census, surplus.collect(), budget);
    if held_by_availability {
        stop.extend(excess(world, census, &stop, budget));
    }
    Moves { create, short, stop, held_by_availability }
}

/// While surplus instances may not stop because others are not available, the count may have been lowered: then those that serve
/// nobody go first, although they are wanted, so that no more than `wanted + surge` stay.
///
/// Example: wanted 8, surge 2, 4 old ones and 6 new ones that fail. Lowered to 4, at most 6 may be there: 2 new ones are
/// surplus, and 2 more have to go.
fn excess(world: &World, census: &Census, stop: &[InstanceId], budget: Budget) -> Vec<InstanceId> {
    let staying: Vec<&Member> = census.live().filter(|member| !stop.contains(member.id())).collect();
    let number = staying.len().saturating_sub(budget.ceiling() as usize);
    let idle: Vec<&Member> = staying.into_iter().filter(|member| !member.is_healthy()).collect();
    surplus_of(world, &idle, number).into_iter().map(|member| member.id().clone()).collect()
}

/// How many to make of each revision: what its groups lack, as far as there is room; and how many have none.
fn creations(
    census: &Census,
    live: &BTreeMap<Group, Vec<&Member>>,
    targets: &Targets,
    budget: Budget,
    first: Option<&RevisionId>,
) -> (Vec<(RevisionId, u32)>, BTreeMap<RevisionId, u32>) {
    let mut room = budget.ceiling().saturating_sub(count(census.members.values().filter(|member| member.takes_room())));
    let mut groups: Vec<(&Group, u32)> = targets.iter().map(|(group, &wanted)| (group, wanted)).collect();
    groups.sort_by_key(|(group, _)| first != Some(&group.revision));
    let (mut create, mut short) = (Vec::new(), BTreeMap::new());
    for (group, wanted) in groups.into_iter().filter(|(group, _)| !group.outdated) {
        let have = live.get(group).map_or(0, |members| count(members.iter()));
        let lacking = wanted.saturating_sub(have);
        let number = lacking.min(room);
        room -= number;
        if number > 0 {
            create.push((group.revision.clone(), number));
        }
        if lacking > number {
            short.insert(group.revision.clone(), lacking - number);
        }
    }
    (create, short)
}

/// The `number` members that are missed least: those that serve nobody first, then the youngest. One that cannot be seen is
/// never chosen: nobody knows what it is doing.
fn surplus_of<'a>(world: &World, members: &[&'a Member], number: usize) -> Vec<&'a Member> {
    let mut candidates: Vec<&Member> =
        members.iter().copied().filter(|member| member.state != State::Unknown).collect();
    candidates.sort_by_key(|member| {
        (rank(world, member), std::cmp::Reverse(member.instance.created_at), std::cmp::Reverse(member.id().clone()))
    });
    candidates.truncate(number);
    candidates
}

fn rank(world: &World, member: &Member) -> u8 {
    match member.state {
        State::Unhealthy(_) => 0,
        State::Starting => 1,
        _ if !member.is_available(world) => 2,
        _ => 3,
    }
}

/// Of the surplus, those that may stop now.
fn stops(world: &World, census: &Census, mut surplus: Vec<&Member>, budget: Budget) -> (Vec<InstanceId>, bool) {
    surplus.sort_by_key(|member| rank(world, member));
    let mut available = count(census.live().filter(|member| member.is_available(world)));
    let mut stop = Vec::new();
    let mut held = false;
    for member in surplus {
        let cost = u32::from(member.is_available(world));
        if member.is_healthy() && available < budget.floor() + cost {
            held = true;
            continue;
        }
        available -= cost;
        stop.push(member.id().clone());
    }
    (stop, held)
}
