//! Requests to a rollout, and the controller's answers.
//!
//! Design: a request bears the id and step of the rollout that the person was looking at, read from the status at that moment.
//! If another rollout is under way when the controller sees it, it is refused by the controller and not carried over.

use helium_crds::{
    DeploymentStatus, Kind, ObjectKey, Period,
    control::{self, ControlAnswer, ControlRequest, ControlRequests, Verb},
    limits,
    status::{Rollout, Stage},
};
use serde_json::json;

use super::{People, PeopleError, commit::Write, follow::Follow, manifest::ObjectRef};

/// How often a request is tried again when others write to the same key.
const TRIES: usize = 5;

/// What is asked of a rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// What.
    pub verb: Verb,
    /// Why, for those who look later.
    pub reason: Option<String>,
    /// Where to go on, counted from 0: of a promotion or a retry.
    pub to_step: Option<u32>,
    /// How long a pause or a lock lasts, if it is to end by itself.
    pub length: Option<Period>,
}

impl Asked {
    /// A request with nothing to it but its reason.
    pub fn of(verb: Verb, reason: Option<String>) -> Self {
        Self { verb, reason, to_step: None, length: None }
    }
}

impl People {
    /// Asks something of the rollout of a Deployment that is under way now.
    ///
    /// None if there is nothing to do: an abort while no rollout is under way, or after one was aborted already.
    pub async fn request(
        &self,
        key: &ObjectKey,
        verb: Verb,
        reason: Option<String>,
    ) -> Result<Option<ControlRequest>, PeopleError> {
        self.ask(key, Asked::of(verb, reason)).await
    }

    /// The same with all that can be said of it.
    ///
    /// # Errors
    /// There is no such Deployment, it is on its way out, or what is asked cannot make sense as things stand.
    pub async fn ask(&self, key: &ObjectKey, asked: Asked) -> Result<Option<ControlRequest>, PeopleError> {
        let verb = asked.verb;
        let length = asked.reason.as_ref().map_or(0, |reason| reason.chars().count());
        if length > limits::LONGEST_REASON {
            let most = limits::LONGEST_REASON;
            return Err(PeopleError::Refused(format!(
                "a reason of {length} characters is too long; the most is {most}"
            )));
        }
        let object = ObjectRef::new(Kind::Deployment, key.clone());
        let stored = self.existing(&object).await?.value;
        if stored.is_deleting() {
            return Err(PeopleError::Deleting(object));
        }
        let status = self.status(key).await?;
        let rollout = status.as_ref().and_then(|status| status.rollout.as_ref());
        // Before the controller has seen the newest spec, the status says nothing about what is under way.
        if status.as_ref().is_some_and(|status| status.observed_generation == stored.metadata.generation) {
            let locked = status.as_ref().is_some_and(|status| status.lock.is_some());
            match judge(verb, rollout.map(|rollout| rollout.stage), locked) {
                Judgement::Ask => {}
                Judgement::Nothing => return Ok(None),
                Judgement::Refuse(why) => {
                    return Err(PeopleError::Refused(format!("cannot {} {object}: {why}", verb.as_str())));
                }
            }
        }
        let request = self.control_request(rollout, asked);
        for _ in 1..TRIES {
            match self.add_request(&object, status.as_ref(), &request).await {
                Err(error) if error.is_conflict() => {}
                settled => return settled.map(|()| Some(request)),
            }
        }
        self.add_request(&object, status.as_ref(), &request).await.map(|()| Some(request))
    }

    /// The controller's answer to a request, as soon as it is there.
    pub async fn answer(&self, key: &ObjectKey, id: &str) -> Result<ControlAnswer, PeopleError> {
        self.answered(key, id).await.map(|(answer, _)| answer)
    }

    /// The same with the status that holds it.
    pub async fn answered(&self, key: &ObjectKey, id: &str) -> Result<(ControlAnswer, DeploymentStatus), PeopleError> {
        let mut follow = Follow::key(self, self.keys().status(Kind::Deployment, key));
        loop {
            let status: Option<DeploymentStatus> = follow.next_value().await?;
            let Some(status) = status else { continue };
            if let Some(answer) = status.control.iter().find(|answer| answer.id == id) {
                return Ok((answer.clone(), status));
            }
        }
    }

