//! Waiting for rollouts, with their progress line by line: `apply --wait`, `rollout status`, `rollout undo --wait`.

use std::{pin::pin, time::Duration};

use helium_crds::{Period, revision::revision_id};
use helium_engine::people::{ObjectRef, People, Stored, follow::Follow};

use crate::output::{
    Console, Exit, Failure, Outcome,
    progress::{Awaited, Progress, Verdict, verdict},
};

/// After so long without any controller's answer the person is told.
const SILENCE: Duration = Duration::from_secs(10);

/// One Deployment that is being waited for.
pub(super) struct Waited {
    object: ObjectRef,
    awaited: Awaited,
    progress: Progress,
    verdict: Verdict,
    answered: bool,
    /// The phase and message of the last status.
    last: Option<String>,
}

impl Waited {
    /// Waits for what `stored` asks for; none if it is no Deployment that can be read.
    pub(super) fn of(stored: &Stored) -> Option<Self> {
        let template = serde_json::from_value(stored.spec.get("template")?.clone()).ok()?;
        let object = ObjectRef::of(stored);
        let awaited = Awaited {
            uid: stored.metadata.uid.clone(),
            generation: stored.metadata.generation,
            revision: revision_id(&template),
        };
        let progress = Progress::of(object.key.to_string());
        Some(Self { object, awaited, progress, verdict: Verdict::Pending, answered: false, last: None })
    }

    fn ended(&self) -> bool {
        self.verdict != Verdict::Pending
    }
}

/// Follows every one to its end and says how it went; at most for `limit`.
pub(super) async fn wait_for(
    mut waited: Vec<Waited>,
    people: &People,
    limit: Period,
    console: &mut Console,
) -> Outcome {
    let followed = tokio::time::timeout(limit.as_duration(), follow(&mut waited, people, console)).await;
    match followed {
        Ok(result) => result?,
        Err(_) => return Err(out_of_time(&waited, limit)),
    }
    let worst = waited.iter().map(|waited| match waited.verdict {
        Verdict::Failed => Exit::RolloutFailed,
        Verdict::Superseded | Verdict::Deleting => Exit::Conflict,
        Verdict::Pending | Verdict::Done => Exit::Ok,
    });
    Ok(worst.max_by_key(|exit| exit.code()).unwrap_or(Exit::Ok))
}

async fn follow(waited: &mut [Waited], people: &People, console: &mut Console) -> Result<(), Failure> {
    let mut follow = Follow::prefix(people, prefix(waited, people));
    // Made once: the answers for other objects must not put the word about a missing one off for ever.
    let mut silence = pin!(tokio::time::sleep(SILENCE));
    let mut silent = false;
    while !waited.iter().all(Waited::ended) {
        let pairs = tokio::select! {
            biased;
            pairs = follow.next() => pairs?,
            () = &mut silence, if !silent && waited.iter().any(|waited| !waited.answered) => {
                console.say("no controller has answered yet; is `helium controller` running? `helium doctor` tells more");
                silent = true;
                continue;
            }
        };
        let statuses = people.parse_statuses(&pairs);
        let several = waited.len() > 1;
        for one in waited.iter_mut().filter(|waited| !waited.ended()) {
            let Some(status) = statuses.get(&one.object.key) else { continue };
            if status.uid != one.awaited.uid || status.observed_generation < one.awaited.generation {
                continue;
            }
            one.answered = true;
            one.last = Some(format!("{}: {}", status.phase, status.message));
            for line in one.progress.observe(status) {
                console.progress(if several { format!("{}: {line}", one.object) } else { line })?;
            }
            one.verdict = verdict(&one.awaited, status);
            tell_end(one, console);
        }
    }
    Ok(())
}

/// Words for the ends that leave no line of progress.
fn tell_end(waited: &Waited, console: &mut Console) {
    match waited.verdict {
        Verdict::Superseded => console.say(format!("{} was changed by somebody else meanwhile", waited.object)),
        Verdict::Deleting => console.say(format!("{} is being deleted", waited.object)),
        Verdict::Pending | Verdict::Done | Verdict::Failed => {}
    }
}

/// One object's own key, or everything.
fn prefix(waited: &[Waited], people: &People) -> String {
    match waited {
        [only] => people.keys().status(only.object.kind, &only.object.key),
        _ => format!("{}status/", people.keys().root()),
    }
}

fn out_of_time(waited: &[Waited], limit: Period) -> Failure {
    let pending: Vec<String> = waited
        .iter()
        .filter(|waited| !waited.ended())
        .map(|waited| match &waited.last {
            Some(last) => format!("{} is not there after {limit}: {last}", waited.object),
            None => format!("no controller has answered for {} within {limit}", waited.object),
        })
        .collect();
    let first = waited.iter().find(|waited| !waited.ended()).map(|waited| waited.object.to_string());
    Failure::new(Exit::Timeout, pending.join("; "))
        .hint(format!("the rollout goes on; `helium explain {}` tells why", first.unwrap_or_default()))
}
