//! The life of an instance: started, stopped, adopted, and killed in between.

use std::{collections::BTreeSet, time::Duration};

use helium_crds::Period;

use super::*;
use crate::{
    apply::{after_restart, apply, wait_after},
    machine_world::{Agent, World, facts, live},
    record::Stopping,
    stopping::DRAIN_LIMIT,
    testing::{assignment, instant},
};

#[test]
fn an_instance_lives_and_is_forgotten() {
    let mut world = World::new();
    assert_eq!(live(&mut world), 0);
    assert_eq!((world.alive(), world.forgotten, world.disk.is_some(), &world.consul), (0, true, false, &None));
    assert_eq!(world.processes.len(), 2);
}

#[test]
fn killed_before_any_effect_the_agent_goes_on_and_there_is_never_a_second_copy() {
    let mut effects = BTreeSet::new();
    for (stubborn, drain) in [(false, 0), (true, 0), (false, 7)] {
        for fuse in 0.. {
            let mut world = World { fuse: Some(fuse), stubborn, ..World::new() };
            world.edit(|wanted| wanted.drain = Period::from_secs(drain));
            if live(&mut world) == 0 {
                assert!(fuse > 15, "the story has more effects than that");
                break;
            }
            effects.extend(world.log.iter().filter_map(|line| line.strip_prefix("killed before: ").map(str::to_owned)));
            assert!(world.forgotten && world.consul.is_none() && world.alive() == 0, "{fuse}: {:#?}", world.log);
            assert!(world.processes.len() <= 3, "{fuse}: started more often than needed: {:#?}", world.log);
        }
    }
    let all = ["deregister", "forget", "kill", "open the gate", "register", "save", "signal", "stand by"];
    assert_eq!(effects.into_iter().collect::<Vec<_>>(), all);
}

#[test]
fn an_adopted_instance_is_not_registered_again_before_consul_was_asked() {
    let mut world = World::new();
    assert!(world.run(false).is_ok());
    world.log.clear();
    assert!(world.run(false).is_ok());
    assert_eq!(world.log, Vec::<String>::new());
}

#[test]
fn a_missing_assignment_stops_nothing() {
    let mut world = World::new();
    assert!(world.run(false).is_ok());
    world.assigned = None;
    assert!(world.run(false).is_ok());
    assert_eq!((world.alive(), world.phase()), (1, InstancePhase::Running));
}

#[test]
fn with_consul_away_an_instance_starts_and_stops_all_the_same() {
    let mut world = World { consul_up: false, ..World::new() };
    let mut agent = world.boot().ok().flatten().unwrap();
    for _ in 0..5 {
        let assigned = world.assigned.clone().unwrap();
        let facts = facts(&agent, Assigned::Present(&assigned), world.now());
        let step = decide(&Facts { process: world.process_of(&agent.record), ..facts });
        assert!(world.perform(&mut agent, step).is_ok());
    }
    assert_eq!(world.alive(), 1);
    world.edit(|wanted| wanted.desired = Desired::Stop);
    agent.registered = Registered::Same;
    let began = world.now();
    while world.alive() == 1 {
        let assigned = world.assigned.clone().unwrap();
        let step = decide(&facts(&agent, Assigned::Present(&assigned), world.now()));
        assert!(world.perform(&mut agent, step).is_ok());
    }
    assert!(world.now().duration_since(began) >= DRAIN_LIMIT, "it was not given the time to be taken out of Consul");
}

#[test]
fn a_stubborn_process_is_killed_after_its_grace_period_and_not_before() {
    let mut world = World { stubborn: true, ..World::new() };
    assert!(world.run(false).is_ok());
    world.edit(|wanted| wanted.desired = Desired::Stop);
    let began = world.clock;
    assert!(world.run(false).is_ok());
    assert!((10..=12).contains(&(world.clock - began)), "{}", world.clock - began);
    assert_eq!((world.alive(), world.phase()), (0, InstancePhase::Stopped));
}

