//! Jobs beside the main process: before it, with it, on changes, at its stop; and what becomes of them when somebody is killed.

use std::{collections::BTreeSet, fs, path::PathBuf, time::Duration};

use helium_e2e::{Http, eventually, holds_for, process};

use crate::{
    fleet::{Fleet, ROLLOUT, is_sentinel},
    specs::canary,
};

/// What jobs of a story write into, one line each time.
struct Journal(PathBuf);

impl Journal {
    fn of(fleet: &Fleet) -> Self {
        let path = fleet.helium.folder().join("journal");
        fs::write(&path, "").unwrap();
        Self(path)
    }

    /// A command that writes a line.
    fn note(&self, line: &str) -> String {
        format!("[sh, -c, \"echo {line} >> {}\"]", self.0.display())
    }

    fn lines(&self) -> Vec<String> {
        fs::read_to_string(&self.0).unwrap().lines().map(str::to_owned).collect()
    }

    fn count(&self, line: &str) -> usize {
        self.lines().iter().filter(|known| *known == line).count()
    }

    #[track_caller]
    fn await_count(&self, line: &str, count: usize) {
        eventually(&format!("{line} is noted {count} times"), ROLLOUT, || (self.count(line) >= count).then_some(()));
    }
}

/// A Deployment of the sample server; `exec` and `jobs` are what is in those fields beside the command.
fn deployment(version: &str, replicas: u32, exec: &str, jobs: &str) -> String {
    let command = r#"["${HELIUM_BIN}", "sample", "--port", "${PORT}", "--version", "${VERSION}"]"#;
    format!(
        r#"apiVersion: helium.dev/v1
kind: Deployment
metadata: {{name: shop}}
spec:
  replicas: {replicas}
  template:
    version: "{version}"
    exec:
      command: {command}
      {exec}
    ports: [{{name: http}}]
    checks: [{{name: up, http: {{path: /health}}, interval: 1s, timeout: 1s}}]
    jobs:
{jobs}
  minHealthyTime: 1s
  progressDeadline: 60s
  stopGracePeriod: 8s
"#
    )
}

/// The processes of a job of this fleet's first node.
fn pids(fleet: &Fleet, job: &str) -> BTreeSet<u32> {
    let here = |pid: &u32| process::variable(*pid, "HELIUM_NODE") == Some(fleet.node(1));
    process::with_variable("HELIUM_JOB", job).into_iter().filter(here).collect()
}

fn pid(fleet: &Fleet, job: &str) -> u32 {
    eventually(&format!("one process of {job} runs"), ROLLOUT, || {
        let [pid] = pids(fleet, job).into_iter().collect::<Vec<_>>().try_into().ok()?;
        Some(pid)
    })
}

/// The guardian and the worker of the only instance.
fn supervisor(fleet: &Fleet) -> (u32, u32) {
    let guardian = u32::try_from(record(fleet)["process"]["pid"].as_u64().unwrap()).unwrap();
    let worker = eventually("the worker runs", ROLLOUT, || process::children(guardian).first().copied());
    (guardian, worker)
}

/// What the agent remembers of the only instance.
fn record(fleet: &Fleet) -> serde_json::Value {
    let folders = fs::read_dir(format!("{}/instances", fleet.data_dir(1))).unwrap().flatten();
    let [record] = folders
        .filter_map(|folder| serde_json::from_slice(&fs::read(folder.path().join("record.json")).ok()?).ok())
        .collect::<Vec<_>>()
        .try_into()
        .unwrap();
    record
}

fn report(fleet: &Fleet) -> serde_json::Value {
    let keys = fleet.consul.keys("helium/v1/report/");
    let own = |key: &&String| !is_sentinel(key) && key.contains(&fleet.node(1));
    keys.iter().find(own).map(|key| fleet.consul.value(key)).unwrap_or_default()
}

const FOR_EVER: &str = "[sh, -c, \"exec sleep 86400\"]";

