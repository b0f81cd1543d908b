//! What is taken and what is refused, by what ContainerPilot does with the same file: one table, with the place of every finding.

use helium_containerpilot::load;

use crate::{env, with_jobs};

/// A file, and what is said of it: `E` for a problem or `W` for a warning, line and column, and the key.
struct Row(&'static str, String, &'static [&'static str]);

/// A row of a whole file.
fn file(name: &'static str, text: &str, said: &'static [&'static str]) -> Row {
    Row(name, text.to_owned(), said)
}

/// A row of the `jobs` of a file. They begin at line 3, column 10.
fn jobs(name: &'static str, jobs: &str, said: &'static [&'static str]) -> Row {
    Row(name, with_jobs(jobs), said)
}

/// A row of one job with a name and a program, and this besides, from line 3, column 33 on.
fn job(name: &'static str, rest: &str, said: &'static [&'static str]) -> Row {
    jobs(name, &format!("{{name: 'a', exec: 'x', {rest}}}"), said)
}

/// A row of one advertised job, with this besides, from line 3, column 76 on.
fn service(name: &'static str, rest: &str, said: &'static [&'static str]) -> Row {
    jobs(name, &format!("{{name: 'app', exec: 'x', port: 80, health: {{interval: 1, ttl: 5}}, {rest}}}"), said)
}

#[track_caller]
fn check(rows: Vec<Row>) {
    let mut wrong = Vec::new();
    let mut names: Vec<&str> = rows.iter().map(|row| row.0).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), rows.len(), "each row has a name of its own");
    for Row(name, text, expected) in rows {
        let loaded = load(&text, &env(&[("APP_PORT", "8000"), ("PAIR", "a=b")]));
        let said: Vec<String> = loaded
            .problems
            .iter()
            .map(|problem| ("E", problem))
            .chain(loaded.warnings.iter().map(|problem| ("W", problem)))
            .map(|(kind, problem)| {
                format!("{kind} {}:{} {}", problem.line, problem.column, problem.key).trim().to_owned()
            })
            .collect();
        let refused = expected.iter().any(|said| said.starts_with('E'));
        if said != expected || loaded.config.is_none() != refused {
            wrong.push(format!("{name}: said {said:?}, expected {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_text_itself() {
    check(vec![
        file("only consul", "{consul: 'c:8500'}", &[]),
        file("json", "{\"consul\": \"c\", \"jobs\": []}", &[]),
        file("comments, trailing commas, hexadecimal", "// x\n{ /* y */ consul: 'c', stopTimeout: 0xA, }", &[]),
        file("plus sign and fraction", "{consul: 'c', stopTimeout: +2.9}", &[]),
        file("nothing", "", &["E 1:1"]),
        file("a list", "[]", &["E 1:1"]),
        file("null", "null", &["E 1:1"]),
        file("a comma is missing between keys", "{\n  consul: 'c'\n  jobs: []\n}", &["E 2:13"]),
        file("a comma is missing between jobs", "{consul: 'c', jobs: [{name: 'a'} {name: 'b'}]}", &["E 1:32"]),
        file(
            "three mistakes",
            "{consul: 'c' jobs: [{name: 'a' exec: 'b'} {nam: 'c'}]}",
            &["E 1:12", "E 1:30", "E 1:41", "E 1:44 jobs[1].nam"],
        ),
        file("a comma too many", "{consul: 'c',, jobs: []}", &["E 1:14"]),
        file("an address without quotes", "{consul: consul:8500}", &["E 1:10"]),
        file("a comment with a number sign", "# x\n{consul: 'c'}", &["E 1:1"]),
        file("a bracket is never closed", "{consul: 'c', jobs: [", &["E 1:21"]),
        file("a quote is never closed", "{consul: 'c\n}", &["E 1:10"]),
        file("a tab in a text", "{consul: 'c\tc'}", &["E 1:12"]),
        file("a key twice: the last counts", "{consul: 5, consul: 'c'}", &["W 1:2 consul"]),
        file("a template", "{consul: '{{ .NONE | default \"c\" }}', stopTimeout: {{ .NONE }}3}", &[]),
        file("a template with a function that is not there", "{\n consul: '{{ foo .X }}'}", &["E 2:14"]),
        file("a value that would be cut", "{consul: '{{ .PAIR }}'}", &["W 1:14"]),
    ]);
}

#[test]
fn the_top_of_a_file() {
    check(vec![
        file("without consul", "{jobs: []}", &["E 1:1 consul"]),
        file("consul is a number", "{consul: 8500}", &["E 1:10 consul"]),
        file(
            "consul by its parts",
            "{consul: {address: 'c', scheme: 'https', token: 't', tls: {verify: true, cafile: 'x'}}}",
            &[],
        ),
        file("consul without verification", "{consul: 'https://c'}", &["W 1:2 consul.tls.verify"]),
        file("consul by a scheme that is not there", "{consul: {address: 'ftp://c'}}", &["E 1:20 consul.address"]),
        file("a key of consul that is not there", "{consul: {adress: 'c'}}", &["E 1:11 consul.adress"]),
        file("a key that is not there", "{consul: 'c', job: []}", &["E 1:15 job"]),
        file("a key in another case at the top", "{consul: 'c', Jobs: []}", &["E 1:15 Jobs"]),
        file("a key that is nearly another, and no consul", "{control: {}, }", &["E 1:1 consul"]),
        file("a slip in the name of consul", "{consol: 'c'}", &["E 1:2 consol"]),
        file("a key of version 2", "{consul: 'c', services: []}", &["E 1:15 services"]),
        file("stopTimeout is a text with a number", "{consul: 'c', stopTimeout: '7'}", &[]),
        file("stopTimeout has a unit", "{consul: 'c', stopTimeout: '5s'}", &["E 1:28 stopTimeout"]),
        file("stopTimeout is negative", "{consul: 'c', stopTimeout: -1}", &["W 1:28 stopTimeout"]),
        file(
            "logging in any case",
            "{consul: 'c', logging: {Level: 'warning', FORMAT: 'JSON', output: '/tmp/x'}}",
            &[],
        ),
        file("a level that is not there", "{consul: 'c', logging: {level: 'LOUD'}}", &["E 1:32 logging.level"]),
        file("a format that is not there", "{consul: 'c', logging: {format: 'xml'}}", &["E 1:33 logging.format"]),
        file("control", "{consul: 'c', control: {socket: '/run/x'}}", &[]),
        file("a key of control that is not there", "{consul: 'c', control: {port: 1}}", &["E 1:25 control.port"]),
        file("jobs is an object: none is seen", "{consul: 'c', jobs: {name: 'a'}}", &["W 1:15 jobs"]),
        file("a job is a text", "{consul: 'c', jobs: ['a']}", &["E 1:22 jobs[0]"]),
        file("a job is null", "{consul: 'c', jobs: [null, {name: 'a'}]}", &[]),
    ]);
}

#[test]
fn jobs_and_their_services() {
    check(vec![
        job("a name of any kind without a port", "", &[]),
        jobs("no name", "{exec: 'x'}", &["E 3:10 jobs[0].name"]),
        jobs("an empty name", "{name: '', exec: 'x'}", &["E 3:17 jobs[0].name"]),
        jobs("no program", "{name: 'a'}", &[]),
        jobs("keys in another case", "{Name: 'a', EXEC: 'x'}", &[]),
        jobs("an empty program", "{name: 'a', exec: ''}", &["E 3:28 jobs[0].exec"]),
        jobs("an empty list for a program", "{name: 'a', exec: []}", &["E 3:28 jobs[0].exec"]),
        jobs("a number for a program", "{name: 'a', exec: 1}", &["E 3:28 jobs[0].exec"]),
        jobs("quotes in a text for a program", "{name: 'a', exec: \"echo 'x y'\"}", &["W 3:28 jobs[0].exec"]),
        jobs("a pipe in a text for a program", "{name: 'a', exec: 'x | y'}", &["W 3:28 jobs[0].exec"]),
        service("an advertised job", "", &[]),
        jobs("a port without health", "{name: 'app', port: 80}", &["E 3:24 jobs[0].health"]),
        jobs(
            "a name with an underscore and a port",
            "{name: 'a_b', port: 80, health: {interval: 1, ttl: 5}}",
            &["E 3:17 jobs[0].name"],
        ),
        jobs(
            "a name of one letter and a port",
            "{name: 'a', port: 80, health: {interval: 1, ttl: 5}}",
            &["E 3:17 jobs[0].name"],
        ),
        job("a port of 0 is none", "port: 0", &[]),
        job("a port beyond the last", "port: 65536, tags: ['t']", &["E 3:39 jobs[0].port"]),
        service("an initial status", "initial_status: 'critical'", &[]),
        service("an initial status that is not there", "initial_status: 'ok'", &["E 3:92 jobs[0].initial_status"]),
        service(
            "the documented name of the initial status",
            "initialStatus: 'passing'",
            &["E 3:76 jobs[0].initialStatus"],
        ),
        job("an initial status without a port", "initial_status: 'nonsense'", &["W 3:33 jobs[0].initial_status"]),
        service(
            "interfaces of all kinds",
            "interfaces: ['eth0', 'eth0:inet6', 'eth1[2]', 'inet', '10.0.0.0/8', 'fd00::/8', 'static:1.2.3.4']",
            &[],
        ),
        service("one interface", "interfaces: 'inet6'", &[]),
        service("an interface with a dash", "interfaces: ['inet', 'br-lan']", &["E 3:97 jobs[0].interfaces"]),
        job("interfaces that nobody looks at", "interfaces: ['br-lan']", &["W 3:33 jobs[0].interfaces"]),
        service("tags", "tags: ['a', 1, true]", &[]),
        service("one tag alone", "tags: 'a'", &["E 3:82 jobs[0].tags"]),
        service("consul of a job", "consul: {enableTagOverride: true, deregisterCriticalServiceAfter: '10m'}", &[]),
        service(
            "consul of a job without its duration",
            "consul: {enableTagOverride: true}",
            &["E 3:76 jobs[0].consul.deregisterCriticalServiceAfter"],
        ),
        service(
            "consul of a job with a bare number",
            "consul: {deregisterCriticalServiceAfter: 10}",
            &["E 3:117 jobs[0].consul.deregisterCriticalServiceAfter"],
        ),
        service(
            "consul of a job with no boolean",
            "consul: {enableTagOverride: 'nope', deregisterCriticalServiceAfter: '1m'}",
            &["E 3:104 jobs[0].consul.enableTagOverride"],
        ),
        job("restart for restarts", "restart: 'never'", &["E 3:33 jobs[0].restart"]),
        job("a key of another object", "interval: 5", &["E 3:33 jobs[0].interval"]),
        job("a key that only the program itself uses", "ttl: 10", &["W 3:33 jobs[0].ttl"]),
        jobs("two jobs of one name", "{name: 'a'}, {name: 'a'}", &["W 3:30 jobs[1].name"]),
    ]);
}

#[test]
fn health_and_times() {
    check(vec![
        job("health without a port", "health: {exec: 'check', interval: 2, ttl: 5, timeout: '1s'}", &[]),
        job("health as texts", "health: {interval: '2', ttl: '0x10'}", &[]),
        job(
            "health without its times",
            "health: {exec: 'check'}",
            &["E 3:33 jobs[0].health.interval", "E 3:33 jobs[0].health.ttl"],
        ),
        job("tll", "health: {interval: 2, tll: 5}", &["E 3:55 jobs[0].health.tll"]),
        job("an interval of 0", "health: {interval: 0, ttl: 5}", &["E 3:52 jobs[0].health.interval"]),
        job("an interval with a unit", "health: {interval: '5s', ttl: 15}", &["E 3:52 jobs[0].health.interval"]),
        job("an interval below 1", "health: {interval: 0.5, ttl: 5}", &["E 3:52 jobs[0].health.interval"]),
        job("a check without a program", "health: {exec: '', interval: 1, ttl: 5}", &["E 3:48 jobs[0].health.exec"]),
        job(
            "a timeout that is none",
            "health: {interval: 1, ttl: 5, timeout: 'xx'}",
            &["E 3:72 jobs[0].health.timeout"],
        ),
        job("a ttl that is over too soon", "health: {interval: 10, ttl: 5}", &["W 3:61 jobs[0].health.ttl"]),
        job("a timeout in seconds", "timeout: 5, stopTimeout: '1s'", &[]),
        job("a timeout with a fraction", "timeout: 1.5", &["E 3:42 jobs[0].timeout"]),
        job("a timeout below a millisecond", "timeout: '1ns'", &["E 3:42 jobs[0].timeout"]),
        job("a timeout that is negative", "timeout: '-1ms'", &["E 3:42 jobs[0].timeout"]),
        job("a stopTimeout that is no duration", "stopTimeout: 'soon'", &["E 3:46 jobs[0].stopTimeout"]),
        job("a stopTimeout that is negative", "stopTimeout: '-1s'", &["W 3:46 jobs[0].stopTimeout"]),
        job("restarts by number", "restarts: 1.9", &[]),
        job("restarts by a text", "restarts: '3'", &[]),
        job("restarts below 0", "restarts: -1", &["E 3:43 jobs[0].restarts"]),
        job("restarts below 0 by a text", "restarts: '-1'", &["E 3:43 jobs[0].restarts"]),
        job("restarts by a boolean", "restarts: true", &["E 3:43 jobs[0].restarts"]),
        job("restarts by another word", "restarts: 'always'", &["E 3:43 jobs[0].restarts"]),
    ]);
}

#[test]
fn what_jobs_wait_for() {
    check(vec![
        job("an interval", "when: {interval: '1s'}", &[]),
        job("an interval as a number", "when: {interval: 1}, restarts: 5", &[]),
        job("an interval that is too short", "when: {interval: '1ns'}", &["E 3:50 jobs[0].when.interval"]),
        job("an interval that is none", "when: {interval: 'xx'}", &["E 3:50 jobs[0].when.interval"]),
        job("an interval that is never repeated", "when: {interval: '1s'}, restarts: 0", &["W 3:67 jobs[0].restarts"]),
        job("an interval with a source alone", "when: {interval: '1s', source: 'b'}", &["W 3:56 jobs[0].when.source"]),
        job("an interval with each", "when: {interval: '1s', each: 'changed'}", &["E 3:56 jobs[0].when.each"]),
        job(
            "once with each",
            "when: {source: 'global', once: 'startup', each: 'startup'}",
            &["E 3:75 jobs[0].when.each"],
        ),
        job("startup", "when: {source: 'global', once: 'startup'}", &[]),
        job("startup without a source", "when: {once: 'startup'}", &["W 3:46 jobs[0].when.once"]),
        job("maintenance without a source", "when: {each: 'enterMaintenance'}", &["W 3:46 jobs[0].when.each"]),
        job("a source without an event", "when: {source: 'a'}", &["W 3:48 jobs[0].when.source"]),
        job("an empty when", "when: {}", &["W 3:33 jobs[0].when"]),
        job("signals", "when: {source: 'SIGHUP'}", &[]),
        job("a signal as an event", "when: {once: 'SIGUSR2'}", &["W 3:46 jobs[0].when.once"]),
        job("an event that is not there", "when: {source: 'global', once: 'start'}", &["E 3:64 jobs[0].when.once"]),
        job("an event in another case", "when: {source: 'global', once: 'Startup'}", &["E 3:64 jobs[0].when.once"]),
        job("a source that is not there", "when: {source: 'b', once: 'exitSuccess'}", &["W 3:48 jobs[0].when.source"]),
        job("a watch that is not there", "when: {source: 'watch.b', each: 'changed'}", &["W 3:48 jobs[0].when.source"]),
        job("an event of its own", "when: {source: 'a', once: 'exitSuccess'}", &["W 3:59 jobs[0].when.once"]),
        job("the shutdown of all", "when: {source: 'global', once: 'shutdown'}", &["W 3:64 jobs[0].when.once"]),
        job(
            "a global event of a job",
            "when: {source: 'b', once: 'startup'}}, {name: 'b'",
            &["W 3:59 jobs[0].when.once"],
        ),
        job(
            "health of a job without a check",
            "when: {source: 'b', once: 'healthy'}}, {name: 'b'",
            &["W 3:59 jobs[0].when.once"],
        ),
        job(
            "unlimited restarts with each",
            "restarts: 'unlimited', when: {source: 'b', each: 'exitFailed'}}, {name: 'b'",
            &["E 3:43 jobs[0].restarts"],
        ),
        jobs(
            "two jobs before one stop",
            "{name: 'app'}, {name: 'a', when: {source: 'app', once: 'stopping'}}, {name: 'b', when: {source: 'app', once: 'stopping'}}",
            &["W 3:52 jobs[1].when.source"],
        ),
        job("the own key all", "when: {all: [{source: 'b', once: 'stopped'}, {source: 'SIGHUP'}]}}, {name: 'b'", &[]),
        job(
            "the own key all beside once",
            "when: {all: [{source: 'b', once: 'stopped'}], once: 'startup'}}, {name: 'b'",
            &["E 3:79 jobs[0].when.once"],
        ),
        job("the own key all without a source", "when: {all: [{once: 'stopped'}]}", &["E 3:46 jobs[0].when.all[0]"]),
        job("the own key all without conditions", "when: {all: []}", &["E 3:45 jobs[0].when.all"]),
        job(
            "the own interval after an event",
            "when: {interval: '1s', source: 'b', once: 'exitSuccess'}}, {name: 'b'",
            &[],
        ),
        job("the own restart delay", "restarts: 3, restartDelay: '1s', restartMaxDelay: '1m'", &[]),
        job("the own longest delay alone", "restartMaxDelay: '1m'", &["E 3:33 jobs[0].restartMaxDelay"]),
        job(
            "the own longest delay is shorter",
            "restartDelay: '2s', restartMaxDelay: '1s'",
            &["E 3:70 jobs[0].restartMaxDelay"],
        ),
    ]);
}

#[test]
fn watches_and_telemetry() {
    let watch = |name, text: &str, said| Row(name, format!("{{consul: 'c', watches: [{text}]}}"), said);
    let telemetry = |name, text: &str, said| Row(name, format!("{{consul: 'c', telemetry: {{{text}}}}}"), said);
    check(vec![
        watch("a watch", "{name: 'db-1', interval: 5, tag: 'x', dc: 'eu'}", &[]),
        watch("a watch without an interval", "{name: 'db'}", &["E 1:25 watches[0].interval"]),
        watch("a watch with an interval of 0", "{name: 'db', interval: 0}", &["E 1:48 watches[0].interval"]),
        watch("a watch without a name", "{interval: 5}", &["E 1:25 watches[0].name"]),
        watch("a watch whose name is no service's", "{name: 'My_DB', interval: 5}", &["E 1:32 watches[0].name"]),
        watch(
            "a poll instead of an interval",
            "{name: 'db', poll: 5}",
            &["E 1:25 watches[0].interval", "E 1:38 watches[0].poll"],
        ),
        watch(
            "two watches of one name",
            "{name: 'db', interval: 5}, {name: 'db', interval: 5}",
            &["W 1:59 watches[1].name"],
        ),
        watch("the own watch of a key", "{key: 'a/b', name: 'conf'}, {prefix: 'c/'}", &[]),
        watch("the own watch of a key with a tag", "{key: 'a/b', tag: 'x'}", &["E 1:38 watches[0].tag"]),
        watch("the own watch of both", "{key: 'a', prefix: 'b'}", &["E 1:36 watches[0].prefix"]),
        telemetry("telemetry", "port: 9000, interfaces: ['inet', 'lo0'], tags: ['x'], metrics: []", &[]),
        telemetry("empty telemetry", "", &[]),
        telemetry("one interface for telemetry", "interfaces: 'inet'", &["E 1:39 telemetry.interfaces"]),
        telemetry(
            "a metric without help",
            "metrics: [{namespace: 'a', subsystem: 'b', name: 'c', type: 'counter'}]",
            &["E 1:76 telemetry.metrics[0].help"],
        ),
        telemetry(
            "a metric of a type that is not there",
            "metrics: [{namespace: 'a', subsystem: 'b', name: 'c', help: 'h', type: 'count'}]",
            &["E 1:98 telemetry.metrics[0].type"],
        ),
        telemetry(
            "a metric whose name is none",
            "metrics: [{namespace: 'a', subsystem: 'b', name: 'c-d', help: 'h', type: 'gauge'}]",
            &["E 1:76 telemetry.metrics[0].name"],
        ),
        telemetry(
            "a metric twice",
            "metrics: [{namespace: 'a', subsystem: 'b', name: 'c', help: 'h', type: 'gauge'}, {namespace: 'a', subsystem: 'b', name: 'c', help: 'h', type: 'gauge'}]",
            &["W 1:108 telemetry.metrics[1]"],
        ),
        telemetry(
            "a metric twice with another help",
            "metrics: [{namespace: 'a', subsystem: 'b', name: 'c', help: 'h', type: 'gauge'}, {namespace: 'a', subsystem: 'b', name: 'c', help: 'i', type: 'gauge'}]",
            &["E 1:108 telemetry.metrics[1]"],
        ),
        telemetry(
            "a metric without a namespace",
            "metrics: [{name: 'c', help: 'h', type: 'gauge'}]",
            &["W 1:44 telemetry.metrics[0].name"],
        ),
    ]);
}

/// Files of the shapes that ContainerPilot tests itself with in containers.
#[test]
fn whole_files_that_run_under_containerpilot() {
    let health = "health: {exec: 'curl -sf http://localhost:8000', interval: 1, ttl: 5}";
    let head = "{\n consul: 'consul:8500', logging: {level: 'DEBUG', format: 'text'},";
    let web = "exec: ['node', 'server', '-p', '{{ .APP_PORT }}']";
    let whole = |name, rest: &str, said| Row(name, format!("{head}\n{rest}\n}}"), said);
    check(vec![
        whole("a helper beside the app", &format!("jobs: [{{name: 'app', port: 8000, {web}, {health}}}, {{name: 'helper', exec: ['h', '1'], restarts: 1}}]"), &[]),
        file("a log in a file", "{consul: 'c', logging: {level: 'DEBUG', format: 'text', output: '/tmp/a.log'}, jobs: [{name: 'a', exec: 'echo x', when: {interval: 1}}]}", &[]),
        whole("the app and its neighbours", &format!("jobs: [{{name: 'app', port: 8000, when: {{source: 'pre', once: 'exitSuccess'}}, {web}, {health}, tags: ['t']}},
            {{name: 'pre', exec: '/reload'}}, {{name: 'again', when: {{source: 'watch.web', each: 'changed'}}, exec: '/reload'}}],
            watches: [{{name: 'web', interval: 7,}}, {{name: 'app', interval: 5, tag: 't'}}], telemetry: {{port: 9090, metrics: []}}"), &[]),
        whole("a balancer", "jobs: [{name: 'nginx', port: 80, interfaces: ['eth0'], when: {source: 'pre', once: 'exitSuccess',}, exec: 'nginx', health: {exec: 'check', interval: 1, ttl: 5}},
            {name: 'pre', exec: ['template', '-once'],}, {name: 'reload', when: {source: 'watch.app', each: 'changed'}, exec: ['template', 'nginx -s reload']}],
            watches: [{name: 'app', interval: 1}]", &[]),
        whole("finding each other", &format!("jobs: [{{name: 'app', port: 8000, {web}, {health}, tags: ['t']}}, {{name: 'on-web', when: {{source: 'watch.web', each: 'changed'}}, exec: '/reload'}}],
            watches: [{{name: 'web', interval: 7,}}]"), &[]),
        whole("what children see", "// c\njobs: [{name: 'first', port: 8000, exec: 'sleep 30', health: {exec: 'true', interval: 1, ttl: 5,},},
            {name: 'second', port: 8500, exec: 'env', health: {exec: 'true', interval: 10, ttl: 25}, when: {source: 'first', once: 'healthy'}}]", &[]),
        whole("output as it is", "jobs: [{name: 'a', exec: 'echo 1',}, {name: 'b', exec: 'echo 2', logging: {raw: true},},
            {name: 'cc', port: 8000, exec: 'sleep 5', health: {exec: 'echo 3', logging: {raw: true}, interval: 1, ttl: 5}}]", &[]),
        whole("children without parents", "jobs: [{name: 'zombies', port: 8000, exec: ['tail', '-f'], health: {exec: '/zombie.sh', interval: 1, ttl: 5}, tags: ['t']}, {name: 'slow', exec: '/slow.sh'}]", &[]),
        whole("signals to jobs", "jobs: [{name: 'on-hup', exec: 'echo hup', when: {source: 'SIGHUP'},}, {name: 'on-usr2', exec: 'echo usr2', when: {source: 'SIGUSR2'},}]", &[]),
        whole("before and after the stop", "jobs: [{name: 'app', port: 8000, exec: 'sleep 60', health: {exec: 'true', interval: 1, ttl: 5,},},
            {name: 'before', exec: 'echo', when: {source: 'app', once: 'stopping'},}, {name: 'after', exec: 'echo', when: {source: 'app', once: 'stopped'},}]", &[]),
        whole("tasks", "jobs: [{name: 'a', exec: ['t', '0.2'], when: {interval: '500ms',}, restarts: '5'}, {name: 'b', exec: ['t', '2'], timeout: '100ms', when: {interval: '500ms'}, restarts: '5',},
            {name: 'c', exec: ['t', '0'], when: {interval: '1000ms'}}]", &[]),
        whole("measurements", "jobs: [{name: 'sensor', exec: ['s', 'count'], when: {interval: '1s'}}], watches: [{name: 'other', interval: 1}],
            telemetry: {port: 9090, metrics: [{namespace: 'n', subsystem: 'app', name: 'some', help: 'h', type: 'counter'}]}", &[]),
    ]);
}
