//! `helium logs`: what the instances of this machine print, and where the others are.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use helium_agent::logs::{InstanceLog, ReadLog, copy, list};
use helium_crds::ObjectKey;
use helium_engine::people::PeopleError;
use tokio::{
    io::{AsyncBufReadExt, BufReader, duplex},
    sync::mpsc,
    task::JoinSet,
    time::interval,
};

use super::others::{Others, Sight};
use crate::commands::agent::{agent_folder, usual_data_dir};
use crate::{
    names,
    output::{Console, Exit, Failure, Outcome},
    session::Session,
};

/// How often the folder is looked at for new instances while following.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How many bytes of one instance may wait to be printed.
const BUFFER: usize = 64 * 1024;
/// How many lines may wait to be printed.
const LINES: usize = 1024;

/// Options of `helium logs`.
#[derive(Args, Debug)]
pub(crate) struct LogsArgs {
    /// The Deployment
    name: String,
    /// Go on printing, also of instances that come later
    #[arg(short, long)]
    follow: bool,
    /// Only so many lines from the end of each log
    #[arg(long, value_name = "LINES")]
    tail: Option<usize>,
    /// Only instances of this version
    #[arg(long, value_name = "LABEL")]
    only_version: Option<String>,
    /// Only this instance
    #[arg(long, value_name = "ID")]
    instance: Option<String>,
    /// Also instances that are gone
    #[arg(long)]
    gone: bool,
    /// The data folder of this machine's agent, or of `helium dev` [default: .helium if it is there, else /var/lib/helium]
    #[arg(long, value_name = "FOLDER", env = "HELIUM_DATA_DIR")]
    data_dir: Option<PathBuf>,
}

/// Runs `helium logs`.
pub(crate) async fn run(args: LogsArgs, session: &Session, console: &mut Console) -> Outcome {
    let key = names::deployment(&args.name, session.namespace())?;
    let folder = args.data_dir.as_deref().map_or_else(usual_data_dir, agent_folder);
    let found = wanted(&args, &key, &folder)?;
    let only = (args.only_version.clone(), args.instance.clone());
    let mut others = Others::new(session.people("logs")?, key.clone(), folder.clone(), only);
    let sight = others.look().await;
    if found.is_empty() {
        nothing_here(&args, &key, &sight, &folder, console)?;
    }
    others.news(&sight).into_iter().for_each(|words| console.say(words));
    if !args.follow {
        return once(&found, &args, console).await;
    }
    let (sender, mut lines) = mpsc::channel::<String>(LINES);
    let mut readers = JoinSet::new();
    let mut known = BTreeSet::new();
    read_new(found, &mut known, &mut readers, &sender, &args);
    let mut look = interval(LOOK_AGAIN);
    let mut news = others.follow();
    loop {
        tokio::select! {
            biased;
            // Ahead of the lines, which may come without a pause: instances that come later must not wait for one.
            _ = look.tick() => read_new(wanted(&args, &key, &folder)?, &mut known, &mut readers, &sender, &args),
            Some(words) = news.recv() => console.say(words),
            Some(line) = lines.recv() => console.line(line)?,
        }
    }
}

/// Why there is nothing to show: an error, unless something that comes later is waited for.
fn nothing_here(
    args: &LogsArgs,
    key: &ObjectKey,
    sight: &Sight,
    folder: &Path,
    console: &mut Console,
) -> Result<(), Failure> {
    if let Sight::NoSuchObject(object) = sight {
        let failure = Failure::from(PeopleError::NotFound(object.clone()));
        return Err(failure.hint("`--gone` shows what instances of it have printed here, if there were any"));
    }
    if args.follow {
        let folder = folder.display();
        console.say(format!("no instance of {key} has a log on this machine yet (in {folder}); waiting for one"));
        return Ok(());
    }
    let message = format!("no instance of {key} has a log on this machine");
    let hint = format!("`helium describe deployment/{key}` tells where they run; `--gone` shows those that are gone");
    Err(Failure::new(Exit::NotFound, message).hint(sight.words(key).unwrap_or(hint)))
}
/// Prints what there is, one instance after the other; a single one without its name.
async fn once(found: &[InstanceLog], args: &LogsArgs, console: &mut Console) -> Outcome {
    for log in found {
        let mut bytes = Vec::new();
        copy(&log.path, ReadLog { tail: args.tail, follow: false }, &mut bytes).await?;
        let prefix = if found.len() > 1 { prefix(log) } else { String::new() };
        for line in String::from_utf8_lossy(&bytes).lines() {
            console.line(format!("{prefix}{line}"))?;
        }
    }
    Ok(Exit::Ok)
}

/// What stands in front of each line of an instance.
fn prefix(log: &InstanceLog) -> String {
    format!("{} {} | ", log.id, log.version)
}

/// Starts reading the logs that are not being read yet.
fn read_new(
    found: Vec<InstanceLog>,
    known: &mut BTreeSet<PathBuf>,
    readers: &mut JoinSet<()>,
    sender: &mpsc::Sender<String>,
    args: &LogsArgs,
) {
    for log in found {
        if known.insert(log.path.clone()) {
            let how = ReadLog { tail: args.tail, follow: true };
            let prefix = prefix(&log);
            readers.spawn(read(log.path, how, prefix, sender.clone()));
        }
    }
}

/// Reads one log line by line, each with its instance in front.
async fn read(path: PathBuf, how: ReadLog, prefix: String, sender: mpsc::Sender<String>) {
    let (ours, mut theirs) = duplex(BUFFER);
    let copying = tokio::spawn(async move { copy(&path, how, &mut theirs).await });
    let mut lines = BufReader::new(ours).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        if sender.send(format!("{prefix}{}", String::from_utf8_lossy(&line))).await.is_err() {
            break;
        }
    }
    copying.abort();
}

fn wanted(args: &LogsArgs, key: &ObjectKey, folder: &Path) -> Result<Vec<InstanceLog>, Failure> {
    let all =
        list(folder).map_err(|error| Failure::internal(format!("cannot read `{}`: {error}", folder.display())))?;
    let fits = |log: &InstanceLog| {
        log.deployment == *key
            && (args.gone || !log.gone || args.instance.is_some())
            && args.only_version.as_ref().is_none_or(|version| *version == log.version)
            && args.instance.as_ref().is_none_or(|id| id == log.id.as_str())
    };
    Ok(all.into_iter().filter(fits).collect())
}
