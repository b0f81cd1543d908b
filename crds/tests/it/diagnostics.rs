//! What people see when something is wrong: one golden file a case.

use helium_crds::{AnyObject, Code, Report, Source, diagnose::check, parse, parse_all, parse_all_in};

/// A sound Deployment, of which cases replace a part.
const SOUND: &str = r#"apiVersion: helium.dev/v1
kind: Deployment
metadata:
  name: hello
spec:
  replicas: 3
  template:
    version: "1.0.0"
    exec:
      command: [sleep, "60"]
    ports:
      - name: http
    checks:
      - name: up
        http: {path: /health}
"#;

/// A sound Canary, of which cases replace the steps.
const CANARY: &str = r"apiVersion: helium.dev/v1
kind: Canary
metadata:
  name: hello
spec:
  steps:
    - setWeight: 25%
    - soak: 10s
";

fn wrong(text: &str) -> Report {
    match parse(&Source::new("hello.yaml", text)) {
        Ok(objects) => panic!("no problem was found in:\n{text}\n{objects:#?}"),
        Err(report) => report,
    }
}

/// The report of a sound text in which `part` was replaced by `by`.
fn with(sound: &str, part: &str, by: &str) -> Report {
    assert_eq!(sound.matches(part).count(), 1, "{part}");
    wrong(&sound.replace(part, by))
}

fn codes(report: &Report) -> Vec<Code> {
    report.problems.iter().map(|problem| problem.code).collect()
}

/// Compares with the golden file of this name.
fn golden(name: &str, report: &Report) {
    insta::assert_snapshot!(name, report.render(false));
}

#[test]
fn the_sound_texts_are_sound() {
    assert_eq!(parse(&Source::new("a", format!("{SOUND}---\n{CANARY}"))).unwrap().len(), 2);
}

#[test]
fn a_mistyped_field_is_answered_with_the_nearest() {
    golden("mistyped-field", &with(SOUND, "replicas: 3", "replcas: 3"));
    golden("kubernetes-case", &with(SOUND, "replicas: 3", "min_healthy_time: 3s"));
    golden("misplaced-field", &with(SOUND, "replicas: 3", "checks: []"));
    golden(
        "foreign-field",
        &with(SOUND, "exec:\n      command: [sleep, \"60\"]", "image: nginx\n    exec: {command: [a]}"),
    );
}

#[test]
fn limits_are_answered_with_what_would_be_right() {
    let limited = |resources: &str| {
        let exec = format!("resources: {{{resources}}}\n    exec:");
        with(SOUND, "exec:", &exec)
    };
    golden("memory-without-unit", &limited("memory: 512"));
    golden("memory-of-another-unit", &limited("memory: 512MB"));
    golden("memory-too-small", &limited("memory: 4k"));
    golden("cpu-in-words", &limited("cpu: half"));
    golden("cpu-in-quotes", &limited("cpu: \"0.5\""));
    golden("cpu-of-nothing", &limited("cpu: 0"));
    golden("limit-of-no-name", &limited("pids: 100"));
}

#[test]
fn a_mistyped_required_field_is_told_once() {
    assert_eq!(codes(&with(SOUND, "command:", "comand:")), [Code::UnknownField]);
    assert_eq!(codes(&with(SOUND, "exec:", "exce:")), [Code::UnknownField]);
}

#[test]
fn a_missing_field_is_shown_at_its_parent() {
    golden("missing-field", &with(SOUND, "    version: \"1.0.0\"\n", ""));
    golden("missing-spec", &wrong("apiVersion: helium.dev/v1\nkind: Canary\nmetadata: {name: hello}\n"));
    golden("missing-driver", &with(SOUND, "    exec:\n      command: [sleep, \"60\"]\n", ""));
    golden("missing-value", &with(SOUND, "replicas: 3", "replicas:"));
    golden("missing-recreate-braces", &with(SOUND, "replicas: 3", "strategy:\n    recreate:"));
}

#[test]
fn yaml_1_1_traps_have_their_own_words() {
    golden("trap-version-number", &with(SOUND, "\"1.0.0\"", "1.10"));
    golden("trap-on", &with(SOUND, "    exec:", "    env: {FEATURE: on, QUIET: NO}\n    exec:"));
    golden("trap-base-60", &with(SOUND, "    exec:", "    env:\n      PAIRS: 22:22\n    exec:"));
    golden("trap-port-number", &with(SOUND, "\"60\"", "60"));
    golden("trap-date", &with(SOUND, "\"1.0.0\"", "2026-11-21"));
    golden("trap-key", &with(SOUND, "    exec:", "    env: {NO: maybe}\n    exec:"));
    golden("trap-yes", &with(CANARY, "spec:", "spec:\n  autoPromote: yes"));
    golden("trap-octal", &with(SOUND, "replicas: 3", "replicas: 010"));
}