#[test]
fn a_job_before_the_start_and_a_dependency_gate_the_main_process() {
    let fleet = Fleet::of(1);
    let journal = Journal::of(&fleet);
    let go = fleet.helium.folder().join("go");
    let wait = format!("[sh, -c, \"until [ -e {0} ]; do sleep 0.05; done; echo migrated\"]", go.display());
    let exec = "when: [{job: migrate, is: exitedSuccess}, {service: database, is: healthy}]";
    let jobs = format!("      migrate: {{command: {wait}}}\n      begin: {{command: {}}}", journal.note("begin"));
    fleet.apply_only(&deployment("1", 1, exec, &jobs));
    journal.await_count("begin", 1);
    eventually("it is told what is waited for", ROLLOUT, || {
        let said = report(&fleet)["jobs"]["main"]["message"].as_str()?.to_owned();
        (said == "waits for job migrate exitedSuccess, service database healthy").then_some(())
    });
    holds_for("the main process waits", Duration::from_secs(2), || {
        let runs = !fleet.instances().is_empty() || fleet.consul.passing("shop") > 0;
        if runs { Err("it runs".to_owned()) } else { Ok(()) }
    });
    fs::write(&go, "").unwrap();
    holds_for("the main process waits for the database", Duration::from_secs(1), || {
        if fleet.instances().is_empty() { Ok(()) } else { Err("it runs".to_owned()) }
    });
    fleet.consul.http().put("/v1/agent/service/register", r#"{"ID": "db1", "Name": "database", "Port": 1}"#);
    fleet.await_phase("shop", "Healthy");
    assert_eq!((fleet.instances().len(), journal.count("begin")), (1, 1));
    let id = fleet.instances()[0].id.clone();
    let log = fs::read_to_string(format!("{}/instances/{id}/log", fleet.data_dir(1))).unwrap();
    assert!(log.contains("[migrate] migrated\n"), "{log}");
}

#[test]
fn a_start_whose_migration_fails_is_given_up_and_told() {
    let fleet = Fleet::of(1);
    let exec = "when: [{job: migrate, is: exitedSuccess}]";
    let jobs = format!("      migrate: {{command: [sh, -c, \"exit 3\"]}}\n      beside: {{command: {FOR_EVER}}}");
    fleet.apply_only(&deployment("1", 1, exec, &jobs).replace("progressDeadline: 60s", "progressDeadline: 10s"));
    fleet.await_phase("shop", "Degraded");
    assert!(fleet.instances().is_empty());
    let log = fleet.helium.run(&["logs", "shop", "--data-dir", &fleet.data_dir(1)]);
    assert!(log.says("the main process will never start: the job migrate ended with exit status 3"), "{log}");
    assert!(pids(&fleet, "beside").len() <= 1);
}

#[test]
fn a_co_process_is_restarted_and_a_task_runs_at_its_interval_while_the_main_process_stays() {
    let fleet = Fleet::of(1);
    let journal = Journal::of(&fleet);
    let jobs = format!(
        "      beside: {{command: {FOR_EVER}, restart: always}}\n      tick: {{command: {}, every: 300ms}}",
        journal.note("tick")
    );
    fleet.apply(&deployment("1", 1, "", &jobs)).ok();
    let main = fleet.pids();
    for _ in 0..2 {
        let first = pid(&fleet, "beside");
        process::kill(first);
        eventually("it is restarted", ROLLOUT, || (!pids(&fleet, "beside").is_subset(&[first].into())).then_some(()));
    }
    let ticks = journal.count("tick");
    journal.await_count("tick", ticks + 3);
    assert_eq!(fleet.pids(), main);
    let report = report(&fleet);
    assert_eq!(report["jobs"]["tick"]["phase"], "running", "{report}");
}

#[test]
fn changes_of_services_and_keys_and_signals_run_jobs_and_nothing_else_does() {
    let fleet = Fleet::of(1);
    let journal = Journal::of(&fleet);
    let on = |name: &str, condition: &str| {
        format!("      {name}: {{command: {}, start: each, when: [{condition}]}}\n", journal.note(name))
    };
    let jobs = on("upstreams", "{service: search, tag: v2, is: changed}")
        + &on("flags", "{keys: flags/shop/}")
        + &on("both", "{job: main, is: healthy}, {keys: flags/shop/}")
        + &on("hup", "{signal: HUP}");
    // The sample server would end by a signal that it does not know.
    let main = "[sh, -c, 'trap \"echo heard >> JOURNAL\" HUP; \"$HELIUM_BIN\" sample --port \"$PORT\" --version 1 & while :; do wait; done']"
        .replace("JOURNAL", &journal.0.display().to_string());
    let yaml = deployment("1", 1, "", &jobs);
    let command = yaml.lines().find(|line| line.contains("command: [\"${HELIUM_BIN}\"")).unwrap().to_owned();
    fleet.apply(&yaml.replace(&command, &format!("      command: {main}"))).ok();
    assert_eq!(journal.lines(), Vec::<String>::new());
    let http = fleet.consul.http();
    let service = r#"{"ID": "s1", "Name": "search", "Port": 1, "Tags": ["v1"]}"#;
    http.put("/v1/agent/service/register", service);
    http.put("/v1/kv/flags/shop/new", "on");
    journal.await_count("flags", 1);
    journal.await_count("both", 1);
    http.put("/v1/agent/service/register", service.replace("v1", "v2"));
    journal.await_count("upstreams", 1);
    http.put("/v1/kv/flags/shop/new", "off");
    journal.await_count("flags", 2);
    journal.await_count("both", 2);
    process::hang_up(supervisor(&fleet).0);
    journal.await_count("hup", 1);
    journal.await_count("heard", 1);
    holds_for("nothing comes twice", Duration::from_secs(1), || {
        let counts = ["flags", "both", "upstreams", "hup", "heard"].map(|line| journal.count(line));
        if counts == [2, 2, 1, 1, 1] { Ok(()) } else { Err(format!("{:?}", journal.lines())) }
    });
}

#[test]
fn a_job_for_a_main_process_that_is_not_well_runs_when_it_is_so_and_not_at_a_start() {
    let fleet = Fleet::of(1);
    let journal = Journal::of(&fleet);
    let on = |name: &str| {
        let command = journal.note(name);
        format!("      {name}: {{command: {command}, start: each, when: [{{job: main, is: {name}}}]}}\n")
    };
    let yaml = deployment("1", 1, "", &(on("healthy") + &on("unhealthy")));
    fleet.apply(&yaml).ok();
    journal.await_count("healthy", 1);
    // A first look may come before the server listens, and says nothing.
    assert_eq!(journal.lines(), ["healthy"]);
    let port = report(&fleet)["ports"]["http"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap();
    let sample = Http::on(port);
    let switch = |fails: bool| sample.request("POST", &format!("/switch?fail-health={fails}"), &[]).unwrap();
    switch(true);
    journal.await_count("unhealthy", 1);
    switch(false);
    journal.await_count("healthy", 2);
    process::kill(pid(&fleet, "main"));
    journal.await_count("healthy", 3);
    // The end of the one that was well counts as not well, and the start of the next one as nothing.
    assert!(journal.count("unhealthy") <= 2, "{:?}", journal.lines());
}

#[test]
fn a_stop_is_in_order_and_within_its_grace() {
    let fleet = Fleet::of(1);
    let journal = Journal::of(&fleet);
    let trap = |name: &str| {
        format!(
            "[sh, -c, 'trap \"echo {name} ends >> {}; exit 0\" TERM; while :; do sleep 0.05; done']",
            journal.0.display()
        )
    };
    let jobs = format!(
        "      needs-main: {{command: {}, when: [{{job: main, is: healthy}}]}}\n      \
         before: {{command: {}, when: [{{job: main, is: stopping}}]}}\n      \
         after: {{command: {}, when: [{{job: main, is: stopped}}]}}\n      \
         deaf: {{command: [sh, -c, 'trap \"\" TERM; while :; do sleep 0.05; done'], stopGracePeriod: 1s}}",
        trap("needs-main"),
        journal.note("before"),
        journal.note("after")
    );
    let yaml = deployment("1", 1, "", &jobs);
    let command = yaml.lines().find(|line| line.contains("command: [\"${HELIUM_BIN}\"")).unwrap().to_owned();
    let main = format!(
        "      command: [sh, -c, 'trap \"echo main ends >> {}; exit 0\" TERM; \"$HELIUM_BIN\" sample --port \"$PORT\" --version 1 & while :; do wait; done']",
        journal.0.display()
    );
    fleet.apply(&yaml.replace(&command, &main)).ok();
    eventually("all run", ROLLOUT, || (!pids(&fleet, "needs-main").is_empty()).then_some(()));
    fleet.helium.run_for(ROLLOUT, &["delete", "deployment", "shop", "--wait"]).ok();
    assert_eq!(journal.lines(), ["needs-main ends", "before", "main ends", "after"]);
    for job in ["main", "deaf", "needs-main"] {
        assert!(pids(&fleet, job).is_empty(), "{job} is left");
    }
}

#[test]
fn a_main_process_that_hears_nothing_is_killed_by_its_supervisor_before_the_agent_has_to() {
    let fleet = Fleet::of(1);
    let journal = Journal::of(&fleet);
    let jobs = format!("      after: {{command: {}, when: [{{job: main, is: stopped}}]}}", journal.note("after"));
    let yaml = deployment("1", 1, "", &jobs).replace("stopGracePeriod: 8s", "stopGracePeriod: 3s");
    let command = yaml.lines().find(|line| line.contains("command: [\"${HELIUM_BIN}\"")).unwrap().to_owned();
    let deaf = r#"      command: [sh, -c, 'trap "" TERM; "$HELIUM_BIN" sample --port "$PORT" --version 1 & while :; do sleep 0.05; done']"#;
    fleet.apply(&yaml.replace(&command, deaf)).ok();
    fleet.helium.run_for(ROLLOUT, &["delete", "deployment", "shop", "--wait"]).ok();
    assert!(pids(&fleet, "main").is_empty() && pids(&fleet, "after").is_empty());
    assert!(!fleet.agent_said(1).contains("did not stop within its grace period"), "{}", fleet.agent_said(1));
}

#[test]
fn an_agent_that_is_killed_changes_nothing_and_hears_of_jobs_again() {
    let mut fleet = Fleet::of(1);
    let journal = Journal::of(&fleet);
    let jobs = format!(
        "      beside: {{command: {FOR_EVER}, restart: always}}\n      \
         flags: {{command: {}, start: each, when: [{{keys: flags/}}]}}",
        journal.note("flags")
    );
    fleet.apply(&deployment("1", 1, "", &jobs)).ok();
    let all = |fleet: &Fleet| (pids(fleet, "main"), pids(fleet, "beside"), supervisor(fleet));
    let before = all(&fleet);
    assert_eq!((before.0.len(), before.1.len()), (1, 1));
    fleet.agent(1).kill();
    fleet.consul.http().put("/v1/kv/flags/a", "1");
    let co_process = pid(&fleet, "beside");
    assert_eq!(all(&fleet), before);
    fleet.start_agent(1);
    journal.await_count("flags", 1);
    assert_eq!(all(&fleet), before, "everything runs on as it did");
    process::kill(co_process);
    eventually("it is restarted", ROLLOUT, || {
        let now = pids(&fleet, "beside");
        (now.len() == 1 && now != before.1).then_some(())
    });
    fleet.agent(1).kill();
    fleet.start_agent(1);
    fleet.consul.http().put("/v1/kv/flags/a", "2");
    journal.await_count("flags", 2);
    holds_for("never two copies, and nothing is told twice", Duration::from_secs(2), || {
        let now = (pids(&fleet, "main"), pids(&fleet, "beside").len(), journal.count("flags"));
        if now == (before.0.clone(), 1, 2) { Ok(()) } else { Err(format!("{now:?}")) }
    });
    fleet.await_phase("shop", "Healthy");
}

/// Kills some processes of the only instance's supervisor, and looks that no copy of its jobs is ever beside another.
#[track_caller]
fn killed(victims: impl Fn((u32, u32)) -> Vec<u32>) {
    let fleet = Fleet::of(1);
    // It leaves its group and its parent, so that only its environment tells whose it is.
    let stray = "[sh, -c, \"setsid sleep 86399 & exec sleep 86400\"]";
    let jobs = format!("      beside: {{command: {stray}, restart: always}}");
    fleet.apply(&deployment("1", 1, "", &jobs)).ok();
    eventually("the stray runs", ROLLOUT, || (pids(&fleet, "beside").len() == 2).then_some(()));
    let before = (pids(&fleet, "main"), pids(&fleet, "beside"));
    victims(supervisor(&fleet)).into_iter().for_each(process::kill);
    eventually("all runs anew", ROLLOUT, || {
        let now = (pids(&fleet, "main"), pids(&fleet, "beside"));
        assert!(now.0.len() <= 1, "two copies of the main process: {now:?}");
        let fresh = |now: &BTreeSet<u32>, before: &BTreeSet<u32>| !now.is_empty() && now.is_disjoint(before);
        if fresh(&now.0, &before.0) {
            assert!(now.1.is_disjoint(&before.1), "an old job beside the new main process: {now:?}");
        }
        (fresh(&now.0, &before.0) && fresh(&now.1, &before.1) && now.1.len() == 2).then_some(())
    });
    fleet.await_phase("shop", "Healthy");
    assert_eq!(record(&fleet)["restarts"], 1);
    let node = fleet.node(1);
    drop(fleet);
    eventually("nothing of the fleet is left", ROLLOUT, || {
        process::with_variable("HELIUM_NODE", &node).is_empty().then_some(())
    });
}

#[test]
fn what_a_killed_supervisor_leaves_is_gone_before_the_next_begins() {
    killed(|(_, worker)| vec![worker]);
}

#[test]
fn what_a_killed_guardian_leaves_is_gone_before_the_next_begins() {
    killed(|(guardian, _)| vec![guardian]);
}

#[test]
fn what_both_leave_that_were_killed_is_gone_before_the_next_begins() {
    killed(|(guardian, worker)| vec![guardian, worker]);
}

#[test]
fn what_is_left_by_a_supervisor_that_was_killed_without_an_agent_is_ended_by_the_next_agent() {
    let mut fleet = Fleet::of(1);
    let jobs = format!("      beside: {{command: {FOR_EVER}, restart: always}}");
    fleet.apply(&deployment("1", 1, "", &jobs)).ok();
    let before = (pids(&fleet, "main"), pids(&fleet, "beside"));
    let (guardian, worker) = supervisor(&fleet);
    fleet.agent(1).kill();
    process::kill(guardian);
    process::kill(worker);
    assert_eq!((pids(&fleet, "main"), pids(&fleet, "beside")), before, "nobody is there to end them");
    fleet.start_agent(1);
    eventually("all runs anew", ROLLOUT, || {
        let now = (pids(&fleet, "main"), pids(&fleet, "beside"));
        assert!(now.0.len() <= 1 && now.1.len() <= 1, "two copies: {now:?}");
        (now.0.len() == 1 && now.1.len() == 1 && now.0.is_disjoint(&before.0) && now.1.is_disjoint(&before.1))
            .then_some(())
    });
}

#[test]
fn a_job_in_a_crash_loop_is_told_and_makes_the_instance_critical_if_it_is_required() {
    let fleet = Fleet::of(1);
    let crash = fleet.helium.folder().join("crash");
    let command = format!("[sh, -c, \"[ -e {} ] && exit 7; exec sleep 86400\"]", crash.display());
    let jobs = |required: bool| {
        let backoff = "backoff: {initial: 100ms, max: 300ms}";
        format!("      worker: {{command: {command}, restart: always, {backoff}, required: {required}}}")
    };
    fleet.apply(&deployment("1", 1, "", &jobs(false))).ok();
    let main = fleet.pids();
    fs::write(&crash, "").unwrap();
    process::kill(pid(&fleet, "worker"));
    let words = "job worker is in a crash loop: exit status 7";
    eventually("people see it", ROLLOUT, || {
        fleet.helium.run(&["describe", "deployment", "shop"]).says(words).then_some(())
    });
    assert!(fleet.helium.run(&["explain", "deployment/shop"]).says(words));
    assert_eq!((fleet.consul.passing("shop"), fleet.pids()), (1, main), "it is not required");

    fs::remove_file(&crash).unwrap();
    fleet.apply(&deployment("1", 1, "", &jobs(true))).ok();
    assert_eq!(fleet.consul.passing("shop"), 1);
    fs::write(&crash, "").unwrap();
    process::kill(pid(&fleet, "worker"));
    eventually("it is critical", ROLLOUT, || (fleet.consul.passing("shop") == 0).then_some(()));
    fs::remove_file(&crash).unwrap();
    eventually("it is well again", ROLLOUT, || (fleet.consul.passing("shop") == 1).then_some(()));
}

#[test]
fn a_deployment_with_jobs_is_rolled_through_a_canary_as_any_other() {
    let fleet = Fleet::of(1);
    let jobs = |number: u32| format!("      beside: {{command: [sleep, \"8640{number}\"], restart: always}}");
    let steps = canary("shop", "[{setWeight: 50%}, {pause: {}}]");
    fleet.apply(&(deployment("1", 2, "", &jobs(1)) + &steps)).ok();
    let sleeps = || {
        let mut all: Vec<String> =
            pids(&fleet, "beside").into_iter().filter_map(|pid| process::arguments(pid).get(1).cloned()).collect();
        all.sort();
        all
    };
    eventually("both have their job", ROLLOUT, || (sleeps() == ["86401", "86401"]).then_some(()));
    // Only a job is another one.
    fleet.apply_only(&(deployment("1", 2, "", &jobs(2)) + &steps));
    fleet.await_phase("shop", "Paused");
    eventually("one is the canary", ROLLOUT, || sleeps().contains(&"86402".to_owned()).then_some(()));
    fleet.helium.run_for(ROLLOUT, &["canary", "promote", "shop"]).ok();
    eventually("both are new", ROLLOUT, || (sleeps() == ["86402", "86402"]).then_some(()));
    fleet.await_phase("shop", "Healthy");
}
