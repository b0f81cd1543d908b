//! Looking at a key or a prefix as it changes, by long polls, through changes of leader and short absences of Consul.

use std::{fmt, time::Duration};

use consul_client::{Error, KvPair, Read};
use futures::future::BoxFuture;
use serde::de::DeserializeOwned;

use super::{People, PeopleError, read::row};

/// How long one long poll may take.
const WAIT: Duration = Duration::from_secs(25);
/// The least time from one poll to the next.
const LEAST: Duration = Duration::from_millis(100);
/// How long Consul may be away before following is given up.
const PATIENCE: Duration = Duration::from_mins(1);
/// The longest wait between two tries while Consul is away.
const RETRY: Duration = Duration::from_secs(2);

/// A key or a prefix that is being followed.
///
/// Design: the round that is under way lives in here and not in the caller's future. A caller that waits for several things drops the
/// losers of each turn; a poll that went with them would stay open in Consul until its wait is over, and Consul refuses the 201st
/// connection of an address.
pub struct Follow<'a> {
    people: &'a People,
    target: Target,
    index: u64,
    last: Option<Vec<(String, u64)>>,
    /// The round that is under way.
    round: Option<BoxFuture<'a, Answer>>,
}

/// The pairs and the index that a round has brought.
type Answer = Result<(Vec<KvPair>, u64), PeopleError>;

#[derive(Clone, Debug)]
enum Target {
    Key(String),
    Prefix(String),
}

impl fmt::Debug for People {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("People").field("keys", &self.keys).field("who", &self.who).finish_non_exhaustive()
    }
}

impl fmt::Debug for Follow<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follow").field("target", &self.target).field("index", &self.index).finish_non_exhaustive()
    }
}

impl<'a> Follow<'a> {
    /// Follows one key.
    pub fn key(people: &'a People, key: String) -> Self {
        Self::target(people, Target::Key(key))
    }

    /// Follows all keys under a prefix.
    pub fn prefix(people: &'a People, prefix: String) -> Self {
        Self::target(people, Target::Prefix(prefix))
    }

    fn target(people: &'a People, target: Target) -> Self {
        Self { people, target, index: 0, last: None, round: None }
    }

    /// The pairs as they are now, the first time; after that as soon as one of them has changed.
    ///
    /// May be dropped at any time: the next call goes on with the poll that is under way.
    pub async fn next(&mut self) -> Result<Vec<KvPair>, PeopleError> {
        loop {
            let (people, target, index, first) = (self.people, &self.target, self.index, self.last.is_none());
            let round = self.round.get_or_insert_with(|| Box::pin(round(people, target.clone(), index, first)));
            let answer = round.await;
            self.round = None;
            let (pairs, index) = answer?;
            // An index that went back means another history of the store: start over, as Consul's documentation says.
            self.index = if index < self.index { 0 } else { index };
            let seen: Vec<(String, u64)> = pairs.iter().map(|pair| (pair.key.clone(), pair.modify_index)).collect();
            if self.last.as_ref() != Some(&seen) {
                self.last = Some(seen);
                return Ok(pairs);
            }
        }
    }

    /// The value of a followed key, as [`Follow::next`].
    pub async fn next_value<T: DeserializeOwned>(&mut self) -> Result<Option<T>, PeopleError> {
        let pairs = self.next().await?;
        Ok(pairs.first().map(row).transpose()?.map(|row| row.value))
    }
}

/// One long poll; tried again for a while if Consul is away.
async fn round(people: &People, target: Target, index: u64, first: bool) -> Answer {
    if !first {
        // A missing key wakes at every write to the store; this bounds what that costs.
        tokio::time::sleep(LEAST).await;
    }
    let ports = people.ports();
    let give_up = ports.monotonic() + PATIENCE;
    loop {
        match ask(people, &target, index).await {
            Ok(answer) => return Ok(answer),
            Err(error) if error.is_unreachable() && ports.monotonic() < give_up => {
                tokio::time::sleep(ports.jittered(RETRY / 2, 100)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

async fn ask(people: &People, target: &Target, index: u64) -> Result<(Vec<KvPair>, u64), Error> {
    let read = match index {
        0 => Read::consistent(),
        index => Read::blocking(index, WAIT),
    };
    match target {
        Target::Key(key) => {
            let reply = people.client().kv_get(key, &read).await?;
            Ok((reply.value.into_iter().collect(), reply.meta.index))
        }
        Target::Prefix(prefix) => {
            let reply = people.client().kv_list(prefix, &read).await?;
            Ok((reply.value, reply.meta.index))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use bytes::Bytes;
    use consul_client::{Client, Put, Transport, TransportError};
    use consul_embedded::{Config, Server};
    use helium_crds::keys::Keys;
    use helium_runtime::ports::Ports;
    use http::{Request, Response};

    use super::*;
    use crate::people::Who;

    /// A line to the store that counts the requests that were given up before their answer.
    struct Counting {
        server: Arc<dyn Transport>,
        abandoned: Arc<AtomicUsize>,
    }

    /// Counts a request as given up until it is answered.
    struct Tally(Arc<AtomicUsize>);

    impl Tally {
        fn answered(self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }

    impl Drop for Tally {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Transport for Counting {
        fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Bytes>, TransportError>> {
            let tally = Tally(Arc::clone(&self.abandoned));
            Box::pin(async move {
                let answer = self.server.send(request).await;
                tally.answered();
                answer
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_poll_that_loses_the_race_is_kept_for_the_next_turn() {
        let server = Server::in_memory(&Config::default());
        let abandoned = Arc::new(AtomicUsize::new(0));
        let line = Counting { server: server.transport(), abandoned: Arc::clone(&abandoned) };
        let ports = Ports::seeded(7, "2026-03-01T12:00:00Z".parse().unwrap());
        let who = Who { by: "alice@laptop".to_owned(), tool: "helium-get".to_owned() };
        let people = People::new(Client::over(Arc::new(line), None), Keys::default(), ports, who);
        let write = async |key: &str, value: String| people.client().kv_put(key, value, &Put::default()).await.unwrap();
        write("quiet/a", "0".to_owned()).await;
        write("busy/a", "0".to_owned()).await;

        let mut quiet = Follow::prefix(&people, "quiet/".to_owned());
        let mut busy = Follow::prefix(&people, "busy/".to_owned());
        quiet.next().await.unwrap();
        busy.next().await.unwrap();
        for turn in 1..=20 {
            write("busy/a", turn.to_string()).await;
            tokio::select! {
                biased;
                _ = quiet.next() => panic!("nothing has changed there"),
                pairs = busy.next() => assert_eq!(pairs.unwrap()[0].value, turn.to_string()),
            }
        }
        assert_eq!(abandoned.load(Ordering::Relaxed), 0, "polls that were given up");

        write("quiet/a", "1".to_owned()).await;
        assert_eq!(quiet.next().await.unwrap()[0].value, "1", "the kept poll sees what came meanwhile");
    }
}
