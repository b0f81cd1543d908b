//! What the tests of this crate and of those that use it share.

use std::collections::BTreeMap;

use helium_crds::{
    InstanceId, ObjectKey, Period, RevisionId,
    deployment::StopSignal,
    instance::{Assignment, Desired, Role, ServiceEntry, service_id},
    template::{Check, Driver, Exec, HttpCheck, Port, Template},
};
use jiff::{SignedDuration, Timestamp};

/// So many seconds after the beginning of the tests' world.
pub fn instant(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_700_000_000 + seconds)
}

/// An assignment of Deployment `hello` with one port and one check.
pub fn assignment(id: &str) -> Assignment {
    let id = InstanceId::from(id);
    Assignment {
        deployment: ObjectKey::new("default", "hello"),
        uid: "u1".to_owned(),
        revision: RevisionId::from("r1-00"),
        template: template(),
        desired: Desired::Run,
        role: Role::Stable,
        service: ServiceEntry {
            name: "hello".to_owned(),
            id: service_id(&id),
            tags: vec!["stable".to_owned()],
            weight: None,
            meta: BTreeMap::from([("helium-version".to_owned(), "1.0.0".to_owned())]),
        },
        stop_signal: StopSignal::Term,
        drain: Period::from_secs(0),
        stop_after_disconnect: None,
        stop_grace_period: Period::from_secs(10),
        created_at: instant(0),
        id,
    }
}

fn template() -> Template {
    let check = Check {
        name: "up".to_owned(),
        http: Some(HttpCheck { port: None, path: "/health".to_owned() }),
        tcp: None,
        interval: Period::from_secs(1),
        timeout: Period::from_secs(1),
        success_before_passing: 0,
        failures_before_critical: 0,
    };
    Template {
        package: None,
        config: <_>::default(),
        secrets: std::collections::BTreeMap::new(),
        config_update: <_>::default(),
        overrides: <_>::default(),
        resources: <_>::default(),
        jobs: std::collections::BTreeMap::new(),
        election: None,
        templates: None,
        version: "1.0.0".to_owned(),
        driver: Driver::Exec(Exec { command: vec!["true".to_owned()], ..Exec::default() }),
        env: BTreeMap::new(),
        ports: vec![Port { name: "http".to_owned(), port: None }],
        checks: vec![check],
    }
}
