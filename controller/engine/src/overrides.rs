//! Values in Consul above a package's defaults: what a Deployment's revision takes of them, and when a change of them is one.
//!
//! Keys below `config/<namespace>/<deployment>/` are people's. With `configUpdate: rollout` they are a part of the revision, so that a
//! change of them goes the way of a changed template: through the canary, and back if it fails. People change several keys one after
//! another, so a change counts once nothing has changed for [`REST`]; that all are gone may be an accident, and counts after
//! [`EMPTIED`]. Until then the values of the present revision hold. A template that changes takes what is there at once: it is a new
//! revision anyway. Only that nothing is there any more it believes no sooner than another one.
//!
//! What cannot be seen, or can be no part of a revision, changes nothing for a template that has a revision: its values go on to hold, so that
//! all that keeps what runs safe goes on, and people are told. Only a template that has none yet cannot be followed without its values.
//!
//! How long values have rested is in memory alone. It may be lost: a change of them then begins its rest anew. So it does after any time in
//! which they could not be seen, for nobody knows how they were meanwhile.
//!
//! The watch is begun by the first Deployment that asks: most stores hold no such values, and a long poll is not free.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, OnceLock},
    time::Duration,
};

use helium_crds::{Deployment, Kind, ObjectKey, keys::Keys, limits, revision::Revision};
use helium_runtime::snapshot::{BlindReason, Snapshot, Trust, View};
use jiff::Timestamp;
use tokio::sync::watch;

use crate::{
    commit::lock,
    sources::{Source, Unseen},
};

/// How long values rest before a change of them is a revision.
pub const REST: Duration = Duration::from_secs(2);
/// How long they must stay gone before that is believed, where there were some.
pub const EMPTIED: Duration = Duration::from_secs(30);
/// How long the first of all readings is waited for.
const FIRST_READING: Duration = Duration::from_secs(5);

/// Values by what of their key follows the Deployment's prefix.
pub type Values = BTreeMap<String, String>;

/// The watch of all values, once somebody has asked, and since when those of each Deployment are as they are.
pub struct Overrides {
    keys: Keys,
    start: Box<dyn Fn() -> Source<Vec<u8>> + Send + Sync>,
    begun: OnceLock<Source<Vec<u8>>>,
    views: watch::Sender<Option<watch::Receiver<View<Vec<u8>>>>>,
    resting: Mutex<BTreeMap<ObjectKey, Resting>>,
}

/// Values as they were last looked at.
struct Resting {
    /// The `ModifyIndex` of each.
    indexes: BTreeMap<String, u64>,
    /// Since when they had been in sight without a break.
    in_sight_since: Timestamp,
    /// When they were first seen like this, on the monotonic clock.
    since: Duration,
}

/// What a revision takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The values.
    pub values: Values,
    /// When to look again, because others are there that have not rested yet.
    pub look_again: Option<Duration>,
    /// Why those that are there now are not taken, if that is for something that does not pass by itself.
    pub problem: Option<String>,
}

/// Why a Deployment cannot have the values that are there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OverridesError {
    /// They cannot be seen.
    #[error(transparent)]
    Unseen(#[from] Unseen),
    /// They cannot be a part of a revision.
    #[error("{0}")]
    Unfit(String),
}

impl Overrides {
    pub(crate) fn new(keys: Keys, start: impl Fn() -> Source<Vec<u8>> + Send + Sync + 'static) -> Self {
        Self {
            keys,
            start: Box::new(start),
            begun: OnceLock::new(),
            views: watch::Sender::new(None),
            resting: Mutex::default(),
        }
    }

    /// The watch, if anybody has asked for values yet.
    pub fn source(&self) -> Option<&Source<Vec<u8>>> {
        self.begun.get()
    }

    /// Shows the watch once it has begun.
    pub(crate) fn views(&self) -> watch::Receiver<Option<watch::Receiver<View<Vec<u8>>>>> {
        self.views.subscribe()
    }

    /// What the revision of a Deployment takes, whose present one is `present`. `now` is on the monotonic clock.
    ///
    /// # Errors
    /// [`OverridesError`]: the values cannot be seen, or are none that a revision can have.
    pub async fn of(
        &self,
        object: &ObjectKey,
        deployment: &Deployment,
        present: Option<&Revision>,
        now: Duration,
    ) -> Result<Taken, OverridesError> {
        let written = deployment.spec.template.as_written();
        let present = match present {
            None => Present::None,
            Some(revision) if revision.template.as_written() == written => Present::Same(&revision.template.overrides),
            Some(revision) => Present::Other(&revision.template.overrides),
        };
        let (snapshot, since) = match (self.begin().await.trusted(), present) {
            (Ok(seen), _) => seen,
            (Err(unseen), Present::Same(present)) => return Ok(Taken::kept(present, unseen.to_string())),
            (Err(unseen), _) => return Err(unseen.into()),
        };
        let unchanged_for = self.unchanged_for(object, &snapshot, since, now);
        let seen = self.values(object, &snapshot);
        let seen = seen.and_then(|values| fits(deployment, values, &self.keys.overrides(object)));
        take(seen, present, unchanged_for)
    }

