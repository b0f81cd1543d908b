//! `helium doctor`: look for what is wrong with the store, and with those who should be using it.

use clap::Args;
use helium_engine::people::{Condition, People, PeopleError};

use crate::{
    output::{Console, Exit, Failure, Outcome, Tone},
    session::Session,
};

/// Options of `helium doctor`.
#[derive(Args, Debug)]
pub(crate) struct DoctorArgs {
    /// Write what is missing of the layout, and so declare that what the store holds now is all there is
    #[arg(long)]
    repair: bool,
}

/// How one look went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Good,
    /// Nothing is broken, but not everything runs.
    Odd,
    Bad,
}

/// Runs `helium doctor`. What is bad makes exit code 7: a controller acts on nothing until it is mended.
pub(crate) async fn run(args: DoctorArgs, session: &Session, console: &mut Console) -> Outcome {
    let people = session.people("doctor")?;
    let address = session.consul()?.address;
    if args.repair {
        console.say(match people.repair().await?.as_slice() {
            [] => "nothing of the layout was missing".to_owned(),
            [only] => format!("{only} was missing and is there again"),
            [first, rest @ ..] => format!("{first} and {} more were missing and are there again", rest.len()),
        });
    }
    let leader = people.client().status_leader().await?;
    let known = if leader.is_empty() { Mark::Bad } else { Mark::Good };
    let mut worst = tell(known, "consul", &format!("{address}, leader {}", or_none(&leader)), console)?;
    worst = worst.max(layout(&people, console).await?);
    worst = worst.max(controller(&people, console).await?);
    worst = worst.max(nodes(&people, console).await?);
    worst = worst.max(objects(&people, console).await?);
    Ok(if worst == Mark::Bad as u8 { Exit::Refused } else { Exit::Ok })
}

async fn layout(people: &People, console: &mut Console) -> Result<u8, Failure> {
    let repair = "something was lost; `helium doctor --repair` declares that what the store holds now is all there is";
    let (mark, text) = match people.condition().await {
        Ok(Condition::New) => (Mark::Odd, "not made yet; the first controller or apply makes it".to_owned()),
        Ok(Condition::HalfMade) => (Mark::Odd, "half made; the next controller or apply finishes it".to_owned()),
        Ok(Condition::Sound(layout)) => (Mark::Good, format!("schema {}, store {}", layout.schema, layout.uid)),
        Ok(Condition::LayoutLost) => {
            let key = people.keys().layout();
            (Mark::Bad, format!("the key {key} is missing although records are there: {repair}"))
        }
        Ok(Condition::SentinelsLost(missing)) => {
            let which = match missing.as_slice() {
                [only] => format!("the sentinel {only} is missing"),
                several => format!("{} sentinels are missing, such as {}", several.len(), several[0]),
            };
            (Mark::Bad, format!("{which}: {repair}"))
        }
        Err(error @ (PeopleError::Layout { .. } | PeopleError::Unreadable { .. })) => (Mark::Bad, error.to_string()),
        Err(error) => return Err(error.into()),
    };
    tell(mark, "layout", &text, console)
}

async fn controller(people: &People, console: &mut Console) -> Result<u8, Failure> {
    match people.leader().await? {
        Some(lock) => tell(Mark::Good, "controller", &format!("{} leads", holder(&lock.value)), console),
        None => tell(Mark::Odd, "controller", "none leads; start `helium controller`", console),
    }
}

/// Who holds the lock: the name in its value, or the value itself.
fn holder(value: &[u8]) -> String {
    let holder: Option<serde_json::Value> = serde_json::from_slice(value).ok();
    let name = holder.as_ref().and_then(|holder| holder.get("id")).and_then(serde_json::Value::as_str);
    name.map_or_else(|| String::from_utf8_lossy(value).into_owned(), str::to_owned)
}

async fn nodes(people: &People, console: &mut Console) -> Result<u8, Failure> {
    let nodes = people.nodes().await?;
    let alive = nodes.iter().filter(|node| node.heartbeat.is_some()).count();
    let mark = if nodes.is_empty() || alive < nodes.len() { Mark::Odd } else { Mark::Good };
    tell(mark, "nodes", &format!("{alive} of {} alive", nodes.len()), console)
}

async fn objects(people: &People, console: &mut Console) -> Result<u8, Failure> {
    let objects = people.objects().await?;
    let statuses = people.statuses().await?;
    let wrong = statuses
        .values()
        .filter(|status| matches!(status.phase, helium_crds::Phase::Degraded | helium_crds::Phase::Invalid));
    let wrong = wrong.count();
    let mark = if wrong == 0 { Mark::Good } else { Mark::Odd };
    tell(mark, "objects", &format!("{}, of which {wrong} degraded or invalid", objects.len()), console)
}

fn tell(mark: Mark, what: &str, text: &str, console: &mut Console) -> Result<u8, Failure> {
    let (word, tone) = match mark {
        Mark::Good => ("ok  ", Tone::Good),
        Mark::Odd => ("note", Tone::Warning),
        Mark::Bad => ("bad ", Tone::Bad),
    };
    let word = console.paint(tone, word);
    console.line(format!("{word}  {what:<10}  {text}"))?;
    Ok(mark as u8)
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}