#[test]
fn durations_and_percentages_say_what_is_missing() {
    golden("duration-without-unit", &with(SOUND, "replicas: 3", "minHealthyTime: 10"));
    golden("duration-in-words", &with(SOUND, "replicas: 3", "minHealthyTime: 10 seconds"));
    golden("duration-other", &with(SOUND, "replicas: 3", "minHealthyTime: soon"));
    golden("duration-too-short", &with(SOUND, "name: up", "name: up\n        interval: 100ms"));
    golden("percent-without-sign", &with(CANARY, "25%", "25"));
    golden("percent-as-fraction", &with(CANARY, "25%", "0.25"));
    golden("percent-too-large", &with(CANARY, "25%", "125%"));
    golden("percent-zero", &with(CANARY, "25%", "0%"));
    golden("amount", &with(SOUND, "replicas: 3", "strategy: {rolling: {maxSurge: a few, maxUnavailable: \"1\"}}"));
}

#[test]
fn a_canary_may_set_a_weight_of_a_hundred_percent() {
    assert!(parse(&Source::new("a", CANARY.replace("25%", "100%"))).is_ok());
}

#[test]
fn wrong_types_are_named() {
    golden("type-text-for-number", &with(SOUND, "replicas: 3", "replicas: three"));
    golden("type-quoted-number", &with(SOUND, "replicas: 3", "replicas: \"3\""));
    golden("type-fraction", &with(SOUND, "replicas: 3", "replicas: 2.5"));
    golden("type-word-for-list", &with(SOUND, "[sleep, \"60\"]", "sleep 60"));
    golden("type-list-for-mapping", &with(CANARY, "spec:", "spec:\n  analysis: [health]"));
    golden("type-out-of-range", &with(SOUND, "replicas: 3", "replicas: 20000"));
    golden("type-negative", &with(SOUND, "replicas: 3", "replicas: -1"));
    golden("name-pattern", &with(SOUND, "name: hello", "name: Hello_World"));
    golden("choice", &with(SOUND, "replicas: 3", "stopSignal: SIGTERM\n  onFailure: rolback"));
}

#[test]
fn exactly_one_of_a_group_is_given() {
    golden("check-of-two-sorts", &with(SOUND, "http: {path: /health}", "http: {path: /health}\n        tcp: {}"));
    golden("check-of-no-sort", &with(SOUND, "        http: {path: /health}\n", ""));
    golden("steps-run-together", &with(CANARY, "    - soak: 10s", "      pause: {}"));
    golden("two-strategies", &with(SOUND, "replicas: 3", "strategy: {rolling: {}, recreate: {}}"));
}

#[test]
fn a_version_comes_from_one_place() {
    let from = "replicas: 3\n  versionFrom: {hydraJob: web}";
    golden("version-of-two-places", &with(SOUND, "replicas: 3", from));
    let pinned = SOUND.replace("    version: \"1.0.0\"\n", "").replace("replicas: 3", from);
    let objects = parse(&Source::new("hello.yaml", pinned)).unwrap();
    let AnyObject::Deployment(deployment) = &objects[0].object else { panic!("{objects:#?}") };
    assert_eq!(deployment.spec.template.version, "");
    let stored: serde_json::Value = serde_json::from_slice(&objects[0].object.to_json().unwrap()).unwrap();
    assert_eq!(stored["spec"]["template"].get("version"), None, "it is stored as it was written");
    assert!(AnyObject::from_json(&objects[0].object.to_json().unwrap()).is_ok());
}

#[test]
fn the_address_of_a_job_is_one() {
    let job = |url: &str| {
        format!("apiVersion: helium.dev/v1\nkind: HydraJob\nmetadata: {{name: web}}\nspec: {{url: \"{url}\"}}\n")
    };
    for sound in ["https://h/job/p/j/web", "http://h:3000/hydra/job/shop/main/web.x86_64-linux"] {
        assert!(parse(&Source::new("job.yaml", job(sound))).is_ok(), "{sound}");
    }
    for broken in [
        "hydra",
        "https://h/job/p/j",
        "https://me:pw@h/job/p/j/web",
        "https://h/job/p/j/web?x",
        "https://h/job/p/j/web/latest",
    ] {
        assert_eq!(codes(&wrong(&job(broken))), [Code::BadText], "{broken}");
    }
}