    /// Forgets how long the values of a Deployment have rested.
    pub(crate) fn forget(&self, object: &ObjectKey) {
        lock(&self.resting).remove(object);
    }

    /// Begins the watch, if it has not. Whoever begins it waits for its first reading, for a while; all others are woken by that.
    async fn begin(&self) -> &Source<Vec<u8>> {
        let mut is_first = false;
        let source = self.begun.get_or_init(|| {
            is_first = true;
            let source = (self.start)();
            self.views.send_replace(Some(source.views.clone()));
            source
        });
        if !is_first {
            return source;
        }
        let mut views = source.views.clone();
        let is_read = |view: &View<_>| !matches!(view.trust, Trust::Blind { reason: BlindReason::NotRead, .. });
        let _ = tokio::time::timeout(FIRST_READING, views.wait_for(is_read)).await;
        source
    }

    /// For how long the values of `object` have been as they are. `in_sight_since`: since when `snapshot` has been trusted without a break.
    fn unchanged_for(
        &self,
        object: &ObjectKey,
        snapshot: &Snapshot<Vec<u8>>,
        in_sight_since: Timestamp,
        now: Duration,
    ) -> Duration {
        let prefix = self.keys.overrides(object);
        let indexes: BTreeMap<String, u64> =
            snapshot.under(&prefix).map(|(key, row)| (key.clone(), row.modify_index)).collect();
        let mut resting = lock(&self.resting);
        match resting.get(object) {
            Some(known) if known.indexes == indexes && known.in_sight_since == in_sight_since => {
                now.saturating_sub(known.since)
            }
            _ => {
                resting.insert(object.clone(), Resting { indexes, in_sight_since, since: now });
                Duration::ZERO
            }
        }
    }

    fn values(&self, object: &ObjectKey, snapshot: &Snapshot<Vec<u8>>) -> Result<Values, String> {
        let prefix = self.keys.overrides(object);
        let under = snapshot.under(&prefix).filter(|(key, _)| key.len() > prefix.len() && !key.ends_with('/'));
        under
            .map(|(key, row)| {
                let text = row.get().and_then(|bytes| String::from_utf8(bytes.clone()).ok());
                let text = text.ok_or_else(|| format!("the value of {key} is no text (UTF-8)"))?;
                Ok((key[prefix.len()..].to_owned(), text))
            })
            .collect()
    }
}

/// The values of the present revision.
#[derive(Clone, Copy, Debug)]
enum Present<'a> {
    /// There is none.
    None,
    /// It is of this very template.
    Same(&'a Values),
    /// It is of another template.
    Other(&'a Values),
}

impl Taken {
    fn at_once(values: Values) -> Self {
        Self { values, look_again: None, problem: None }
    }

    fn kept(present: &Values, problem: String) -> Self {
        Self { values: present.clone(), look_again: None, problem: Some(problem) }
    }
}

/// Which values a revision takes: what is seen, or for a while still those of the present revision. Values that are unfit are told of once they
/// have rested.
fn take(seen: Result<Values, String>, present: Present<'_>, unchanged_for: Duration) -> Result<Taken, OverridesError> {
    let left = |rest: Duration| rest.checked_sub(unchanged_for).filter(|left| !left.is_zero());
    let still = |present: &Values, left| Ok(Taken { values: present.clone(), look_again: Some(left), problem: None });
    let emptied = seen.as_ref().is_ok_and(Values::is_empty);
    let present = match present {
        Present::Same(present) => present,
        Present::Other(had) if emptied && !had.is_empty() => {
            return left(EMPTIED).map_or_else(|| Ok(Taken::at_once(Values::new())), |left| still(had, left));
        }
        Present::Other(_) | Present::None => return seen.map(Taken::at_once).map_err(OverridesError::Unfit),
    };
    if seen.as_ref() == Ok(present) {
        return Ok(Taken::at_once(present.clone()));
    }
    match (left(if emptied { EMPTIED } else { REST }), seen) {
        (Some(left), _) => still(present, left),
        (None, Ok(seen)) => Ok(Taken::at_once(seen)),
        (None, Err(problem)) => Ok(Taken::kept(present, problem)),
    }
}

/// The template is written with each instance, so it and the values share the room that a Deployment has, as JSON.
fn fits(deployment: &Deployment, values: Values, prefix: &str) -> Result<Values, String> {
    let size = |deployment: &Deployment| serde_json::to_vec(deployment).map_or(usize::MAX, |bytes| bytes.len());
    let mut whole = deployment.clone();
    whole.spec.template.overrides.clone_from(&values);
    let (most, found) = (limits::most_bytes(Kind::Deployment), size(&whole));
    if found <= most {
        return Ok(values);
    }
    let own = size(deployment);
    Err(format!(
        "with the values below {prefix} it has {found} bytes, {own} without them; the most is {most}. With `configUpdate: live` they are no part of the revision"
    ))
}

impl fmt::Debug for Overrides {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Overrides").field("source", &self.begun).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "overrides_tests.rs"]
mod tests;
