//! Histories of a node, each decided by its seed: several instances under the real machine and the real transaction of their files, in a world where
//! programs end, Consul goes and comes, replies are lost, views cannot be trusted, people change their minds, disks are full, and the agent or the
//! whole node dies before any single effect.
//!
//! | module | what it is |
//! |---|---|
//! | [`world`] | what outlives an agent: disk, files, processes, Consul, the store |
//! | [`life`] | one life of an agent: looks, asks the machine, does it |
//! | [`files`] | files in memory under a fuse that may burn out at any call |
//! | [`rules`] | what must hold at each effect, and in the end |
//! | [`defects`] | what may be wrong on purpose, so that no rule is there for show |

mod defects;
mod files;
mod life;
mod rules;
mod world;

use defects::Defect;
use life::Life;
use rules::{Broken, Stop};
use world::World;

/// So many turns things go wrong.
const TURNS: usize = 160;
/// Within so many turns everything has come to rest afterwards.
const CALM: usize = 300;

/// How many histories are told: `HISTORIES`, or few enough for every day.
fn seeds() -> u64 {
    std::env::var("HISTORIES").ok().and_then(|text| text.parse().ok()).unwrap_or(200)
}

/// How the agent dies beside the deaths that the seed draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    Agent,
    Node,
}

/// What a history shows: how many effects it had, or which rule was broken and what was done until then.
fn history(seed: u64, defect: Option<Defect>, death: Option<(usize, Death)>) -> Result<usize, Box<(Broken, World)>> {
    let mut world = World::new(seed, defect, death.map(|(at, _)| at));
    let node = death.is_some_and(|(_, death)| death == Death::Node);
    let mut life = Life::default();
    let mut turns = 0;
    loop {
        let at_end = turns >= TURNS + CALM;
        if turns == TURNS {
            world.heal();
        }
        let turn = if at_end { rules::in_the_end(&world).map_err(Stop::Broken) } else { life.turn(&mut world) };
        match turn {
            Ok(()) if at_end => return Ok(world.fuse.spent()),
            Ok(()) => {}
            Err(Stop::Broken(broken)) => return Err(Box::new((broken, world))),
            Err(Stop::Killed { with_node }) => {
                world.after_death(with_node || (node && world.fuse.is_blown()));
                life = Life::default();
            }
        }
        turns += 1;
    }
}

#[track_caller]
fn holds(seed: u64, death: Option<(usize, Death)>) -> usize {
    history(seed, None, death).unwrap_or_else(|found| {
        let (broken, world) = *found;
        let from = world.log.len().saturating_sub(80);
        panic!("seed {seed}, {death:?}: {broken:?}: {:#?}", &world.log[from..])
    })
}

#[test]
fn whatever_happens_to_several_instances_there_is_one_copy_of_each_and_in_the_end_all_is_as_it_is_wanted() {
    for seed in 0..seeds() {
        holds(seed, None);
    }
}

#[test]
fn the_agent_or_the_node_may_die_before_any_effect_of_a_history_with_several_instances() {
    let long = (1000..).map(|seed| (seed, holds(seed, None))).filter(|(_, effects)| *effects > 100);
    for (seed, effects) in long.take(2) {
        for at in 0..effects {
            for death in [Death::Agent, Death::Node] {
                holds(seed, Some((at, death)));
            }
        }
    }
}

#[test]
fn a_seed_gives_the_same_history_each_time() {
    let log = |seed| {
        let mut world = World::new(seed, None, None);
        let mut life = Life::default();
        for _ in 0..TURNS {
            if let Err(Stop::Killed { with_node }) = life.turn(&mut world) {
                world.after_death(with_node);
                life = Life::default();
            }
        }
        world.log
    };
    assert_eq!(log(7), log(7));
    assert_ne!(log(7), log(8));
}

#[test]
fn every_rule_catches_its_defects() {
    for (defect, rules) in defects::ALL {
        let finds = |seed, death| history(seed, Some(*defect), death).is_err_and(|found| rules.contains(&found.0));
        let found = (0..300).any(|seed| finds(seed, None));
        let mut deaths = (1000..1030).flat_map(|seed| (0..150).map(move |at| (seed, Some((at, Death::Agent)))));
        assert!(found || deaths.any(|(seed, death)| finds(seed, death)), "nobody finds {defect:?}");
    }
}
