//! The README's story: a first version, a canary that is promoted, a broken one that is rolled back; on both stores.

use std::{
    net::TcpStream,
    path::{Path, PathBuf},
    time::Duration,
};

use helium_e2e::{Availability, Consul, Daemon, Helium, Http, Options, Output, eventually, process};
use serde_json::Value;

use crate::fleet::{Fleet, Instance, ROLLOUT, instances_of};

/// Applies one of the README's files as a person in `helium`'s folder.
#[track_caller]
fn apply(helium: &Helium, file: &str) -> Output {
    helium.run_for(ROLLOUT, &["apply", "-f", &Helium::example(file), "--wait"])
}

/// What terminal 2 of the README sees; `running` are the instances that run now.
#[track_caller]
fn story(helium: &Helium, consul: &Http, running: &dyn Fn() -> Vec<Instance>) {
    let count = |version: &str| running().iter().filter(|instance| instance.version == version).count();
    assert_eq!(count("1.0.0"), 3);

    let watch = Availability::of(consul.clone(), "hello");
    let second = apply(helium, "hello/v2.yaml").ok();
    assert_eq!(second.stdout, in_readme("hello/v2.yaml"));
    assert_eq!((count("1.0.0"), count("2.0.0")), (0, 3));

    let third = apply(helium, "hello/v3-broken.yaml").expect_code(6);
    assert_eq!(third.stdout, in_readme("hello/v3-broken.yaml"));
    assert_eq!((count("2.0.0"), count("3.0.0")), (3, 0));
    let seen = watch.seen();
    assert!(seen.fewest_passing >= 3, "{seen:?}");
    // At most the three of the count, one more of the surge, and one that Consul still lists while it stops.
    assert!(seen.most_registered <= 5, "{seen:?}");

    let why = helium.run(&["explain", "deployment/hello"]).ok();
    assert_eq!(why.stdout, in_readme("helium explain deployment/hello"));
}

/// What the README shows below the command of terminal 2 that holds these words.
fn in_readme(words: &str) -> String {
    let readme = std::fs::read_to_string(Helium::source().join("README.md")).unwrap();
    let commands = readme.lines().skip_while(|line| !(line.starts_with("$ helium") && line.contains(words)));
    let answer = commands.skip(1).take_while(|line| !line.starts_with("$ ") && !line.starts_with("```"));
    let answer: String = answer.map(|line| line.to_owned() + "\n").collect();
    assert!(!answer.is_empty(), "the README shows nothing below {words:?}");
    answer
}

#[test]
fn the_readme_s_story_holds_on_a_real_consul_with_two_controllers() {
    let mut fleet = Fleet::of(2);
    fleet.start_controller();
    apply(&fleet.helium, "hello/v1.yaml").ok();
    story(&fleet.helium, &fleet.consul.http(), &|| fleet.instances());
}

