//! HydraJobs, as people see them.

use helium_crds::status::HydraError;
use serde_json::json;

use super::*;

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn job(suspend: bool) -> Stored {
    serde_json::from_value(json!({
        "apiVersion": "helium.dev/v1", "kind": "HydraJob",
        "metadata": {"namespace": "default", "name": "web", "uid": "u", "generation": 1, "createdAt": "2026-03-01T11:00:00Z"},
        "spec": {"url": "https://hydra.example/job/shop/main/web", "suspend": suspend},
    }))
    .unwrap()
}

fn status(newest: bool, error: Option<(&str, bool)>) -> HydraJobStatus {
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let newest = newest.then(|| HydraBuild {
        build: 17,
        evaluation: Some(3),
        path: "/nix/store/1a61pa55kkzpya2ha9kc80cz510mr61b-web-1.2".to_owned(),
        version: "1a61pa55kkzpya2ha9kc80cz510mr61b-web-1.2".to_owned(),
        job: "https://hydra.example/job/shop/main/web".to_owned(),
        found_at: at("2026-03-01T11:30:00Z"),
    });
    let condition = |kind: &str, holds: bool| {
        serde_json::from_value(
            json!({"type": kind, "status": holds, "reason": "R", "message": "", "lastTransitionTime": now()}),
        )
        .unwrap()
    };
    let reachable = error.is_none_or(|(_, unreachable)| !unreachable);
    let conditions = vec![condition("Ready", newest.is_some()), condition("Reachable", reachable)];
    let error = error.map(|(message, unreachable)| HydraError {
        reason: "Why".to_owned(),
        message: message.to_owned(),
        unreachable,
        since: at("2026-03-01T11:50:00Z"),
    });
    let last_success = Some(at("2026-03-01T11:45:00Z"));
    HydraJobStatus { uid: "u".to_owned(), observed_generation: 1, newest, last_success, error, conditions }
}

#[test]
fn what_a_job_has_built_is_explained_with_why_nothing_newer_is_taken() {
    let told = |suspend, status: Option<HydraJobStatus>| explain(&job(suspend), status.as_ref(), now()).join("\n");
    let all = [
        told(false, None),
        told(true, None),
        told(false, Some(status(true, None))),
        told(true, Some(status(true, None))),
        told(false, Some(status(true, Some(("https://hydra.example cannot be reached", true))))),
        told(false, Some(status(true, Some(("evaluation 4 is not whole", false))))),
        told(false, Some(status(false, Some(("Hydra knows no such job", false))))),
    ];
    insta::assert_snapshot!(all.join("\n---\n"));
}

#[test]
fn a_deployment_is_told_where_its_version_comes_from() {
    let from = |instead| VersionFrom { hydra_job: "web".to_owned(), instead };
    let of = "1a61pa55kkzpya2ha9kc80cz510mr61b-web-1.2".to_owned();
    let instead = Some(helium_crds::version_from::Instead { of, take: "older".to_owned() });
    let away = status(true, Some(("https://hydra.example cannot be reached", true)));
    let told = |from: &VersionFrom, job: Option<&Stored>, status: Option<&HydraJobStatus>| {
        source(from, job, status, now()).join("\n")
    };
    let all = [
        told(&from(None), None, None),
        told(&from(None), Some(&job(false)), None),
        told(&from(None), Some(&job(false)), Some(&away)),
        told(&from(instead), Some(&job(true)), Some(&status(true, None))),
    ];
    insta::assert_snapshot!(all.join("\n---\n"));
}

#[test]
fn a_row_tells_state_build_and_version() {
    let wide = |status: &HydraJobStatus| cells(&job(false), Some(status), true, now()).join(" | ");
    let all = [
        cells(&job(false), None, false, now()).join(" | "),
        wide(&status(true, None)),
        wide(&status(true, Some(("evaluation 4 is not whole", false)))),
        wide(&status(false, Some(("https://hydra.example cannot be reached", true)))),
    ];
    insta::assert_snapshot!(all.join("\n"));
}
