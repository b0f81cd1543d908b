//! Questions to metric sources and gates, answered beside the reconciles.
//!
//! Design: a plan says what is due, and goes on. Its questions are put here, and asked by one task that all of them share, so that a
//! source that is slow keeps nobody waiting but those who asked it. An answer waits here until a plan that judges it was committed. None of
//! it is memory that anything hangs on: what is lost with this controller is due still, and the next one asks again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use helium_analysis::Measure;
use helium_crds::{
    ObjectKey,
    measurement::{Answer, Probe, Question},
};
use helium_runtime::{ports::Ports, shutdown::Shutdown};
use tokio::sync::mpsc::{Receiver, Sender, channel, error::TrySendError};

use crate::commit::lock;

/// So many questions may wait to be asked. One that finds no room is due still, and put again by the next plan.
const WAITING: usize = 1024;
/// So many questions are asked at the same time.
const AT_ONCE: usize = 64;

/// One question, and whose it is.
type Task = (ObjectKey, Probe, Question);

/// What was asked and what was answered.
pub struct Measuring {
    measure: Arc<dyn Measure>,
    ports: Ports,
    to_ask: Sender<Task>,
    asked: Mutex<Option<Receiver<Task>>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What is being asked, or waits to be.
    under_way: BTreeMap<(ObjectKey, Probe), Question>,
    /// What was answered and is not judged yet.
    answers: BTreeMap<ObjectKey, BTreeMap<Probe, Answer>>,
}

impl Measuring {
    /// Nothing was asked yet.
    pub fn new(measure: Arc<dyn Measure>, ports: Ports) -> Self {
        let (to_ask, asked) = channel(WAITING);
        Self { measure, ports, to_ask, asked: Mutex::new(Some(asked)), state: Mutex::default() }
    }

    /// The answers that a plan for this object may judge.
    pub fn answers(&self, object: &ObjectKey) -> BTreeMap<Probe, Answer> {
        lock(&self.state).answers.get(object).cloned().unwrap_or_default()
    }

    /// What the plan that was just committed asks. Answers to anything else were judged by it, or are not wanted any more.
    pub fn follow(&self, object: &ObjectKey, questions: BTreeMap<Probe, Question>) {
        let mut state = lock(&self.state);
        if let Some(answers) = state.answers.get_mut(object) {
            answers.retain(|probe, answer| questions.get(probe).is_some_and(|question| is_answered(question, answer)));
            if answers.is_empty() {
                state.answers.remove(object);
            }
        }
        for (probe, question) in questions {
            let answered = state.answers.get(object).is_some_and(|answers| answers.contains_key(&probe));
            let key = (object.clone(), probe.clone());
            // The same is asked already, though it may have been due before: a source that takes longer than an interval is not asked over and over.
            let same = |asked: &Question| (&asked.rollout, &asked.ask) == (&question.rollout, &question.ask);
            if answered || state.under_way.get(&key).is_some_and(same) {
                continue;
            }
            match self.to_ask.try_send((object.clone(), probe, question.clone())) {
                Ok(()) => {
                    state.under_way.insert(key, question);
                }
                Err(TrySendError::Full(_)) => tracing::warn!(%object, "too many questions wait to be asked"),
                Err(TrySendError::Closed(_)) => {}
            }
        }
    }

    /// Nothing is wanted to be known of this object any more.
    pub fn forget(&self, object: &ObjectKey) {
        let mut state = lock(&self.state);
        state.answers.remove(object);
        state.under_way.retain(|(asked, _), _| asked != object);
    }

    /// Asks what there is to ask, and calls `wake` for each object that has an answer, until `shutdown`.
    pub async fn run(&self, wake: impl Fn(&ObjectKey), shutdown: Shutdown) {
        let Some(mut to_ask) = lock(&self.asked).take() else { return };
        let mut asking = FuturesUnordered::new();
        loop {
            let next = tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                Some(answered) = asking.next(), if !asking.is_empty() => Err(answered),
                Some(task) = to_ask.recv(), if asking.len() < AT_ONCE => Ok(task),
                else => return,
            };
            match next {
                Ok(task) if self.is_wanted(&task) => asking.push(self.ask(task)),
                Ok(_) => {}
                Err((task, answer)) => {
                    if self.enter(&task, answer) {
                        wake(&task.0);
                    }
                }
            }
        }
    }

    async fn ask(&self, task: Task) -> (Task, Answer) {
        let found = self.measure.measure(&task.2.ask).await;
        let (rollout, due) = (task.2.rollout.clone(), task.2.due);
        (task, Answer { rollout, due, at: self.ports.now(), found })
    }

    /// Whether the question is still the one that is asked about this.
    fn is_wanted(&self, (object, probe, question): &Task) -> bool {
        lock(&self.state).under_way.get(&(object.clone(), probe.clone())) == Some(question)
    }

    /// Notes an answer, if it is still wanted.
    fn enter(&self, task: &Task, answer: Answer) -> bool {
        let (object, probe, _) = task;
        if !self.is_wanted(task) {
            return false;
        }
        let mut state = lock(&self.state);
        state.under_way.remove(&(object.clone(), probe.clone()));
        state.answers.entry(object.clone()).or_default().insert(probe.clone(), answer);
        true
    }

    /// The objects of which something is being asked, for tests and people.
    pub fn objects(&self) -> BTreeSet<ObjectKey> {
        lock(&self.state).under_way.keys().map(|(object, _)| object.clone()).collect()
    }
}

