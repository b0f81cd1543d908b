//! Where new instances go: the node with the fewest instances of the Deployment, then the fewest of all, then by name.

use std::collections::BTreeMap;

use helium_crds::{NodeName, template::Template};

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
        let fits = |seat: &Seat| template.fixed_ports().all(|port| !seat.node.ports.contains(&port));
        let best = self
            .seats
            .iter_mut()
            .filter(|(_, seat)| seat.node.takes_more() && fits(seat))
            .min_by_key(|(name, seat)| (seat.own, seat.node.load, (*name).clone()));
        let Some((name, seat)) = best else { return Err(self.refusal(template)) };
        seat.own += 1;
        seat.node.load += 1;
        seat.node.ports.extend(template.fixed_ports());
        Ok(name.clone())
    }

    fn refusal(&self, template: &Template) -> NoPlace {
        let alive: Vec<_> = self.seats.iter().filter(|(_, seat)| seat.node.alive).collect();
        if alive.is_empty() {
            return NoPlace::NoAgents;
        }
        if alive.iter().all(|(_, seat)| seat.node.in_maintenance) {
            return NoPlace::Refused(format!("each of {} live nodes is in maintenance", alive.len()));
        }
        let alive: Vec<_> = alive.into_iter().filter(|(_, seat)| seat.node.takes_more()).collect();
        let ports: Vec<String> = template.fixed_ports().map(|port| port.to_string()).collect();
        NoPlace::Refused(format!("port {} is taken on each of {} live nodes", ports.join(", "), alive.len()))
    }
}