#[test]
fn syntax_errors_say_what_lies_behind() {
    golden("syntax-tab", &with(SOUND, "  replicas: 3", "\treplicas: 3"));
    golden("syntax-colon", &with(SOUND, "name: hello", "name: hello: world"));
    golden("syntax-variable", &with(SOUND, "[sleep, \"60\"]", "[sleep, ${PORT}]"));
    golden("syntax-open-quote", &with(SOUND, "\"1.0.0\"", "\"1.0.0"));
    golden("syntax-indent", &with(SOUND, "  replicas: 3", "   replicas: 3"));
    golden("syntax-at", &with(SOUND, "name: hello", "name: @hello"));
    golden("syntax-bracket", &with(SOUND, "\"60\"]", "\"60\""));
    golden("duplicate-key", &with(SOUND, "replicas: 3", "replicas: 3\n  replicas: 4"));
    golden("merge-key", &with(SOUND, "metadata:", "metadata: &m\n  labels: {}\nspare:\n  <<: *m\nold:"));
    golden("tag", &with(SOUND, "\"1.0.0\"", "!!str 1.0"));
}

#[test]
fn kinds_and_versions_are_known_or_guessed() {
    golden("kind-unknown", &with(SOUND, "kind: Deployment", "kind: Service"));
    golden("kind-case", &with(SOUND, "kind: Deployment", "kind: deployment"));
    golden("kind-missing", &with(SOUND, "kind: Deployment\n", ""));
    golden("kind-missing-altogether", &wrong("metadata: {name: hello}\n"));
    golden("version-unknown", &with(SOUND, "helium.dev/v1", "helium.dev/v2"));
    golden("version-foreign", &with(SOUND, "helium.dev/v1", "apps/v1"));
    golden("not-a-mapping", &wrong("- apiVersion: helium.dev/v1\n"));
}

#[test]
fn the_parts_of_a_deployment_fit_together() {
    golden("duplicate-port", &with(SOUND, "- name: http", "- name: http\n      - name: http"));
    golden(
        "duplicate-port-number",
        &with(SOUND, "- name: http", "- {name: http, port: 80}\n      - {name: a, port: 80}"),
    );
    golden("duplicate-check", &with(SOUND, "- name: up", "- {name: up, tcp: {}}\n      - name: up"));
    golden("unknown-port", &with(SOUND, "{path: /health}", "{port: htpp}"));
    golden("empty-program", &with(SOUND, "sleep", "\"\""));
    golden("no-port", &with(SOUND, "    ports:\n      - name: http\n", ""));
    golden(
        "replicas-and-versions",
        &with(SOUND, "replicas: 3", "replicas: 3\n  versions: [{version: a, replicas: 1}]"),
    );
    golden("no-room-to-roll", &with(SOUND, "replicas: 3", "strategy: {rolling: {maxSurge: 0}}"));
    golden("never-healthy", &with(SOUND, "replicas: 3", "minHealthyTime: 1m\n  progressDeadline: 30s"));
    golden("unknown-variable", &with(SOUND, "\"60\"", "\"${PORT_htp}\", \"${HOST}\", \"${PORT\""));
    golden("env-in-a-circle", &with(SOUND, "    exec:", "    env: {A: \"${B}\", B: \"${C}\", C: \"${A}\"}\n    exec:"));
    golden("reserved-env", &with(SOUND, "    exec:", "    env: {PORT: \"80\", 1st: a}\n    exec:"));
    golden(
        "reserved-tag-and-meta",
        &with(SOUND, "replicas: 3", "tags: [canary, a, a]\n  meta: {helium-node: a, a.b: c}"),
    );
    golden(
        "service-name",
        &with(SOUND, "name: hello", &format!("name: {}\n  namespace: {}", "a".repeat(40), "b".repeat(40))),
    );
    golden(
        "duplicate-version",
        &with(SOUND, "replicas: 3", "versions: [{version: a, replicas: 1}, {version: a, replicas: 2}]"),
    );
}

#[test]
fn env_may_use_what_helium_sets_what_agents_pass_on_and_itself() {
    let env = "env: {A: \"${VERSION} ${HELIUM_NODE}\", B: \"${A}\", PATH: \"/opt/bin:${PATH}\"}";
    let text = SOUND.replace("    exec:\n", &format!("    {env}\n    exec:\n      cwd: \"${{HOME}}/${{B}}\"\n"));
    assert!(parse(&Source::new("a", text)).is_ok());
}