#[test]
fn an_instance_goes_on_for_its_drain_once_it_is_out_of_consul_and_then_stops() {
    let mut world = World::new();
    world.edit(|wanted| wanted.drain = Period::from_secs(7));
    assert!(world.run(false).is_ok());
    world.log.clear();
    world.edit(|wanted| wanted.desired = Desired::Stop);
    let began = world.clock;
    assert!(world.run(false).is_ok());
    assert!((7..=8).contains(&(world.clock - began)), "{}", world.clock - began);
    assert_eq!(world.effects(), ["deregister", "signal"]);
}

#[test]
fn an_instance_that_is_wanted_again_while_it_drains_is_registered_again_and_never_stopped() {
    let mut world = World::new();
    assert!(world.run(false).is_ok());
    let begun = apply(world.disk.as_ref().unwrap(), Event::StopBegun, world.now(), 0);
    world.disk = Some(apply(&begun, Event::Out, world.now(), 0));
    world.consul = None;
    assert!(world.run(false).is_ok());
    assert_eq!((world.alive(), world.processes.len(), world.consul.is_some()), (1, 1, true));
}

#[test]
fn an_instance_that_may_not_run_without_consul_stops_after_its_time_and_starts_again_when_consul_is_back() {
    // No fuse: the agent is killed nowhere in the middle of the stop.
    let fuses = std::iter::once(None).chain((0..5).map(Some));
    for (fuse, may) in fuses.map(|fuse| (fuse, Some(60))).chain([(None, None)]) {
        let mut world = World::new();
        world.edit(|wanted| wanted.stop_after_disconnect = may.map(Period::from_secs));
        assert!(world.run(false).is_ok());
        world.consul_up = false;
        let began = world.clock;
        world.fuse = fuse;
        assert_eq!(world.run(false).is_err(), fuse.is_some(), "{fuse:?}: {:#?}", world.log);
        world.fuse = None;
        assert!(world.run(false).is_ok());
        assert_eq!(world.alive(), usize::from(may.is_none()));
        let (phase, words) = (world.phase(), world.disk.as_ref().unwrap().message.clone());
        let shown = match may {
            Some(_) => (InstancePhase::Starting, Some("stopped while Consul is away".to_owned())),
            None => (InstancePhase::Running, None),
        };
        assert_eq!((phase, words), shown);
        assert!(may.is_none_or(|_| world.clock - began >= 60), "{}", world.clock - began);
        world.consul_up = true;
        assert!(world.run(false).is_ok());
        assert_eq!((world.alive(), world.processes.len()), (1, if may.is_none() { 1 } else { 2 }));
        assert!(world.consul.is_some());
        assert_eq!(world.disk.as_ref().unwrap().cut_off, None);
    }
}

#[test]
fn what_was_stopped_without_consul_stays_so_over_every_restart_of_the_agent_until_consul_answers() {
    for with_instances in [false, true] {
        let mut world = World::new();
        world.edit(|wanted| wanted.stop_after_disconnect = Some(Period::from_secs(60)));
        assert!(world.run(false).is_ok());
        world.consul_up = false;
        assert!(world.run(false).is_ok());
        assert_eq!(world.alive(), 0);
        world.log.clear();
        for _ in 0..3 {
            assert!(world.run(with_instances).is_ok());
        }
        assert_eq!((world.alive(), world.effects()), (0, vec![]), "with its instances: {with_instances}");
        world.consul_up = true;
        assert!(world.run(false).is_ok());
        assert_eq!((world.alive(), world.phase()), (1, InstancePhase::Running));
    }
}

#[test]
fn an_instance_that_waited_for_its_start_when_it_was_cut_off_says_that_it_does_not_any_more() {
    let mut record = Record::admit(assignment("hello-0"), instant(0));
    record.message = Some("ended by itself: exit status 1".to_owned());
    let cut_off = apply(&record, Event::CutOff, instant(5), 0);
    assert_eq!(cut_off.message.as_deref(), Some("stopped while Consul is away"));
    assert_eq!(apply(&cut_off, Event::StopCancelled, instant(9), 0).message, None);
    let failed = Record { phase: InstancePhase::Failed, ..record };
    assert_eq!(apply(&failed, Event::CutOff, instant(5), 0).phase, InstancePhase::Failed);
}

