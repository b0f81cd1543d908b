//! `helium hail` as its guide has systemd run it, with Debian's Nix.

use crate::{
    guide, hydra,
    node::{self, HELIUM},
    systemd::{self, show},
    tool::{ensure, read, run, wait, write},
};

/// The unit that the guide gives no name.
const UNIT: &str = "helium-hail.service";
/// That of the profile that looks after the others.
const KEEPER: &str = "helium-hail@hails.service";
/// That of one of the others.
const KEPT: &str = "helium-hail@app.service";
/// The job of the guide.
const JOB: &str = "https://hydra.example/job/shop/main/web";
/// How many seconds an activation may be away.
const SOON: u64 = 240;

const HYDRA: &str = "[Service]
ExecStart=/payload/helium-machine hydra
Restart=always

[Install]
WantedBy=multi-user.target
";

/// Installs Nix's settings, what stands in for Hydra, and the program where the guide has it.
fn prepare() -> Result<(), String> {
    write("/etc/nix/nix.conf", "build-users-group =\nsubstituters =\nsandbox = false\n")?;
    run("ln", &["-sf", HELIUM, "/usr/bin/helium"])?;
    systemd::install("hydra.service", HYDRA)?;
    run("systemctl", &["enable", "--now", "hydra"]).map(drop)
}

/// A build of a job whose activation says a word in a file.
fn build(job: &str, number: u32, word: &str) -> Result<(), String> {
    let path = hydra::stored(&format!("{job}-{word}"), |folder| {
        write(&format!("{folder}/bin/activate"), &format!("#!/bin/sh\necho {word} >> /var/lib/said-{job}\n"))
    })?;
    hydra::built(job, number, &path)
}

/// Waits until the activations of a job have said this, one word a line.
fn said(job: &str, words: &str) -> Result<(), String> {
    wait(SOON, || {
        let said = read(&format!("/var/lib/said-{job}"))?.replace('\n', " ");
        ensure(said == words, || format!("the activations of {job} have said `{said}`, not `{words}`"))
    })
}

fn is_active(unit: &str) -> Result<(), String> {
    wait(SOON, || {
        let state = show(unit, "ActiveState")?;
        ensure(state == "active", || format!("{unit} is {state}"))
    })
}

/// A build is activated, a killed hail goes on without doing it again, and the next build is taken.
pub(super) fn follows() -> Result<String, String> {
    prepare()?;
    let unit = guide::block(&node::guide("nix")?, "## Under systemd", "ini")?;
    ensure(unit.contains(JOB), || format!("the guide's unit does not follow {JOB}"))?;
    let here = format!("http://{}{}web", hydra::ADDRESS, hydra::JOBS);
    systemd::install(UNIT, &unit.replace(JOB, &here))?;
    build("web", 1, "one")?;
    run("systemctl", &["enable", "--now", UNIT])?;
    said("web", "one")?;
    let old = show(UNIT, "MainPID")?;
    run("kill", &["-KILL", &old])?;
    wait(SOON, || {
        let (new, state) = (show(UNIT, "MainPID")?, show(UNIT, "ActiveState")?);
        ensure(new != old && state == "active", || format!("{old} became {new}, and its unit is {state}"))
    })?;
    build("web", 2, "two")?;
    run("systemctl", &["restart", UNIT])?;
    said("web", "one two")?;
    let words = wait(SOON, || {
        let words = show(UNIT, "StatusText")?;
        ensure(!words.is_empty(), || "systemctl status has no words of it".to_owned())?;
        Ok(words)
    })?;
    Ok(format!("activated `one`, killed, activated `two`; it says `{words}`"))
}

/// A build of the profile that looks after those that are named.
fn build_keeper(number: u32, names: &[&str]) -> Result<(), String> {
    let script = guide::block(&node::guide("nix")?, "## A profile that looks after the others", "sh")?;
    let path = hydra::stored(&format!("hails-{number}"), |folder| {
        write(&format!("{folder}/bin/activate"), &script)?;
        names.iter().try_for_each(|name| write(&format!("{folder}/share/hail/{name}"), &settings(name)))
    })?;
    hydra::built("hails", number, &path)
}

fn settings(name: &str) -> String {
    format!("JOB_URI=http://{}{}{name}\n", hydra::ADDRESS, hydra::JOBS)
}

/// It has another one started, and later stopped and removed.
pub(super) fn looks_after() -> Result<String, String> {
    prepare()?;
    systemd::install(
        "helium-hail@.service",
        &guide::block(&node::guide("nix")?, "## A profile that looks after the others", "ini")?,
    )?;
    build("app", 1, "first")?;
    build_keeper(1, &["hails", "app"])?;
    write("/etc/helium/hail/hails", &settings("hails"))?;
    run("systemctl", &["enable", "--now", KEEPER])?;
    said("app", "first")?;
    is_active(KEPT)?;
    let enabled = run("systemctl", &["is-enabled", KEPT])?;
    build_keeper(2, &["hails"])?;
    run("systemctl", &["restart", KEEPER])?;
    wait(SOON, || {
        let state = show(KEPT, "ActiveState")?;
        let profiles = run("ls", &["/nix/var/nix/profiles"])?;
        let gone = !profiles.lines().any(|file| file == "app" || file.starts_with("app-"));
        ensure(state == "inactive" && gone, || format!("{KEPT} is {state}; profiles: {profiles}"))
    })?;
    build_keeper(3, &["hails", "app"])?;
    run("systemctl", &["restart", KEEPER])?;
    said("app", "first first")?;
    is_active(KEPT)?;
    is_active(KEEPER)?;
    Ok(format!("`app` came ({enabled}), went with its profile, and came again"))
}

/// All three are there again, and nothing that was active is activated a second time.
pub(super) fn is_back() -> Result<String, String> {
    for unit in [UNIT, KEEPER, KEPT] {
        is_active(unit)?;
    }
    said("web", "one two")?;
    said("app", "first first")?;
    Ok("all three are active, and no activation was run again".to_owned())
}
