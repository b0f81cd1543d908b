//! The secret values of a service's templates: from a file, a key in Consul, or a program that prints them.
//!
//! No message here holds a secret, and none holds what a program printed.

use std::{collections::BTreeMap, time::Duration};

use helium_crds::package::SecretSource;
use helium_processes::{Command, Run};
use helium_templates::values::{Layer, Origin};
use serde_json::{Map, Value};

use super::asking::Asking;
use crate::instance::work::Trouble;

/// How long a program may take to print a secret.
const LIMIT: Duration = Duration::from_secs(30);
/// The longest secret of a program.
const LONGEST: usize = 64 * 1024;

/// The layer of secrets. `prefix` is where they are in Consul; programs run as `around` says.
pub(super) async fn layer(
    secrets: &BTreeMap<String, SecretSource>,
    prefix: &str,
    asking: &Asking,
    around: &Command,
) -> Result<Layer, Trouble> {
    let mut values = Map::new();
    for (name, source) in secrets {
        let found = match source {
            SecretSource::File(path) => std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}")),
            SecretSource::Kv(key) => of_key(&format!("{prefix}{key}"), asking).await,
            SecretSource::Exec(argv) => of_program(argv, around).await,
        };
        let text = found.map_err(|words| Trouble::may_heal(format!("secrets.{name}: {words}")))?;
        put(&mut values, name, text.trim_end_matches(['\r', '\n']));
    }
    let layer = Layer::of_json(Value::Object(values), &Origin::Secrets);
    Ok(layer.map_err(|error| Trouble::lasting(error.to_string()))?.secret())
}

async fn of_key(key: &str, asking: &Asking) -> Result<String, String> {
    asking.key(key).await?.ok_or_else(|| format!("there is no key {key}"))
}

async fn of_program(argv: &[String], around: &Command) -> Result<String, String> {
    let program = argv.first().map_or("", String::as_str);
    let command = Command { argv: argv.to_vec(), ..around.clone() };
    let run = Run { limit: LIMIT, grace: Duration::from_secs(1), log: None, keep: LONGEST, note: None };
    let finished = run.to_end(&command).await.map_err(|error| error.to_string())?;
    match String::from_utf8(finished.stdout) {
        _ if finished.timed_out => Err(format!("`{program}` took longer than {LIMIT:?}")),
        _ if !finished.exit.is_success() => Err(format!("`{program}` ended with {}", finished.exit)),
        _ if finished.truncated => Err(format!("`{program}` printed more than {LONGEST} bytes")),
        Ok(text) => Ok(text),
        Err(_) => Err(format!("`{program}` did not print text")),
    }
}

/// Puts a text where a dotted name says: `db.password` into the map `db`.
fn put(values: &mut Map<String, Value>, name: &str, text: &str) {
    match name.split_once('.') {
        None => drop(values.insert(name.to_owned(), Value::String(text.to_owned()))),
        Some((first, rest)) => {
            let inner = values.entry(first).or_insert_with(|| Value::Object(Map::new()));
            if !inner.is_object() {
                *inner = Value::Object(Map::new());
            }
            if let Value::Object(inner) = inner {
                put(inner, rest, text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dotted_name_is_a_value_in_a_map() {
        let mut values = Map::new();
        put(&mut values, "db.password", "a");
        put(&mut values, "db.user", "b");
        put(&mut values, "token", "c");
        assert_eq!(Value::Object(values), serde_json::json!({"db": {"password": "a", "user": "b"}, "token": "c"}));
    }

    #[tokio::test]
    async fn what_a_program_printed_is_in_no_message() {
        let around = Command {
            argv: Vec::new(),
            env: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
            cwd: "/".into(),
            user: None,
        };
        let print = |script: &str| ["sh", "-c", script].map(str::to_owned).to_vec();
        assert_eq!(of_program(&print("echo hunter2"), &around).await, Ok("hunter2\n".to_owned()));
        let error = of_program(&print("echo hunter2; echo hunter2 >&2; exit 3"), &around).await.unwrap_err();
        assert_eq!(error, "`sh` ended with exit status 3");
    }
}