    fn control_request(&self, rollout: Option<&Rollout>, asked: Asked) -> ControlRequest {
        let Asked { verb, reason, to_step, length } = asked;
        let now = self.ports().now();
        let of_no_rollout = matches!(verb, Verb::Restart | Verb::Lock | Verb::Unlock);
        ControlRequest {
            id: self.ports().random_hex(16),
            by: self.who.by.clone(),
            at: now,
            reason,
            verb,
            rollout: rollout.filter(|_| !of_no_rollout).map(|rollout| rollout.id.clone()),
            step: rollout.filter(|_| matches!(verb, Verb::Promote | Verb::Skip)).map(|rollout| rollout.step),
            to_step,
            until: length.map(|length| now + length.as_signed()),
        }
    }

    /// Adds one request, and takes out those that have been answered. What nobody can read stays until the controller has refused it.
    async fn add_request(
        &self,
        object: &ObjectRef,
        status: Option<&DeploymentStatus>,
        request: &ControlRequest,
    ) -> Result<(), PeopleError> {
        let key = self.keys().control(object.kind, &object.key);
        let answers = status.map_or(&[][..], |status| &status.control);
        let (mut requests, index) = match self.pair(&key).await? {
            Some(pair) => {
                let waiting = control::unanswered(&key, &pair.value, answers);
                (waiting.map_err(|whole| PeopleError::Refused(whole.problem))?, pair.modify_index)
            }
            None => (Vec::new(), 0),
        };
        if requests.len() >= ControlRequests::LIMIT {
            let waiting = requests.len();
            return Err(PeopleError::Refused(format!("{waiting} requests to {object} wait for a controller already")));
        }
        let unreadable =
            |error: serde_json::Error| PeopleError::Unreadable { key: key.clone(), why: error.to_string() };
        requests.push(serde_json::to_value(request).map_err(unreadable)?);
        let value = serde_json::to_vec(&json!({ "requests": requests })).map_err(unreadable)?;
        self.commit(&[Write { object: object.clone(), key, value, index }]).await
    }
}

/// What to do with a request before it is even made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judgement {
    /// Ask the controller.
    Ask,
    /// There is nothing to do.
    Nothing,
    /// It cannot make sense.
    Refuse(&'static str),
}

/// Judges a request while a rollout is at `stage`. Only what is certain is judged here, the rest is the controller's.
fn judge(verb: Verb, stage: Option<Stage>, locked: bool) -> Judgement {
    match (verb, stage) {
        (Verb::Unlock, _) if !locked => Judgement::Nothing,
        (Verb::Abort, None | Some(Stage::RollingBack | Stage::Aborted | Stage::RollbackFailed)) => Judgement::Nothing,
        (Verb::Promote | Verb::PromoteFull | Verb::Skip | Verb::Retry | Verb::Pause | Verb::Resume, None) => {
            Judgement::Refuse("no rollout is under way")
        }
        (Verb::Promote | Verb::PromoteFull | Verb::Skip, Some(Stage::Aborted | Stage::RollbackFailed)) => {
            Judgement::Refuse("its rollout was aborted; retry it first")
        }
        (Verb::Retry, Some(stage)) if stage.is_under_way() => {
            Judgement::Refuse("its rollout is under way and was not aborted")
        }
        _ => Judgement::Ask,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_abort_of_nothing_asks_nothing() {
        assert_eq!(judge(Verb::Abort, None, false), Judgement::Nothing);
        for given_up in [Stage::RollingBack, Stage::Aborted, Stage::RollbackFailed] {
            assert_eq!(judge(Verb::Abort, Some(given_up), false), Judgement::Nothing, "{given_up:?}");
        }
        assert_eq!(judge(Verb::Abort, Some(Stage::Steps), false), Judgement::Ask);
    }

    #[test]
    fn an_aborted_rollout_is_retried_and_not_promoted() {
        assert!(matches!(judge(Verb::Promote, Some(Stage::Aborted), false), Judgement::Refuse(_)));
        assert_eq!(judge(Verb::Retry, Some(Stage::Aborted), false), Judgement::Ask);
    }

    #[test]
    fn what_is_not_locked_needs_no_unlocking() {
        assert_eq!(judge(Verb::Unlock, None, false), Judgement::Nothing);
        assert_eq!(judge(Verb::Unlock, Some(Stage::Steps), true), Judgement::Ask);
        assert_eq!(judge(Verb::Lock, None, true), Judgement::Ask, "a second lock takes the place of the first");
    }

    #[test]
    fn a_restart_needs_no_rollout() {
        assert_eq!(judge(Verb::Restart, None, false), Judgement::Ask);
    }
}