#[test]
fn the_steps_of_a_canary_fit_together() {
    golden("step-without-anything", &with(CANARY, "- soak: 10s", "-"));
    golden("strategy-without-either", &with(SOUND, "replicas: 3", "replicas: 3\n  strategy:"));
    golden("pause-without-braces", &with(CANARY, "soak: 10s", "pause:"));
    golden("pause-of-two-ends", &with(CANARY, "soak: 10s", "pause: {duration: 1m, promoteAfter: 2m}"));
    golden("soak-before-weight", &with(CANARY, "    - setWeight: 25%\n", ""));
    golden("no-steps", &with(CANARY, "\n    - setWeight: 25%\n    - soak: 10s", " []"));
}

#[test]
fn a_switch_says_what_comes_before_it_and_who_decides_and_nothing_twice() {
    let steps = "steps:\n    - setWeight: 25%\n    - soak: 10s";
    let switch = |fields: &str| CANARY.replace(steps, fields);
    assert!(
        parse(&Source::new("a", switch("blueGreen: {preview: 1, promoteAfter: 1h}\n  scaleDownDelay: 10m"))).is_ok()
    );
    golden("neither-steps-nor-switch", &wrong(&switch("autoPromote: true")));
    golden("steps-and-switch", &wrong(&CANARY.replace("steps:", "blueGreen: {}\n  steps:")));
    golden("preview-of-nothing", &wrong(&switch("blueGreen: {preview: 0%}")));
    golden("switch-by-two-wills", &wrong(&switch("blueGreen: {promoteAfter: 1h}\n  autoPromote: false")));
    golden("switch-with-weights", &wrong(&switch("blueGreen: {}\n  trafficRouting: consulWeights")));
    golden("switch-without-metrics", &wrong(&switch("blueGreen: {analysis: {metrics: [smoke]}}")));
    golden("misspelt-switch", &wrong(&switch("bluegreen: {}")));
    golden("step-of-no-preview", &with(CANARY, "setWeight: 25%", "preview: 0"));
}

#[test]
fn meta_has_the_limits_of_consul() {
    let many: Vec<String> = (0..59).map(|number| format!("    k{number}: v\n")).collect();
    let many = many.concat();
    assert_eq!(codes(&with(SOUND, "replicas: 3\n", &format!("meta:\n{many}"))), [Code::BadLength]);
    let long = format!("meta: {{{}: v, k: {}}}", "k".repeat(129), "v".repeat(513));
    assert_eq!(codes(&with(SOUND, "replicas: 3", &long)), [Code::BadText, Code::BadLength]);
    let fits = format!("meta: {{{}: {}}}", "k".repeat(128), "v".repeat(512));
    assert!(parse(&Source::new("a", SOUND.replace("replicas: 3", &fits))).is_ok());
}

#[test]
fn every_problem_of_every_document_is_told_at_once() {
    let broken =
        SOUND.replace("replicas: 3", "replicas: three\n  replcas: 3").replace("/health}", "/health, port: htp}");
    let text = format!("{broken}---\nkind: Service\n---\na: [\n---\n{}", CANARY.replace("25%", "25"));
    golden("everything-at-once", &wrong(&text));
}

#[test]
fn objects_applied_together_do_not_get_in_each_others_way() {
    let a = Source::new("a.yaml", SOUND);
    let b = Source::new("b.yaml", format!("{CANARY}---\n{SOUND}"));
    let c = Source::new("c.yaml", SOUND.replace("name: hello", "name: other").replace("replicas: 3", "service: hello"));
    golden("together", &parse_all(&[a, b, c]).unwrap_err());
}

#[test]
fn machines_get_the_same_as_json() {
    let report = with(SOUND, "replicas: 3", "replcas: 3");
    insta::assert_snapshot!("machine", serde_json::to_string_pretty(&report).unwrap());
}

#[test]
fn colour_is_there_only_where_it_is_asked_for() {
    let report = with(SOUND, "replicas: 3", "replcas: 3");
    assert!(report.render(true).contains("\u{1b}["));
    assert!(!report.render(false).contains('\u{1b}'));
}

#[test]
fn bytes_that_are_not_utf_8_are_a_problem_of_their_own() {
    let report = Source::from_bytes("hello.yaml", b"a: 1\nb: \xff\n").unwrap_err();
    golden("not-utf8", &report);
}

