//! The work beside an instance's process: preparations and hooks in their places, in vain, hanging, and killed in between.

use helium_crds::instance::{Desired, InstancePhase};

use super::{
    apply::apply,
    machine::{Assigned, Event, Facts, Registered, Step, decide},
    machine_world::{World, facts, live},
    record::Record,
    work::{Prepared, Trouble, Work},
};
use crate::{
    hooks::Hook,
    testing::{assignment, instant},
};

const STOP_HOOKS: [Hook; 4] = [Hook::PostStart, Hook::Drain, Hook::PreStop, Hook::PostStop];

#[test]
fn a_package_is_prepared_before_every_start_and_its_hooks_run_in_their_places() {
    let mut world = World::new().with_package(&STOP_HOOKS);
    assert!(world.run(false).is_ok());
    assert_eq!(world.effects(), ["prepare", "open the gate", "post-start", "register"]);
    world.log.clear();
    world.end_all(true);
    assert!(world.run(false).is_ok());
    assert_eq!(world.effects(), ["deregister", "post-stop", "prepare", "open the gate", "post-start", "register"]);
    world.log.clear();
    world.edit(|wanted| wanted.desired = Desired::Stop);
    assert!(world.run(false).is_ok());
    assert_eq!(world.effects(), ["deregister", "drain", "pre-stop", "signal", "post-stop"]);
}

#[test]
fn killed_before_any_effect_a_package_with_hooks_goes_on_too() {
    for fuse in 0.. {
        let mut world = World { fuse: Some(fuse), ..World::new() }.with_package(&STOP_HOOKS);
        if live(&mut world) == 0 {
            assert!(fuse > 30, "the story has more effects than that");
            break;
        }
        assert!(world.forgotten && world.consul.is_none() && world.alive() == 0, "{fuse}: {:#?}", world.log);
        let ran = |effect: &str| world.log.iter().filter(|line| *line == effect).count();
        for hook in ["prepare", "post-stop", "drain", "pre-stop"] {
            assert!(ran(hook) >= 1, "{fuse}: {hook} never ran: {:#?}", world.log);
        }
    }
}

#[test]
fn a_preparation_that_hangs_keeps_nobody_from_stopping_the_instance() {
    let mut world = World { hangs: Some(Work::Prepare), ..World::new() }.with_package(&[]);
    assert!(world.run(false).is_ok());
    world.edit(|wanted| wanted.desired = Desired::Stop);
    assert!(world.run(false).is_ok());
    assert_eq!((world.processes.len(), world.phase()), (0, InstancePhase::Stopped));
}

#[test]
fn the_grace_period_bounds_a_pre_stop_that_hangs_and_the_signal_after_it() {
    let mut world = World { hangs: Some(Work::PreStop), ..World::new() }.with_package(&STOP_HOOKS);
    assert!(world.run(false).is_ok());
    world.edit(|wanted| wanted.desired = Desired::Stop);
    let began = world.clock;
    assert!(world.run(false).is_ok());
    assert!((10..=12).contains(&(world.clock - began)), "{}", world.clock - began);
    assert_eq!((world.alive(), world.phase()), (0, InstancePhase::Stopped));
}

#[test]
fn a_package_that_cannot_be_installed_is_failed_at_once_if_only_a_person_can_mend_it() {
    for (trouble, phase) in [
        (Trouble::lasting("another sha256"), InstancePhase::Failed),
        (Trouble::may_heal("connection refused"), InstancePhase::Starting),
    ] {
        let words = trouble.words.clone();
        let record = Record::admit(assignment("hello-0"), instant(0));
        let record = apply(&record, Event::Worked(Work::Prepare, Err(trouble)), instant(1), 0);
        assert_eq!((record.phase, record.message), (phase, Some(words)));
        assert!(record.next_start > Some(instant(1)), "it is tried again");
    }
}

#[test]
fn a_post_start_that_fails_is_told_and_tried_again_until_it_succeeds() {
    let mut world = World { fails: Some((Work::PostStart, Trouble::may_heal("no answer"))), ..World::new() };
    world = world.with_package(&[Hook::PostStart]);
    let mut agent = world.boot().ok().flatten().unwrap();
    for _ in 0..12 {
        let assigned = world.assigned.clone().unwrap();
        let step = decide(&facts(&agent, Assigned::Present(&assigned), world.now()));
        assert!(world.perform(&mut agent, step).is_ok());
    }
    assert_eq!(agent.record.message.as_deref(), Some("no answer"));
    assert!(world.effects().iter().filter(|effect| **effect == "post-start").count() >= 2);
    world.fails = None;
    assert!(world.run(false).is_ok());
    assert_eq!((world.disk.as_ref().unwrap().post_start_at, world.phase()), (None, InstancePhase::Running));
    assert_eq!(world.disk.as_ref().unwrap().message, None);
}

#[test]
fn files_that_may_be_old_are_made_again_beside_the_process_and_trouble_with_them_is_told() {
    let mut world = World::new().with_package(&[]);
    assert!(world.run(false).is_ok());
    let mut agent = world.boot().ok().flatten().unwrap();
    agent.registered = Registered::Same;
    let assigned = world.assigned.clone().unwrap();
    let step = decide(&Facts { stale: true, ..facts(&agent, Assigned::Present(&assigned), world.now()) });
    assert_eq!(step, Step::Begin(Work::Refresh));
    let vain = Event::Worked(Work::Refresh, Err(Trouble::lasting("nginx: unknown directive")));
    let troubled = apply(&agent.record, vain, world.now(), 0);
    assert_eq!(troubled.message.as_deref(), Some("nginx: unknown directive"));
    assert_eq!((troubled.phase, &troubled.process), (InstancePhase::Running, &agent.record.process));
    let mended = apply(&troubled, Event::Worked(Work::Refresh, Ok(Prepared::default())), world.now(), 0);
    assert_eq!(mended.message, None);
}
