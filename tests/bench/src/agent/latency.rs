//! What the way from a write to the file is made of: each step alone, in the order in which they come.
//!
//! Consul's part is measured by long polls that lie in it while the key is written, from the start of the write and from its answer; ours by the
//! library that `helium render` is made of, in this process. What Consul keeps lies where temporary files do: `TMPDIR=/dev/shm` shows what
//! its disk costs.

use std::{collections::BTreeSet, fmt::Write as _, path::Path, sync::Arc, time::Duration};

use consul_client::{Client, Read};
use helium_e2e::{Consul, wait::pause};
use helium_lookups::{Follower, FollowerConfig};
use helium_templates::{
    Strictness,
    files::RealFiles,
    lookup::{Lookup, Question},
    output::Output,
    render::{Rendered, render},
    template::Template,
    transaction::{NoCheck, apply},
    values::Values,
};
use tokio::sync::mpsc;

use super::{
    Outcome,
    desk::{Desk, FOLDER, KEYS, WRITTEN, key},
    program::{Program, Shape},
};
use crate::react::percentile;

/// How often each step is taken.
const ROUNDS: usize = 100;
/// How long everything lies still before a key is written, as in the rounds of a program.
const PARK: Duration = Duration::from_millis(60);
/// The longest wait of a long poll.
const WAIT: Duration = Duration::from_secs(30);
/// The folder of templates that come from nowhere.
const NOWHERE: &str = "/";

/// What is asked of Consul.
#[derive(Clone, Copy)]
enum Asked {
    /// The key that is written.
    Key,
    /// A tenth of the folder, by the beginning that the names have in common.
    Tenth,
    /// The names of the folder's keys.
    Names,
    /// The folder.
    Folder,
}

impl Asked {
    const ALL: [Asked; 4] = [Asked::Key, Asked::Tenth, Asked::Names, Asked::Folder];

    fn words(self) -> String {
        match self {
            Asked::Key => "the key alone".to_owned(),
            Asked::Tenth => format!("{} keys of the folder", KEYS / 10),
            Asked::Names => "the names of all keys".to_owned(),
            Asked::Folder => "all keys".to_owned(),
        }
    }

    /// Asks, and gives the index.
    async fn ask(self, client: &Client, read: &Read) -> Result<u64, consul_client::Error> {
        let written = key(WRITTEN);
        Ok(match self {
            Asked::Key => client.kv_get(&written, read).await?.meta.index,
            Asked::Tenth => client.kv_list(&written[..written.len() - 2], read).await?.meta.index,
            Asked::Names => client.kv_keys(FOLDER, None, read).await?.meta.index,
            Asked::Folder => client.kv_list(FOLDER, read).await?.meta.index,
        })
    }
}

/// Measures, and gives the table.
pub(super) fn measure(desk: &Desk) -> Outcome<String> {
    let mut text = String::new();
    let in_memory = Desk::on(Consul::start())?;
    for (words, desk) in [("its log on the disk", desk), ("-dev, in memory", &in_memory)] {
        let _ = write!(text, "\n{:<56} {:>9} {:>9}  after the write", format!("Consul, {words}"), "p50", "p99");
        consul_into(&mut text, desk)?;
    }
    let _ = write!(text, "\n{:<56} {:>9} {:>9}", format!("A file of {KEYS} keys, in one process"), "p50", "p99");
    ours_into(&mut text, desk)?;
    Ok(text)
}

fn line(text: &mut String, what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let ms = |percent| percentile(&times, percent).as_secs_f64() * 1000.0;
    let _ = write!(text, "\n  {what:<54} {:>6.2} ms {:>6.2} ms", ms(50), ms(99));
}

/// How long something takes again and again.
fn times(desk: &Desk, mut round: impl FnMut() -> Outcome<()>) -> Outcome<Vec<Duration>> {
    (0..ROUNDS)
        .map(|_| {
            let begun = desk.now();
            round()?;
            Ok(desk.since(begun))
        })
        .collect()
}

