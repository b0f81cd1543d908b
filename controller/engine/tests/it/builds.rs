//! Versions that Hydra gives: each build is rolled out as a template is that people have changed.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use consul_client::Put;
use futures::future::{BoxFuture, FutureExt as _};
use helium_analysis::{Builds, Look, Missed};
use helium_crds::{
    DeploymentStatus, HydraJobSpec, Kind, ObjectKey, Phase,
    event::Event,
    status::{HydraBuild, HydraConditionKind, HydraJobStatus, Reason, WaitingOn},
};
use helium_engine::people::ObjectRef;
use helium_hydra::Built;
use helium_notify::Announce;

use crate::stage::{Stage, log, seconds};

const JOB: &str = r"
apiVersion: helium.dev/v1
kind: HydraJob
metadata: {name: web}
spec: {url: https://hydra.example/job/p/main/web, interval: 30s}
";

const HELLO: &str = r#"
apiVersion: helium.dev/v1
kind: Deployment
metadata: {name: hello}
spec:
  replicas: 3
  versionFrom: {hydraJob: web}
  template:
    exec: {command: ["/nix/store/${VERSION}/bin/web", "--port", "${PORT_http}"]}
    ports: [{name: http}]
    checks: [{name: up, http: {port: http, path: /health}, interval: 1s, timeout: 1s}]
  minHealthyTime: 5s
  progressDeadline: 30s
"#;

const CANARY: &str = r"
apiVersion: helium.dev/v1
kind: Canary
metadata: {name: hello}
spec:
  steps: [{setWeight: 25%}, {soak: 10s}]
";

/// Whoever is asked: its newest build, or why there is none.
struct Hydra {
    says: Mutex<Result<u64, Missed>>,
    asked: AtomicUsize,
}

impl Hydra {
    fn new(says: Result<u64, Missed>) -> Arc<Self> {
        Arc::new(Self { says: Mutex::new(says), asked: AtomicUsize::new(0) })
    }

    fn says(&self, says: Result<u64, Missed>) {
        *self.says.lock().unwrap() = says;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Builds for Hydra {
    fn look<'a>(&'a self, _: &'a HydraJobSpec, known: Option<&'a HydraBuild>) -> BoxFuture<'a, Result<Look, Missed>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let says = self.says.lock().unwrap().clone();
        let known = known.map(|known| known.build);
        async move {
            let build = says?;
            let found = Built { path: format!("/nix/store/{}", version(build)), build, evaluation: None };
            Ok(match known {
                Some(known) if known == build => Look::Same,
                Some(known) if known > build => Look::Gone(found),
                _ => Look::Found(found),
            })
        }
        .boxed()
    }
}

fn version(build: u64) -> String {
    format!("{build:032}-web")
}

fn nothing() -> Missed {
    Missed { reason: "Nothing", message: "Hydra knows no such job".to_owned(), unreachable: false }
}

fn away() -> Missed {
    Missed { reason: "Unreachable", message: "it cannot be reached".to_owned(), unreachable: true }
}

fn job() -> ObjectKey {
    ObjectKey::new("default", "web")
}

async fn job_status(stage: &Stage) -> Option<HydraJobStatus> {
    stage.people.hydra_job_status(&job()).await.unwrap()
}

fn serves(build: u64) -> impl Fn(&DeploymentStatus) -> bool {
    move |status| {
        status.phase == Phase::Healthy && status.stable.as_ref().is_some_and(|stable| stable.version == version(build))
    }
}

async fn events_of_job(stage: &Stage) -> Vec<String> {
    let log = stage.people.events(&ObjectRef::new(Kind::HydraJob, job())).await.unwrap();
    log.events.into_iter().map(|event| event.reason).collect()
}

#[tokio::test(start_paused = true)]
async fn a_deployment_waits_for_the_first_build_and_follows_each_newer_one() {
    log();
    let (stage, hydra) = (Stage::new(), Hydra::new(Err(nothing())));
    let _controller = stage.controller_following("a", hydra.clone());
    let _agent = stage.agent("n1");
    stage.apply(&format!("{JOB}---{HELLO}")).await;
    let known = |status: &DeploymentStatus| matches!(&status.waiting_on[..], [WaitingOn::Build { why: Some(_), .. }]);
    let status = stage.until("hello", 60, known).await;
    assert_eq!((status.phase, status.reason), (Phase::Pending, Reason::NoVersion));
    let why = Some("Hydra knows no such job".to_owned());
    assert_eq!(status.waiting_on, [WaitingOn::Build { hydra_job: "web".to_owned(), why }]);

    hydra.says(Ok(1));
    let written =
        stage.people.existing(&ObjectRef::new(Kind::Deployment, ObjectKey::new("default", "hello"))).await.unwrap();
    stage.until("hello", 120, serves(1)).await;
    assert_eq!(stage.instances("hello").await[0].version, version(1));
    hydra.says(Ok(2));
    stage.until("hello", 120, serves(2)).await;
    let after =
        stage.people.existing(&ObjectRef::new(Kind::Deployment, ObjectKey::new("default", "hello"))).await.unwrap();
    assert_eq!(written, after, "the controller writes no spec");
    assert_eq!(events_of_job(&stage).await, ["Nothing", "BuildFound", "BuildFound"]);
}

#[tokio::test(start_paused = true)]
async fn a_build_that_its_canary_gave_up_is_not_taken_again_before_there_is_a_newer_one() {
    log();
    let (stage, hydra) = (Stage::new(), Hydra::new(Ok(1)));
    let controller = stage.controller_following("a", hydra.clone());
    let agent = stage.agent("n1");
    stage.apply(&format!("{JOB}---{HELLO}---{CANARY}")).await;
    stage.until("hello", 120, serves(1)).await;
    agent.set_broken(&version(2), true);
    hydra.says(Ok(2));
    let aborted = |status: &DeploymentStatus| status.reason == Reason::RolloutAborted;
    let status = stage.until("hello", 180, aborted).await;
    assert_eq!(status.stable.unwrap().version, version(1));

    // Neither is it by a controller that has forgotten everything.
    controller.kill().await;
    let _next = stage.controller_following("b", hydra.clone());
    let before = hydra.asked();
    seconds(600).await;
    assert!(hydra.asked() > before + 10, "it goes on asking");
    let status = stage.status("hello").await.unwrap();
    assert_eq!((status.reason, status.rollout.unwrap().version), (Reason::RolloutAborted, version(2)));

    hydra.says(Ok(3));
    stage.until("hello", 180, serves(3)).await;
}

#[tokio::test(start_paused = true)]
async fn while_hydra_is_away_the_version_stays_and_nothing_is_written_and_then_it_goes_on() {
    log();
    let (stage, hydra) = (Stage::new(), Hydra::new(Ok(1)));
    let _controller = stage.controller_following("a", hydra.clone());
    let _agent = stage.agent("n1");
    stage.apply(&format!("{JOB}---{HELLO}")).await;
    stage.until("hello", 120, serves(1)).await;
    hydra.says(Err(away()));
    let is_away = async || job_status(&stage).await.is_some_and(|status| status.error.is_some());
    stage.eventually("it is told", 60, is_away).await;
    let status = job_status(&stage).await.unwrap();
    assert_eq!(status.condition(HydraConditionKind::Reachable).map(|condition| condition.status), Some(false));
    assert!(status.last_success < status.error.map(|error| error.since), "it answered before");
    seconds(30).await;
    let (index, asked) = (stage.kv_index().await, hydra.asked());
    seconds(900).await;
    assert_eq!(stage.kv_index().await, index, "what is known is not written again");
    assert!((25..=40).contains(&(hydra.asked() - asked)), "{} in 15 min", hydra.asked() - asked);
    assert!(serves(1)(&stage.status("hello").await.unwrap()));
    hydra.says(Ok(2));
    stage.until("hello", 120, serves(2)).await;
    assert_eq!(events_of_job(&stage).await, ["BuildFound", "Unreachable", "HydraAnswers", "BuildFound"]);
}

#[tokio::test(start_paused = true)]
async fn at_rest_hydra_is_asked_once_in_an_interval_and_nothing_is_written() {
    log();
    let (stage, hydra) = (Stage::new(), Hydra::new(Ok(1)));
    let _controller = stage.controller_following("a", hydra.clone());
    let _standby = stage.controller_following("b", hydra.clone());
    let _agent = stage.agent("n1");
    stage.apply(&format!("{JOB}---{HELLO}")).await;
    stage.until("hello", 120, serves(1)).await;
    seconds(30).await;
    let (index, asked) = (stage.kv_index().await, hydra.asked());
    seconds(900).await;
    assert_eq!(stage.kv_index().await, index);
    assert!((26..=34).contains(&(hydra.asked() - asked)), "{} in 15 min: by the leader alone", hydra.asked() - asked);
}

#[tokio::test(start_paused = true)]
async fn a_deployment_whose_job_was_deleted_keeps_its_version_and_follows_the_next_one() {
    log();
    let (stage, hydra) = (Stage::new(), Hydra::new(Ok(1)));
    let _controller = stage.controller_following("a", hydra.clone());
    let _agent = stage.agent("n1");
    stage.apply(&format!("{JOB}---{HELLO}")).await;
    stage.until("hello", 120, serves(1)).await;
    stage.delete(&ObjectRef::new(Kind::HydraJob, job())).await;
    stage
        .eventually("nothing of it is left", 30, async || {
            stage.written().await.iter().all(|(key, _)| !key.contains("hydrajob"))
        })
        .await;
    hydra.says(Ok(2));
    stage.apply(&HELLO.replace("replicas: 3", "replicas: 4")).await;
    let scaled = |status: &DeploymentStatus| status.healthy == 4 && serves(1)(status);
    stage.until("hello", 60, scaled).await;
    stage.apply(JOB).await;
    stage.until("hello", 120, serves(2)).await;
}

#[tokio::test(start_paused = true)]
async fn a_build_that_a_person_went_back_from_is_left_alone_until_there_is_a_newer_one() {
    log();
    let (stage, hydra) = (Stage::new(), Hydra::new(Ok(1)));
    let _controller = stage.controller_following("a", hydra.clone());
    let _agent = stage.agent("n1");
    stage.apply(&format!("{JOB}---{HELLO}")).await;
    stage.until("hello", 120, serves(1)).await;
    hydra.says(Ok(2));
    stage.until("hello", 120, serves(2)).await;
    let undone = stage.people.undo(&ObjectKey::new("default", "hello"), None).await.unwrap();
    assert_eq!(undone.to.template.version, version(1));
    let instead = serde_json::json!({ "of": version(2), "take": version(1) });
    assert_eq!(
        (undone.after.spec["versionFrom"]["instead"].clone(), undone.after.spec["template"].get("version")),
        (instead, None)
    );
    stage.until("hello", 120, serves(1)).await;
    seconds(300).await;
    assert!(serves(1)(&stage.status("hello").await.unwrap()));
    hydra.says(Ok(3));
    stage.until("hello", 120, serves(3)).await;
}

#[tokio::test(start_paused = true)]
async fn an_older_build_is_taken_if_hydra_has_lost_the_newer_one() {
    log();
    let (stage, hydra) = (Stage::new(), Hydra::new(Ok(2)));
    let _controller = stage.controller_following("a", hydra.clone());
    let _agent = stage.agent("n1");
    stage.apply(&format!("{JOB}---{HELLO}")).await;
    stage.until("hello", 120, serves(2)).await;
    hydra.says(Ok(1));
    stage.until("hello", 120, serves(1)).await;
    assert_eq!(events_of_job(&stage).await, ["BuildFound", "BuildGone"]);
}

#[tokio::test(start_paused = true)]
async fn a_suspended_job_asks_nobody_and_a_changed_one_asks_at_once() {
    log();
    let (stage, hydra) = (Stage::new(), Hydra::new(Ok(1)));
    let _controller = stage.controller_following("a", hydra.clone());
    let _agent = stage.agent("n1");
    stage.apply(&format!("{}---{HELLO}", JOB.replace("interval: 30s", "interval: 30s, suspend: true"))).await;
    stage.until("hello", 30, |status| status.reason == Reason::NoVersion).await;
    seconds(300).await;
    assert_eq!(hydra.asked(), 0);
    stage.apply(&JOB.replace("30s", "1d")).await;
    stage.until("hello", 60, serves(1)).await;
    hydra.says(Ok(2));
    stage.apply(&JOB.replace("30s", "12h")).await;
    stage.until("hello", 60, serves(2)).await;
}

#[tokio::test(start_paused = true)]
async fn what_never_had_a_version_can_be_deleted() {
    log();
    let (stage, hydra) = (Stage::new(), Hydra::new(Err(nothing())));
    let _controller = stage.controller_following("a", hydra);
    let _agent = stage.agent("n1");
    stage.apply(&format!("{JOB}---{HELLO}")).await;
    stage.until("hello", 30, |status| status.reason == Reason::NoVersion).await;
    stage.delete(&ObjectRef::new(Kind::Deployment, ObjectKey::new("default", "hello"))).await;
    stage.delete(&ObjectRef::new(Kind::HydraJob, job())).await;
    stage.eventually("nothing is left", 60, async || stage.people.objects().await.unwrap().is_empty()).await;
    stage
        .eventually("no status is left", 60, async || {
            stage.written().await.iter().all(|(key, _)| !key.contains("/status/"))
        })
        .await;
}

/// What somebody writes over the spec of a HydraJob by hand: the same object, with something wrong in it.
async fn by_hand(stage: &Stage, change: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
    let key = stage.keys.spec(Kind::HydraJob, &job());
    let before = stage.client.kv_get(&key, &consul_client::Read::default()).await.unwrap().value.unwrap().value;
    let mut value: serde_json::Value = serde_json::from_slice(&before).unwrap();
    change(&mut value);
    stage.client.kv_put(&key, value.to_string(), &Put::default()).await.unwrap();
    before.to_vec()
}

#[tokio::test(start_paused = true)]
async fn a_job_that_was_made_invalid_by_hand_says_what_is_wrong_keeps_its_build_and_goes_on_once_it_is_mended() {
    log();
    let (stage, hydra) = (Stage::new(), Hydra::new(Ok(1)));
    let _controller = stage.controller_following("a", hydra.clone());
    let _agent = stage.agent("n1");
    stage.apply(&format!("{JOB}---{HELLO}")).await;
    stage.until("hello", 120, serves(1)).await;
    let before = by_hand(&stage, |job| job["spec"]["interval"] = "soon".into()).await;
    let said = async || job_status(&stage).await.and_then(|status| status.error);
    stage.eventually("it says what is wrong", 20, async || said().await.is_some()).await;
    let status = job_status(&stage).await.unwrap();
    let error = status.error.unwrap();
    assert_eq!((error.reason.as_str(), error.unreachable), ("InvalidSpec", false));
    assert!(error.message.contains("soon"), "{}", error.message);
    assert_eq!(status.newest.map(|newest| newest.build), Some(1), "what was taken stays");
    let reachable = status.conditions.iter().find(|one| one.kind == HydraConditionKind::Reachable);
    assert_eq!(reachable.map(|one| one.status), Some(true), "nobody has asked Hydra since");

    hydra.says(Ok(2));
    let (index, asked) = (stage.kv_index().await, hydra.asked());
    seconds(900).await;
    assert_eq!((stage.kv_index().await, hydra.asked()), (index, asked), "nothing is asked, and nothing written again");
    assert!(serves(1)(&stage.status("hello").await.unwrap()));
    let status_key = stage.keys.status(Kind::HydraJob, &job());
    stage.client.kv_delete(&status_key, None).await.unwrap();
    stage.eventually("what was deleted is said again", 400, async || said().await.is_some()).await;

    let key = stage.keys.spec(Kind::HydraJob, &job());
    stage.client.kv_put(&key, before, &Put::default()).await.unwrap();
    stage.until("hello", 120, serves(2)).await;
    assert!(said().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_job_that_never_could_be_followed_says_so_and_so_does_who_waits_for_it() {
    log();
    let (stage, hydra) = (Stage::new(), Hydra::new(Ok(1)));
    let _controller = stage.controller_following("a", hydra);
    let _agent = stage.agent("n1");
    stage.apply(HELLO).await;
    stage.client.kv_put(&stage.keys.spec(Kind::HydraJob, &job()), "no object at all", &Put::default()).await.unwrap();
    let says_why =
        |status: &DeploymentStatus| matches!(&status.waiting_on[..], [WaitingOn::Build { why: Some(_), .. }]);
    stage.until("hello", 60, says_why).await;
    let error = job_status(&stage).await.unwrap().error.unwrap();
    assert_eq!(error.reason, "InvalidSpec");
}

/// Keeps what is announced of jobs: the reason, and for whom it matters.
#[derive(Default)]
struct Told(Mutex<Vec<(String, Vec<String>)>>);

impl Announce for Told {
    fn announce(&self, _: &ObjectKey, _: &DeploymentStatus, _: &Event) {}

    fn announce_job(&self, _: &ObjectKey, deployments: &[ObjectKey], _: &HydraJobStatus, event: &Event) {
        let names = deployments.iter().map(|deployment| deployment.name.clone()).collect();
        self.0.lock().unwrap().push((event.reason.clone(), names));
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_build_is_told_and_once_that_a_job_cannot_be_followed_and_that_it_can_again() {
    log();
    let (stage, hydra, told) = (Stage::new(), Hydra::new(Ok(1)), Arc::new(Told::default()));
    let controller = stage.controller_following_and_announcing("a", hydra.clone(), told.clone());
    let _agent = stage.agent("n1");
    stage.apply(&format!("{JOB}---{HELLO}")).await;
    stage.until("hello", 120, serves(1)).await;
    for trouble in [away(), nothing(), away()] {
        hydra.says(Err(trouble));
        seconds(120).await;
    }
    // The next leader tells it no second time.
    controller.kill().await;
    let _next = stage.controller_following_and_announcing("b", hydra.clone(), told.clone());
    seconds(300).await;
    hydra.says(Ok(2));
    stage.until("hello", 400, serves(2)).await;
    let all = told.0.lock().unwrap().clone();
    let reasons: Vec<&str> = all.iter().map(|(reason, _)| reason.as_str()).collect();
    assert_eq!(reasons, ["BuildFound", "JobNotFollowed", "JobFollowed", "BuildFound"]);
    assert!(all.iter().all(|(_, names)| names == &["hello"]), "{all:?}");
}
