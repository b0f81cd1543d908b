//! What can be seen of a supervisor from outside.

use super::{JobId, Supervisor, slot::Slot, slot::Stage};

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobState {
    /// It waits for its events.
    Waiting,
    /// It starts after a delay.
    Delayed,
    /// It runs.
    Running,
    /// It ended too soon too often: it is restarted, or runs again and has not proved itself yet.
    CrashLoop,
    /// It waits for the next tick of its interval.
    Resting,
    /// It is about to stop.
    Stopping,
    /// It is over.
    Done,
}

/// What is to be seen of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobView {
    /// Which one.
    pub id: JobId,
    /// Its name.
    pub name: String,
    /// What it does.
    pub state: JobState,
    /// Whether it is past all waiting for others in its stop: its process, if it has one, was asked to end.
    pub ending: bool,
    /// Its process id; none where it is only asked for, or there is none.
    pub pid: Option<u32>,
    /// Whether it is well; none before its first check.
    pub healthy: Option<bool>,
    /// Which of the events that start it were seen, in their order, since they last started it.
    pub seen: Vec<bool>,
    /// How often it was started, since it is as it is.
    pub starts: u64,
    /// How many of its runs failed without having been asked to end.
    pub failures: u64,
    /// How many of its runs took too long.
    pub timeouts: u64,
    /// The exit code of its last run that ended.
    pub last_exit: Option<i32>,
}

impl Supervisor {
    /// All jobs, in their order. Their process ids are not known here.
    pub fn jobs(&self) -> Vec<JobView> {
        self.slots.iter().map(view).collect()
    }
}

fn view(slot: &Slot) -> JobView {
    let state = match slot.stage {
        Stage::Due(_) | Stage::Up if slot.is_in_crash_loop() => JobState::CrashLoop,
        Stage::Waiting => JobState::Waiting,
        Stage::Due(_) => JobState::Delayed,
        Stage::Up => JobState::Running,
        Stage::Resting => JobState::Resting,
        Stage::Held(_) | Stage::Going => JobState::Stopping,
        Stage::Done => JobState::Done,
    };
    JobView {
        id: slot.id,
        name: slot.spec.name.clone(),
        state,
        ending: slot.stage == Stage::Going,
        pid: None,
        healthy: slot.vitals.healthy,
        seen: slot.seen.clone(),
        starts: slot.starts,
        failures: slot.failures,
        timeouts: slot.timeouts,
        last_exit: slot.last_exit,
    }
}
