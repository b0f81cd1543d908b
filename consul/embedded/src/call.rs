//! One request, taken apart: its path, parameters, rights and body, and the two things a handler does with it: read
//! (and wait) and write.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};

use crate::acl::{Access, Rights};
use crate::reply::{Failure, Page, Reply};
use crate::shared::Shared;
use crate::state::{Applied, Command, State};
use crate::waiters::Wake;

/// The wait of a blocking read that does not say how long.
const DEFAULT_WAIT: Duration = Duration::from_mins(5);
/// The longest wait.
const MAX_WAIT: Duration = Duration::from_mins(10);

/// A request on its way through a handler.
pub(crate) struct Call<'a> {
    pub(crate) shared: &'a Shared,
    /// The node whose agent was asked.
    pub(crate) node: &'a str,
    pub(crate) method: Method,
    /// The decoded path after `/v1/<area>/`.
    pub(crate) path: String,
    query: Vec<(String, String)>,
    pub(crate) body: Bytes,
    pub(crate) token: String,
    pub(crate) rights: Rights,
}

/// How a read is to be done.
struct ReadOptions {
    index: u64,
    wait: Duration,
    consistency: &'static str,
}

impl<'a> Call<'a> {
    /// Takes a request apart. The first part is the area: `kv`, `txn`, ...
    pub(crate) fn new(shared: &'a Shared, node: &'a str, request: Request<Bytes>) -> Result<(String, Self), Failure> {
        let (parts, body) = request.into_parts();
        let raw = parts.uri.path();
        if raw.contains("//") {
            let parts: Vec<&str> = raw.split('/').filter(|part| !part.is_empty()).collect();
            return Err(Failure::moved(&format!("/{}", parts.join("/"))));
        }
        let decoded = percent_encoding::percent_decode_str(raw).decode_utf8();
        let decoded = decoded.map_err(|_| Failure::bad("invalid URL escape"))?;
        let rest = decoded.strip_prefix("/v1/").ok_or_else(Failure::no_such_path)?;
        let (area, path) = rest.split_once('/').unwrap_or((rest, ""));
        let query: Vec<(String, String)> =
            form_urlencoded::parse(parts.uri.query().unwrap_or("").as_bytes()).into_owned().collect();
        let token = parts.headers.get("x-consul-token").and_then(|token| token.to_str().ok());
        let bearer = parts.headers.get("authorization").and_then(|value| value.to_str().ok());
        let token = token.or_else(|| bearer.and_then(|value| value.strip_prefix("Bearer ")));
        let token = token.or_else(|| find(&query, "token"));
        let token = token.unwrap_or("").to_owned();
        let rights = shared.rights(&token);
        let call = Self { shared, node, method: parts.method, path: path.to_owned(), query, body, token, rights };
        Ok((area.to_owned(), call))
    }

    /// A query parameter; present without a value, it is empty.
    pub(crate) fn param(&self, name: &str) -> Option<&str> {
        find(&self.query, name)
    }

    /// All values of a query parameter.
    pub(crate) fn params<'b>(&'b self, name: &'b str) -> impl Iterator<Item = &'b str> {
        self.query.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Refuses any but the given methods.
    pub(crate) fn allow(&self, methods: &[Method]) -> Result<(), Failure> {
        if methods.contains(&self.method) {
            return Ok(());
        }
        let allowed: Vec<&str> = methods.iter().map(Method::as_str).collect();
        Err(Failure::method(&self.method, &allowed.join(",")))
    }

    /// The rest of the path, or a refusal.
    pub(crate) fn path_or(&self, words: &str) -> Result<&str, Failure> {
        if self.path.is_empty() { Err(Failure::bad(words)) } else { Ok(&self.path) }
    }

    /// Refuses a token that the server does not know, a datacenter that it is not, and what it does not do.
    pub(crate) fn admit(&self) -> Result<(), Failure> {
        if matches!(self.rights, Rights::Unknown) {
            return Err(Failure::new(StatusCode::FORBIDDEN, "ACL not found"));
        }
        if self.param("filter").is_some_and(|filter| !filter.is_empty()) {
            return Err(Failure::bad("filters are not served by the embedded server"));
        }
        match self.param("dc") {
            Some(dc) if !dc.is_empty() && dc != self.shared.datacenter => {
                Err(Failure::internal("No path to datacenter"))
            }
            _ => Ok(()),
        }
    }

    /// Refuses unless the token may write to the agent, its services and checks.
    pub(crate) fn require_agent_write(&self) -> Result<(), Failure> {
        require(self.rights.catalog() == Access::Write)
    }

    /// Applies a command.
    pub(crate) fn write(&self, command: &Command) -> Result<Applied, Failure> {
        self.shared.commit(command)
    }

    /// Looks at the state without waiting.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&State) -> T) -> Result<T, Failure> {
        self.shared.look(look)
    }

    /// Reads, and if asked to waits until what was read has an index above the given one, or the wait is over.
    pub(crate) async fn read(&self, eval: impl Fn(&State) -> Result<Page, Failure>) -> Result<Reply, Failure> {
        let options = self.read_options()?;
        let deadline = self.shared.clock.now() + options.wait;
        loop {
            let (page, waiter) = self.shared.read_or_wait(options.index, &eval)?;
            let Some(mut waiter) = waiter else { return Ok(finish(page, &options)) };
            let woken = tokio::select! {
                biased;
                wake = waiter.woken() => wake,
                () = self.shared.clock.sleep_until(deadline) => Wake::Abandoned,
            };
            if woken == Wake::Abandoned {
                return Ok(finish(page, &options));
            }
        }
    }

    fn read_options(&self) -> Result<ReadOptions, Failure> {
        let (stale, consistent) = (self.param("stale").is_some(), self.param("consistent").is_some());
        if stale && consistent {
            return Err(Failure::bad("Cannot specify ?stale with ?consistent, conflicting semantics."));
        }
        let consistency = match (stale, consistent) {
            (true, _) => "stale",
            (_, true) => "consistent",
            _ => "leader",
        };
        let wait = match self.param("wait").filter(|wait| !wait.is_empty()) {
            None => DEFAULT_WAIT,
            Some(text) => consul_client::duration::parse(text).ok_or_else(|| Failure::bad("Invalid wait time"))?,
        };
        let wait = if wait.is_zero() { DEFAULT_WAIT } else { wait.min(MAX_WAIT) };
        let index = match self.param("index").filter(|index| !index.is_empty()) {
            None => 0,
            Some(text) => text.parse().map_err(|_| Failure::bad("Invalid index"))?,
        };
        Ok(ReadOptions { index, wait, consistency })
    }
}

fn find<'a>(query: &'a [(String, String)], name: &str) -> Option<&'a str> {
    query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// Puts the headers of a read on an answer. An index is never 0, so that a client may block on it.
fn finish(page: Page, options: &ReadOptions) -> Reply {
    let mut reply = page.reply;
    if page.shows_consistency {
        reply = reply.header("x-consul-effective-consistency", options.consistency);
    }
    reply
        .header("x-consul-index", page.index.max(1).to_string())
        .header("x-consul-knownleader", "true")
        .header("x-consul-lastcontact", "0")
}

/// Refuses unless the token may do something.
pub(crate) fn require(allowed: bool) -> Result<(), Failure> {
    if allowed { Ok(()) } else { Err(Failure::denied()) }
}
