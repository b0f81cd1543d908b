//! What is known of one service, and what an answer of Consul is worth: absence is not intent.
//!
//! A token without rights, a restored snapshot and a catalog that was wiped all look like a service without instances. So there is
//! *doubt*, and in doubt servers may come and none may go:
//!
//! | Consul says | what is wanted |
//! |---|---|
//! | some instances pass | these |
//! | instances, none of which passes | of the last servers those that are still registered: a Consul agent that has just restarted calls everything critical until it has asked; what does not answer is refused by HAProxy as well |
//! | nothing of the service | in doubt, the last servers; after [`PATIENCE`] of nothing else, if the token provably sees the catalog, none |
//! | an index that went back, so an older state | for [`PATIENCE`] in doubt, the last servers beside those that pass |
//! | an error, no leader, or only a part of the catalog | in doubt, the last servers |
//!
//! [`PATIENCE`]: crate::keeper::PATIENCE

use std::{fmt, time::Duration};

use crate::{catalog::Instances, server::Server};

/// What was heard of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Its instances.
    Instances {
        /// The instances, at least one.
        instances: Instances,
        /// Whether Consul's index went back since the answer before.
        went_back: bool,
    },
    /// Consul knows no instance of it.
    Nothing {
        /// Whether the catalog could provably be seen.
        proven: bool,
    },
    /// Consul cannot be believed, or does not answer, and why.
    Blind(String),
}

/// What is wanted of a backend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The servers that are to get requests.
    pub servers: Vec<Server>,
    /// Why the catalog is in doubt. Then whatever else gets requests goes on getting them.
    pub doubt: Option<Doubt>,
}

/// Why no server may be taken out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Consul has not answered yet.
    NotYetSeen,
    /// It cannot be believed.
    Blind(String),
    /// It knows nothing of a service that had servers.
    Nothing {
        /// Whether the catalog could provably be seen.
        proven: bool,
    },
    /// It went back to an older state.
    WentBack,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotYetSeen => f.write_str("Consul has not answered yet"),
            Self::Blind(reason) => f.write_str(reason),
            Self::Nothing { proven: true } => f.write_str("Consul knows nothing of the service"),
            Self::Nothing { proven: false } => f.write_str(
                "Consul knows nothing of the service, and does not show its own service `consul` either: \
                 the token has no right to read services and nodes",
            ),
            Self::WentBack => f.write_str("Consul went back to an older state"),
        }
    }
}

/// What is known of one service.
#[derive(Clone, Debug)]
pub struct Sight {
    wanted: Wanted,
    patience: Duration,
    /// Since when Consul has said nothing else than that it knows nothing, on the monotonic clock.
    nothing_since: Option<Duration>,
    /// Until when an older state is not believed, on the monotonic clock.
    back_until: Option<Duration>,
}

impl Sight {
    /// Nothing is known yet but the servers that there were the last time.
    pub fn new(last: Vec<Server>, patience: Duration) -> Self {
        let wanted = Wanted { servers: last, doubt: Some(Doubt::NotYetSeen) };
        Self { wanted, patience, nothing_since: None, back_until: None }
    }

    /// What is wanted.
    pub fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// Takes in what was heard at an instant of the monotonic clock.
    pub fn hear(&mut self, heard: Heard, now: Duration) {
        match heard {
            Heard::Blind(reason) => {
                self.nothing_since = None;
                self.wanted.doubt = Some(Doubt::Blind(reason));
            }
            Heard::Nothing { proven } => self.hear_nothing(proven, now),
            Heard::Instances { instances, went_back } => {
                self.nothing_since = None;
                if went_back {
                    self.back_until = Some(now + self.patience);
                }
                self.back_until = self.back_until.filter(|until| now < *until);
                self.hear_instances(&instances);
            }
        }
    }

    /// A service that has no servers has none to lose, and takes no patience.
    fn hear_nothing(&mut self, proven: bool, now: Duration) {
        let since = *self.nothing_since.get_or_insert(now);
        self.wanted.doubt = Some(Doubt::Nothing { proven });
        if proven && now.saturating_sub(since) >= self.patience {
            self.wanted = Wanted::default();
        }
    }

    fn hear_instances(&mut self, instances: &Instances) {
        let mut servers = instances.passing();
        let last = std::mem::take(&mut self.wanted.servers);
        if self.back_until.is_some() {
            add_all(&mut servers, last);
        } else if servers.is_empty() {
            servers = last.into_iter().filter(|server| instances.knows(server.at)).collect();
        }
        self.wanted = Wanted { servers, doubt: self.back_until.map(|_| Doubt::WentBack) };
    }
}

impl Wanted {
    /// The servers to be had beside those that get requests now: in doubt these as well.
    #[must_use]
    pub fn beside(&self, live: Vec<Server>) -> Vec<Server> {
        let mut servers = self.servers.clone();
        if self.doubt.is_some() {
            add_all(&mut servers, live);
        }
        servers
    }
}

