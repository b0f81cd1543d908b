//! The supervisor: the jobs of a plan run to the end of its main process.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use helium_crds::job::MAIN;
use helium_processes::{ProcessIdentity, Signal};
use helium_runtime::ports::Ports;
use helium_supervisor::{Handle, JobView, Options, Runner, SetError, guardian};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    task::JoinSet,
};

use super::{
    followed::{Followed, Follows},
    mapping::{hopeless, job_set},
    plan::Plan,
    protocol::{States, Told},
    socket,
};

/// The exit code of a supervisor whose main process was never started.
const NEVER_STARTED: i32 = 1;
/// What is passed on to the main process. The first three are events as well.
const PASSED_ON: [Signal; 5] = [Signal::HUP, Signal::USR1, Signal::USR2, Signal::QUIT, Signal::WINCH];

/// Why nothing was supervised.
#[derive(Debug, thiserror::Error)]
pub enum SuperviseError {
    /// The plan cannot be read.
    #[error("{}: {source}", .path.display())]
    Plan {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The plan does not fit together.
    #[error(transparent)]
    Set(#[from] SetError),
    /// The system refused something.
    #[error("the system refused: {0}")]
    System(#[from] io::Error),
}

/// Runs the plan in a file: first as the guardian, which starts this program again as the worker, and then as that. Gives the exit code of the main
/// process, 128 and its number for a signal. To be called first in `main`, while there is one thread.
///
/// # Errors
/// The file is no plan, or the system does not let it be run. Nothing was started then.
pub fn supervise(file: &Path) -> Result<u8, SuperviseError> {
    if let Some(code) = guardian::guard()? {
        return Ok(code);
    }
    let plan = Plan::read(file).map_err(|source| SuperviseError::Plan { path: file.to_owned(), source })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let code = runtime.block_on(run(plan))?;
    Ok(u8::try_from(code).unwrap_or(u8::MAX))
}

async fn run(plan: Plan) -> Result<i32, SuperviseError> {
    let set = job_set(&plan)?;
    let own = ProcessIdentity::of(std::process::id());
    // Before anything else is there that it could leave behind.
    fs::write(&plan.worker, serde_json::to_vec(&own).map_err(io::Error::from)?)?;
    let listener = socket::listen(&plan.socket)?;
    let options = Options {
        ports: Ports::real(),
        output: Box::new(tokio::io::stdout()),
        signals: true,
        // The agent sends the stop signal again when it does not know that it did, and SIGKILL when it means that.
        second_kills: false,
        forward: PASSED_ON.to_vec(),
        pid_variables: None,
        variables: None,
        notes: Some(plan.notes.clone()),
    };
    let (runner, handle) = Runner::new(set, options);
    let mut beside = JoinSet::new();
    beside.spawn(serve(listener, handle.clone()));
    beside.spawn(give_up(plan.clone(), handle.clone()));
    let code = runner.run().await?;
    beside.abort_all();
    let _ = fs::remove_file(&plan.socket);
    let started = handle.jobs().iter().any(|job| job.name == MAIN && job.starts > 0);
    Ok(if started { code } else { NEVER_STARTED })
}

/// Ends all when it is sure that the main process will never start: then the instance is to begin anew, and people are to hear of it.
async fn give_up(plan: Plan, handle: Handle) {
    let mut handle = handle;
    let mut why = None;
    let seen = handle
        .until(|jobs| {
            why = hopeless(&plan, jobs);
            why.is_some()
        })
        .await;
    if seen.is_ok() {
        tracing::warn!("the main process will never start: {}", why.unwrap_or_default());
        let _ = handle.shut_down().await;
    }
}

/// Talks with the agent; the one that came last counts.
async fn serve(listener: UnixListener, handle: Handle) {
    let mut followed = Followed::default();
    let mut accepted = None;
    loop {
        let stream = match accepted.take() {
            Some(stream) => stream,
            None => match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "the agent cannot be heard");
                    return;
                }
            },
        };
        tokio::select! {
            biased;
            next = listener.accept() => accepted = next.ok().map(|(stream, _)| stream),
            () = talk(stream, &handle, &mut followed) => {}
        }
    }
}

async fn talk(stream: UnixStream, handle: &Handle, followed: &mut Followed) {
    let (reader, mut writer) = stream.into_split();
    let mut seen = handle.clone();
    let telling = async {
        let mut told: Option<States> = None;
        loop {
            let news = |jobs: &Vec<JobView>| told.as_ref() != Some(&States::from(jobs.as_slice()));
            let Ok(jobs) = seen.until(news).await else { return };
            let states = States::from(jobs.as_slice());
            let Ok(mut line) = serde_json::to_vec(&states) else { return };
            line.push(b'\n');
            if writer.write_all(&line).await.is_err() {
                return;
            }
            told = Some(states);
        }
    };
    let hearing = async {
        let mut lines = BufReader::new(reader).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let Ok(told) = serde_json::from_str::<Told>(&line) else { continue };
            for follows in followed.take(told) {
                let sent = match follows {
                    Follows::Happened(event) => handle.happened(event).await,
                    Follows::Main(healthy) => handle.observed(MAIN, healthy).await,
                };
                if sent.is_err() {
                    return;
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = hearing => {}
        () = telling => {}
    }
}
