//! Keys of a real Consul as the variables of a program.

use std::{collections::BTreeMap, fs, time::Duration};

use helium_e2e::{Consul, Daemon, Helium, Options, eventually, holds_for};

const SOON: Duration = Duration::from_secs(20);
/// Writes its variables, with zeros between them, under the number of its start.
const SCRIPT: &str =
    "trap 'exit 5' TERM; n=$(ls log.* 2>/dev/null | wc -l); env -0 > new; mv new log.$n; while :; do sleep 0.05; done";

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

    fn start(&self, options: &[&str]) -> Daemon {
        let all = [&["env", "--prefix", "config/app", "--upcase", "--sanitize"], options, &["--", "sh", "-c", SCRIPT]];
        self.helium.start("env", &all.concat())
    }

    /// The variables of the start of this number.
    fn variables(&self, start: usize) -> BTreeMap<String, String> {
        let file = self.helium.folder().join(format!("log.{start}"));
        let text = eventually(&format!("start {start}"), SOON, || fs::read_to_string(&file).ok());
        let pairs = text.split_terminator('\0').filter_map(|pair| pair.split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn starts(&self) -> usize {
        (0..100).take_while(|start| self.helium.folder().join(format!("log.{start}")).exists()).count()
    }
}

#[test]
fn values_are_whole_a_change_restarts_the_program_and_its_exit_code_is_passed_on() {
    let desk = Desk::on(Consul::start());
    desk.put("config/app/db/url", "host=a port=b\nsecond=line");
    let mut daemon = desk.start(&["--pristine"]);
    let first = desk.variables(0);
    assert_eq!(first["DB_URL"], "host=a port=b\nsecond=line");
    assert!(!first.contains_key("HOME") && !first.contains_key("CONSUL_HTTP_ADDR"));
    desk.put("config/app/port", "80");
    assert_eq!(desk.variables(1)["PORT"], "80");
    assert_eq!(daemon.terminate(SOON), 5);
}

#[test]
fn a_wiped_prefix_restarts_no_program_with_nothing() {
    let desk = Desk::on(Consul::start());
    desk.put("config/app/a", "1");
    let mut daemon = desk.start(&["--patience", "4s"]);
    desk.variables(0);
    desk.consul.http().delete("/v1/kv/config/app?recurse");
    daemon.wait_to_say("is not believed yet", SOON);
    holds_for("it is the same program", Duration::from_secs(2), || {
        if desk.starts() == 1 { Ok(()) } else { Err("it was restarted".to_owned()) }
    });
    assert!(!desk.variables(1).contains_key("A"), "after its patience it is believed");
}

#[test]
fn a_consul_that_goes_and_comes_ends_nothing_and_later_changes_are_seen() {
    let mut desk = Desk::on(Consul::with(Options { durable: true, ..Options::default() }));
    desk.put("config/app/a", "1");
    let mut daemon = desk.start(&[]);
    desk.variables(0);
    desk.consul.kill();
    daemon.wait_to_say("what was known stands", SOON);
    desk.consul.start_again();
    daemon.wait_to_say("Consul answers again", Duration::from_mins(1));
    assert_eq!(desk.starts(), 1, "nothing has changed");
    desk.put("config/app/a", "2");
    assert_eq!(desk.variables(1)["A"], "2");
}

#[test]
fn once_becomes_the_program_and_says_what_it_waited_for_in_vain() {
    let mut desk = Desk::on(Consul::start());
    desk.put("config/app/code", "9");
    let once = ["env", "--prefix", "config/app", "--upcase", "--once"];
    let ended = desk.helium.run(&[&once[..], &["--", "sh", "-c", "echo code $CODE; exit $CODE"]].concat());
    let _ = ended.expect_code(9).expect("code 9");
    desk.helium.run(&[&once[..], &["--", "no-such-program"]].concat()).expect_code(127);
    desk.consul.kill();
    let vain = desk.helium.run(&[&once[..], &["--timeout", "1s", "--", "true"]].concat());
    let _ = vain.expect_code(5).expect("config/app: ");
}
