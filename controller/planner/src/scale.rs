//! From wanted counts to moves, within the budget.
//!
//! One arithmetic serves everything: a roll, a canary step, a switch, an abort, a promotion, a rescale, counts by hand, a restart. The
//! caller says how many instances each group should have and how many of these serve; this says which to make, to let serve, to put on
//! standby and to stop *now*, so that at every instant
//!
//! - of those that serve, no more than `wanted + surge` take room, those still stopping included, and of those on standby no more than the
//!   caller wants to have there, and
//! - no healthy instance stops to serve unless `wanted - unavailable` available ones remain without it.
//!
//! Example: wanted 3, surge 1, unavailable 0, from 3 old to 3 new. Make 1 (4 take room). When it is available, 4 are, so 1 old
//! one may stop; when that one is gone, the next new one is made; and so on.
//!
//! Example: the same, with 3 new ones on standby already. All 3 are let serve at once, and when they are seen to, the 3 old ones go together.
//!
//! Whoever asks Consul takes a moment to notice that an instance serves that was on standby. Until then what it takes the place of is put on
//! standby at most, and runs on: it may still be asked. Only then it stops.
//!
//! An instance that is not healthy serves nobody: stopping it costs nothing, which is why a broken stable version never
//! blocks a fix. Neither does one on standby.

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

/// How many instances a group should have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Share {
    /// How many should be there; what is lacking is made.
    pub(crate) total: u32,
    /// How many of these serve. The others are on standby.
    pub(crate) serving: u32,
    /// How many more may stay on standby if they are there already. None of them is made.
    pub(crate) kept: u32,
}

impl Share {
    /// So many, all of which serve.
    pub(crate) fn serving(number: u32) -> Self {
        Self { total: number, serving: number, kept: 0 }
    }

    /// How many may be on standby.
    pub(crate) fn standby(self) -> u32 {
        self.total.saturating_sub(self.serving) + self.kept
    }
}

/// How many instances each group should have. A group that is not named should have none.
pub(crate) type Targets = BTreeMap<Group, Share>;

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

    /// The greatest number of serving instances that take room.
    pub(crate) fn ceiling(self) -> u32 {
        self.wanted.saturating_add(self.surge)
    }
}

/// Instances to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Creation {
    pub(crate) revision: RevisionId,
    pub(crate) number: u32,
    pub(crate) standby: bool,
}

/// What may be made and stopped now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moves {
    /// What to make, in this order.
    pub(crate) create: Vec<Creation>,
    /// How many of each revision are lacking beside these, for want of room.
    pub(crate) short: BTreeMap<RevisionId, u32>,
    /// Instances on standby that are to serve.
    pub(crate) expose: Vec<InstanceId>,
    /// Surplus instances that serve, and are to be on standby.
    pub(crate) withdraw: Vec<InstanceId>,
    /// Surplus instances to stop.
    pub(crate) stop: Vec<InstanceId>,
    /// When others that were just let serve will have been noticed, if a stop waits for that.
    pub(crate) settles_at: Option<Timestamp>,
    /// Whether stops wait for others to become available.
    pub(crate) held_by_availability: bool,
}

/// The group of an instance.
pub(crate) fn group_of(member: &Member, restart_before: Option<Timestamp>) -> Group {
    let outdated = restart_before.is_some_and(|before| member.instance.created_at < before);
    Group { revision: member.instance.revision.clone(), outdated }
}

/// The live instances of a group.
#[derive(Default)]
struct Present<'a> {
    serving: Vec<&'a Member>,
    standby: Vec<&'a Member>,
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
    let mut live: BTreeMap<Group, Present<'_>> = BTreeMap::new();
    for member in census.live() {
        let present = live.entry(group_of(member, restart_before)).or_default();
        if member.is_standby() { present.standby.push(member) } else { present.serving.push(member) }
    }
    let mut moves = Moves::default();
    let (mut surplus, mut unwanted) = (Vec::new(), Vec::new());
    for (group, present) in &live {
        let share = targets.get(group).copied().unwrap_or_default();
        let (serving, standby) = regroup(world, present, share, &mut moves);
        surplus.extend(serving);
        unwanted.extend(standby);
    }
    create(census, &live, targets, budget, first, &mut moves);
    take_out(world, census, surplus, budget, &mut moves);
    stop_standby(world, census, unwanted, budget, &mut moves);
    if moves.held_by_availability {
        let excess = excess(world, census, &moves, budget);
        moves.stop.extend(excess);
    }
    moves
}

/// A surplus instance, and whether it may stay on standby.
type Surplus<'a> = (&'a Member, bool);

/// Lets as many of a group serve as should. Returns those that serve beyond that, of which the healthy ones may stay on standby as far as
/// there is place for them, and those on standby that nobody wants there.
fn regroup<'a>(
    world: &World,
    present: &Present<'a>,
    share: Share,
    moves: &mut Moves,
) -> (Vec<Surplus<'a>>, Vec<&'a Member>) {
    let lacking = (share.serving as usize).saturating_sub(present.serving.len());
    let mut standby = surplus_of(world, &present.standby, present.standby.len());
    let unseen = present.standby.len() - standby.len();
    let exposed = standby.split_off(standby.len().saturating_sub(lacking)); // those that are missed most
    moves.expose.extend(exposed.into_iter().map(|member| member.id().clone()));
    let places = (share.standby() as usize).saturating_sub(unseen);
    let staying = standby.split_off(standby.len().saturating_sub(places));
    let mut places = places - staying.len();
    let over = present.serving.len().saturating_sub(share.serving as usize);
    let stays = surplus_of(world, &present.serving, over).into_iter().rev().map(|member| {
        let stays = member.is_healthy() && places > 0;
        places -= usize::from(stays);
        (member, stays)
    });
    let mut surplus: Vec<Surplus<'a>> = stays.collect();
    surplus.reverse();
    (surplus, standby)
}

