//! A question to the system whose answer may not come: a folder of a file server that hangs, a directory of users that is away.
//!
//! It is asked on a thread of its own, so that nothing else waits for the answer, and never twice at once: a system that hangs costs one thread.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{task::JoinHandle, time::timeout};

/// An answer, or in words why there is none.
type Answer<T> = Result<T, String>;

/// A question, and its last answer.
#[derive(Debug)]
pub(super) struct Question<T> {
    /// What is asked for, as it is told.
    what: &'static str,
    asked: tokio::sync::Mutex<Option<JoinHandle<Answer<T>>>>,
    last: Mutex<Last<T>>,
}

/// What came of it last.
#[derive(Debug)]
struct Last<T> {
    answer: Option<T>,
    trouble: Option<String>,
}

impl<T: Clone + Send + 'static> Question<T> {
    /// A question for this, which nobody has asked yet.
    pub(super) fn new(what: &'static str) -> Self {
        let last = Mutex::new(Last { answer: None, trouble: None });
        Self { what, asked: tokio::sync::Mutex::default(), last }
    }

    fn last(&self) -> MutexGuard<'_, Last<T>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last answer.
    pub(super) fn answer(&self) -> Option<T> {
        self.last().answer.clone()
    }

    /// Asks, and gives the answer if it comes within `limit`, or else the one before. One that comes later is taken up by who asks next.
    /// Trouble is told once, until it is another.
    pub(super) async fn ask(&self, limit: Duration, ask: impl FnOnce() -> Answer<T> + Send + 'static) -> Option<T> {
        let mut asked = self.asked.lock().await;
        let task = asked.get_or_insert_with(|| tokio::task::spawn_blocking(ask));
        let answer = match timeout(limit, task).await {
            Ok(done) => {
                *asked = None;
                done.map_err(|error| error.to_string()).flatten()
            }
            Err(_) => Err(format!("no answer within {limit:?}")),
        };
        self.note(answer)
    }

    fn note(&self, answer: Answer<T>) -> Option<T> {
        let mut last = self.last();
        match answer {
            Ok(answer) => *last = Last { answer: Some(answer), trouble: None },
            Err(words) if last.trouble.as_ref() == Some(&words) => {}
            Err(words) => {
                tracing::warn!(words, "it cannot be found what this machine has: {}", self.what);
                last.trouble = Some(words);
            }
        }
        last.answer.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    const SOON: Duration = Duration::from_millis(20);
    const LATE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn who_asks_a_system_that_hangs_goes_on_with_the_answer_before_and_asks_no_second_time() {
        let question = Question::new("its users");
        assert_eq!(question.ask(LATE, || Ok(1)).await, Some(1));
        let (go, hangs) = sync_channel::<()>(0);
        let hang = move || {
            let _ = hangs.recv();
            Ok(2)
        };
        assert_eq!(question.ask(SOON, hang).await, Some(1));
        assert_eq!(question.ask(SOON, || panic!("asked twice at once")).await, Some(1));
        drop(go);
        assert_eq!(question.ask(LATE, || panic!("asked before the answer was taken up")).await, Some(2));
        assert_eq!(question.ask(LATE, || Ok(3)).await, Some(3));
    }

    #[tokio::test]
    async fn trouble_takes_no_answer_away_and_is_none_of_its_own() {
        let question = Question::new("its users");
        let fails = || Err::<u8, _>("the directory is away".to_owned());
        assert_eq!(question.ask(LATE, fails).await, None);
        assert_eq!(question.ask(LATE, || Ok(1)).await, Some(1));
        assert_eq!(question.last().trouble, None);
        assert_eq!(question.ask(LATE, fails).await, Some(1));
        assert_eq!(question.last().trouble.as_deref(), Some("the directory is away"));
        assert_eq!(question.ask(LATE, || panic!("broken")).await, Some(1));
        assert_eq!(question.answer(), Some(1));
    }
}
