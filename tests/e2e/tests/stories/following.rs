//! Following: logs as they are written, and objects as they change.

use std::{collections::BTreeSet, fs, time::Duration};

use helium_e2e::eventually;

use crate::{
    fleet::{Fleet, ROLLOUT},
    specs::deployment,
};

/// The longest that a line may take from a process to whoever follows.
const SOON: Duration = Duration::from_secs(20);

/// A Deployment whose instances print the content of a file ten times a second, more often than the folder of logs is looked at.
fn chatter(file: &str, version: &str, replicas: u32) -> String {
    format!(
        "apiVersion: helium.dev/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec:\n  replicas: {replicas}\n  minHealthyTime: 1s\n  \
         template:\n    version: \"{version}\"\n    exec:\n      command: [sh, -c, \"while cat {file}; do sleep 0.1; done\", sh, --version, \
         \"{version}\"]\n"
    )
}

#[test]
fn lines_that_are_written_later_and_instances_that_come_later_are_followed_while_lines_flow() {
    let fleet = Fleet::of(1);
    let file = fleet.helium.write("says", "early\n");
    fleet.apply(&chatter(&file, "1", 1)).ok();
    let mut logs = fleet.helium.start("logs", &["logs", "-f", "web", "--data-dir", &fleet.data_dir(1)]);
    logs.wait_to_say("1 | early", SOON);
    fs::write(&file, "late\n").unwrap();
    logs.wait_to_say("1 | late", SOON);

    fleet.helium.run(&["scale", "web=2"]).ok();
    eventually("the second instance is followed", ROLLOUT, || {
        let said = logs.said();
        let instances: BTreeSet<&str> =
            said.lines().filter_map(|line| line.split_once(" 1 | ")).map(|(id, _)| id).collect();
        (instances.len() == 2).then_some(())
    });
    fleet.apply(&chatter(&file, "2", 2)).ok();
    logs.wait_to_say("2 | late", SOON);
    assert_eq!(logs.interrupt(Duration::from_secs(10)), 130);
}

#[test]
fn whoever_follows_is_told_at_once_that_there_is_nothing_or_nothing_yet() {
    let fleet = Fleet::of(1);
    let follow =
        |name: &str| ["logs".to_owned(), "-f".to_owned(), name.to_owned(), "--data-dir".to_owned(), fleet.data_dir(1)];
    let unknown = follow("none");
    let unknown: Vec<&str> = unknown.iter().map(String::as_str).collect();
    fleet.helium.run(&unknown).expect_code(4).expect("deployment/none not found");

    fleet.apply_only(&deployment("web", "1", 0, ""));
    let known = follow("web");
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let mut logs = fleet.helium.start("logs", &known);
    logs.wait_to_say("no instance of web has a log on this machine yet", SOON);
    fleet.helium.run(&["scale", "web=1"]).ok();
    logs.wait_to_say("1 | sample 1 serves on http://", ROLLOUT);
    assert_eq!(logs.interrupt(Duration::from_secs(10)), 130);
}

#[test]
fn logs_name_the_nodes_that_have_the_others() {
    let fleet = Fleet::of(2);
    fleet.apply(&deployment("web", "1", 2, "")).ok();
    let (here, there) = (fleet.node(1), fleet.node(2));
    let logs = fleet.helium.run(&["logs", "web", "--data-dir", &fleet.data_dir(1)]).ok();
    let words = format!("1 instance of web runs on {there}: `helium logs web` there shows what it prints\n");
    assert_eq!(logs.stderr, words);
    assert!(logs.stdout.starts_with("sample 1 serves on "), "{logs}");
    let nowhere = fleet.helium.folder().join("empty");
    let logs = fleet.helium.run(&["logs", "web", "--data-dir", nowhere.to_str().unwrap()]).expect_code(4);
    assert!(logs.says(&format!("2 instances of web run on {here} and {there}")), "{logs}");
}

#[test]
fn objects_are_watched_under_headings_that_fit_from_nothing_to_their_end() {
    let fleet = Fleet::of(1);
    fleet.helium.run(&["get", "deployment/none", "-w"]).expect_code(4);
    let mut table = fleet.helium.start("table", &["get", "all", "-w"]);
    let mut json = fleet.helium.start("json", &["get", "deployments", "-w", "-o", "json"]);
    let mut yaml = fleet.helium.start("yaml", &["events", "-w", "-o", "yaml"]);
    // Both kinds have their headings although there is nothing yet.
    table.wait_to_say("NAME   STEP   WEIGHT", SOON);
    let canary = crate::specs::canary("web", "[{setWeight: 50%}]");
    fleet.apply(&(deployment("web", "1", 1, "") + &canary)).ok();
    table.wait_to_say("Healthy", SOON);
    json.wait_to_say("\"phase\":\"Healthy\"", SOON);
    yaml.wait_to_say("reason: ", SOON);
    fleet.helium.run_for(ROLLOUT, &["delete", "deployment/web", "--wait"]).ok();
    table.wait_to_say("deployment/web deleted", SOON);
    json.wait_to_say("\"deleted\":true", SOON);
    for daemon in [&mut table, &mut json, &mut yaml] {
        assert_eq!(daemon.interrupt(Duration::from_secs(10)), 130);
    }

    in_line(&table.said());
    let documents = json.said();
    assert!(documents.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{documents}");
    let events = yaml.said();
    assert!(events.starts_with("---\n") && !events.contains('{'), "{events}");
}

/// Panics unless each row is in line with the headings above it, and has as many cells as they.
#[track_caller]
fn in_line(table: &str) {
    let starts = |line: &str| {
        let begins = |at: usize| at == 0 || line[..at].ends_with("   ");
        (0..line.len()).filter(|&at| !line[at..].starts_with(' ') && begins(at)).collect::<Vec<_>>()
    };
    let mut headings = Vec::new();
    let mut rows = 0;
    for line in table.lines().filter(|line| !line.is_empty() && !line.ends_with(" deleted")) {
        if line.starts_with("NAME") {
            headings = starts(line);
        } else {
            assert_eq!(starts(line), headings, "{line:?} is not in line with its headings\n{table}");
            rows += 1;
        }
    }
    assert!(rows > 1, "{table}");
}
