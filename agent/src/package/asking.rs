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

use super::lookups::{InstanceLookup, Lookups};

/// How long what is lacking is waited for.
const LIMIT: Duration = Duration::from_secs(10);

/// One instance that asks.
pub(crate) struct Asking {
    lookups: Arc<Lookups>,
    instance: InstanceId,
    namespace: String,
    env: Arc<BTreeMap<String, String>>,
    /// What it asks beside its templates.
    always: BTreeSet<Question>,
    /// What it has asked, and what the answers were when they were used.
    asked: Mutex<Seen>,
}

/// What was asked, and what the answers were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The answers to the questions, as their fingerprints; none where there was no answer.
    answers: BTreeMap<Question, Option<String>>,
}

impl Seen {
    /// Whether a question has another answer now. One that is not known now says nothing.
    pub(crate) fn is_old(&self, now: &InstanceLookup) -> bool {
        let differs = |question: &Question, then: &Option<String>| {
            now.fingerprint(question).is_some_and(|known| then.as_ref() != Some(&known))
        };
        self.answers.iter().any(|(question, then)| differs(question, then))
    }
}

impl Asking {
    /// An instance that asks `always`, whatever its templates ask.
    pub(crate) fn new(
        lookups: Arc<Lookups>,
        instance: InstanceId,
        namespace: String,
        env: BTreeMap<String, String>,
        always: BTreeSet<Question>,
    ) -> Self {
        Self { lookups, instance, namespace, env: Arc::new(env), always, asked: Mutex::default() }
    }

    /// Begins a render: from what is known now.
    pub(super) fn begin(&self) -> Round<'_> {
        let latest = self.lookups.latest();
        let used = Arc::clone(&latest.borrow());
        Round { asking: self, latest, used, until: Instant::now() + LIMIT }
    }

    /// The keys below a prefix, waited for.
    pub(super) async fn keys(&self, prefix: &str) -> Result<BTreeMap<String, String>, String> {
        let mut round = self.begin();
        let question = BTreeSet::from([Question::Keys(prefix.to_owned())]);
        loop {
            let known = round.lookup().keys(prefix);
            round.ask(&question);
            if let Answer::Known(found) = known {
                return Ok(found);
            }
            round.wait(&question).await?;
        }
    }

    /// What a key holds, waited for.
    pub(super) async fn key(&self, key: &str) -> Result<Option<String>, String> {
        let mut round = self.begin();
        let question = BTreeSet::from([Question::Key(key.to_owned())]);
        loop {
            let known = round.lookup().key(key);
            round.ask(&question);
            if let Answer::Known(found) = known {
                return Ok(found);
            }
            round.wait(&question).await?;
        }
    }

    /// What was used by a render that went through and asked this beside what is always asked. From now on nothing else is followed.
    pub(crate) fn settle(&self, questions: &BTreeSet<Question>) -> Seen {
        let mut seen = self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        seen.answers.retain(|question, _| questions.contains(question) || self.always.contains(question));
        let form = InstanceLookup {
            answers: Arc::clone(&self.lookups.latest().borrow()),
            namespace: self.namespace.clone(),
            env: Arc::clone(&self.env),
        };
        let followed = seen.answers.keys().map(|question| form.shared_form(question)).collect();
        self.lookups.ask(&self.instance, &followed);
        seen
    }
}

/// One render that asks.
pub(super) struct Round<'a> {
    asking: &'a Asking,
    latest: watch::Receiver<Arc<Answers>>,
    /// What was used at last.
    used: Arc<Answers>,
    until: Instant,
}

impl Round<'_> {
    /// What is known now.
    pub(super) fn lookup(&mut self) -> InstanceLookup {
        self.used = Arc::clone(&self.latest.borrow_and_update());
        self.known()
    }

    /// Has these questions followed too, and notes what was used of their answers. The first use counts: what came later was not in it.
    pub(super) fn ask(&mut self, questions: &BTreeSet<Question>) {
        let lookup = self.known();
        let all: BTreeSet<Question> = questions.iter().chain(&self.asking.always).cloned().collect();
        let shared = all.iter().map(|question| lookup.shared_form(question)).collect();
        self.asking.lookups.ask_too(&self.asking.instance, &shared);
        let mut asked = self.asking.asked.lock().unwrap_or_else(PoisonError::into_inner);
        for question in questions {
            let now = lookup.fingerprint(question);
            let always = self.asking.always.contains(question);
            let then = asked.answers.entry(question.clone()).or_default();
            if !always || then.is_none() {
                *then = now;
            }
        }
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

    /// What was used at last.
    fn known(&self) -> InstanceLookup {
        let Asking { namespace, env, .. } = self.asking;
        InstanceLookup { answers: Arc::clone(&self.used), namespace: namespace.clone(), env: Arc::clone(env) }
    }
}
