//! Which changes start an instance anew, which reach it while it runs, and which are none; and what hooks leave behind.

use std::{fs, path::Path, time::Duration};

use helium_e2e::{eventually, holds_for};

use crate::{
    fleet::{Fleet, ROLLOUT},
    packages::{Package, deployment, front, page_of, pages},
};

/// As long as a restart that nobody wants would take to be seen.
const AWHILE: Duration = Duration::from_secs(4);

#[track_caller]
fn nothing_is_started(fleet: &Fleet, what: &str) {
    let before = fleet.pids();
    holds_for(&format!("{what} starts nothing"), AWHILE, || match fleet.pids() {
        after if after == before => Ok(()),
        after => Err(format!("{before:?}, then {after:?}")),
    });
}

#[test]
fn live_values_the_strategy_and_the_same_file_again_start_nothing_and_a_new_version_or_definition_does() {
    let fleet = Fleet::of(2);
    let key = "/v1/kv/helium/v1/config/default/front/motto";
    fleet.consul.http().put(key, "one");
    let live = "configUpdate: live\n    templates: {reload: HUP}";
    let yaml = front(&fleet, "{{ motto }}", live).replace("replicas: 1", "replicas: 2");
    fleet.apply(&yaml).ok();
    let first = fleet.pids();
    assert_eq!(first.len(), 2);
    fleet.apply(&yaml).ok();
    nothing_is_started(&fleet, "the same file");
    let eager = yaml.replace("  progressDeadline", "  strategy: {rolling: {maxSurge: 2}}\n  progressDeadline");
    fleet.apply(&eager).ok();
    nothing_is_started(&fleet, "another strategy");
    // New values are on every node, under the old process.
    fleet.consul.http().put(key, "two");
    eventually("all have the second", ROLLOUT, || {
        let told = fs_pages(&fleet);
        (told.len() == 2 && told.iter().all(|page| page == "two")).then_some(())
    });
    assert_eq!(page_of(&fleet, "front").as_deref(), Some("two"));
    assert_eq!(fleet.pids(), first);
    // What is not read while a program runs is the definition's: another instance takes its place.
    fleet.apply(&eager.replace("configUpdate: live", "env: {A: b}\n    configUpdate: live")).ok();
    let second = fleet.pids();
    assert!(second.len() == 2 && second.keys().all(|id| !first.contains_key(id)), "{first:?}, then {second:?}");
}

/// What the files of all instances hold.
fn fs_pages(fleet: &Fleet) -> Vec<String> {
    let page = |instance: crate::fleet::Instance| {
        let number = (1..=2).find(|number| fleet.node(*number) == instance.node)?;
        let view = Path::new(&fleet.data_dir(number)).join("instances").join(instance.id);
        fs::read_to_string(view.join("package/conf/page")).ok()
    };
    fleet.instances().into_iter().filter_map(page).collect()
}

#[test]
fn a_hook_alone_that_is_new_comes_with_a_version_and_one_that_was_written_over_in_place_starts_nothing() {
    let fleet = Fleet::of(1);
    let told = fleet.helium.folder().join("told");
    let release = |version: &str| {
        let package = Package::new(&fleet, &format!("hello-{version}"));
        package.hook("pre-start", &format!("echo {version} >> {}", told.display()));
        package
    };
    let lines = || fs::read_to_string(&told).unwrap_or_default();
    let of = format!("{{url: \"file://{}/hello-${{VERSION}}\"}}", fleet.helium.folder().display());
    release("1").hook("health", "exit 0");
    fleet.apply(&deployment("1", 1, &of, "")).ok();
    assert_eq!(lines(), "1\n");
    // A version is one thing for good: nobody looks at its address again.
    release("1").hook("pre-start", &format!("echo another >> {}", told.display()));
    fleet.apply(&deployment("1", 1, &of, "")).ok();
    nothing_is_started(&fleet, "a package that was written over");
    release("2");
    let first = fleet.pids();
    fleet.apply(&deployment("2", 1, &of, "")).ok();
    assert_eq!(pages(&fleet), ["hello from 2-grey-1"]);
    assert!(fleet.pids().keys().all(|id| !first.contains_key(id)));
    assert_eq!(lines(), "1\n2\n");
}

#[test]
fn each_hook_has_a_log_of_its_own_with_what_it_said() {
    let fleet = Fleet::of(1);
    let package = Package::new(&fleet, "hello");
    let hooks = ["install", "init", "pre-start", "post-start", "drain", "pre-stop", "post-stop"];
    for hook in hooks {
        package.hook(hook, &format!("echo {hook} speaks; echo {hook} warns >&2"));
    }
    fleet.apply(&deployment("1", 1, &format!("{{url: \"{}\"}}", package.url()), "")).ok();
    let id = fleet.instances().remove(0).id;
    let folder = Path::new(&fleet.data_dir(1)).join("instances").join(id);
    fleet.apply(&deployment("1", 0, &format!("{{url: \"{}\"}}", package.url()), "")).ok();
    let said = |hook: &str| fs::read_to_string(folder.join(format!("hook-{hook}.log"))).unwrap_or_default();
    eventually("the last hook has run", ROLLOUT, || said("post-stop").contains("warns").then_some(()));
    for hook in hooks {
        let said = said(hook);
        let mut lines: Vec<&str> = said.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, [format!("{hook} speaks"), format!("{hook} warns")], "{hook}");
    }
}

