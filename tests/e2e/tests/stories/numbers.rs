//! What a controller tells of itself, to machines and to those who read its log; and how many sockets it holds.

use std::time::Duration;

use helium_e2e::{Daemon, eventually, holds_for, process};
use serde_json::Value;

use crate::{
    fleet::{Fleet, ROLLOUT},
    specs::deployment,
};

/// What the pool of a controller may hold at most, of the 200 that Consul gives to an address.
const MOST_SOCKETS: usize = 90;

/// The value of a metric on a page of `/metrics`, by its name and labels as they are printed there.
fn metric(page: &str, name: &str) -> Option<f64> {
    let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    value.parse().ok()
}

fn page(fleet: &Fleet, index: usize) -> String {
    fleet.controllers[index].http.get("/metrics").unwrap().text()
}

#[test]
fn the_metrics_say_who_leads_what_is_there_and_what_was_done() {
    let mut fleet = Fleet::of(1);
    fleet.apply(&deployment("web", "1", 3, "")).ok();
    let exact = [
        ("helium_leader", 1.0),
        ("helium_instances", 3.0),
        ("helium_deployments{kind=\"Healthy\"}", 1.0),
        ("helium_deployments{kind=\"Progressing\"}", 0.0),
        ("helium_blind{kind=\"spec\"}", 0.0),
        ("helium_blind{kind=\"objects\"}", 0.0),
    ];
    eventually("the gauges say what is there", Duration::from_secs(10), || {
        let page = page(&fleet, 0);
        exact.iter().all(|(name, value)| metric(&page, name) == Some(*value)).then_some(())
    });
    let page_now = page(&fleet, 0);
    for counted in
        ["helium_reconciles_total", "helium_writes_total", "helium_written_keys_total", "helium_written_bytes_total"]
    {
        assert!(metric(&page_now, counted).is_some_and(|count| count > 0.0), "{counted}\n{page_now}");
    }
    let (all, seconds) = ("helium_reconcile_seconds_count", "helium_reconcile_seconds_sum");
    assert!(metric(&page_now, all) >= metric(&page_now, "helium_reconciles_total"), "{page_now}");
    assert!(metric(&page_now, seconds).is_some_and(|sum| sum > 0.0), "{page_now}");
    assert_eq!(metric(&page_now, "helium_plans_dropped_total"), Some(0.0), "{page_now}");

    fleet.start_controller();
    eventually("the second one is ready", ROLLOUT, || fleet.controllers[1].is_ready().then_some(()));
    fleet.apply(&deployment("web", "1", 4, "")).ok();
    let standby = page(&fleet, 1);
    assert_eq!((metric(&standby, "helium_leader"), metric(&standby, "helium_writes_total")), (Some(0.0), Some(0.0)));
    fleet.controllers[0].daemon.terminate(Duration::from_secs(10));
    eventually("it says that it leads", ROLLOUT, || {
        (metric(&page(&fleet, 1), "helium_leader") == Some(1.0)).then_some(())
    });
}

/// The lines of a daemon's log that are JSON, and those that are none.
fn log_lines(daemon: &Daemon) -> (Vec<Value>, Vec<String>) {
    let said = daemon.said();
    let (json, words): (Vec<&str>, Vec<&str>) = said.lines().partition(|line| line.starts_with('{'));
    let json = json.into_iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    (json, words.into_iter().map(str::to_owned).collect())
}

#[test]
fn log_lines_are_json_where_it_is_asked_for_and_each_reconcile_is_a_span_with_its_key() {
    let mut fleet = Fleet::empty(helium_e2e::Consul::start());
    let log = "warn,helium_runtime=debug,helium_engine=debug";
    fleet.helium.set_variable("HELIUM_LOG", log);
    fleet.start_controller_with(&["--log-format", "json"]);
    fleet.start_agent(1);
    fleet.await_ready();
    fleet.apply(&deployment("web", "1", 1, "")).ok();
    let (lines, words) = log_lines(&fleet.controllers[0].daemon);
    // What it says to people at its start is no log line.
    assert!(words.len() <= 1, "{words:?}");
    for field in ["timestamp", "level", "message", "target"] {
        assert!(lines.iter().all(|line| line[field].is_string()), "{field} is missing in one of {lines:#?}");
    }
    let committed = lines.iter().find(|line| line["message"] == "committed").unwrap_or_else(|| panic!("{lines:#?}"));
    assert_eq!((&committed["span"]["name"], &committed["span"]["key"]), (&"reconcile".into(), &"web".into()));
    let level = |name: &str| lines.iter().any(|line| line["level"] == name);
    assert!(level("DEBUG") && !level("TRACE"));
}

#[test]
fn log_lines_are_text_of_the_levels_that_helium_log_names() {
    let mut fleet = Fleet::empty(helium_e2e::Consul::start());
    fleet.helium.set_variable("HELIUM_LOG", "error");
    fleet.start_controller();
    fleet.await_ready();
    fleet.helium.set_variable("HELIUM_LOG", "helium_runtime=debug");
    fleet.start_controller();
    eventually("the second one is ready", ROLLOUT, || fleet.controllers[1].is_ready().then_some(()));
    let said = |index: usize| fleet.controllers[index].daemon.said();
    // A controller without an agent warns, and one that starts tells so.
    assert!(!said(0).contains("WARN") && !said(0).contains("INFO"), "{}", said(0));
    let registers = said(1).lines().any(|line| line.contains(" INFO ") && line.contains("registering this controller"));
    assert!(registers && !said(1).lines().any(|line| line.starts_with('{')), "{}", said(1));
    let mut wrong = fleet.helium.command(&["controller"]);
    let output = helium_e2e::command::run(wrong.env("HELIUM_LOG", "=,="), "", Duration::from_secs(10));
    output.expect_code(2).expect("HELIUM_LOG");
}

#[test]
fn a_controller_with_more_services_in_motion_than_it_may_poll_holds_at_most_ninety_sockets() {
    const SERVICES: usize = 48;
    let fleet = Fleet::of(1);
    // Healthy, and in motion for as long as the test looks.
    let slow = |number: usize| {
        deployment(&format!("web-{number}"), "1", 1, "")
            .replace("minHealthyTime: 1s", "minHealthyTime: 10m")
            .replace("progressDeadline: 30s", "progressDeadline: 1h")
    };
    let all: Vec<String> = (0..SERVICES).map(slow).collect();
    fleet.apply_only(&all.join("---\n"));
    let held = || process::sockets_to(fleet.controllers[0].daemon.pid(), fleet.consul.port());
    let polled = || metric(&page(&fleet, 0), "helium_health_polls").unwrap_or(0.0);
    let mut most = 0;
    eventually("every service runs and the long polls are all taken", ROLLOUT, || {
        most = most.max(held());
        assert!(most <= MOST_SOCKETS, "{most} sockets");
        (fleet.instances().len() == SERVICES && polled() >= 30.0).then_some(())
    });
    holds_for("the sockets stay few", Duration::from_secs(20), || {
        most = most.max(held());
        if most <= MOST_SOCKETS { Ok(()) } else { Err(format!("{most} sockets")) }
    });
    assert!(most > 60, "so few as {most} cannot be all that 16 + 16 + 30 long polls take: is this the right process?");
}
