//! What people do to values in Consul, as stories tell it.

use std::collections::BTreeMap;

use consul_client::{Client, Put};
use consul_embedded::state::State;
use helium_crds::{ObjectKey, keys::Keys};

use crate::{truth, values::key};

/// The values of each Deployment that were wiped last, to be put back.
pub(super) type Wiped = BTreeMap<String, Vec<(String, Vec<u8>)>>;

/// Writes, deletes, wipes or puts back values.
pub(super) async fn change(
    client: &Client,
    state: &State,
    wiped: &mut Wiped,
    verb: &str,
    words: &[&str],
) -> Result<(), String> {
    let (name, rest) = words.split_first().ok_or("it needs a name")?;
    let prefix = Keys::default().overrides(&ObjectKey::new("default", *name));
    match verb {
        "set" => {
            for word in rest {
                let (value, text) = word.split_once('=').ok_or("set NAME KEY=TEXT..")?;
                let bytes = if text == "no-text" { vec![0xff, 0xfe] } else { text.as_bytes().to_vec() };
                put(client, &key(name, value), bytes).await?;
            }
        }
        "unset" => {
            for value in rest {
                client.kv_delete(&key(name, value), None).await.map_err(|error| error.to_string())?;
            }
        }
        "wipe-values" => {
            let all =
                truth::keys_under(state, &prefix).map(|entry| (entry.key.clone(), entry.value.to_vec())).collect();
            wiped.insert((*name).to_owned(), all);
            client.kv_delete_tree(&prefix).await.map_err(|error| error.to_string())?;
        }
        _ => {
            for (key, value) in wiped.remove(*name).unwrap_or_default() {
                put(client, &key, value).await?;
            }
        }
    }
    Ok(())
}

async fn put(client: &Client, key: &str, value: Vec<u8>) -> Result<(), String> {
    client.kv_put(key, value, &Put::default()).await.map(drop).map_err(|error| error.to_string())
}