#[test]
fn files_that_a_killed_agent_has_left_half_done_are_whole_before_the_hooks_of_a_stop_read_them() {
    let mut fleet = Fleet::of(1);
    let package = Package::new(&fleet, "hello");
    let told = fleet.helium.folder().join("told");
    package.file("conf/a.tera", "{{ colour }}");
    package.file("conf/b.tera", "{{ colour }}");
    package.hook("pre-stop", &format!("cat $HELIUM_PACKAGE/conf/a $HELIUM_PACKAGE/conf/b > {}", told.display()));
    fleet.apply(&deployment("1", 1, &format!("{{url: \"{}\"}}", package.url()), "")).ok();
    let id = fleet.instances().remove(0).id;
    fleet.agent(1).kill();

    // As it would have died between the first and the second file of a set that is decided upon.
    let folder = Path::new(&fleet.data_dir(1)).canonicalize().unwrap().join("instances").join(&id);
    let conf = folder.join("package/conf");
    fs::write(conf.join("a"), "blue").unwrap();
    fs::write(conf.join(".b.helium-new"), "blue").unwrap();
    let entry = |name: &str| {
        serde_json::json!({
            "target": conf.join(name), "staged": conf.join(format!(".{name}.helium-new")),
            "kept": null, "backup": null, "removed": false,
        })
    };
    let journal = serde_json::json!({"phase": "renaming", "entries": [entry("a"), entry("b")]});
    fs::write(folder.join("state").join("templates.journal"), journal.to_string()).unwrap();

    fleet.apply_only(&deployment("1", 0, &format!("{{url: \"{}\"}}", package.url()), ""));
    eventually("it is to stop", ROLLOUT, || {
        let keys = fleet.consul.keys("helium/v1/assign/");
        let key = keys.iter().find(|key| key.ends_with(&id))?;
        (fleet.consul.value(key)["desired"] == "stop").then_some(())
    });
    // And as if the next one had died, too, once it had noted that.
    let record = folder.join("record.json");
    let mut noted: serde_json::Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    noted["assignment"]["desired"] = "stop".into();
    fs::write(&record, noted.to_string()).unwrap();
    fleet.start_agent(1);
    eventually("its hook ran", ROLLOUT, || fs::read_to_string(&told).ok().filter(|told| !told.is_empty()));
    assert_eq!(fs::read_to_string(&told).unwrap(), "blueblue");
}

#[test]
fn a_hook_that_always_fails_is_tried_ever_more_seldom_and_every_wait_is_within_its_bounds() {
    let fleet = Fleet::of(1);
    let package = Package::new(&fleet, "hello");
    let told = fleet.helium.folder().join("told");
    package.hook("pre-start", &format!("date +%s%3N >> {}; echo no luck >&2; exit 1", told.display()));
    fleet.apply_only(&deployment("1", 1, &format!("{{url: \"{}\"}}", package.url()), ""));
    let at = || -> Vec<u64> {
        fs::read_to_string(&told).unwrap_or_default().lines().filter_map(|line| line.parse().ok()).collect()
    };
    let at = eventually("it was tried six times", ROLLOUT, || Some(at()).filter(|at| at.len() >= 6));
    // 500 ms, then twice as long each time; of that the half to the whole, and some time for the work itself.
    for (gap, ceiling) in at.windows(2).map(|pair| pair[1] - pair[0]).zip([500, 1000, 2000, 4000, 8000]) {
        assert!((ceiling / 2..=ceiling + 3000).contains(&gap), "{gap} ms where {ceiling} is the longest: {at:?}");
    }
    let told = fleet.helium.run(&["describe", "deployment", "hello"]).ok();
    assert!(told.says("the hook pre-start failed with exit status 1: no luck"), "{told}");
}

#[test]
fn what_a_check_prints_is_in_consul_whenever_its_result_turns() {
    let fleet = Fleet::of(1);
    let package = Package::new(&fleet, "hello");
    let mood = fleet.helium.write("mood", "0 fine");
    package.file(
        "helium/checks/mood.json.tera",
        r#"{"check": {"name": "mood", "args": ["helium/checks/look", "{{ mood }}"], "interval": "1s"}}"#,
    );
    let look = package.file("helium/checks/look", "#!/bin/sh\nread code words < \"$1\"; echo \"$words\"; exit $code\n");
    fs::set_permissions(look, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let env = format!("env: {{mood: \"{mood}\"}}");
    fleet.apply(&deployment("1", 1, &format!("{{url: \"{}\"}}", package.url()), &env)).ok();
    let id = fleet.instances().remove(0).id;
    for (line, status, words) in
        [("1 worn", "warning", "worn"), ("2 ill", "critical", "ill"), ("0 fine again", "passing", "fine again")]
    {
        fs::write(&mood, line).unwrap();
        eventually(&format!("it is {status}"), ROLLOUT, || {
            let checks = fleet.consul.http().json("/v1/health/checks/hello");
            let check =
                checks.as_array()?.iter().find(|check| check["CheckID"] == format!("helium-{id}:mood"))?.clone();
            let output = check["Output"].as_str()?;
            (check["Status"] == status && output.contains(words)).then_some(())
        });
    }
}
