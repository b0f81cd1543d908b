//! The least that anybody could do: a client that reads all the keys and writes a plain file, a shell, one call.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use consul_client::{CheckDefinition, CheckStatus, Client, KvPair, Read, ServiceDefinition};
use helium_e2e::process;

use super::{
    Outcome,
    desk::{Desk, FOLDER, LIMIT},
    files::{self, Seen},
    services,
};
use crate::react::percentile;

/// How often what is quick is done.
const ROUNDS: usize = 20;
/// The longest wait of its long poll.
const WAIT: Duration = Duration::from_secs(30);

/// What it came to.
pub(super) struct Bare {
    /// One read and one file.
    pub(super) once: Duration,
    /// A key written, and the file of a long poll's answer seen.
    pub(super) seen: Seen,
    /// A file of that size written, and on the disk.
    pub(super) disk: Duration,
    /// A key written.
    pub(super) write: Duration,
    /// What has nothing to do with keys.
    pub(super) calls: Calls,
}

/// What the least of everything else came to.
pub(super) struct Calls {
    /// A shell that does nothing, from start to end.
    pub(super) shell: Duration,
    /// A shell that is asked to end.
    pub(super) stop: Duration,
    /// A check that is said to be critical, and a long poll that sees it.
    pub(super) critical: Duration,
}

/// Measures.
pub(super) fn measure(desk: &Desk) -> Outcome<Bare> {
    let file = desk.path("bare");
    let once = half(|| {
        let begun = desk.now();
        let rows = desk.wait_for(desk.client.kv_list(FOLDER, &Read::default()))?;
        put(&file, &rows.value)?;
        Ok(desk.since(begun))
    })?;
    let write = half(|| {
        let begun = desk.now();
        desk.write("bare")?;
        Ok(desk.since(begun))
    })?;
    let synced = half(|| {
        let begun = desk.now();
        let mut plain = fs::File::create(desk.path("synced"))?;
        plain.write_all(&fs::read(&file)?)?;
        plain.sync_all()?;
        Ok(desk.since(begun))
    })?;
    let following = desk.spawn(follow(desk.client.clone(), file.clone()));
    desk.shows(&file, "bare")?;
    let seen = files::rounds(desk, &file, "bare");
    following.abort();
    Ok(Bare { once, seen: seen?, disk: synced, write, calls: measure_calls(desk)? })
}

/// Measures what has nothing to do with keys.
pub(super) fn measure_calls(desk: &Desk) -> Outcome<Calls> {
    Ok(Calls { shell: shell(desk)?, stop: stop(desk)?, critical: critical(desk)? })
}

fn half(mut round: impl FnMut() -> Outcome<Duration>) -> Outcome<Duration> {
    let mut times = (0..ROUNDS).map(|_| round()).collect::<Outcome<Vec<_>>>()?;
    times.sort_unstable();
    Ok(percentile(&times, 50))
}

/// Follows the keys and writes a line for each.
async fn follow(client: Client, file: PathBuf) {
    let mut index = 0;
    loop {
        let Ok(reply) = client.kv_list(FOLDER, &Read::blocking(index, WAIT)).await else { return };
        index = reply.meta.index;
        if put(&file, &reply.value).is_err() {
            return;
        }
    }
}

/// A plain file, which others see whole or not at all. Nothing makes sure that it outlives a loss of power.
fn put(file: &Path, rows: &[KvPair]) -> std::io::Result<()> {
    let mut text = Vec::new();
    for row in rows {
        text.extend_from_slice(&row.value);
        text.push(b'\n');
    }
    let new = file.with_extension("new");
    fs::write(&new, text)?;
    fs::rename(new, file)
}

fn shell(desk: &Desk) -> Outcome<Duration> {
    half(|| {
        let begun = desk.now();
        Command::new("sh").args(["-c", "exit"]).status()?;
        Ok(desk.since(begun))
    })
}

fn stop(desk: &Desk) -> Outcome<Duration> {
    half(|| {
        let mut child = Command::new("sh").args(["-c", "exec sleep 600"]).spawn()?;
        let pid = child.id();
        desk.until("a shell runs", LIMIT, || (process::arguments(pid).first()? == "sleep").then_some(()))?;
        let begun = desk.now();
        process::terminate(pid);
        desk.until("a shell has ended", LIMIT, || (!process::is_alive(pid)).then_some(()))?;
        let took = desk.since(begun);
        child.wait()?;
        Ok(took)
    })
}

/// A check is said to be critical by one call, and a long poll of the catalog sees it.
fn critical(desk: &Desk) -> Outcome<Duration> {
    let client = &desk.client;
    let ttl = CheckDefinition { ttl: Some(WAIT), id: "bare-check".to_owned(), ..CheckDefinition::default() };
    let service = ServiceDefinition { name: "bare".to_owned(), check: Some(ttl), ..ServiceDefinition::default() };
    desk.wait_for(client.agent_register_service(&service, true))?;
    half(|| {
        desk.wait_for(client.agent_update_ttl("bare-check", CheckStatus::Passing, ""))?;
        desk.wait_for(services::until_status(client, "bare", CheckStatus::Passing))?;
        let begun = desk.now();
        desk.wait_for(client.agent_update_ttl("bare-check", CheckStatus::Critical, ""))?;
        desk.wait_for(services::until_status(client, "bare", CheckStatus::Critical))?;
        Ok(desk.since(begun))
    })
}
