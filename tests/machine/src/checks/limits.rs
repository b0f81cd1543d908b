//! Limits by control groups v2.

use crate::{
    node::{self, HELIUM, KEEPERS_MEMORY, keepers},
    systemd::{AGENT, main_pid, show},
    tool::{ensure, group, now, pause, processes, read, run, wait},
};

use std::time::Duration;

/// A shell that holds more and more: a text of 40 MiB in the end.
const HOG: &str =
    r#"["/bin/sh", "-c", "x=0123456789; i=0; while [ $i -lt 22 ]; do x=$x$x; i=$((i+1)); done; sleep 1000002"]"#;
const BUSY: &str = r#"["/bin/sh", "-c", "while :; do :; done"]"#;
const BUSY_ARGUMENTS: &str = "/bin/sh -c while :; do :; done";
/// Starts eight processes beside itself and stays, whatever became of them.
const MANY: &str = r#"["/bin/sh", "-c", "(for i in 1 2 3 4 5 6 7 8; do sleep 1000003 & done); exec sleep 1000004"]"#;

/// Each instance of `keeper` has a group of its own, with its limits, apart from the agent's.
pub(super) fn groups() -> Result<String, String> {
    let agents = group(main_pid()?)?;
    let mut folders = Vec::new();
    for pid in keepers()? {
        let folder = group(pid)?;
        ensure(folder != agents && folder.contains("/helium/keeper-"), || format!("an instance is in {folder}"))?;
        for (file, wanted) in [("memory.max", KEEPERS_MEMORY), ("pids.max", "20"), ("cpu.max", "50000 100000")] {
            let value = read(&format!("{folder}/{file}"))?;
            ensure(value == wanted, || format!("{folder}/{file} is {value}, not {wanted}"))?;
        }
        folders.push(folder);
    }
    let described = run(HELIUM, &["describe", "deployment", "keeper"])?;
    ensure(!described.contains("does not hold"), || described.clone())?;
    folders.dedup();
    ensure(folders.len() == node::KEEPERS, || format!("all in {folders:?}"))?;
    Ok(format!("the agent in {agents}, instances in {}", folders.join(" and ")))
}

/// The kernel kills, people are told, and the agent's unit is not taken down with it.
pub(super) fn memory() -> Result<String, String> {
    let (before, agent) = (keepers()?, main_pid()?);
    // It is never healthy, so that people who ask are told of nothing else.
    let document = node::deployment("hog", 1, HOG, "memory: 16Mi").replace("minHealthyTime: 1s", "minHealthyTime: 1m");
    node::apply(&document)?;
    let wanted = "killed for lack of memory (its limit is 16Mi)";
    let told = wait(node::ROLLOUT, || {
        let [explained, described] = ["explain", "describe"].map(|verb| run(HELIUM, &[verb, "deployment/hog"]));
        let (explained, described) = (explained?, described?);
        ensure(described.contains(wanted), || described.clone())?;
        ensure(explained.contains("killed for lack of memory"), || explained.clone())
    });
    node::delete("hog", "sleep 1000002")?;
    told?;
    let (now, state) = (main_pid()?, show(AGENT, "ActiveState")?);
    ensure(now == agent && state == "active", || format!("the agent {agent} became {now}, and its unit is {state}"))?;
    node::unharmed(&before)?;
    Ok(format!("{wanted}; the agent's unit is not touched"))
}

/// How much of a processor a busy loop gets in a while.
pub(super) fn cpu() -> Result<String, String> {
    node::apply(&node::deployment("busy", 1, BUSY, "cpu: 0.3"))?;
    let pid = node::wait_for_processes(BUSY_ARGUMENTS, 1)?[0];
    let measured = share(&format!("{}/cpu.stat", group(pid)?));
    node::delete("busy", BUSY_ARGUMENTS)?;
    let (share, throttled) = measured?;
    ensure((0.1..0.4).contains(&share) && throttled > 0.0, || {
        format!(
            "a busy loop had {share:.2} of a processor within its limit of 0.3, and was kept waiting {throttled} times"
        )
    })?;
    Ok(format!("{share:.2} of a processor within 0.3; kept waiting {throttled} times in 8 s"))
}

/// The share of one processor, and how often somebody was kept waiting, over some seconds.
fn share(file: &str) -> Result<(f64, f64), String> {
    let value = |key: &str| {
        let text = read(file)?;
        let mut values = text.lines().filter_map(|line| line.split_once(' '));
        let found = values.find(|(name, _)| *name == key).and_then(|(_, value)| value.parse::<f64>().ok());
        found.ok_or_else(|| format!("{file} has no {key}"))
    };
    let (since, used, waited) = (now(), value("usage_usec")?, value("nr_throttled")?);
    pause(Duration::from_secs(8));
    let (used, waited) = (value("usage_usec")? - used, value("nr_throttled")? - waited);
    Ok((used / 1e6 / since.elapsed().as_secs_f64(), waited))
}

/// One more than may be cannot be started.
pub(super) fn processes_held() -> Result<String, String> {
    node::apply(&node::deployment("many", 1, MANY, "processes: 4"))?;
    let pid = node::wait_for_processes("sleep 1000004", 1)?[0];
    let folder = group(pid)?;
    let seen = wait(30, || {
        let refused = read(&format!("{folder}/pids.events"))?;
        ensure(!refused.ends_with(" 0"), || format!("none was refused: {refused}"))?;
        Ok((refused, read(&format!("{folder}/pids.current"))?, processes("sleep 1000003").len()))
    });
    node::delete("many", "sleep 1000004")?;
    let left = processes("sleep 1000003");
    ensure(left.is_empty(), || format!("{left:?} outlived their instance"))?;
    let (refused, current, beside) = seen?;
    ensure(beside < 4, || format!("{beside} processes beside the first, within a limit of 4"))?;
    Ok(format!("{current} of 8 run within 4, and what they were went with the instance (pids.events: {refused})"))
}
