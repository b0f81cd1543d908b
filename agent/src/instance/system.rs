//! What a record says in plain words of a process, its end and its control group, as the system knows it.

use helium_cgroups::Group;
use helium_instance::process as plain;
use helium_processes::{Exit, ProcessIdentity};

/// The process that a record means.
pub(crate) fn process(noted: &plain::ProcessIdentity) -> ProcessIdentity {
    ProcessIdentity { pid: noted.pid, start: noted.start.clone() }
}

/// A process as it is noted.
pub(crate) fn note_of(process: &ProcessIdentity) -> plain::ProcessIdentity {
    plain::ProcessIdentity { pid: process.pid, start: process.start.clone() }
}

/// How a process ended, as it is noted.
pub(crate) fn end_of(exit: Exit) -> plain::Exit {
    match exit {
        Exit::Status(status) => plain::Exit::Status(status),
        Exit::Signal(signal) => plain::Exit::Signal(signal),
        Exit::Unseen => plain::Exit::Unseen,
    }
}

/// The control group that a record means.
pub(crate) fn group(noted: &plain::Group) -> Group {
    Group { folders: noted.folders.clone() }
}

/// A control group as it is noted.
pub(crate) fn note_of_group(group: Group) -> plain::Group {
    plain::Group { folders: group.folders }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_written_and_said_as_the_system_writes_and_says_it() {
        let process = ProcessIdentity { pid: 42, start: "boot/1".to_owned() };
        let noted = note_of(&process);
        assert_eq!(serde_json::to_value(&noted).unwrap(), serde_json::to_value(&process).unwrap());
        assert_eq!(super::process(&noted), process);
        let group = Group { folders: vec!["/sys/fs/cgroup/helium/hello-0".into()] };
        let noted = note_of_group(group.clone());
        assert_eq!(serde_json::to_value(&noted).unwrap(), serde_json::to_value(&group).unwrap());
        assert_eq!(super::group(&noted), group);
        for exit in [Exit::Status(3), Exit::Signal(9), Exit::Unseen] {
            assert_eq!(end_of(exit).to_string(), exit.to_string());
        }
    }
}
