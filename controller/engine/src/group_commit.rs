//! Group commit: while the store is busy, the transactions of several objects travel as one.
//!
//! Design: each transaction costs Consul an entry of its log, whatever its size. A few are under way at a time, each for one object, and
//! at an easy pace that is all that ever happens. Who comes while every lane is taken waits; and whoever gets the next free lane takes
//! along as many of those who wait, the oldest first, as fit into one transaction beside a single fence. A group is as atomic as any
//! transaction: if it is refused, nothing of it was written, and each member is sent again by itself, so that a refusal is always its
//! own. Members never share a key, since each is about another object.

use std::{collections::VecDeque, sync::Mutex};

use consul_client::{Client, Error, MAX_TXN_OPS, TransportError, TxnOp, TxnResults};
use tokio::sync::{Semaphore, oneshot};

use crate::{batch::MAX_TXN_BYTES, commit::lock};

/// Sends transactions, alone or in groups.
pub(crate) struct GroupCommit {
    client: Client,
    lanes: Semaphore,
    waiting: Mutex<VecDeque<Member>>,
}

/// One object's transaction, and who waits for its answer. The first operation is the fence.
struct Member {
    ops: Vec<TxnOp>,
    bytes: usize,
    answer: oneshot::Sender<Result<TxnResults, Error>>,
}

impl GroupCommit {
    /// Sends through `client`, at most `lanes` transactions at the same time.
    pub(crate) fn new(client: Client, lanes: usize) -> Self {
        Self { client, lanes: Semaphore::new(lanes.max(1)), waiting: Mutex::default() }
    }

    /// Sends a transaction of about `bytes`, whose first operation is the fence. The results may be those of others as well: look keys
    /// up by name.
    ///
    /// Whoever stops waiting before it was taken along has sent nothing.
    pub(crate) async fn send(&self, ops: Vec<TxnOp>, bytes: usize) -> Result<TxnResults, Error> {
        let (answer, mut answered) = oneshot::channel();
        lock(&self.waiting).push_back(Member { ops, bytes, answer });
        loop {
            tokio::select! {
                biased;
                result = &mut answered => return result.unwrap_or_else(|_| Err(unknown())),
                // The semaphore is never closed.
                Ok(_lane) = self.lanes.acquire() => match self.next_group() {
                    Some(group) => self.carry(group).await,
                    // Who waits first is taken first: if nobody is left, then this one is under way with another.
                    None => return (&mut answered).await.unwrap_or_else(|_| Err(unknown())),
                }
            }
        }
    }

    /// The oldest of those who wait, and who fits beside it. None if nobody waits.
    fn next_group(&self) -> Option<Vec<Member>> {
        let mut waiting = lock(&self.waiting);
        waiting.retain(|member| !member.answer.is_closed());
        let first = waiting.pop_front()?;
        let (mut ops, mut bytes) = (first.ops.len(), first.bytes);
        let mut group = vec![first];
        while let Some(next) = waiting.front() {
            (ops, bytes) = (ops + next.ops.len() - 1, bytes + next.bytes);
            if ops > MAX_TXN_OPS || bytes > MAX_TXN_BYTES || next.ops.first() != group[0].ops.first() {
                break;
            }
            group.extend(waiting.pop_front());
        }
        Some(group)
    }

    async fn carry(&self, group: Vec<Member>) {
        let fence = group.first().and_then(|first| first.ops.first());
        let rest = group.iter().flat_map(|member| member.ops.iter().skip(1));
        let ops: Vec<TxnOp> = fence.into_iter().chain(rest).cloned().collect();
        let result = self.client.txn(&ops).await;
        let each_alone = group.len() > 1 && result.as_ref().is_err_and(is_of_one_member);
        for member in group {
            let own = if each_alone { self.client.txn(&member.ops).await } else { result.clone() };
            // Who is gone does not want to know.
            let _ = member.answer.send(own);
        }
    }
}

/// Whether a group was refused for what one member of it is or may do. What the fence or the store says is said to all.
fn is_of_one_member(error: &Error) -> bool {
    match error {
        Error::TxnRefused { errors } => errors.iter().all(|refused| refused.op_index != 0),
        Error::Denied { .. } | Error::Invalid { .. } | Error::TooLarge { .. } => true,
        _ => false,
    }
}

