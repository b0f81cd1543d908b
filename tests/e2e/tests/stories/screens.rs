//! What a person sees on a terminal: colours where they are wanted, and the tree of `helium dev`.

use std::{process::Command, time::Duration};

use helium_e2e::{Helium, Terminal};

use crate::{
    fleet::{Fleet, ROLLOUT},
    specs::deployment,
};

/// A command as somebody at a terminal with colours runs it.
fn at_terminal(helium: &Helium, arguments: &[&str]) -> Command {
    let mut command = helium.command(arguments);
    command.env_remove("NO_COLOR").env("TERM", "xterm-256color");
    command
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let fleet = Fleet::of(1);
    fleet.apply(&deployment("web", "1", 1, "")).ok();
    let list = |with: &dyn Fn(&mut Command)| {
        let mut command = at_terminal(&fleet.helium, &["get", "deployments"]);
        with(&mut command);
        let mut terminal = Terminal::start(&mut command, 24, 80);
        assert_eq!(terminal.wait(Duration::from_secs(30)), 0);
        assert!(terminal.screen().iter().any(|line| line.contains("Healthy")), "{:?}", terminal.screen());
        terminal.written()
    };
    let coloured = list(&|_| {});
    assert!(coloured.contains("\x1b[32mHealthy\x1b[0m"), "{coloured:?}");
    for (name, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let plain = list(&|command| _ = command.env(name, value));
        assert!(!plain.contains('\x1b'), "{name}={value}: {plain:?}");
    }
}

#[test]
fn log_lines_have_colours_only_where_they_are_wanted() {
    let nowhere = Helium::at("127.0.0.1:1");
    let logs = |with: &dyn Fn(&mut Command)| {
        let mut command = at_terminal(&nowhere, &["controller", "--http-addr", "127.0.0.1:0"]);
        with(&mut command);
        let mut terminal = Terminal::start(&mut command, 24, 200);
        terminal.wait_to_show("WARN", Duration::from_secs(20));
        terminal.interrupt(Duration::from_secs(40));
        terminal.written()
    };
    assert!(logs(&|_| {}).contains("\x1b["));
    for (name, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let plain = logs(&|command| _ = command.env(name, value));
        assert!(!plain.contains('\x1b'), "{name}={value}: {plain:?}");
    }
}

/// The block of the README that shows what `helium dev` prints, without the command itself.
fn first_terminal_of_the_readme() -> Vec<String> {
    let readme = std::fs::read_to_string(Helium::source().join("README.md")).unwrap();
    let block = readme.split("# terminal 1\n").nth(1).unwrap().split("```").next().unwrap();
    block.lines().map(str::to_owned).collect()
}

#[test]
fn dev_shows_on_a_terminal_what_the_readme_shows() {
    let person = Helium::nowhere();
    let file = Helium::example("hello/v1.yaml");
    let mut dev = Terminal::start(&mut at_terminal(&person, &["dev", "-f", &file]), 30, 130);
    dev.wait_to_show("deployment/hello  Healthy  3/3  1.0.0", ROLLOUT);
    // Another story may have the port that the README shows.
    let port = |line: &str| match line.split_once("127.0.0.1:") {
        Some((head, tail)) => format!("{head}127.0.0.1:8500{}", tail.trim_start_matches(|c: char| c.is_ascii_digit())),
        None => line.to_owned(),
    };
    let screen: Vec<String> =
        dev.screen().iter().filter(|line| !line.starts_with("Port 8500 is taken")).map(|line| port(line)).collect();
    assert_eq!(screen, first_terminal_of_the_readme());
    assert!(dev.written().contains("\x1b[32mHealthy\x1b[0m"), "{:?}", dev.written());

    // The logs are found by the folder that `dev` has, and without it.
    for arguments in [&["logs", "hello"] as &[&str], &["logs", "hello", "--data-dir", ".helium"]] {
        let logs = person.run(arguments).ok();
        assert_eq!(logs.stdout.matches("sample 1.0.0 serves on").count(), 3, "{logs}");
    }
    assert_eq!(dev.interrupt(Duration::from_mins(1)), 0);
}

#[test]
fn dev_keeps_its_tree_within_a_small_screen_and_draws_nothing_over_on_a_dumb_one() {
    let small = Helium::nowhere();
    let file =
        small.write("several.yaml", &["one", "two", "three"].map(|name| deployment(name, "1", 1, "")).join("---\n"));
    let mut dev = Terminal::start(&mut at_terminal(&small, &["dev", "-f", &file]), 5, 40);
    dev.wait_to_show("... 3 more lines; `helium get", ROLLOUT);
    dev.wait_to_show("deployment/one  Healthy  1/1  1", ROLLOUT);
    assert_eq!(dev.screen().len(), 4, "one line is the cursor's: {:#?}", dev.screen());
    assert_eq!(dev.interrupt(Duration::from_mins(1)), 0);

    let dumb = Helium::nowhere();
    let mut command = dumb.command(&["dev", "-f", &file]);
    let mut dev = Terminal::start(command.env("TERM", "dumb"), 24, 130);
    dev.wait_to_show("deployment/one  Healthy  1/1  1", ROLLOUT);
    assert_eq!(dev.interrupt(Duration::from_mins(1)), 0);
    assert!(!dev.written().contains('\x1b'), "{:?}", dev.written());
}
