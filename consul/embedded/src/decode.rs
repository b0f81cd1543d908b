//! Request bodies, read as Consul reads them: names in any case, unknown names refused, durations as text or number.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::state::Meta;

/// The fields of a JSON object, taken out one by one.
#[derive(Debug)]
pub(crate) struct Fields {
    map: Map<String, Value>,
}

/// What is wrong with a body, in words like those of Go's decoder.
pub(crate) type Problem = String;

/// Names compare without case and underscores: `DeregisterCriticalServiceAfter`, `deregister_critical_service_after`.
fn plain(name: &str) -> String {
    name.chars().filter(|c| *c != '_').map(|c| c.to_ascii_lowercase()).collect()
}

/// The JSON value of a body.
pub(crate) fn parse(body: &[u8]) -> Result<Value, Problem> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err("EOF".into());
    }
    serde_json::from_slice(body).map_err(|error| match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(first) if !b"{[\"tfn-0123456789".contains(first) => {
            format!("invalid character '{}' looking for beginning of value", char::from(*first))
        }
        _ => error.to_string(),
    })
}

fn mismatch(value: &Value, name: &str, wanted: &str) -> Problem {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    format!("json: cannot unmarshal {kind} into Go struct field .{name} of type {wanted}")
}

impl Fields {
    /// Takes an object apart.
    pub(crate) fn new(value: Value) -> Result<Self, Problem> {
        match value {
            Value::Object(map) => Ok(Self { map }),
            Value::Null => Ok(Self { map: Map::new() }),
            other => Err(mismatch(&other, "", "object")),
        }
    }

    /// Parses a body that is an object.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Problem> {
        Self::new(parse(body)?)
    }

    /// Takes a field, if it is there and not null.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        let wanted = plain(name);
        let key = self.map.keys().find(|key| plain(key) == wanted)?.clone();
        self.map.remove(&key).filter(|value| !value.is_null())
    }

    /// Text; empty if absent.
    pub(crate) fn string(&mut self, name: &str) -> Result<String, Problem> {
        match self.take(name) {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(mismatch(&other, name, "string")),
        }
    }

    /// A whole number that fits; 0 if absent.
    pub(crate) fn number<N: TryFrom<u64> + Default>(&mut self, name: &str) -> Result<N, Problem> {
        let Some(value) = self.take(name) else { return Ok(N::default()) };
        value.as_u64().and_then(|n| N::try_from(n).ok()).ok_or_else(|| mismatch(&value, name, "uint64"))
    }

    /// True or false; false if absent.
    pub(crate) fn bool(&mut self, name: &str) -> Result<bool, Problem> {
        match self.take(name) {
            None => Ok(false),
            Some(Value::Bool(value)) => Ok(value),
            Some(other) => Err(mismatch(&other, name, "bool")),
        }
    }

    /// A list of texts.
    pub(crate) fn strings(&mut self, name: &str) -> Result<Option<Vec<String>>, Problem> {
        let Some(value) = self.take(name) else { return Ok(None) };
        serde_json::from_value(value.clone()).map(Some).map_err(|_| mismatch(&value, name, "[]string"))
    }

    /// A map of texts.
    pub(crate) fn meta(&mut self, name: &str) -> Result<Option<Meta>, Problem> {
        let Some(value) = self.take(name) else { return Ok(None) };
        serde_json::from_value(value.clone()).map(Some).map_err(|_| mismatch(&value, name, "map[string]string"))
    }

    /// Header lines.
    pub(crate) fn headers(&mut self, name: &str) -> Result<BTreeMap<String, Vec<String>>, Problem> {
        let Some(value) = self.take(name) else { return Ok(BTreeMap::new()) };
        serde_json::from_value(value.clone()).map_err(|_| mismatch(&value, name, "map[string][]string"))
    }

    /// A duration in Go's words, or a number of nanoseconds; zero if absent.
    pub(crate) fn duration(&mut self, name: &str) -> Result<Duration, Problem> {
        match self.take(name) {
            None => Ok(Duration::ZERO),
            Some(Value::String(text)) if text.is_empty() => Ok(Duration::ZERO),
            Some(Value::String(text)) => {
                consul_client::duration::parse(&text).ok_or_else(|| format!("time: invalid duration {text:?}"))
            }
            Some(value) => value.as_u64().map(Duration::from_nanos).ok_or_else(|| mismatch(&value, name, "string")),
        }
    }

    /// A nested object.
    pub(crate) fn object(&mut self, name: &str) -> Result<Option<Self>, Problem> {
        self.take(name).map(Self::new).transpose()
    }

    /// A list of objects; nulls in it are left out.
    pub(crate) fn objects(&mut self, name: &str) -> Result<Vec<Self>, Problem> {
        match self.take(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => items.into_iter().filter(|item| !item.is_null()).map(Self::new).collect(),
            Some(other) => Err(mismatch(&other, name, "array")),
        }
    }

    /// Refuses what was not taken.
    pub(crate) fn finish(self) -> Result<(), Problem> {
        match self.map.keys().next() {
            Some(name) => Err(format!("json: unknown field {name:?}")),
            None => Ok(()),
        }
    }
}
