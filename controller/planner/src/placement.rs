//! Where new instances go: of the nodes that can take one, the one with the fewest instances of the Deployment, then the fewest of all, then by name.

use std::collections::{BTreeMap, BTreeSet};

use helium_crds::{NodeName, features::Need, template::Template};

use crate::{
    census::{Census, Member},
    world::{Fleet, Node},
};

/// The nodes during one plan: every placement takes its room at once, so that the next one sees it.
pub(crate) struct Places {
    seats: BTreeMap<NodeName, Seat>,
}

struct Seat {
    node: Node,
    /// Instances of this Deployment on the node.
    own: u32,
}

/// Why there is no place, node by node in short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// No agent has joined, or none is alive.
    NoAgents,
    /// There are nodes, but each lacks something.
    Refused(String),
}

impl Places {
    pub(crate) fn new(fleet: &Fleet, census: &Census) -> Self {
        let own = |name: &NodeName| {
            let here = |member: &&Member| member.takes_room() && member.instance.node == *name;
            crate::census::count(census.members.values().filter(here))
        };
        let seats = fleet.nodes.iter().map(|(name, node)| (name.clone(), Seat { node: node.clone(), own: own(name) }));
        Self { seats: seats.collect() }
    }

    /// Chooses a node for one instance of `template` and takes the room.
    pub(crate) fn take(&mut self, template: &Template) -> Result<NodeName, NoPlace> {
        let needs = template.needs();
        let best = self
            .seats
            .iter_mut()
            .filter(|(_, seat)| seat.node.alive && seat.obstacle(template, &needs).is_none())
            .min_by_key(|(name, seat)| (seat.own, seat.node.load, (*name).clone()));
        let Some((name, seat)) = best else { return Err(self.refusal(template, &needs)) };
        seat.own += 1;
        seat.node.load += 1;
        seat.node.ports.extend(template.fixed_ports());
        Ok(name.clone())
    }

    /// Why no live node takes an instance: for each obstacle on how many.
    fn refusal(&self, template: &Template, needs: &BTreeSet<Need>) -> NoPlace {
        let alive: Vec<_> = self.seats.values().filter(|seat| seat.node.alive).collect();
        if alive.is_empty() {
            return NoPlace::NoAgents;
        }
        let mut obstacles: BTreeMap<Obstacle, usize> = BTreeMap::new();
        for obstacle in alive.iter().filter_map(|seat| seat.obstacle(template, needs)) {
            *obstacles.entry(obstacle).or_default() += 1;
        }
        let all = alive.len();
        let told: Vec<String> = match obstacles.first_key_value() {
            Some((obstacle, number)) if *number == all => vec![obstacle.on_all(all)],
            _ => obstacles.iter().map(|(obstacle, number)| obstacle.on_some(*number, all)).collect(),
        };
        NoPlace::Refused(told.join("; "))
    }
}

/// Why a live node does not take an instance. Where there is more than one reason, the first of these is told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Obstacle {
    /// It is in maintenance.
    Maintenance,
    /// Its machine lacks something that the template needs.
    Lacks(Need),
    /// Fixed ports of the template, some of which are taken.
    Ports(Vec<u16>),
}

impl Seat {
    /// Why the node, if it is alive, does not take an instance of `template`, which needs so much.
    fn obstacle(&self, template: &Template, needs: &BTreeSet<Need>) -> Option<Obstacle> {
        if self.node.in_maintenance {
            return Some(Obstacle::Maintenance);
        }
        if let Some(need) = self.node.features.as_ref().and_then(|features| features.lacking(needs)) {
            return Some(Obstacle::Lacks(need.clone()));
        }
        let taken = template.fixed_ports().any(|port| self.node.ports.contains(&port));
        taken.then(|| Obstacle::Ports(template.fixed_ports().collect()))
    }
}

impl Obstacle {
    /// What is said if it is in the way on each of so many live nodes.
    fn on_all(&self, all: usize) -> String {
        match self {
            Self::Maintenance => format!("each of {all} live nodes is in maintenance"),
            Self::Lacks(_) => self.on_some(all, all),
            Self::Ports(ports) => format!("port {} is taken on each of {all} live nodes", listed(ports)),
        }
    }

    /// What is said if it is in the way on some of them.
    fn on_some(&self, number: usize, all: usize) -> String {
        let are = if number == 1 { "is" } else { "are" };
        match self {
            Self::Maintenance => format!("{number} of {all} live nodes {are} in maintenance"),
            Self::Lacks(need) => format!("{number} of {all} live nodes {}", need.lack(number)),
            Self::Ports(ports) => format!("port {} is taken on {number} of {all} live nodes", listed(ports)),
        }
    }
}

fn listed(ports: &[u16]) -> String {
    ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
}
