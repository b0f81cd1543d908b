//! Gates: whether a webhook or a key in Consul KV lets a rollout through.

use bytes::Bytes;
use consul_client::Read;
use helium_crds::{
    gate::{KvValue, Webhook},
    measurement::GateReading,
};

use crate::{
    sources::Tools,
    web::{Accept, Call, as_text, status_line},
    why::Why,
};

/// Posts the document. A 2xx status opens the gate, and any other keeps it shut: only who does not answer at all is asked again.
pub(crate) async fn webhook(tools: &Tools, webhook: &Webhook, document: &str) -> GateReading {
    let Webhook { url, auth, timeout, retries } = webhook;
    let post = Some(("application/json", Bytes::copy_from_slice(document.as_bytes())));
    let (timeout, retries) = (*timeout, *retries);
    let call = Call { url, post, auth: auth.as_ref(), timeout, retries, accept: Accept::Any };
    match tools.web.ask(&call).await {
        Err(why) => GateReading::Error { why: why.into() },
        Ok(answer) if answer.status.is_success() => GateReading::Open,
        Ok(answer) => {
            let (status, said) = (status_line(answer.status), as_text(&answer.body));
            let words = if said.trim().is_empty() { status } else { format!("{status}: {said}") };
            GateReading::Shut { why: answer.tell_only(&words).into() }
        }
    }
}

/// Reads the key. What it holds is not told: the controller may read more than whoever writes a spec.
pub(crate) async fn kv(tools: &Tools, wanted: &KvValue) -> GateReading {
    match look(tools, wanted).await {
        Ok(None) => GateReading::Open,
        Ok(Some(why)) => GateReading::Shut { why },
        Err(error) => GateReading::Error { why: Why::of(&error).into() },
    }
}

/// Why the gate is shut; nothing if it is open.
async fn look(tools: &Tools, wanted: &KvValue) -> Result<Option<String>, Error> {
    let KvValue { key, equals } = wanted;
    if key.starts_with(&tools.keys.secrets()) {
        return Err(Error::Secret { key: key.clone() });
    }
    let reply = tools.consul.kv_get(key, &Read::consistent()).await?;
    let Some(pair) = reply.value else { return Ok(Some(format!("there is no key {key}"))) };
    let is_open = pair.value.trim_ascii() == equals.trim().as_bytes();
    Ok((!is_open).then(|| format!("{key} does not hold `{equals}`")))
}

/// Why a key says nothing.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("Consul: {0}")]
    Consul(#[from] consul_client::Error),
    #[error("{key} is a secret, and no gate: a gate would tell whether somebody has guessed it")]
    Secret { key: String },
}
