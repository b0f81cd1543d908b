//! Merged values as a tree in which each leaf knows where it came from and whether it is secret.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use serde_json::{Map, Value};

use super::{Layer, ValueError};
use crate::hidden::Hidden;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A file of defaults of the package.
    Defaults(PathBuf),
    /// A key in Consul.
    Key(String),
    /// The `env` of a Deployment.
    Env,
    /// The `config` of a Deployment.
    Config,
    /// The `secrets` of a Deployment.
    Secrets,
    /// What a hook printed.
    Hook(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Defaults(path) => write!(f, "{}", path.display()),
            Origin::Key(key) => f.write_str(key),
            Origin::Env => f.write_str("the Deployment's env"),
            Origin::Config => f.write_str("the Deployment's config"),
            Origin::Secrets => f.write_str("the Deployment's secrets"),
            Origin::Hook(name) => write!(f, "the hook {name}"),
        }
    }
}

/// One value.
#[derive(Clone)]
pub struct Leaf {
    /// The value, which is no map.
    pub value: Value,
    /// Where it came from.
    pub origin: Origin,
    /// Whether nobody may see it.
    pub secret: bool,
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Leaf");
        if self.secret {
            shown.field("value", &format_args!("(secret)"));
        } else {
            shown.field("value", &self.value);
        }
        shown.field("origin", &self.origin).finish()
    }
}

#[derive(Clone, Debug)]
pub(super) enum Node {
    Map(BTreeMap<String, Node>),
    Leaf(Leaf),
}

/// Merged values.
#[derive(Clone, Debug, Default)]
pub struct Values {
    root: BTreeMap<String, Node>,
}

impl Values {
    /// Merges layers; a later one is above an earlier one. Example: `{db: {host: a, port: 1}}` and above it `{db: {port: 2}}` give
    /// `{db: {host: a, port: 2}}`.
    pub fn merge(layers: impl IntoIterator<Item = Layer>) -> Self {
        let mut values = Self::default();
        for layer in layers {
            lay_over(&mut values.root, layer.root);
        }
        values
    }

    /// The values without their places, for an engine.
    pub fn to_json(&self) -> Value {
        map_to_json(&self.root)
    }

    /// Every value with its dotted path, in the order of the paths.
    pub fn leaves(&self) -> Vec<(String, &Leaf)> {
        let mut found = Vec::new();
        collect(&self.root, "", &mut found);
        found
    }

    /// Where the value at a dotted path came from.
    pub fn origin(&self, path: &str) -> Option<&Origin> {
        self.leaves().into_iter().find(|(found, _)| found == path).map(|(_, leaf)| &leaf.origin)
    }

    /// The texts that nobody may see.
    pub fn hidden(&self) -> Hidden {
        let mut hidden = Hidden::default();
        for (_, leaf) in self.leaves().iter().filter(|(_, leaf)| leaf.secret) {
            hidden.add_value(&leaf.value);
        }
        hidden
    }

    /// The values as variables of an environment: `db.port` is `DB_PORT`, lists are JSON, and null is left out. A character that no
    /// variable may have becomes `_`. Of two paths that give one name the later in order stands.
    pub fn to_environment(&self) -> BTreeMap<String, String> {
        let name = |path: &str| -> String {
            path.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
        };
        let text = |value: &Value| match value {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        };
        self.leaves().into_iter().filter_map(|(path, leaf)| Some((name(&path), text(&leaf.value)?))).collect()
    }
}

fn lay_over(below: &mut BTreeMap<String, Node>, above: BTreeMap<String, Node>) {
    for (name, node) in above {
        match (below.get_mut(&name), node) {
            (Some(Node::Map(old)), Node::Map(new)) => lay_over(old, new),
            (_, node) => {
                below.insert(name, node);
            }
        }
    }
}

fn map_to_json(map: &BTreeMap<String, Node>) -> Value {
    let json = |node: &Node| match node {
        Node::Map(map) => map_to_json(map),
        Node::Leaf(leaf) => leaf.value.clone(),
    };
    Value::Object(map.iter().map(|(name, node)| (name.clone(), json(node))).collect::<Map<_, _>>())
}

fn collect<'a>(map: &'a BTreeMap<String, Node>, path: &str, found: &mut Vec<(String, &'a Leaf)>) {
    for (name, node) in map {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match node {
            Node::Map(map) => collect(map, &path, found),
            Node::Leaf(leaf) => found.push((path, leaf)),
        }
    }
}

/// Puts a JSON value at a path, merging maps. Only within one layer is it an error when a value and a map meet: between layers the upper
/// one stands.
pub(super) fn put(
    root: &mut BTreeMap<String, Node>,
    path: &[&str],
    value: Value,
    origin: &Origin,
    secret: bool,
) -> Result<(), ValueError> {
    let Some((name, rest)) = path.split_first() else {
        let Value::Object(map) = value else {
            return Err(ValueError::NotAMap { origin: origin.clone(), what: kind(&value) });
        };
        return map.into_iter().try_for_each(|(name, value)| put(root, &[&name], value, origin, secret));
    };
    if rest.is_empty() && !value.is_object() {
        let leaf = Leaf { value, origin: origin.clone(), secret };
        return match root.insert((*name).to_owned(), Node::Leaf(leaf)) {
            Some(Node::Map(map)) => Err(conflict(origin, &map)),
            _ => Ok(()),
        };
    }
    match root.entry((*name).to_owned()).or_insert_with(|| Node::Map(BTreeMap::new())) {
        Node::Map(map) => put(map, rest, value, origin, secret),
        Node::Leaf(leaf) => Err(ValueError::Conflict { one: leaf.origin.clone(), other: origin.clone() }),
    }
}

fn conflict(one: &Origin, map: &BTreeMap<String, Node>) -> ValueError {
    let mut leaves = Vec::new();
    collect(map, "", &mut leaves);
    let other = leaves.first().map_or_else(|| one.clone(), |(_, leaf)| leaf.origin.clone());
    ValueError::Conflict { one: one.clone(), other }
}

/// What a value is, in words.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}
