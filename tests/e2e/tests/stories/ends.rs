//! How commands end: every exit code that is promised, signals, and readers that go away.

use std::{
    io::pipe,
    process::{Command, Stdio},
    time::Duration,
};

use helium_e2e::{Consul, Helium, Options, Terminal, command, eventually, process};

use crate::{
    fleet::{Fleet, ROLLOUT},
    specs::{deployment, with_flags},
};

/// The longest that an end may take that is to come at once.
const AT_ONCE: Duration = Duration::from_secs(5);

#[test]
fn a_clash_is_a_conflict_and_a_missing_right_is_told_although_consul_answers_with_an_empty_list() {
    let consul = Consul::with(Options { default_deny: true, ..Options::default() });
    let fleet = Fleet::empty(consul);
    let with = |name: &str, service: &str| deployment(name, "1", 1, &format!("  service: {service}\n"));
    fleet.apply_only(&with("one", "shared"));
    let file = fleet.helium.write("two.yaml", &with("two", "shared"));
    fleet.helium.run(&["apply", "-f", &file]).expect_code(3).expect("would both be the Consul service `shared`");

    fleet.consul.set_policy("nothing", "");
    let stranger = fleet.helium.with_token(&fleet.consul.token("nothing"));
    stranger.run(&["get", "deployments"]).expect_code(9).expect("helium acl policy deployer");
}

#[test]
fn a_port_that_is_taken_is_an_internal_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = Helium::at("127.0.0.1:1").run(&["controller", "--http-addr", &address]).expect_code(10);
    assert!(output.stderr.contains("cannot listen on"), "{output}");
}

#[test]
fn ctrl_c_ends_a_command_that_reads_documents_from_a_terminal() {
    let helium = Helium::at("127.0.0.1:1");
    let mut command = helium.command(&["apply", "-f", "-"]);
    let mut terminal = Terminal::start(&mut command, 24, 80);
    eventually("it listens for signals", AT_ONCE, || catches_interrupt(terminal.pid()).then_some(()));
    assert_eq!(terminal.interrupt(AT_ONCE), 130);
}

/// Whether a process has a handler for SIGINT, the second bit of the mask.
fn catches_interrupt(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 0b10 != 0)
}

#[test]
fn a_second_signal_ends_a_controller_at_once() {
    let mut fleet = Fleet::of(0);
    // It cannot give up its lock while nobody answers.
    fleet.consul.freeze();
    let controller = &mut fleet.controllers[0].daemon;
    process::terminate(controller.pid());
    controller.wait_to_say("stopping; a second signal ends it at once", AT_ONCE);
    assert!(controller.is_running(), "it does not wait for Consul, and nothing is shown here");
    assert_eq!(controller.terminate(AT_ONCE), 130);
    fleet.consul.thaw();
}

#[test]
fn a_second_signal_ends_an_agent_at_once() {
    let fleet = Fleet::of(0);
    let node = fleet.node(7);
    let data = fleet.data_dir(7);
    let mut agent = fleet.helium.start("agent", &["agent", "--node", &node, "--data-dir", &data, "--stop-instances"]);
    let stubborn = "apiVersion: helium.dev/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  replicas: 1\n  minHealthyTime: 1s\n  \
                    template: {version: \"1\", exec: {command: [sh, -c, \"trap '' TERM; while :; do sleep 1; done\"]}}\n";
    fleet.apply(stubborn).ok();
    process::interrupt(agent.pid());
    agent.wait_to_say("stopping; a second signal ends it at once", AT_ONCE);
    assert!(agent.is_running(), "the instance lets itself be stopped, and nothing is shown here");
    let left = process::with_variable("HELIUM_NODE", &node);
    assert_eq!(agent.interrupt(AT_ONCE), 130);
    left.into_iter().for_each(process::kill);
}

/// Runs a command whose stdout nobody reads from the start: its exit code, and what it said on stderr.
#[track_caller]
fn without_reader(command: &mut Command) -> (i32, String) {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let mut child = command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    command.stdout(Stdio::null());
    let code = command::wait_for(&mut child, ROLLOUT).expect("it ends");
    let said = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
    (code, said)
}

#[test]
fn a_broken_pipe_is_silent_and_a_rollout_that_fails_without_a_reader_still_fails() {
    let fleet = Fleet::of(1);
    fleet.apply(&deployment("web", "1", 1, "")).ok();
    let list = without_reader(&mut fleet.helium.command(&["get", "deployments"]));
    assert_eq!(list, (0, String::new()), "a list that nobody reads");

    let broken =
        with_flags("web", "2", 1, "--fail-health", "").replace("progressDeadline: 30s", "progressDeadline: 5s");
    let file = fleet.helium.write("broken.yaml", &broken);
    let (code, said) = without_reader(&mut fleet.helium.command(&["apply", "-f", &file, "--wait"]));
    assert_eq!(code, 6, "{said}");
    let healthy = ["wait", "deployment/web", "--for", "condition=ManualCounts=false"];
    assert_eq!(without_reader(&mut fleet.helium.command(&healthy)), (0, String::new()));
}

#[test]
fn stdout_holds_the_document_alone_while_a_rollout_is_followed() {
    let fleet = Fleet::of(1);
    let file = fleet.helium.write("web.yaml", &deployment("web", "1", 1, ""));
    let output = fleet.helium.run_for(ROLLOUT, &["apply", "-f", &file, "--wait", "-o", "json"]).ok();
    let document: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(document["items"][0]["outcome"], "created");
    assert!(output.stderr.contains("rolled out 1: 1/1 healthy"), "{output}");
}
