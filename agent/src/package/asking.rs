//! One instance that asks: its questions are followed while it has them, and what is lacking is waited for.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use helium_crds::ids::InstanceId;
use helium_lookups::Answers;
use helium_templates::lookup::{Answer, Lookup as _, Question};
use tokio::{sync::watch, time::Instant};

use super::lookups::InstanceLookup;
use crate::shared::Shared;

/// How long what is lacking is waited for.
const LIMIT: Duration = Duration::from_secs(10);

/// One instance that asks.
pub(crate) struct Asking {
    shared: Arc<Shared>,
    instance: InstanceId,
    namespace: String,
    env: Arc<BTreeMap<String, String>>,
    /// What it asks beside its templates.
    always: BTreeSet<Question>,
    /// What it has asked at last, and what the answers were.
    asked: Mutex<Option<Seen>>,
}

/// What was asked, and what the answers were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The questions.
    pub(crate) questions: BTreeSet<Question>,
    /// The answers, as their fingerprint.
    pub(crate) fingerprint: Option<String>,
}

impl Asking {
    /// An instance that asks `always`, whatever its templates ask.
    pub(crate) fn new(
        shared: Arc<Shared>,
        instance: InstanceId,
        namespace: String,
        env: BTreeMap<String, String>,
        always: BTreeSet<Question>,
    ) -> Self {
        Self { shared, instance, namespace, env: Arc::new(env), always, asked: Mutex::default() }
    }

    /// Begins a render: from what is known now.
    pub(super) fn begin(&self) -> Round<'_> {
        let latest = self.shared.lookups.latest();
        Round { asking: self, latest, until: Instant::now() + LIMIT }
    }

    /// The keys below a prefix, waited for.
    pub(super) async fn keys(&self, prefix: &str) -> Result<BTreeMap<String, String>, String> {
        let mut round = self.begin();
        let question = BTreeSet::from([Question::Keys(prefix.to_owned())]);
        loop {
            if let Answer::Known(found) = round.lookup().keys(prefix) {
                return Ok(found);
            }
            round.ask(&question);
            round.wait(&question).await?;
        }
    }

    /// What a key holds, waited for.
    pub(super) async fn key(&self, key: &str) -> Result<Option<String>, String> {
        let mut round = self.begin();
        let question = BTreeSet::from([Question::Key(key.to_owned())]);
        loop {
            if let Answer::Known(found) = round.lookup().key(key) {
                return Ok(found);
            }
            round.ask(&question);
            round.wait(&question).await?;
        }
    }

    /// What was asked by the render that went through at last.
    pub(crate) fn seen(&self) -> Option<Seen> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One render that asks.
pub(super) struct Round<'a> {
    asking: &'a Asking,
    latest: watch::Receiver<Arc<Answers>>,
    until: Instant,
}

impl Round<'_> {
    /// What is known now.
    pub(super) fn lookup(&mut self) -> InstanceLookup {
        self.latest.mark_unchanged();
        self.known()
    }

    /// Has these questions followed, and notes what is known of them.
    pub(super) fn ask(&mut self, questions: &BTreeSet<Question>) {
        let lookup = self.known();
        let all: BTreeSet<Question> = questions.iter().chain(&self.asking.always).cloned().collect();
        let shared = all.iter().map(|question| lookup.shared_form(question)).collect();
        self.asking.shared.lookups.ask(&self.asking.instance, &shared);
        let seen = Seen { fingerprint: lookup.fingerprint(&all), questions: all };
        *self.asking.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
    }

    /// Waits until more is known.
    ///
    /// # Errors
    /// What is lacking, once it was waited for long enough.
    pub(super) async fn wait(&mut self, lacking: &BTreeSet<Question>) -> Result<(), String> {
        if let Ok(Ok(())) = tokio::time::timeout_at(self.until, self.latest.changed()).await {
            return Ok(());
        }
        let lookup = self.known();
        let why = |question: &Question| {
            let why = lookup.answers.why_lacking(&lookup.shared_form(question));
            why.map_or_else(|| question.to_string(), |why| format!("{question} ({why})"))
        };
        let all: Vec<String> = lacking.iter().map(why).collect();
        Err(format!("Consul does not tell: {}", all.join(", ")))
    }

    /// What is known, without taking note that it was looked at.
    fn known(&self) -> InstanceLookup {
        let Asking { namespace, env, .. } = self.asking;
        let answers = Arc::clone(&self.latest.borrow());
        InstanceLookup { answers, namespace: namespace.clone(), env: Arc::clone(env) }
    }
}