/// Of the surplus, those that may stop to serve now: they go, or stay on standby, at least until what takes their place has been noticed.
fn take_out(world: &World, census: &Census, mut surplus: Vec<Surplus<'_>>, budget: Budget, moves: &mut Moves) {
    surplus.sort_by_key(|(member, _)| rank(world, member));
    let mut available = count(census.live().filter(|member| member.is_available(world)));
    let mut settled = count(census.live().filter(|member| member.is_settled(world)));
    for (member, stays) in surplus {
        let cost = u32::from(member.is_available(world));
        if member.is_healthy() && available < budget.floor() + cost {
            moves.held_by_availability = true;
            continue;
        }
        available -= cost;
        settled -= u32::from(member.is_settled(world));
        let unnoticed = cost > 0 && settled < budget.floor().min(available);
        let goes = if stays || unnoticed { &mut moves.withdraw } else { &mut moves.stop };
        goes.push(member.id().clone());
    }
}

/// Stops those on standby that nobody wants there: the healthy ones not before others, that took their place, have been noticed.
fn stop_standby(world: &World, census: &Census, unwanted: Vec<&Member>, budget: Budget, moves: &mut Moves) {
    let taken_out = |member: &Member| moves.stop.contains(member.id()) || moves.withdraw.contains(member.id());
    let serving = || census.live().filter(|member| member.is_available(world) && !taken_out(member));
    let (available, settled) = (count(serving()), count(serving().filter(|member| member.is_settled(world))));
    let unnoticed = settled < budget.floor().min(available);
    let settles_at = serving().filter_map(Member::settles_at).max().filter(|_| unnoticed);
    let stop = unwanted.into_iter().filter(|member| !(unnoticed && member.is_healthy()));
    moves.stop.extend(stop.map(|member| member.id().clone()).collect::<Vec<_>>());
    moves.settles_at = settles_at;
}

/// While surplus instances may not stop because others are not available, the count may have been lowered: then those that serve
/// nobody go first, although they are wanted, so that no more than `wanted + surge` stay.
///
/// Example: wanted 8, surge 2, 4 old ones and 6 new ones that fail. Lowered to 4, at most 6 may be there: 2 new ones are
/// surplus, and 2 more have to go.
fn excess(world: &World, census: &Census, moves: &Moves, budget: Budget) -> Vec<InstanceId> {
    let goes = |member: &&Member| moves.stop.contains(member.id()) || moves.withdraw.contains(member.id());
    let staying: Vec<&Member> = census.live().filter(|member| !member.is_standby() && !goes(member)).collect();
    let number = staying.len().saturating_sub(budget.ceiling() as usize);
    let idle: Vec<&Member> = staying.into_iter().filter(|member| !member.is_healthy()).collect();
    surplus_of(world, &idle, number).into_iter().map(|member| member.id().clone()).collect()
}

/// Notes what to make: what the groups lack, as far as there is room; and how many have none. What is on standby already is let serve first.
fn create(
    census: &Census,
    live: &BTreeMap<Group, Present<'_>>,
    targets: &Targets,
    budget: Budget,
    first: Option<&RevisionId>,
    moves: &mut Moves,
) {
    let taking = |standby: bool| {
        count(census.members.values().filter(|member| member.takes_room() && member.is_standby() == standby))
    };
    // What is let serve by the same plan takes its room first.
    let exposed = count(moves.expose.iter());
    let mut room = budget.ceiling().saturating_sub(taking(false) + exposed);
    let mut standby_room = standby_places(live, targets).saturating_sub(taking(true));
    let mut groups: Vec<(&Group, Share)> = targets.iter().map(|(group, &share)| (group, share)).collect();
    groups.sort_by_key(|(group, _)| first != Some(&group.revision));
    for (group, share) in groups.into_iter().filter(|(group, _)| !group.outdated) {
        let (serving, standby) =
            live.get(group).map_or((0, 0), |present| (count(present.serving.iter()), count(present.standby.iter())));
        let lacking = share.total.saturating_sub(serving + standby);
        let to_serve = share.serving.saturating_sub(serving + standby).min(lacking);
        let made = to_serve.min(room);
        let prepared = (lacking - to_serve).min(standby_room);
        (room, standby_room) = (room - made, standby_room - prepared);
        for (number, standby) in [(made, false), (prepared, true)] {
            if number > 0 {
                moves.create.push(Creation { revision: group.revision.clone(), number, standby });
            }
        }
        if lacking > made + prepared {
            moves.short.insert(group.revision.clone(), lacking - made - prepared);
        }
    }
}

/// How many instances may be on standby in all: those that should be, and those that are there and may stay.
fn standby_places(live: &BTreeMap<Group, Present<'_>>, targets: &Targets) -> u32 {
    let of = |(group, share): (&Group, &Share)| {
        let there = live.get(group).map_or(0, |present| count(present.standby.iter()));
        share.total.saturating_sub(share.serving) + share.kept.min(there)
    };
    targets.iter().map(of).sum()
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