#[test]
fn a_file_that_cannot_be_read_is_a_problem_among_others() {
    let gone = std::io::Error::new(std::io::ErrorKind::NotFound, "no such file");
    golden("unreadable", &Source::unreadable("hello.yaml", &gone));
}

#[test]
fn columns_count_characters_and_carriage_returns_do_not_matter() {
    let text = SOUND.replace("  replicas: 3", "  tags: [\"äöü\"] # ü\n  replicas: x").replace('\n', "\r\n");
    let report = wrong(&text);
    let location = report.problems[0].location();
    assert_eq!((location.line, location.column), (7, 13));
    let report = with(SOUND, "replicas: 3", "tags: [\"äöü\", stable]");
    assert_eq!(report.problems[0].location().column, 17);
}

#[test]
fn anchors_work_and_cannot_be_used_to_fill_the_memory() {
    let text = SOUND.replace("replicas: 3", "meta: {a: &x one, b: *x}");
    assert!(parse(&Source::new("a", text)).is_ok());
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let inner = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&["a", &level.to_string(), ": &a", &level.to_string(), " [", &inner, "]\n"].concat());
    }
    assert_eq!(codes(&wrong(&bomb)), [Code::TooBig]);
    assert_eq!(codes(&wrong(&"[".repeat(1000))), [Code::TooBig]);
    golden("too-deep", &wrong(&"- ".repeat(100)));
}

#[test]
fn json_is_read_too_also_with_tabs_and_escapes() {
    let object = &parse(&Source::new("a", SOUND)).unwrap()[0].object;
    let json = serde_json::to_string_pretty(object).unwrap().replace("  ", "\t").replace("hello", "\\u0068ello");
    assert_eq!(&parse(&Source::new("<stdin>", json)).unwrap()[0].object, object);
}

#[test]
fn json_escapes_for_characters_beyond_the_first_plane_are_read() {
    let object =
        &parse(&Source::new("a", SOUND.replace("    exec:", "    env: {A: text}\n    exec:"))).unwrap()[0].object;
    let json = serde_json::to_string(object).unwrap().replace("\"text\"", "\"\\ud83d\\ude00 \\/ \\u00e4\"");
    let AnyObject::Deployment(object) = parse(&Source::new("a", json)).unwrap().remove(0).object else { panic!() };
    assert_eq!(object.spec.template.env["A"], "\u{1f600} / ä");
}

#[test]
fn a_text_without_objects_gives_none() {
    for text in ["", "# nothing\n", "---\n---\n...\n", "\u{feff}", "~"] {
        assert_eq!(parse(&Source::new("a", text)), Ok(Vec::new()), "{text:?}");
    }
}

#[test]
fn every_code_has_a_golden_file() {
    let folder = std::fs::read_dir(crate::here("tests/it/snapshots")).unwrap();
    let golden: String = folder.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    // `invalid` is for what no other rule has found; nothing is known that would be.
    for code in Code::ALL.iter().filter(|code| **code != Code::Invalid) {
        assert!(golden.contains(&format!("error[{code}]")), "{code}");
    }
}

#[test]
fn rules_look_at_objects_in_the_namespace_that_they_will_be_in() {
    let named = |namespace: &str| SOUND.replace("name: hello", &format!("name: hello\n  namespace: {namespace}"));
    let read = |namespace: &str, text: String| parse_all_in(namespace, &[Source::new("a", text)]);
    let two = read("team", format!("{SOUND}---\n{}", named("default"))).unwrap();
    let namespaces: Vec<&str> = two.iter().map(|parsed| parsed.object.metadata().namespace.as_str()).collect();
    assert_eq!(namespaces, ["team", "default"]);
    let twice = read("team", format!("{SOUND}---\n{}", named("team"))).unwrap_err();
    assert_eq!(codes(&twice), [Code::DuplicateObject]);
    let long = read(&"t".repeat(60), SOUND.to_owned()).unwrap_err();
    assert_eq!(codes(&long), [Code::BadLength], "the service's name holds the namespace");
}

