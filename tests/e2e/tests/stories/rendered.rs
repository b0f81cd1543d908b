//! Templates into files, against a real Consul: what is read, what is written, what is run, and what is left alone.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use helium_e2e::{
    Consul, Daemon, Helium, Options, eventually, holds_for, process,
    wait::{now, pause},
};

/// How long a change may take to show.
const SOON: Duration = Duration::from_secs(20);

/// Somebody with a Consul and a folder.
struct Desk {
    consul: Consul,
    helium: Helium,
}

impl Desk {
    fn on(consul: Consul) -> Self {
        let helium = Helium::on(&consul);
        Self { consul, helium }
    }

    fn put(&self, key: &str, value: &str) {
        self.consul.http().put(&format!("/v1/kv/{key}"), value);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.helium.folder().join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn shows(&self, name: &str, text: &str) {
        eventually(&format!("{name} is {text:?}"), SOON, || (self.text(name) == text).then_some(()));
    }

    fn start(&self, arguments: &[&str]) -> Daemon {
        self.helium.start("render", &[&["render"], arguments].concat())
    }
}

fn hang_up(daemon: &Daemon) {
    assert!(Command::new("kill").args(["-HUP", &daemon.pid().to_string()]).status().unwrap().success());
}

#[test]
fn a_thousand_keys_cost_at_most_ten_connections_and_other_clients_notice_nothing() {
    let desk = Desk::on(Consul::start());
    for at in 0..1000 {
        desk.put(&format!("bench/keys/{at}"), "0");
    }
    let lines: Vec<String> = (0..1000).map(|at| format!("{{{{ key(path=\"bench/keys/{at}\") }}}}\n")).collect();
    desk.helium.write("a.tera", &lines.concat());
    let mut daemon = desk.start(&["-t", "a.tera:a", "--wait", "0ms"]);
    eventually("the file is there", SOON, || (desk.text("a").lines().count() == 1000).then_some(()));
    for at in 0..20 {
        desk.put("bench/keys/500", &at.to_string());
        eventually("the value is there", SOON, || (desk.text("a").lines().nth(500)? == at.to_string()).then_some(()));
        let sockets = process::sockets_to(daemon.pid(), desk.consul.port());
        assert!(sockets <= 10, "{sockets} connections");
    }
    desk.helium.write("b.tera", "{{ key(path=\"bench/keys/7\") }}");
    desk.helium.run_for(Duration::from_secs(5), &["render", "-t", "b.tera:b", "--once"]).ok();
    assert_eq!(daemon.terminate(SOON), 0);
}

#[test]
fn a_burst_of_two_hundred_writes_is_one_render_for_each_longest_wait_and_one_more_at_most() {
    let desk = Desk::on(Consul::start());
    desk.put("app/a", "start");
    desk.helium.write("a.tera", "{{ key(path=\"app/a\") }}");
    let daemon = desk.start(&["-t", "a.tera:a", "--wait", "100ms:400ms", "--reload", "echo ran >> ran"]);
    desk.shows("ran", "ran\n");
    let begun = now();
    for at in 0..200 {
        desk.put("app/a", &at.to_string());
    }
    let waits = now().duration_since(begun).as_millis().div_ceil(400);
    desk.shows("a", "199");
    pause(Duration::from_millis(500));
    let renders = desk.text("ran").lines().count() - 1;
    assert!(
        renders >= 1 && renders as u128 <= waits + 1,
        "{renders} renders of 200 writes within {waits} longest waits"
    );
    drop(daemon);
}

#[test]
fn a_key_that_goes_leaves_the_file_and_one_that_comes_back_is_rendered_and_the_same_bytes_run_nothing() {
    let desk = Desk::on(Consul::start());
    desk.put("app/web/a", "1");
    desk.put("app/web/b", "1");
    desk.helium.write("a.tera", "{{ key(path=\"app/web/a\") }}{{ key(path=\"app/web/b\") }}");
    let mut daemon = desk.start(&["-t", "a.tera:a:echo ran >> ran", "--reload", "echo all >> ran"]);
    desk.shows("ran", "ran\nall\n");
    desk.consul.http().delete("/v1/kv/app/web/a");
    daemon.wait_to_say("the key app/web/a", SOON);
    desk.put("app/web/a", "1");
    desk.put("app/web/c", "of nobody");
    daemon.wait_to_say("what was wrong is over", SOON);
    assert_eq!((desk.text("a"), desk.text("ran")), ("11".to_owned(), "ran\nall\n".to_owned()));
    desk.put("app/web/a", "2");
    desk.shows("a", "21");
    desk.shows("ran", "ran\nall\nran\nall\n");
}

#[test]
fn a_prefix_that_is_wiped_changes_nothing_until_it_has_stayed_so() {
    let desk = Desk::on(Consul::start());
    desk.put("app/a", "1");
    desk.helium.write("a.tera", "{% for k, v in keys(prefix=\"app\") %}{{ k }}={{ v }}{% endfor %}.");
    let mut daemon = desk.start(&["-t", "a.tera:a", "--patience", "4s"]);
    desk.shows("a", "a=1.");
    desk.consul.http().delete("/v1/kv/app?recurse");
    daemon.wait_to_say("it held something and is empty now", SOON);
    holds_for("the old file stands", Duration::from_secs(2), || {
        if desk.text("a") == "a=1." { Ok(()) } else { Err(desk.text("a")) }
    });
    desk.shows("a", ".");
}

#[test]
fn while_consul_is_away_the_file_stands_nothing_ends_and_a_later_change_is_seen() {
    let mut desk = Desk::on(Consul::with(Options { durable: true, ..Options::default() }));
    desk.put("app/a", "1");
    desk.helium.write("a.tera", "{{ key(path=\"app/a\") }}");
    let mut daemon = desk.start(&["-t", "a.tera:a", "--reload", "echo ran >> ran"]);
    desk.shows("ran", "ran\n");
    desk.consul.kill();
    daemon.wait_to_say("what was known stands", SOON);
    holds_for("it runs", Duration::from_secs(3), || if daemon.is_running() { Ok(()) } else { Err("it ended".into()) });
    desk.consul.start_again();
    daemon.wait_to_say("Consul answers again", Duration::from_mins(1));
    assert_eq!(desk.text("ran"), "ran\n");
    desk.put("app/a", "2");
    desk.shows("a", "2");
    desk.consul.kill();
    assert_eq!(daemon.terminate(SOON), 0, "SIGTERM ends it whatever Consul does");
}

#[test]
fn a_check_that_refuses_and_a_template_that_is_wrong_keep_the_old_file_and_sighup_reads_again() {
    let desk = Desk::on(Consul::start());
    desk.put("app/a", "good");
    desk.helium.write("a.tera", "{{ key(path=\"app/a\") }} 1");
    let mut daemon = desk.start(&["-t", "a.tera:a", "--check", "grep good {}"]);
    desk.shows("a", "good 1");
    desk.put("app/a", "bad");
    daemon.wait_to_say("the check refused the new files, the old ones stand", SOON);
    assert_eq!(desk.text("a"), "good 1");
    desk.helium.write("a.tera", "{% if %}");
    hang_up(&daemon);
    daemon.wait_to_say("a.tera:1:", SOON);
    desk.helium.write("a.tera", "good {{ key(path=\"app/a\") }} 2");
    hang_up(&daemon);
    desk.shows("a", "good bad 2");
}

#[test]
fn once_and_dry_say_all_that_is_lacking_by_their_exit_codes_and_show_no_secret() {
    let mut desk = Desk::on(Consul::start());
    desk.put("app/a", "1");
    desk.put("secret/pass", "hunter2");
    desk.helium.write("a.tera", "a = {{ key(path=\"app/a\") }}\npass = {{ key(path=\"secret/pass\") }}\n");
    let template = ["-t", "a.tera:a", "--secret", "secret/"];
    let dry = desk.helium.run(&[&["render", "--dry"], &template[..]].concat()).expect_code(1).expect("+a = 1");
    assert!(!dry.says("hunter2") && !desk.path("a").exists());
    desk.helium.run(&[&["render", "--once"], &template[..]].concat()).ok().expect("/a\n");
    assert_eq!(desk.text("a"), "a = 1\npass = hunter2\n");
    desk.helium.run(&[&["render", "--dry"], &template[..]].concat()).ok();
    desk.helium.write("b.tera", "{{ key(path=\"no/one\") }}{{ key(path=\"no/two\") }}{{ three }}");
    let missing = desk.helium.run(&["render", "-t", "b.tera:b", "--once"]).expect_code(4);
    let _ = missing.expect("3 values are missing").expect("no/one").expect("no/two").expect("three");
    desk.consul.kill();
    let lacking = desk.helium.run(&["render", "-t", "b.tera:b", "--once", "--timeout", "1s"]).expect_code(5);
    let _ = lacking.expect("2 questions are not answered within 1s").expect("no/one").expect("no/two");
}

#[test]
fn a_program_is_run_beside_told_of_changes_and_ended_with_its_own_code() {
    let desk = Desk::on(Consul::start());
    desk.put("app/a", "1");
    desk.helium.write("a.tera", "{{ key(path=\"app/a\") }}");
    let script = "trap 'echo told $(cat a) >> log' USR2; trap 'exit 7' TERM; echo start $(cat a) >> log; while :; do sleep 0.05; done";
    let mut daemon = desk.start(&["-t", "a.tera:a", "--reload-signal", "USR2", "--", "sh", "-c", script]);
    desk.shows("log", "start 1\n");
    desk.put("app/a", "2");
    desk.shows("log", "start 1\ntold 2\n");
    assert_eq!(daemon.terminate(SOON), 7);
    let mut ends = desk.start(&["-t", "a.tera:a", "--", "sh", "-c", "exit 3"]);
    assert_eq!(ends.wait(SOON), 3);
    let mut none = desk.start(&["-t", "a.tera:a", "--", "no-such-program"]);
    assert_eq!(none.wait(SOON), 127);
}

#[test]
fn a_file_says_what_is_wanted_and_is_read_again_too() {
    let desk = Desk::on(Consul::start());
    desk.put("app/a", "1");
    desk.helium.write("a.tera", "{{ key(path=\"app/a\") }} {{ port }}");
    let config = |port: u16| {
        let text = format!(
            "templates: [{{in: a.tera, out: a, mode: \"0600\", command: 'echo ran >> ran'}}]\nvalues: {{port: {port}}}\n"
        );
        desk.helium.write("render.yaml", &text);
    };
    config(80);
    let daemon = desk.start(&["--config", "render.yaml"]);
    desk.shows("a", "1 80");
    let mode = fs::metadata(desk.path("a")).unwrap().permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600);
    config(81);
    hang_up(&daemon);
    desk.shows("a", "1 81");
    desk.shows("ran", "ran\nran\n");
}
