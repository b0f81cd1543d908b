//! The log files of a machine's instances: finding them, following them, and keeping them small.
//!
//! An instance appends to its log itself. When the log has grown to [`LARGEST`], it is copied to `log.1` and cut to nothing under
//! the writing process, which goes on at its new end; lines written in between the two are lost. So an instance has at most
//! about twice that on the disk. The logs of the last [`KEPT`] instances that are gone are kept.

use std::{
    fs, io,
    io::SeekFrom,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use helium_crds::ids::{InstanceId, ObjectKey};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::instance::{dir::InstanceDir, record::Record};

/// A log of this many bytes is rotated.
const LARGEST: u64 = 16 * 1024 * 1024;
/// The logs of so many instances that are gone are kept.
const KEPT: usize = 50;
/// How often a followed log is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// The log of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceLog {
    /// The instance.
    pub id: InstanceId,
    /// Its Deployment.
    pub deployment: ObjectKey,
    /// The version label that it runs, or ran.
    pub version: String,
    /// True if the instance is forgotten, and only its log is left.
    pub gone: bool,
    /// The log file. It may not be there yet.
    pub path: PathBuf,
}

/// How to read a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLog {
    /// Only so many lines from the end; none means all.
    pub tail: Option<usize>,
    /// Go on with what is appended, until this future is dropped.
    pub follow: bool,
}

/// The logs of all instances that this data folder of an agent knows, those that are gone among them, by id. The agent need not
/// run.
///
/// # Errors
/// Those of reading the folder; one that is missing holds no logs.
pub fn list(data_dir: &Path) -> io::Result<Vec<InstanceLog>> {
    let mut logs = Vec::new();
    for folder in instance_folders(data_dir)? {
        let dir = InstanceDir::at(folder);
        let live = read_record(&dir.record());
        let gone = live.is_none();
        if let Some(record) = live.or_else(|| read_record(&dir.ended())) {
            let Record { assignment, .. } = record;
            let version = assignment.template.version;
            logs.push(InstanceLog {
                id: assignment.id,
                deployment: assignment.deployment,
                version,
                gone,
                path: dir.log(),
            });
        }
    }
    logs.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(logs)
}

/// Writes a log to `out`: what is there, and, if it is to be followed, what comes, over rotations.
///
/// # Errors
/// Those of reading the file and of writing to `out`; a missing file is empty.
pub async fn copy(log: &Path, how: ReadLog, out: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    let mut at = match how.tail {
        Some(lines) => tail_start(log, lines).await?,
        None => 0,
    };
    loop {
        let length = tokio::fs::metadata(log).await.map_or(0, |meta| meta.len());
        if length < at {
            at = 0;
        }
        if length > at {
            at += copy_range(log, at, length, out).await?;
            out.flush().await?;
        } else if how.follow {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        if !how.follow {
            return Ok(());
        }
    }
}

async fn copy_range(log: &Path, from: u64, to: u64, out: &mut (impl AsyncWrite + Unpin)) -> io::Result<u64> {
    let mut file = tokio::fs::File::open(log).await?;
    file.seek(SeekFrom::Start(from)).await?;
    tokio::io::copy(&mut file.take(to - from), out).await
}

/// Where the last `lines` lines begin.
async fn tail_start(log: &Path, lines: usize) -> io::Result<u64> {
    let bytes = match tokio::fs::read(log).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        bytes => bytes?,
    };
    let body = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    if lines == 0 {
        return Ok(bytes.len() as u64);
    }
    let ends = body.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at);
    Ok(ends.skip(lines - 1).map(|at| at as u64 + 1).next().unwrap_or(0))
}