#[test]
fn the_same_yaml_works_where_consul_s_address_is_not_that_of_the_loopback() {
    let address = std::net::Ipv4Addr::new(127, 0, 0, 2);
    let consul = Consul::with(Options { address: Some(address), ..Options::default() });
    let fleet = Fleet::on(consul, 1);
    apply(&fleet.helium, "hello/v1.yaml").ok();
    let health = fleet.consul.http().json("/v1/health/service/hello?passing");
    let services: Vec<&Value> = health.as_array().unwrap().iter().map(|entry| &entry["Service"]).collect();
    assert_eq!(services.len(), 3);
    for service in services {
        assert_eq!(service["Address"], "127.0.0.2");
        let port = service["Port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap();
        TcpStream::connect((address, port)).unwrap();
        TcpStream::connect(("127.0.0.1", port)).expect_err("it listens where it is registered and nowhere else");
    }
}

/// A running `helium dev` in a person's folder.
struct Dev {
    daemon: Daemon,
    helium: Helium,
    port: u16,
    folder: PathBuf,
}

impl Drop for Dev {
    /// A story that failed leaves nothing running.
    fn drop(&mut self) {
        self.daemon.kill();
        if std::thread::panicking() {
            for instance in instances_in(&self.folder) {
                process::kill(instance.pid);
            }
        }
    }
}

/// The instances of the `helium dev` of a folder: their logs are in it.
fn instances_in(folder: &Path) -> Vec<Instance> {
    let logged_here = |instance: &Instance| {
        std::fs::read_link(format!("/proc/{}/fd/1", instance.pid)).is_ok_and(|log| log.starts_with(folder))
    };
    let mut instances: Vec<Instance> = instances_of("local").into_iter().filter(logged_here).collect();
    instances.sort();
    instances
}

impl Dev {
    /// Starts it as the README does, with further flags, and waits for its first words.
    #[track_caller]
    fn start(person: &Helium, flags: &[&str]) -> Self {
        let file = Helium::example("hello/v1.yaml");
        let arguments = [&["dev", "-f", &file], flags].concat();
        // Each start has a log of its own: the words of an earlier one are not taken for its.
        let name = format!("dev-{}", std::fs::read_dir(person.folder()).unwrap().count());
        let mut daemon = person.start(&name, &arguments);
        daemon.wait_to_say("Consul API on http://127.0.0.1:", Duration::from_secs(20));
        let said = daemon.said();
        let digits = said.split("http://127.0.0.1:").nth(1).unwrap().chars().take_while(char::is_ascii_digit);
        let port = digits.collect::<String>().parse().unwrap();
        Self { daemon, helium: Helium::at(&format!("127.0.0.1:{port}")), port, folder: person.folder().to_owned() }
    }
}

#[test]
fn the_readme_s_story_holds_on_helium_dev() {
    let person = Helium::nowhere();
    let mut dev = Dev::start(&person, &[]);
    dev.daemon.wait_to_say("deployment/hello  Healthy  3/3  1.0.0", ROLLOUT);
    story(&dev.helium, &Http::on(dev.port), &|| instances_in(person.folder()));
    assert_eq!(dev.daemon.interrupt(Duration::from_mins(1)), 0);
    assert_eq!(instances_in(person.folder()), [], "Ctrl-C stops everything");
}

#[test]
fn a_plan_on_helium_dev_says_the_same_each_time_and_changes_nothing() {
    let person = Helium::nowhere();
    let mut dev = Dev::start(&person, &[]);
    dev.daemon.wait_to_say("deployment/hello  Healthy  3/3  1.0.0", ROLLOUT);
    let running = instances_in(person.folder());
    let plan = || dev.helium.run(&["plan", "-f", &Helium::example("hello/v2.yaml")]).expect_code(1).stdout;
    let first = plan();
    assert!(first.contains("promoted 2.0.0: 3/3 healthy"), "{first}");
    assert_eq!(first, plan());
    assert_eq!(instances_in(person.folder()), running);
    dev.daemon.interrupt(Duration::from_mins(1));
}

#[test]
fn dev_keeps_its_state_and_adopts_what_a_crash_left_running() {
    let person = Helium::nowhere();
    let mut dev = Dev::start(&person, &[]);
    dev.daemon.wait_to_say("Healthy  3/3", ROLLOUT);
    let before = instances_in(person.folder());
    dev.daemon.kill();
    assert_eq!(instances_in(person.folder()), before, "after kill -9 the instances go on");

    let mut again = Dev::start(&person, &[]);
    again.daemon.wait_to_say("Healthy  3/3", ROLLOUT);
    assert_eq!(instances_in(person.folder()), before, "the next start adopts them");
    again.daemon.interrupt(Duration::from_mins(1));
    assert_eq!(instances_in(person.folder()), []);

    let ids = |instances: &[Instance]| instances.iter().map(|instance| instance.id.clone()).collect::<Vec<_>>();
    let running = || Some(instances_in(person.folder())).filter(|instances| instances.len() == 3);
    let mut kept = Dev::start(&person, &[]);
    let after = eventually("three run again", ROLLOUT, running);
    assert_eq!(ids(&after), ids(&before), "the state is kept over Ctrl-C");
    kept.daemon.interrupt(Duration::from_mins(1));

    let mut fresh = Dev::start(&person, &["--fresh"]);
    let others = eventually("three run again", ROLLOUT, running);
    assert_ne!(ids(&others), ids(&before), "--fresh forgets it");
    fresh.daemon.interrupt(Duration::from_mins(1));
}

#[test]
fn a_second_dev_takes_another_port_and_says_which() {
    let (one, two) = (Helium::nowhere(), Helium::nowhere());
    let first = Dev::start(&one, &[]);
    let second = Dev::start(&two, &[]);
    assert_ne!(first.port, second.port);
    let export = format!("export CONSUL_HTTP_ADDR=http://127.0.0.1:{}", second.port);
    assert!(second.daemon.said().contains(&export), "{}", second.daemon.said());
    for (mut dev, person) in [(first, &one), (second, &two)] {
        dev.daemon.interrupt(Duration::from_mins(1));
        eventually("nothing is left", Duration::from_secs(5), || {
            instances_in(person.folder()).is_empty().then_some(())
        });
        assert!(!process::is_alive(dev.daemon.pid()));
    }
}