#[test]
fn an_instance_that_was_only_cut_off_is_not_forgotten_where_its_assignment_is_missing() {
    let mut world = World::new();
    world.edit(|wanted| wanted.stop_after_disconnect = Some(Period::from_secs(60)));
    assert!(world.run(false).is_ok());
    let assigned = world.assigned.take();
    (world.consul_up, world.consul) = (false, None);
    assert!(world.run(false).is_ok());
    assert_eq!((world.alive(), world.forgotten, world.disk.is_some()), (0, false, true));
    (world.consul_up, world.assigned) = (true, assigned);
    assert!(world.run(false).is_ok());
    assert_eq!((world.alive(), world.phase()), (1, InstancePhase::Running));
}

#[test]
fn an_agent_that_was_killed_in_a_stop_without_consul_lets_the_instance_run_if_consul_is_back() {
    let mut world = World::new();
    world.edit(|wanted| wanted.stop_after_disconnect = Some(Period::from_secs(60)));
    assert!(world.run(false).is_ok());
    world.consul_up = false;
    // It notes why, and that the stop has begun.
    world.fuse = Some(2);
    assert!(world.run(false).is_err());
    assert!(world.disk.as_ref().unwrap().stopping.is_some());
    (world.fuse, world.consul_up) = (None, true);
    assert!(world.run(false).is_ok());
    assert_eq!((world.alive(), world.processes.len(), world.consul.is_some()), (1, 1, true));
}

#[test]
fn with_consul_away_nobody_can_notice_and_no_drain_is_waited_for() {
    let mut world = World::new();
    world.edit(|wanted| (wanted.drain, wanted.desired) = (Period::from_secs(600), Desired::Stop));
    let mut record = Record::admit(world.assigned.clone().unwrap(), world.now());
    record.process = Some(ProcessIdentity { pid: 100, start: "boot/100".to_owned() });
    let since = world.now();
    record.stopping = Some(Stopping::begun(since));
    let agent = Agent {
        record,
        registered: Registered::Same,
        contact: Contact::Answers,
        consul_after: Some(instant(100)),
        work: Working::Nothing,
    };
    let assigned = world.assigned.clone().unwrap();
    let at = |now| decide(&facts(&agent, Assigned::Present(&assigned), now));
    assert_eq!(at(since), Step::Rest(Some(since + DRAIN_LIMIT)));
    assert_eq!(at(since + DRAIN_LIMIT), Step::Signal);
}

#[test]
fn a_stop_that_is_taken_back_before_the_signal_changes_nothing() {
    let mut world = World::new();
    assert!(world.run(false).is_ok());
    let record = world.disk.clone().unwrap();
    let begun = apply(&record, Event::StopBegun, world.now(), 0);
    world.disk = Some(begun);
    assert!(world.run(false).is_ok());
    assert_eq!(world.disk, Some(record));
    assert_eq!(world.processes.len(), 1);
}

#[test]
fn an_instance_that_stops_with_its_agent_is_started_again_by_the_next() {
    let mut world = World::new();
    assert!(world.run(false).is_ok());
    assert!(world.run(true).is_ok());
    assert_eq!((world.alive(), world.consul.is_some(), world.phase()), (0, false, InstancePhase::Starting));
    assert!(world.run(false).is_ok());
    assert_eq!((world.alive(), world.consul.is_some(), world.phase()), (1, true, InstancePhase::Running));
    assert_eq!(world.disk.as_ref().unwrap().restarts, 0);
}

