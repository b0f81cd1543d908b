//! The processes of an instance, as the system shows them.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

/// kill -9, for one that may have ended already.
pub(crate) fn kill(pid: u32) {
    let _ = kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), Signal::KILL);
}

/// The processes that run for an instance, but for those that wait at their gate and have not executed anything.
pub(crate) fn running(instance: &str) -> Vec<u32> {
    let mark = format!("HELIUM_INSTANCE={instance}");
    let numbers = fs::read_dir("/proc").unwrap().flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let has_mark = |pid: &u32| {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
    };
    let waits = |pid: &u32| {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        command.is_empty()
            || (command.starts_with(b"/bin/sh\0-c\0") && String::from_utf8_lossy(&command).contains("read -r word"))
    };
    numbers.filter(|pid| has_mark(pid) && !waits(pid)).collect()
}