/// Rotates the logs that are too large, and removes those of instances that are long gone.
pub(crate) fn tidy(data_dir: &Path) -> io::Result<()> {
    let mut gone: Vec<(SystemTime, PathBuf)> = Vec::new();
    for folder in instance_folders(data_dir)? {
        let dir = InstanceDir::at(folder);
        rotate(&dir, LARGEST)?;
        if let Ok(meta) = dir.ended().metadata()
            && !dir.record().exists()
        {
            gone.push((meta.modified()?, dir.path().to_owned()));
        }
    }
    gone.sort();
    let surplus = gone.len().saturating_sub(KEPT);
    gone.iter().take(surplus).try_for_each(|(_, folder)| fs::remove_dir_all(folder))
}

fn rotate(dir: &InstanceDir, largest: u64) -> io::Result<()> {
    let log = dir.log();
    if log.metadata().is_ok_and(|meta| meta.len() >= largest) {
        fs::copy(&log, dir.old_log())?;
        fs::OpenOptions::new().write(true).open(&log)?.set_len(0)?;
    }
    Ok(())
}

fn instance_folders(data_dir: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(data_dir.join("instances")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect(),
    }
}

fn read_record(path: &Path) -> Option<Record> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn instance(data: &Path, name: &str) -> InstanceDir {
        let dir = InstanceDir::at(data.join("instances").join(name));
        dir.create().unwrap();
        dir.save(&Record::admit(testing::assignment(name), testing::instant(0))).unwrap();
        dir
    }

    async fn text(log: &Path, tail: Option<usize>) -> String {
        let mut out = Vec::new();
        copy(log, ReadLog { tail, follow: false }, &mut out).await.unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn logs_are_found_also_of_instances_that_are_gone() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(list(folder.path()).unwrap(), []);
        instance(folder.path(), "hello-1");
        instance(folder.path(), "hello-0").forget().unwrap();
        let found = list(folder.path()).unwrap();
        let short: Vec<_> = found.iter().map(|log| (log.id.as_str(), log.version.as_str(), log.gone)).collect();
        assert_eq!(short, [("hello-0", "1.0.0", true), ("hello-1", "1.0.0", false)]);
    }

    #[tokio::test]
    async fn a_tail_has_the_last_lines() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        assert_eq!(text(&log, Some(2)).await, "");
        fs::write(&log, "one\ntwo\nthree\n").unwrap();
        for (tail, expected) in [
            (None, "one\ntwo\nthree\n"),
            (Some(0), ""),
            (Some(1), "three\n"),
            (Some(2), "two\nthree\n"),
            (Some(9), "one\ntwo\nthree\n"),
        ] {
            assert_eq!(text(&log, tail).await, expected, "{tail:?}");
        }
    }

    #[tokio::test]
    async fn a_followed_log_goes_on_over_a_rotation() {
        let folder = tempfile::tempdir().unwrap();
        let dir = instance(folder.path(), "hello-0");
        let mut writer = fs::OpenOptions::new().create(true).append(true).open(dir.log()).unwrap();
        io::Write::write_all(&mut writer, b"before the rotation\n").unwrap();
        let (mut ours, mut theirs) = tokio::io::duplex(1024);
        let log = dir.log();
        let following =
            tokio::spawn(async move { copy(&log, ReadLog { tail: None, follow: true }, &mut theirs).await });
        let mut got = vec![0; 20];
        ours.read_exact(&mut got).await.unwrap();
        rotate(&dir, 10).unwrap();
        io::Write::write_all(&mut writer, b"after\n").unwrap();
        let mut more = vec![0; 6];
        ours.read_exact(&mut more).await.unwrap();
        following.abort();
        assert_eq!((got.as_slice(), more.as_slice()), (&b"before the rotation\n"[..], &b"after\n"[..]));
        assert_eq!(fs::read_to_string(dir.old_log()).unwrap(), "before the rotation\n");
    }

    #[test]
    fn the_logs_of_instances_long_gone_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        instance(folder.path(), "live-0");
        for number in 0..=KEPT {
            instance(folder.path(), &format!("gone-{number}")).forget().unwrap();
        }
        tidy(folder.path()).unwrap();
        let left = list(folder.path()).unwrap();
        assert_eq!((left.len(), left.iter().filter(|log| log.gone).count()), (KEPT + 1, KEPT));
    }
}