#[test]
fn a_stopped_instance_that_is_wanted_again_runs_again() {
    let mut world = World::new();
    assert!(world.run(false).is_ok());
    world.edit(|wanted| wanted.desired = Desired::Stop);
    assert!(world.run(false).is_ok());
    assert_eq!(world.phase(), InstancePhase::Stopped);
    world.edit(|wanted| wanted.desired = Desired::Run);
    assert!(world.run(false).is_ok());
    assert_eq!((world.alive(), world.phase()), (1, InstancePhase::Running));
}

#[test]
fn an_assignment_to_stop_what_never_ran_is_answered_without_running_it() {
    let mut world = World::new();
    world.edit(|wanted| wanted.desired = Desired::Stop);
    assert!(world.run(false).is_ok());
    assert_eq!((world.processes.len(), world.phase()), (0, InstancePhase::Stopped));
}

#[test]
fn waits_between_starts_double_up_to_a_minute_and_the_third_end_is_a_failure() {
    let mut record = Record::admit(assignment("hello-0"), instant(0));
    let mut waits = Vec::new();
    let mut phases = Vec::new();
    for _ in 0..10 {
        let process = ProcessIdentity { pid: 1, start: "b/1".to_owned() };
        record = apply(&record, Event::Launched(process), instant(0), 0);
        record = apply(&record, Event::Ended(Exit::Status(1)), instant(0), u64::MAX);
        waits.push(record.next_start.unwrap().duration_since(instant(0)).as_millis());
        phases.push(record.phase);
    }
    assert!(waits.iter().all(|wait| (250..=60_000).contains(wait)), "{waits:?}");
    for (failures, ceiling) in [(1, 500), (2, 1000), (3, 2000), (7, 32_000), (8, 60_000), (40, 60_000)] {
        assert_eq!(wait_after(failures, ceiling / 2), Duration::from_millis(ceiling));
        assert_eq!(wait_after(failures, 0), Duration::from_millis(ceiling / 2));
    }
    assert_eq!(phases.iter().position(|phase| *phase == InstancePhase::Failed), Some(2));
    assert_eq!(record.message.as_deref(), Some("ended 10 times in a row, last: exit status 1"));
    assert_eq!(record.restarts, 10);
}

#[test]
fn what_cannot_be_started_three_times_in_a_row_has_failed() {
    let mut record = Record::admit(assignment("hello-0"), instant(0));
    let mut phases = Vec::new();
    for _ in 0..3 {
        record = apply(&record, Event::LaunchFailed("no program `x`".to_owned()), instant(0), 0);
        phases.push(record.phase);
    }
    assert_eq!(phases, [InstancePhase::Starting, InstancePhase::Starting, InstancePhase::Failed]);
    assert_eq!((record.message.as_deref(), record.restarts), (Some("no program `x`"), 0));
}

#[test]
fn an_end_after_a_stable_run_is_the_first_of_its_row() {
    let process = ProcessIdentity { pid: 1, start: "b/1".to_owned() };
    let mut record = Record::admit(assignment("hello-0"), instant(0));
    record.failures = 7;
    record = apply(&record, Event::Launched(process), instant(0), 0);
    record = apply(&record, Event::Ended(Exit::Signal(9)), instant(31), 0);
    assert_eq!((record.failures, record.phase), (1, InstancePhase::Starting));
    assert_eq!(record.message.as_deref(), Some("ended by itself: killed by signal 9"));
}

#[test]
fn instants_from_a_clock_that_went_back_count_as_now() {
    let mut record = Record::admit(assignment("hello-0"), instant(9_000));
    record.next_start = Some(instant(9_000));
    record.stopping = Some(Stopping {
        out: Some(instant(9_000)),
        signalled: Some(instant(9_001)),
        ..Stopping::begun(instant(9_000))
    });
    let record = after_restart(record, instant(0));
    assert_eq!((record.since, record.next_start), (instant(0), Some(instant(60))));
    assert_eq!(
        record.stopping,
        Some(Stopping { out: Some(instant(0)), signalled: Some(instant(0)), ..Stopping::begun(instant(0)) })
    );
}
