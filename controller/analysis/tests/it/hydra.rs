//! A small server that answers as Hydra does, asked as a controller asks it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use helium_analysis::{Builds as _, Look, Missed};
use helium_crds::{
    HydraJobSpec,
    hydra_job::version_of,
    secret::{BasicAuth, SecretRef},
    status::HydraBuild,
};
use helium_hydra::Built;
use http::{Request, Response};
use jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::server::{Server, answer};

/// What it has: job `web` of jobset `main` of project `p`.
#[derive(Clone, Default)]
struct Has {
    /// The status of each build of the job; none while it is not finished.
    builds: BTreeMap<u64, Option<i64>>,
    /// The latest evaluation, and the builds of each.
    evaluations: BTreeMap<u64, BTreeSet<u64>>,
    /// Another place that it redirects to.
    elsewhere: Option<String>,
}

fn path(build: u64) -> String {
    format!("/nix/store/{build:032}-web-1.{build}")
}

fn build(id: u64, status: Option<i64>) -> serde_json::Value {
    json!({
        "id": id, "project": "p", "jobset": "main", "job": "web", "finished": i32::from(status.is_some()),
        "buildstatus": status, "buildoutputs": {"out": {"path": path(id)}},
    })
}

fn says(request: &Request<Bytes>, has: &Has) -> Response<Bytes> {
    let to = |path: String| {
        let place = has.elsewhere.clone().unwrap_or_default() + &path;
        Response::builder().status(302).header("location", place).body(Bytes::new()).unwrap()
    };
    let nothing = || answer(404, r#"{"error":"not found"}"#);
    let parts: Vec<&str> = request.uri().path().split('/').skip(1).collect();
    match parts.as_slice() {
        ["job", "p", "main", "web", "latest"] => {
            let good = has.builds.iter().rev().find(|(_, status)| **status == Some(0));
            good.map_or_else(nothing, |(id, _)| to(format!("/build/{id}")))
        }
        ["jobset", "p", "main", "latest-eval"] => {
            has.evaluations.keys().last().map_or_else(nothing, |id| to(format!("/eval/{id}")))
        }
        ["build", id] => {
            let found = id.parse().ok().and_then(|id: u64| Some((id, *has.builds.get(&id)?)));
            found.map_or_else(nothing, |(id, status)| answer(200, &build(id, status).to_string()))
        }
        ["eval", id] => {
            let known = id.parse().is_ok_and(|id: u64| has.evaluations.contains_key(&id));
            if known { answer(200, &json!({"id": id.parse::<u64>().unwrap()}).to_string()) } else { nothing() }
        }
        ["eval", id, "builds"] => {
            let of = id.parse().ok().and_then(|id: u64| has.evaluations.get(&id)).cloned().unwrap_or_default();
            let builds = has.builds.iter().filter(|(id, _)| of.contains(id)).map(|(id, status)| build(*id, *status));
            answer(200, &builds.collect::<serde_json::Value>().to_string())
        }
        _ => nothing(),
    }
}

struct Hydra {
    world: World,
    server: Server,
    has: Arc<Mutex<Has>>,
    spec: HydraJobSpec,
}

impl Hydra {
    async fn start() -> Self {
        let has = Arc::<Mutex<Has>>::default();
        let shared = Arc::clone(&has);
        let handler =
            move |_: usize, request: Request<Bytes>| std::future::ready(says(&request, &shared.lock().unwrap()));
        let server = Server::start(None, handler).await;
        let spec = serde_json::from_value(json!({"url": server.url("/job/p/main/web"), "timeout": "10s"})).unwrap();
        Self { world: World::new(), server, has, spec }
    }

    fn builds(&self, builds: &[(u64, Option<i64>)]) {
        self.has.lock().unwrap().builds = builds.iter().copied().collect();
    }

    fn evaluations(&self, evaluations: &[(u64, &[u64])]) {
        let all = evaluations.iter().map(|(id, builds)| (*id, builds.iter().copied().collect()));
        self.has.lock().unwrap().evaluations = all.collect();
    }

    async fn look(&self, known: Option<u64>) -> Result<Look, Missed> {
        let known = known.map(|id| self.known(id, None));
        self.world.sources.look(&self.spec, known.as_ref()).await
    }

    async fn look_whole(&self, known: Option<(u64, u64)>) -> Result<Look, Missed> {
        let known = known.map(|(id, evaluation)| self.known(id, Some(evaluation)));
        let spec = HydraJobSpec { whole_jobset: true, ..self.spec.clone() };
        self.world.sources.look(&spec, known.as_ref()).await
    }

    fn known(&self, build: u64, evaluation: Option<u64>) -> HydraBuild {
        let (path, job, found_at) = (path(build), self.spec.url.clone(), Timestamp::UNIX_EPOCH);
        let version = version_of(&path).unwrap().to_owned();
        HydraBuild { build, evaluation, path, version, job, found_at }
    }
}

fn built(build: u64) -> Built {
    Built { path: path(build), build, evaluation: None }
}

#[tokio::test]
async fn the_newest_build_that_has_succeeded_is_found_and_what_is_known_costs_one_small_question() {
    let hydra = Hydra::start().await;
    hydra.builds(&[(1, Some(0)), (2, Some(1)), (3, None)]);
    assert_eq!(hydra.look(None).await, Ok(Look::Found(built(1))));
    let before = hydra.server.count();
    assert_eq!(hydra.look(Some(1)).await, Ok(Look::Same));
    assert_eq!(hydra.server.count(), before + 1, "the redirect is not followed");
    hydra.builds(&[(1, Some(0)), (4, Some(0))]);
    assert_eq!(hydra.look(Some(1)).await, Ok(Look::Found(built(4))));
}

#[tokio::test]
async fn an_older_build_counts_only_if_the_known_one_is_gone_or_has_failed_after_all() {
    let hydra = Hydra::start().await;
    for (builds, found) in [
        (vec![(1, Some(0))], Look::Gone(built(1))),
        (vec![(1, Some(0)), (2, Some(1))], Look::Gone(built(1))),
        (vec![(1, Some(0)), (2, None)], Look::Same),
    ] {
        hydra.builds(&builds);
        assert_eq!(hydra.look(Some(2)).await, Ok(found), "{builds:?}");
    }
}

#[tokio::test]
async fn of_a_whole_jobset_a_build_counts_once_all_of_its_evaluation_has_succeeded() {
    let hydra = Hydra::start().await;
    let whole = |build, evaluation| Built { evaluation: Some(evaluation), ..built(build) };
    hydra.builds(&[(1, Some(0)), (2, Some(0)), (3, Some(1))]);
    hydra.evaluations(&[(7, &[1])]);
    assert_eq!(hydra.look_whole(None).await, Ok(Look::Found(whole(1, 7))));
    assert_eq!(hydra.look_whole(Some((1, 7))).await, Ok(Look::Same));
    hydra.evaluations(&[(7, &[1]), (8, &[2, 3])]);
    let missed = hydra.look_whole(Some((1, 7))).await.unwrap_err();
    assert_eq!((missed.reason, missed.unreachable), ("NotWhole", false), "{missed:?}");
    // A newer evaluation may well hold an older build: what it was made from has come back.
    hydra.evaluations(&[(7, &[1]), (8, &[2, 3]), (9, &[1])]);
    assert_eq!(hydra.look_whole(Some((2, 8))).await, Ok(Look::Found(whole(1, 9))));
    hydra.evaluations(&[(7, &[1])]);
    assert_eq!(hydra.look_whole(Some((1, 9))).await, Ok(Look::Gone(whole(1, 7))));
}

#[tokio::test]
async fn what_is_known_of_another_job_says_nothing_about_this_one() {
    let hydra = Hydra::start().await;
    hydra.builds(&[(1, Some(0))]);
    let known = HydraBuild { job: "https://h/job/p/main/other".to_owned(), ..hydra.known(5, None) };
    assert_eq!(hydra.world.sources.look(&hydra.spec, Some(&known)).await, Ok(Look::Found(built(1))));
    assert_eq!(hydra.world.sources.look(&hydra.spec, Some(&hydra.known(1, Some(3)))).await, Ok(Look::Found(built(1))));
}

#[tokio::test]
async fn why_there_is_nothing_to_take_is_told_and_whether_hydra_could_be_asked() {
    let hydra = Hydra::start().await;
    let missed = hydra.look(None).await.unwrap_err();
    assert_eq!((missed.reason, missed.unreachable), ("Nothing", false));
    assert!(missed.message.contains("404 Not Found: Hydra knows no such job"), "{missed:?}");
    for (status, reason) in [(401, "Login"), (403, "Rights"), (500, "Refused"), (200, "NotJson")] {
        let server = Server::says(status, "<html>").await;
        let spec = HydraJobSpec { url: server.url("/job/p/main/web"), ..hydra.spec.clone() };
        let missed = hydra.world.sources.look(&spec, None).await.unwrap_err();
        assert_eq!((missed.reason, missed.unreachable), (reason, true), "{missed:?}");
    }
    hydra.builds(&[(1, Some(0))]);
    hydra.has.lock().unwrap().elsewhere = Some("http://127.0.0.1:1".to_owned());
    let missed = hydra.look(None).await.unwrap_err();
    assert!(missed.unreachable && missed.message.contains("redirects to http://127.0.0.1:1/build/1"), "{missed:?}");
    let (url, port) = (hydra.spec.url.clone(), hydra.server.port);
    drop(hydra.server);
    tokio::task::yield_now().await;
    let spec = HydraJobSpec { url, ..hydra.spec };
    let missed = hydra.world.sources.look(&spec, None).await.unwrap_err();
    assert_eq!((missed.reason, missed.unreachable), ("Unreachable", true));
    assert!(missed.message.contains(&format!("http://127.0.0.1:{port}/job/p/main/web/latest")), "{missed:?}");
}

#[tokio::test]
async fn a_login_is_sent_and_in_no_message() {
    let hydra = Hydra::start().await;
    hydra.builds(&[(1, Some(0))]);
    let password = SecretRef::Env("HELIUM_SECRET_TOKEN".to_owned());
    let auth = Some(Auth::Basic(BasicAuth { username: "helium".to_owned(), password }));
    let spec = HydraJobSpec { auth, ..hydra.spec.clone() };
    assert_eq!(hydra.world.sources.look(&spec, None).await, Ok(Look::Found(built(1))));
    assert!(
        hydra
            .server
            .last()
            .headers()
            .get("authorization")
            .is_some_and(|sent| sent.to_str().unwrap().starts_with("Basic "))
    );
    hydra.has.lock().unwrap().elsewhere = Some(format!("http://{}", "elsewhere"));
    let before = hydra.server.count();
    let missed = hydra.world.sources.look(&spec, None).await.unwrap_err();
    assert!(!missed.message.contains(SECRET) && hydra.server.count() == before + 1, "{missed:?}");
}