fn consul_into(text: &mut String, desk: &Desk) -> Outcome<()> {
    let mut number = 0;
    let mut write = || {
        number += 1;
        desk.write(&format!("written {number}"))
    };
    line(text, "a key written, one after the other", times(desk, &mut write)?);
    let rested = times_after_a_rest(desk, &mut write)?;
    line(text, &format!("a key written after {} ms of rest", PARK.as_millis()), rested);
    for asked in Asked::ALL {
        let read = times(desk, || {
            desk.wait_for(asked.ask(&desk.client, &Read::default()))?;
            Ok(())
        })?;
        line(text, &format!("read: {}", asked.words()), read);
    }
    for asked in Asked::ALL {
        let (all, after) = wakes(desk, asked)?;
        line(text, &format!("written, a long poll answers: {}", asked.words()), all);
        let mut after = after;
        after.sort_unstable();
        let _ = write!(text, " {:>6.2} ms", percentile(&after, 50).as_secs_f64() * 1000.0);
    }
    text.push('\n');
    Ok(())
}

/// The same as it is in truth: caches are cold and processors slow, and the same work takes several times as long.
fn times_after_a_rest(desk: &Desk, mut round: impl FnMut() -> Outcome<()>) -> Outcome<Vec<Duration>> {
    (0..ROUNDS)
        .map(|_| {
            pause(PARK);
            let begun = desk.now();
            round()?;
            Ok(desk.since(begun))
        })
        .collect()
}

/// From the start of a write, and from its answer, to the answer of a long poll.
fn wakes(desk: &Desk, asked: Asked) -> Outcome<(Vec<Duration>, Vec<Duration>)> {
    let (sender, mut woken) = mpsc::channel(8);
    let (client, ports) = (desk.client.clone(), desk.ports.clone());
    let following = desk.spawn(async move {
        let mut index = 0;
        loop {
            let read = if index == 0 { Read::default() } else { Read::blocking(index, WAIT) };
            let Ok(found) = asked.ask(&client, &read).await else { return };
            index = found;
            if sender.send(ports.monotonic()).await.is_err() {
                return;
            }
        }
    });
    let mut next = || desk.wait_for(woken.recv()).ok_or("the long poll has ended");
    next()?;
    let (mut all, mut after) = (Vec::new(), Vec::new());
    for number in 0..ROUNDS {
        pause(PARK);
        let begun = desk.now();
        desk.write(&format!("woken {number}"))?;
        let written = desk.now();
        let woken = next()?;
        all.push(woken.saturating_sub(begun));
        after.push(woken.saturating_sub(written));
    }
    following.abort();
    Ok((all, after))
}

fn ours_into(text: &mut String, desk: &Desk) -> Outcome<()> {
    let mut follower = Follower::new(desk.client.clone(), desk.ports.clone(), FollowerConfig::default());
    let questions: BTreeSet<Question> = (0..KEYS).map(|number| Question::Key(key(number))).collect();
    desk.wait_for(async {
        follower.follow(&questions);
        follower.changed().await;
    });
    let mut known = Vec::new();
    for number in 0..ROUNDS {
        pause(PARK);
        let begun = desk.now();
        desk.write(&format!("known {number}"))?;
        desk.wait_for(follower.changed());
        known.push(desk.since(begun));
    }
    line(text, "written, known to the follower", known);
    let lookup: Arc<dyn Lookup> = follower.answers();
    for shape in [Shape::Names, Shape::Prefix] {
        let source = Program::Helium.template(shape, (0..KEYS).map(key), FOLDER);
        let made = || rendered(&source, &lookup);
        let rendering = times_after_a_rest(desk, || made().map(drop))?;
        line(text, &format!("rendered, the template by {}", format!("{shape:?}").to_lowercase()), rendering);
        if shape == Shape::Names {
            let mut outputs = made()?;
            line(text, "put in place, the file and its name on the disk", placed(desk, &mut outputs)?);
        }
    }
    text.push('\n');
    Ok(())
}

fn rendered(source: &str, lookup: &Arc<dyn Lookup>) -> Outcome<Vec<Output>> {
    let template = Template::read_from(Path::new("latency.tera"), source, Path::new(NOWHERE)).ok_or("no template")?;
    match render(&[template], &Values::default(), lookup, Strictness::Strict).result {
        Rendered::Ready(outputs) => Ok(outputs),
        other => Err(format!("nothing was rendered: {other:?}").into()),
    }
}

fn placed(desk: &Desk, outputs: &mut [Output]) -> Outcome<Vec<Duration>> {
    let state = desk.path("latency-state");
    let mut number = 0;
    let output = outputs.first_mut().ok_or("no file was rendered")?;
    output.target = desk.path("latency");
    let mut output = output.clone();
    times_after_a_rest(desk, || {
        number += 1;
        output.bytes.extend_from_slice(format!("{number}\n").as_bytes());
        apply(&RealFiles, &state, std::slice::from_ref(&output), &NoCheck)?;
        Ok(())
    })
}
