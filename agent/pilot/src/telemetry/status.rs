//! The page about the jobs, services and watches.

use std::sync::{Mutex, PoisonError};

use helium_supervisor::{Handle, JobState, JobView};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::registration::Registration;

/// What the page is made of.
pub struct Status {
    handle: Handle,
    maintenance: watch::Receiver<bool>,
    said: Mutex<Said>,
}

#[derive(Default)]
struct Said {
    registrations: Vec<Registration>,
    watches: Vec<String>,
}

impl Status {
    /// Of these jobs.
    pub fn new(handle: Handle, maintenance: watch::Receiver<bool>) -> Self {
        Self { handle, maintenance, said: Mutex::default() }
    }

    /// From now on with these services and watches.
    pub fn keep(&self, registrations: &[Registration], watches: Vec<String>) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        *said = Said { registrations: registrations.to_vec(), watches };
    }

    /// The page: `Version`, `Jobs`, `Services` and `Watches`. `State`, `Pid`, `Starts`, `Failures`, `Timeouts` and `LastExit` of a job are Helium's own.
    pub fn page(&self) -> String {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let jobs = self.handle.jobs();
        let maintenance = *self.maintenance.borrow();
        let of_job = |job: &JobView| {
            json!({
                "Name": job.name,
                "Status": status(job, maintenance),
                "State": state(job.state),
                "Pid": job.pid,
                "Starts": job.starts,
                "Failures": job.failures,
                "Timeouts": job.timeouts,
                "LastExit": job.last_exit,
            })
        };
        let of_service = |registration: &Registration| {
            let job = jobs.iter().find(|job| job.name == registration.job);
            json!({
                "Name": registration.name,
                "Address": registration.address,
                "Port": registration.port,
                "Status": job.map_or("always healthy", |job| status(job, maintenance)),
            })
        };
        let page = json!({
            "Version": concat!("helium-", env!("CARGO_PKG_VERSION")),
            "Jobs": jobs.iter().map(of_job).collect::<Vec<Value>>(),
            "Services": said.registrations.iter().map(of_service).collect::<Vec<Value>>(),
            "Watches": said.watches,
        });
        page.to_string() + "\n"
    }
}

fn status(job: &JobView, maintenance: bool) -> &'static str {
    match (job.healthy, job.state) {
        _ if maintenance => "maintenance",
        (Some(true), _) => "healthy",
        (Some(false), _) => "unhealthy",
        (None, JobState::Waiting | JobState::Done) => "idle",
        (None, _) => "unknown",
    }
}

fn state(state: JobState) -> &'static str {
    match state {
        JobState::Waiting => "waiting",
        JobState::Delayed => "delayed",
        JobState::Running => "running",
        JobState::CrashLoop => "crashLoop",
        JobState::Resting => "resting",
        JobState::Stopping => "stopping",
        JobState::Done => "done",
    }
}