fn is_answered(question: &Question, answer: &Answer) -> bool {
    (&question.rollout, question.due) == (&answer.rollout, answer.due)
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU32, Ordering},
        time::Duration,
    };

    use futures::future::{BoxFuture, FutureExt as _};
    use helium_crds::{
        gate::KvValue,
        measurement::{Ask, Found, GateReading},
    };
    use jiff::Timestamp;

    use super::*;

    /// Opens every gate after a second, and counts how often it was asked.
    #[derive(Default)]
    struct Slow(AtomicU32);

    impl Measure for Slow {
        fn measure<'a>(&'a self, _: &'a Ask) -> BoxFuture<'a, Found> {
            self.0.fetch_add(1, Ordering::Relaxed);
            async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Found::Gate(GateReading::Open)
            }
            .boxed()
        }
    }

    fn question(due: i64) -> BTreeMap<Probe, Question> {
        about("k", due)
    }

    fn about(key: &str, due: i64) -> BTreeMap<Probe, Question> {
        let ask = Ask::Kv(KvValue { key: key.to_owned(), equals: "open".to_owned() });
        let due = Timestamp::from_second(due).unwrap();
        [(Probe::Gate, Question { rollout: "r".to_owned(), due, ask })].into()
    }

    async fn with(measuring: Measuring, work: impl AsyncFnOnce(&Measuring, &AtomicU32)) {
        let woken = AtomicU32::new(0);
        let (stop, shutdown) = Shutdown::new();
        let wake = |_: &ObjectKey| {
            woken.fetch_add(1, Ordering::Relaxed);
        };
        let run = measuring.run(wake, shutdown);
        let work = async {
            work(&measuring, &woken).await;
            stop.trigger();
        };
        tokio::join!(run, work);
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_is_asked_once_however_often_it_is_put_and_its_answer_stays_until_it_was_judged() {
        let slow = Arc::new(Slow::default());
        let measuring = Measuring::new(slow.clone(), Ports::seeded(1, Timestamp::UNIX_EPOCH));
        let object = ObjectKey::new("default", "web");
        with(measuring, async |measuring, woken| {
            measuring.follow(&object, question(1));
            measuring.follow(&object, question(1));
            tokio::time::sleep(Duration::from_millis(500)).await;
            measuring.follow(&object, question(1));
            assert!(measuring.answers(&object).is_empty());
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!((measuring.answers(&object).len(), woken.load(Ordering::Relaxed)), (1, 1));
            measuring.follow(&object, question(1)); // the plan that judged it was not committed
            assert_eq!(measuring.answers(&object).len(), 1);
            measuring.follow(&object, BTreeMap::new());
            assert!(measuring.answers(&object).is_empty());
        })
        .await;
        assert_eq!(slow.0.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_takes_longer_than_an_interval_is_not_asked_over_and_over() {
        let slow = Arc::new(Slow::default());
        let measuring = Measuring::new(slow.clone(), Ports::seeded(1, Timestamp::UNIX_EPOCH));
        let object = ObjectKey::new("default", "web");
        with(measuring, async |measuring, woken| {
            for due in 1..=3 {
                measuring.follow(&object, question(due));
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
            assert_eq!((measuring.answers(&object).len(), woken.load(Ordering::Relaxed)), (1, 1));
        })
        .await;
        assert_eq!(slow.0.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_to_a_question_that_was_replaced_or_forgotten_wakes_nobody() {
        let slow = Arc::new(Slow::default());
        let measuring = Measuring::new(slow.clone(), Ports::seeded(1, Timestamp::UNIX_EPOCH));
        let object = ObjectKey::new("default", "web");
        with(measuring, async |measuring, woken| {
            measuring.follow(&object, question(1));
            tokio::time::sleep(Duration::from_millis(500)).await;
            measuring.follow(&object, about("another", 2));
            tokio::time::sleep(Duration::from_millis(700)).await;
            assert_eq!(woken.load(Ordering::Relaxed), 0, "the first answer is not wanted any more");
            measuring.forget(&object);
            tokio::time::sleep(Duration::from_secs(2)).await;
            assert_eq!(woken.load(Ordering::Relaxed), 0);
            assert!(measuring.answers(&object).is_empty());
        })
        .await;
        assert_eq!(slow.0.load(Ordering::Relaxed), 2);
    }
}