/// Whoever carried the group was stopped in the midst of it.
fn unknown() -> Error {
    let source = TransportError::Lost("whoever sent it with others was stopped".to_owned());
    Error::Transport { call: "PUT /v1/txn".to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use consul_client::{SessionRequest, Transport};
    use consul_embedded::Server;
    use futures::future::{BoxFuture, FutureExt, join_all};
    use http::{Request, Response};

    use super::*;

    /// A store that lets each transaction wait until it is let through, and keeps what it has seen of them.
    struct Gate {
        inner: Arc<dyn Transport>,
        open: Semaphore,
        seen: Mutex<Vec<usize>>,
    }

    impl Transport for Gate {
        fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Bytes>, TransportError>> {
            async move {
                if request.uri().path() == "/v1/txn" {
                    let ops: Vec<serde_json::Value> = serde_json::from_slice(request.body()).unwrap();
                    lock(&self.seen).push(ops.len());
                    self.open.acquire().await.unwrap().forget();
                }
                self.inner.send(request).await
            }
            .boxed()
        }
    }

    struct Stage {
        gate: Arc<Gate>,
        client: Client,
        fence: TxnOp,
        group: Arc<GroupCommit>,
    }

    /// A store whose lock is held, and one lane to it.
    async fn stage() -> Stage {
        let server = Server::in_memory(&consul_embedded::Config::default());
        let gate = Gate { inner: server.transport(), open: Semaphore::new(0), seen: Mutex::default() };
        let gate = Arc::new(gate);
        let client = Client::over(Arc::clone(&gate) as Arc<dyn Transport>, None);
        let session = client.session_create(&SessionRequest::default()).await.unwrap();
        let put = consul_client::Put { acquire: Some(session.clone()), ..consul_client::Put::default() };
        assert!(client.kv_put("lock", "", &put).await.unwrap());
        let group = Arc::new(GroupCommit::new(client.clone(), 1));
        Stage { gate, client, fence: TxnOp::CheckSession { key: "lock".to_owned(), session }, group }
    }

    impl Stage {
        /// A transaction that makes `writes` keys, none of which may be there.
        fn makes(&self, name: &str, writes: usize) -> Vec<TxnOp> {
            let key = |number: usize| TxnOp::cas(format!("{name}-{number}"), "x", 0);
            [self.fence.clone()].into_iter().chain((0..writes).map(key)).collect()
        }

        /// Sends all of these at once; `let_through` transactions get to the store.
        async fn send(&self, all: Vec<Vec<TxnOp>>, let_through: usize) -> Vec<Result<TxnResults, Error>> {
            let let_through = async {
                tokio::task::yield_now().await; // the first is under way, the others wait
                self.gate.open.add_permits(let_through);
            };
            let sent = join_all(all.into_iter().map(|ops| self.group.send(ops, 100)));
            tokio::join!(biased; sent, let_through).0
        }

        fn seen(&self) -> Vec<usize> {
            lock(&self.gate.seen).clone()
        }
    }

    #[tokio::test]
    async fn those_who_wait_for_a_lane_travel_together_behind_one_fence() {
        let stage = stage().await;
        let all = ["a", "b", "c", "d"].map(|name| stage.makes(name, 3)).to_vec();
        let results = stage.send(all, 2).await;
        assert_eq!(stage.seen(), [4, 10], "the first alone, the others with one fence");
        for (result, name) in results.iter().zip(["a", "b", "c", "d"]) {
            let pairs = &result.as_ref().unwrap().pairs;
            assert!((0..3).all(|number| pairs.iter().any(|pair| pair.key == format!("{name}-{number}"))), "{name}");
        }
    }

    #[tokio::test]
    async fn a_group_is_never_larger_than_a_transaction_may_be() {
        let stage = stage().await;
        let all = ["a", "b", "c", "d"].map(|name| stage.makes(name, 30)).to_vec();
        let results = stage.send(all, 3).await;
        assert!(results.iter().all(Result::is_ok));
        assert_eq!(stage.seen(), [31, 61, 31]);
    }

    #[tokio::test]
    async fn of_a_refused_group_each_is_sent_again_alone_and_only_who_is_to_blame_is_refused() {
        let stage = stage().await;
        let mut all = ["a", "b", "c", "d"].map(|name| stage.makes(name, 2)).to_vec();
        all[2][1] = TxnOp::CheckIndex { key: "b-0".to_owned(), index: 99_999 };
        let results = stage.send(all, 5).await;
        assert_eq!(stage.seen(), [3, 7, 3, 3, 3]);
        let refused: Vec<bool> = results.iter().map(Result::is_err).collect();
        assert_eq!(refused, [false, false, true, false]);
        let Err(Error::TxnRefused { errors }) = &results[2] else { panic!("{results:?}") };
        assert_eq!(errors[0].op_index, 1, "the place is that of its own operations");
    }

    #[tokio::test]
    async fn a_lost_fence_is_told_to_all_of_a_group_at_once() {
        let stage = stage().await;
        let TxnOp::CheckSession { session, .. } = &stage.fence else { panic!() };
        stage.client.session_destroy(session).await.unwrap();
        let all = ["a", "b", "c"].map(|name| stage.makes(name, 1)).to_vec();
        let results = stage.send(all, 2).await;
        assert_eq!(stage.seen(), [2, 3]);
        for result in results {
            let Err(Error::TxnRefused { errors }) = result else { panic!("{result:?}") };
            assert_eq!(errors[0].op_index, 0);
        }
    }

    #[tokio::test]
    async fn who_stops_waiting_for_a_lane_has_sent_nothing_and_who_carried_others_leaves_them_in_doubt() {
        let stage = stage().await;
        let send = |name: &str| {
            let (group, ops) = (Arc::clone(&stage.group), stage.makes(name, 1));
            tokio::spawn(async move { group.send(ops, 100).await })
        };
        let (first, second, third) = (send("a"), send("b"), send("c"));
        tokio::task::yield_now().await;
        third.abort();
        assert!(third.await.unwrap_err().is_cancelled());
        let fourth = send("d");
        tokio::task::yield_now().await;
        stage.gate.open.add_permits(1);
        first.await.unwrap().unwrap();
        while stage.seen().len() < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(stage.seen(), [2, 3], "the third is not in it");
        second.abort();
        let error = fourth.await.unwrap().unwrap_err();
        assert!(error.is_ambiguous(), "{error:?}");
    }
}