/// Adds those whose place is not taken.
fn add_all(servers: &mut Vec<Server>, more: Vec<Server>) {
    for server in more {
        if servers.iter().all(|known| known.at != server.at) {
            servers.push(server);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::catalog::Registered;

    const PATIENCE: Duration = Duration::from_mins(2);

    fn server(port: u16) -> Server {
        Server { name: format!("web-{port}"), at: ([127, 0, 0, 1], port).into(), weight: 1 }
    }

    fn instances(all: &[(u16, bool)], went_back: bool) -> Heard {
        let one = |&(port, passing): &(u16, bool)| {
            let Server { name, at, .. } = server(port);
            Registered { name, at, weight: 1, passing }
        };
        let instances = Instances { registered: all.iter().map(one).collect(), unusable: Vec::new() };
        Heard::Instances { instances, went_back }
    }

    fn sight(ports: &[u16]) -> Sight {
        Sight::new(ports.iter().copied().map(server).collect(), PATIENCE)
    }

    fn ports(sight: &Sight) -> Vec<u16> {
        sight.wanted().servers.iter().map(|server| server.at.port()).collect()
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_passes_is_wanted_and_what_does_not_is_out() {
        let mut sight = sight(&[1, 2]);
        sight.hear(instances(&[(1, true), (2, false), (3, true)], false), at(0));
        assert_eq!((ports(&sight), &sight.wanted().doubt), (vec![1, 3], &None));
    }

    #[test]
    fn while_none_passes_those_stay_that_are_still_registered() {
        let mut sight = sight(&[1, 2]);
        sight.hear(instances(&[(1, false), (3, false)], false), at(0));
        assert_eq!((ports(&sight), &sight.wanted().doubt), (vec![1], &None));
        sight.hear(instances(&[(3, false)], false), at(1));
        assert_eq!(ports(&sight), [0_u16; 0], "1 was taken out while something of its service could be seen");
    }

    #[test]
    fn nothing_is_believed_only_after_long_enough_and_with_a_proof() {
        let mut sight = sight(&[1]);
        for (second, proven) in [(0, true), (119, true), (300, false)] {
            sight.hear(Heard::Nothing { proven }, at(second));
            assert_eq!(ports(&sight), [1], "after {second} s");
            assert_eq!(sight.wanted().doubt, Some(Doubt::Nothing { proven }));
        }
        sight.hear(Heard::Nothing { proven: true }, at(301));
        assert_eq!(sight.wanted(), &Wanted::default());
    }

    #[test]
    fn an_error_in_between_begins_the_patience_anew() {
        let mut sight = sight(&[1]);
        sight.hear(Heard::Nothing { proven: true }, at(0));
        sight.hear(Heard::Blind("no answer".to_owned()), at(60));
        for second in [121, 240] {
            sight.hear(Heard::Nothing { proven: true }, at(second));
            assert_eq!(ports(&sight), [1], "after {second} s");
        }
        sight.hear(Heard::Nothing { proven: true }, at(241));
        assert_eq!(ports(&sight), [0_u16; 0]);
    }

    #[test]
    fn an_older_state_takes_nothing_out_for_a_while() {
        let mut sight = sight(&[1, 2]);
        sight.hear(instances(&[(7, true)], true), at(0));
        assert_eq!((ports(&sight), &sight.wanted().doubt), (vec![7, 1, 2], &Some(Doubt::WentBack)));
        sight.hear(instances(&[(1, true), (7, true)], false), at(119));
        assert_eq!(ports(&sight), [1, 7, 2]);
        sight.hear(instances(&[(1, true), (2, true)], false), at(120));
        assert_eq!((ports(&sight), &sight.wanted().doubt), (vec![1, 2], &None));
    }

    #[test]
    fn in_doubt_whatever_gets_requests_goes_on_getting_them() {
        let mut sight = sight(&[1]);
        assert_eq!(sight.wanted().beside(vec![server(1), server(5)]), [server(1), server(5)]);
        sight.hear(instances(&[(1, true)], false), at(0));
        assert_eq!(sight.wanted().beside(vec![server(5)]), [server(1)]);
    }

    fn any_heard() -> impl Strategy<Value = Heard> {
        prop_oneof![
            any::<bool>().prop_map(|proven| Heard::Nothing { proven }),
            Just(Heard::Blind("away".to_owned())),
            (prop::collection::btree_map(1_u16..6, any::<bool>(), 1..5), any::<bool>())
                .prop_map(|(all, back)| instances(&all.into_iter().collect::<Vec<_>>(), back)),
        ]
    }

    proptest! {
        /// Whatever is heard in whatever order: a server goes only in an answer that shows something of its service and in which another one
        /// passes or it is missing, or after patience and proof.
        #[test]
        fn nobody_loses_a_server_to_what_cannot_be_believed(
            steps in prop::collection::vec((any_heard(), 0_u64..100), 1..30),
        ) {
            let mut sight = sight(&[1, 2]);
            let (mut now, mut patient_since) = (0, None);
            for (heard, wait) in steps {
                now += wait;
                let before = ports(&sight);
                sight.hear(heard.clone(), at(now));
                let lost = before.iter().any(|port| !ports(&sight).contains(port));
                match heard {
                    Heard::Blind(_) => prop_assert!(!lost),
                    Heard::Nothing { proven } => {
                        let since = *patient_since.get_or_insert(now);
                        prop_assert!(!lost || (proven && now - since >= 120));
                    }
                    Heard::Instances { went_back, .. } => prop_assert!(!lost || !went_back),
                }
                if !matches!(heard, Heard::Nothing { .. }) {
                    patient_since = None;
                }
            }
        }
    }
}
