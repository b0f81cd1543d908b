//! One source of values, before it is merged with others.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    Origin, ValueError,
    tree::{self, Node},
};

/// One source of values.
#[derive(Clone, Debug, Default)]
pub struct Layer {
    pub(super) root: BTreeMap<String, Node>,
}

impl Layer {
    /// Values of one place: a map of names.
    pub fn of_json(value: Value, origin: &Origin) -> Result<Self, ValueError> {
        let mut layer = Self::default();
        tree::put(&mut layer.root, &[], value, origin, false)?;
        Ok(layer)
    }

    /// The Deployment's `env`: texts at the top, for a variable is never anything else.
    pub fn of_env<K: Into<String>, V: Into<String>>(
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, ValueError> {
        let map = variables.into_iter().map(|(name, value)| (name.into(), Value::String(value.into()))).collect();
        Self::of_json(Value::Object(map), &Origin::Env)
    }

    /// The Deployment's `config`.
    pub fn of_config(value: Value) -> Result<Self, ValueError> {
        Self::of_json(value, &Origin::Config)
    }

    /// What a hook printed. Nothing at all is no values.
    pub fn of_hook(name: &str, printed: &[u8]) -> Result<Self, ValueError> {
        let origin = Origin::Hook(name.to_owned());
        if printed.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        let value = serde_json::from_slice(printed).map_err(|error| ValueError::NotJson {
            origin: origin.clone(),
            line: error.line(),
            column: error.column(),
        })?;
        Self::of_json(value, &origin)
    }

    /// The same values, of which nobody may see any.
    #[must_use]
    pub fn secret(mut self) -> Self {
        hide(&mut self.root);
        self
    }
}

fn hide(map: &mut BTreeMap<String, Node>) {
    for node in map.values_mut() {
        match node {
            Node::Map(map) => hide(map),
            Node::Leaf(leaf) => leaf.secret = true,
        }
    }
}

/// Reads lines `NAME=VALUE`; the value is all behind the first `=`, so that `FOO=a=b=c` is `a=b=c`.
pub fn environment<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<BTreeMap<String, String>, ValueError> {
    let pair = |(index, line): (usize, &'a str)| {
        let (name, value) = line.split_once('=').ok_or(ValueError::NoEquals { number: index + 1 })?;
        Ok((name.to_owned(), value.to_owned()))
    };
    lines.into_iter().enumerate().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::values::Values;

    #[test]
    fn a_later_layer_stands_above_an_earlier_one_and_every_value_knows_its_place() {
        let defaults = Layer::of_json(
            json!({"db": {"host": "a", "port": 1}, "log": "info"}),
            &Origin::Defaults("default.json".into()),
        );
        let env = Layer::of_env([("log", "debug")]);
        let config = Layer::of_config(json!({"db": {"port": 2}}));
        let hook = Layer::of_hook("config-pre", br#"{"ip": "10.0.0.1"}"#);
        let values = Values::merge([defaults.unwrap(), env.unwrap(), config.unwrap(), hook.unwrap()]);
        assert_eq!(values.to_json(), json!({"db": {"host": "a", "port": 2}, "log": "debug", "ip": "10.0.0.1"}));
        let origin = |path| values.origin(path).unwrap().to_string();
        assert_eq!(origin("db.host"), "default.json");
        assert_eq!(origin("db.port"), "the Deployment's config");
        assert_eq!(origin("log"), "the Deployment's env");
        assert_eq!(origin("ip"), "the hook config-pre");
    }

    #[test]
    fn a_variable_keeps_every_equals_sign_of_its_value() {
        let read = environment(["FOO=a=b=c", "EMPTY="]).unwrap();
        assert_eq!(read["FOO"], "a=b=c");
        assert_eq!(read["EMPTY"], "");
        assert_eq!(
            environment(["A=1", "B"]).unwrap_err().to_string(),
            "the variable number 2 has no `=`: write NAME=VALUE"
        );
    }

    #[test]
    fn what_a_hook_printed_by_mistake_is_not_repeated() {
        let error = Layer::of_hook("config-pre", b"{\n  \"password\": hunter2\n}").unwrap_err().to_string();
        insta::assert_snapshot!(error, @"what the hook config-pre printed is no JSON (line 2, column 15): print one JSON object and nothing else, logs to stderr");
        let error = Layer::of_hook("config-pre", b"[1]").unwrap_err().to_string();
        insta::assert_snapshot!(error, @"the hook config-pre is a list, and has to be a map of names to values");
        assert!(Layer::of_hook("config-pre", b" \n").unwrap().root.is_empty());
    }

    #[test]
    fn secret_values_are_in_no_debug_output() {
        let layer = Layer::of_config(json!({"db": {"password": "hunter2"}})).unwrap().secret();
        let shown = format!("{:?}", Values::merge([layer]));
        assert!(!shown.contains("hunter2") && shown.contains("(secret)"), "{shown}");
    }

    #[test]
    fn values_are_variables_too() {
        let layer = Layer::of_config(json!({"db": {"port": 1, "on": [1, "a"]}, "log-level": "info", "no": null}));
        let variables = Values::merge([layer.unwrap()]).to_environment();
        let shown: Vec<String> = variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(shown, ["DB_ON=[1,\"a\"]", "DB_PORT=1", "LOG_LEVEL=info"]);
    }
}
