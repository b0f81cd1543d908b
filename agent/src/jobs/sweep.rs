//! An end of all that a supervisor has left when its guardian is gone.
//!
//! First its worker, so that nothing new is started; then all process groups that it had written down; then whatever else of the instance runs, found
//! by its environment: a process that has left its group. Hooks and scripts of the agent itself bear no job's name and are let be.

use std::{fs, path::Path, time::Duration};

use helium_crds::{
    ids::InstanceId,
    variables::{HELIUM_INSTANCE, HELIUM_JOB},
};
use helium_processes::{ProcessIdentity, Signal};

use super::plan::Files;
use crate::instance::{dir::InstanceDir, record::Record};

/// How often is looked whether what was killed is gone, and how long in between: the system may take its time with a process that waits for a disk.
const LOOKS: u32 = 100;
const BETWEEN: Duration = Duration::from_millis(20);

/// Ends all that is left of an instance's supervisor, if it had one.
///
/// # Errors
/// In words, what is still there; it is to be tried again.
pub(crate) async fn sweep(dir: &InstanceDir, record: &Record) -> Result<(), String> {
    if !record.assignment.template.is_supervised() {
        return Ok(());
    }
    let instance = &record.assignment.id;
    let files = Files(dir);
    if let Some(worker) = worker(&files.worker()) {
        for _ in 0..LOOKS {
            let _ = worker.signal_group(Signal::KILL);
            if !worker.signal(Signal::KILL).map_err(|error| format!("a supervisor cannot be killed: {error}"))? {
                break;
            }
            tokio::time::sleep(BETWEEN).await;
        }
    }
    let notes = files.notes();
    helium_supervisor::end_what_is_left(&notes).map_err(|error| format!("{}: {error}", notes.display()))?;
    for _ in 0..LOOKS {
        let left = strays(instance);
        if left.is_empty() {
            return Ok(());
        }
        for process in &left {
            tracing::warn!(%instance, pid = process.pid, "left by a supervisor that is gone; killed");
            let _ = process.signal(Signal::KILL);
        }
        tokio::time::sleep(BETWEEN).await;
    }
    Err("processes of its jobs are still there, and cannot be killed".to_owned())
}

/// The worker as it has written itself down.
fn worker(note: &Path) -> Option<ProcessIdentity> {
    serde_json::from_slice(&fs::read(note).ok()?).ok()
}

/// The processes of an instance's jobs that run, by their environment. Linux alone shows it.
fn strays(instance: &InstanceId) -> Vec<ProcessIdentity> {
    let mark = format!("{HELIUM_INSTANCE}={instance}");
    let job = format!("{HELIUM_JOB}=");
    let is_stray = |pid: &u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let has = |is_so: &dyn Fn(&[u8]) -> bool| environment.split(|byte| *byte == 0).any(is_so);
        has(&|variable| variable == mark.as_bytes()) && has(&|variable| variable.starts_with(job.as_bytes()))
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(is_stray).filter_map(ProcessIdentity::of).collect()
}