#[test]
fn an_object_at_hand_is_checked_as_a_file_is() {
    let parsed = parse(&Source::new("a", SOUND)).unwrap().remove(0);
    let mut object = serde_json::to_value(&parsed.object).unwrap();
    assert_eq!(check("hello", &object), Ok(()));
    let count = |version: &str, replicas| serde_json::json!({"version": version, "replicas": replicas});
    object["spec"]["versions"] = [count("v1", 1), count("v1", 20_000), count("?", 0)].into();
    let report = check("hello", &object).unwrap_err();
    let mut found = codes(&report);
    found.sort_unstable();
    assert_eq!(found, [Code::BadText, Code::OutOfRange, Code::Conflict, Code::DuplicateName]);
}

#[test]
fn a_package_that_could_not_be_brought_is_told_before_anybody_tries() {
    let sha = format!("sha256: \"{}\"", "ab".repeat(32));
    let package = |fields: &str| with(SOUND, "    exec:", &format!("    package: {{{fields}}}\n    exec:"));
    golden("package-without-sha256", &package("url: \"https://files.example/web.tar.gz\""));
    golden("package-of-no-form", &package(&format!("url: \"https://files.example/web\", {sha}")));
    golden("package-with-a-user", &package(&format!("url: \"https://me:secret@files.example/web.tgz\", {sha}")));
    golden("package-of-an-unknown-variable", &package("url: \"file:///srv/${VERISON}\""));
    golden("package-of-no-store-path", &package("url: \"nix:///nix/store/hello-${VERSION}\""));
    let path = "nix:///nix/store/s66mzxpvicwk07gjbjfw9izjfa797vsw-hello-2.12.1";
    golden("package-of-nix-with-a-sha256", &package(&format!("url: \"{path}\", {sha}")));
    for url in [path, "nix:///nix/store/s66mzxpvicwk07gjbjfw9izjfa797vsw-web-${VERSION}"] {
        let text = SOUND.replace("    exec:", &format!("    package: {{url: \"{url}\"}}\n    exec:"));
        assert!(parse(&Source::new("a", text)).is_ok(), "{url}");
    }
    golden("package-with-a-short-sha256", &package("url: \"file:///srv/web\", sha256: abc"));
    golden(
        "values-without-a-package",
        &with(SOUND, "    exec:", "    config: {a: 1}\n    templates: {check: [a]}\n    exec:"),
    );
    let unseen = with(SOUND, "sleep, \"60\"", "\"${HELIUM_PACKAGE}/bin/web\"");
    assert_eq!(codes(&unseen), [Code::UnknownVariable], "there is no package");
}

#[test]
fn values_of_templates_keep_their_types_and_what_is_read_in_two_ways_is_refused() {
    let config = |text: &str| {
        SOUND.replace("    exec:", &format!("    package: {{url: \"file:///srv/web\"}}\n    config: {text}\n    exec:"))
    };
    let sound = parse(&Source::new("a", config("{a: 1, b: {c: [true, 1.5, \"1.10\", text]}}"))).unwrap();
    let AnyObject::Deployment(deployment) = &sound[0].object else { panic!("a Deployment") };
    let read = serde_json::Value::Object(deployment.spec.template.config.clone());
    assert_eq!(read, serde_json::json!({"a": 1, "b": {"c": [true, 1.5, "1.10", "text"]}}));
    golden("values-read-in-two-ways", &wrong(&config("{version: 1.10, answer: no, nothing: null}")));
}

#[test]
fn an_election_that_leaves_no_time_to_stop_is_refused() {
    golden("election-without-time", &with(SOUND, "    exec:", "    election: {lockDelay: 5s}\n    exec:"));
}

#[test]
fn jobs_that_could_never_start_or_say_two_things_are_refused() {
    let jobs = "    exec:
      command: [a]
      waitTimeout: 5s
    templates: {reload: INT}
    package: {url: \"file:///p\"}
    jobs:
      main: {command: [a]}
      silent: {command: [\"${HELIUM_JOB}\"], maxRestarts: 3}
      waits: {command: [\"${NOPE}\"], waitTimeout: 5s, env: {HELIUM_X: a}}
      each: {command: [a], start: each, restart: always, every: 1s}
      asks:
        command: [a]
        when:
          - {job: silnt, is: exitedFailed}
          - {job: silent, is: healthy}
          - {job: silent, is: changed}
          - {job: silent}
          - {service: db, is: stopped}
          - {keys: flags/, is: healthy, tag: x}
          - {signal: HUP, is: changed}
      one: {command: [a], when: [{job: two, is: exitedSuccess}]}
      two: {command: [\"\"], when: [{job: one, is: exitedSuccess}]}
";
    golden("jobs", &with(SOUND, "    exec:\n      command: [sleep, \"60\"]\n", jobs));
}
