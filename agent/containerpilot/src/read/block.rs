//! Objects and their keys, decoded as ContainerPilot's decoder does: keys in any case, numbers from texts and texts from numbers.

use std::{ops::Range, time::Duration};

use crate::{
    duration::{Nanos, seconds_or_duration},
    finding::Findings,
    json5::{Member, Node, Value},
    near::near,
    number::go_int,
    template::value::float,
};

/// An object of the file, whose keys are taken one by one.
pub(super) struct Block<'a> {
    /// `jobs[1].health`
    pub(super) key: String,
    /// What stands for the whole object in messages: its key, or its first byte.
    pub(super) at: Range<usize>,
    members: Vec<(&'a Member, bool)>,
    known: Vec<&'static str>,
    any_case: bool,
    missing: Vec<Missing>,
}

/// A key that should be there.
struct Missing {
    name: &'static str,
    at: Range<usize>,
    reason: String,
    fix: String,
}

/// A key that is there, and its value.
#[derive(Clone)]
pub(super) struct Field<'a> {
    /// `jobs[1].health.ttl`
    pub(super) key: String,
    /// The key as it is written.
    pub(super) name: Range<usize>,
    pub(super) node: &'a Node,
}

impl<'a> Block<'a> {
    /// Opens an object; anything else is a problem.
    pub(super) fn open(key: &str, at: Range<usize>, node: &'a Node, findings: &mut Findings) -> Option<Self> {
        let Value::Object(members) = &node.value else {
            let reason = format!("an object should be here, and this is {}", node.value.kind());
            findings.error(&node.span, key, reason).fix("write `{ ... }`");
            return None;
        };
        let mut block = Self {
            key: key.to_owned(),
            at,
            members: Vec::new(),
            known: Vec::new(),
            any_case: true,
            missing: Vec::new(),
        };
        for (index, member) in members.iter().enumerate() {
            if members[index + 1..].iter().any(|later| later.key == member.key) {
                let path = block.path(&member.key);
                let reason = "this key is there again below, and only the last one counts";
                findings.warn(&member.key_span, &path, reason).fix("remove it");
            } else {
                block.members.push((member, false));
            }
        }
        Some(block)
    }

    /// Keys count only as they are written: so it is at the top of the file.
    pub(super) fn exact(mut self) -> Self {
        self.any_case = false;
        self
    }

    /// The path of a key of this object.
    pub(super) fn path(&self, name: &str) -> String {
        if self.key.is_empty() { name.to_owned() } else { format!("{}.{name}", self.key) }
    }

    /// Takes a key. `null` is as if it were not there.
    pub(super) fn take(&mut self, name: &'static str) -> Option<Field<'a>> {
        if !self.known.contains(&name) {
            self.known.push(name);
        }
        let any_case = self.any_case;
        let found = self.members.iter().position(|(member, _)| member.key == name).or_else(|| {
            let same = |member: &Member| any_case && member.key.to_lowercase() == name.to_lowercase();
            self.members.iter().position(|(member, _)| same(member))
        })?;
        self.members[found].1 = true;
        let member = self.members[found].0;
        if member.node.value == Value::Null {
            return None;
        }
        Some(Field { key: self.path(name), name: member.key_span.clone(), node: &member.node })
    }

    /// Notes that a key should be there and is not. If a key that nobody takes is nearly this one, [`Block::finish`] says that alone.
    pub(super) fn missing(&mut self, name: &'static str, at: &Range<usize>, reason: &str, fix: &str) {
        self.missing.push(Missing { name, at: at.clone(), reason: reason.to_owned(), fix: fix.to_owned() });
    }

    /// Takes keys that ContainerPilot takes, too, and then does not look at.
    pub(super) fn ignore(&mut self, names: &[&'static str], findings: &mut Findings) {
        let known = self.known.len();
        for name in names {
            if let Some(field) = self.take(name) {
                findings.warn(&field.name, &field.key, "this key is taken here, and means nothing").fix("remove it");
            }
        }
        self.known.truncate(known);
    }

    /// Every key that was not taken is a problem, as it is to ContainerPilot, and so is every one that is missing.
    pub(super) fn finish(self, findings: &mut Findings) {
        let unknown: Vec<&Member> =
            self.members.iter().filter(|(_, taken)| !taken).map(|(member, _)| *member).collect();
        for member in &unknown {
            let reason = format!("there is no key `{}` here", member.key);
            findings.error(&member.key_span, &self.path(&member.key), reason).fix(self.instead_of(&member.key));
        }
        for missing in &self.missing {
            let is_slip = unknown.iter().any(|member| near(&member.key, std::iter::once(missing.name)).is_some());
            if !is_slip {
                let path = self.path(missing.name);
                findings.error(&missing.at, &path, missing.reason.as_str()).fix(missing.fix.as_str());
            }
        }
    }

    /// What to write instead of a key that is not there.
    fn instead_of(&self, key: &str) -> String {
        let has = |name: &str| self.members.iter().any(|(member, taken)| *taken && member.key == name);
        let home = HOMES
            .iter()
            .find(|(name, _)| *name == key)
            .filter(|_| self.key.starts_with("jobs[") && self.key.ends_with(']'));
        if let Some((_, home)) = home {
            return format!("write it into {home}");
        }
        if self.key.is_empty() && OLD.contains(&key) {
            return "this is of ContainerPilot 2: make it one of `jobs` or `watches`".to_owned();
        }
        match near(key, self.known.iter().copied().filter(|name| !has(name))) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the keys here are {}", self.known.join(", ")),
        }
    }
}

/// Keys that people look for in a job, and where they are.
const HOMES: &[(&str, &str)] = &[
    ("interval", "`health` or `when`"),
    ("source", "`when`"),
    ("once", "`when`"),
    ("each", "`when`"),
    ("all", "`when`"),
    ("raw", "`logging`"),
    ("enableTagOverride", "`consul`"),
    ("deregisterCriticalServiceAfter", "`consul`"),
];

/// Keys of the version before.
const OLD: &[&str] = &[
    "services",
    "backends",
    "tasks",
    "coprocesses",
    "preStart",
    "preStop",
    "postStop",
    "onStart",
    "etcd",
    "zookeeper",
];

impl<'a> Field<'a> {
    fn wrong(&self, what: &str, findings: &mut Findings) {
        let reason = format!("{what} should be here, and this is {}", self.node.value.kind());
        findings.error(&self.node.span, &self.key, reason);
    }

    /// Whether it is an empty text, which is mostly as if the key were not there.
    pub(super) fn is_empty_text(&self) -> bool {
        matches!(&self.node.value, Value::Text(text) if text.is_empty())
    }

    /// A text, also of a number or a boolean.
    pub(super) fn text(&self, findings: &mut Findings) -> Option<String> {
        match &self.node.value {
            Value::Text(text) => Some(text.clone()),
            Value::Number(number) => Some(format!("{number}")),
            Value::Bool(value) => Some(if *value { "1" } else { "0" }.to_owned()),
            _ => {
                self.wrong("a text", findings);
                None
            }
        }
    }

    /// A text that is not empty: an empty one is as if the key were not there.
    pub(super) fn some_text(&self, findings: &mut Findings) -> Option<String> {
        self.text(findings).filter(|text| !text.is_empty())
    }

    /// A whole number: fractions are cut off, texts are read as Go reads them.
    #[allow(clippy::cast_possible_truncation, reason = "fractions are cut off, and what is too large was sorted out")]
    pub(super) fn int(&self, findings: &mut Findings) -> Option<i64> {
        match &self.node.value {
            Value::Number(number) if number.abs() < 9e15 => Some(*number as i64),
            Value::Number(_) => {
                findings.error(&self.node.span, &self.key, "this number is too large");
                None
            }
            Value::Bool(value) => Some(i64::from(*value)),
            Value::Text(text) => {
                let value = go_int(text);
                if value.is_none() {
                    let reason = format!("a whole number should be here, and \"{text}\" is none");
                    let finding = findings.error(&self.node.span, &self.key, reason);
                    if let Some(nanos) = seconds_or_duration(text).filter(|nanos| nanos % 1_000_000_000 == 0) {
                        finding.fix(format!("write `{}`, in seconds", nanos / 1_000_000_000));
                    }
                }
                value
            }
            _ => {
                self.wrong("a whole number", findings);
                None
            }
        }
    }

    /// Whole seconds, at least 1.
    pub(super) fn seconds(&self, findings: &mut Findings) -> Option<Duration> {
        let seconds = self.int(findings)?;
        match u64::try_from(seconds) {
            Ok(seconds) if seconds > 0 => Some(Duration::from_secs(seconds)),
            _ => {
                findings.error(&self.node.span, &self.key, "this is at least 1 second").fix("write 1 or more");
                None
            }
        }
    }

    /// A boolean, also of a number or a text.
    pub(super) fn flag(&self, findings: &mut Findings) -> Option<bool> {
        let value = match &self.node.value {
            Value::Bool(value) => Some(*value),
            Value::Number(number) => Some(*number != 0.0),
            Value::Text(text) => match text.as_str() {
                "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
                "0" | "f" | "F" | "FALSE" | "false" | "False" | "" => Some(false),
                _ => None,
            },
            _ => None,
        };
        if value.is_none() {
            findings.error(&self.node.span, &self.key, "`true` or `false` should be here");
        }
        value
    }

    /// A list of texts. One text alone is none, and an empty object is an empty list, as ContainerPilot has it.
    pub(super) fn texts(&self, findings: &mut Findings) -> Option<Vec<String>> {
        let nodes = match &self.node.value {
            Value::List(nodes) => nodes,
            Value::Object(members) if members.is_empty() => return Some(Vec::new()),
            Value::Text(text) => {
                let reason = "a list should be here, and this is a text";
                findings.error(&self.node.span, &self.key, reason).fix(format!("write `[{text:?}]`"));
                return None;
            }
            _ => {
                self.wrong("a list", findings);
                return None;
            }
        };
        let element = |(index, node): (usize, &'a Node)| {
            if node.value == Value::Null {
                return Some(String::new());
            }
            Field { key: format!("{}[{index}]", self.key), name: node.span.clone(), node }.text(findings)
        };
        nodes.iter().enumerate().map(element).collect()
    }

    /// The elements of a list, and where each is; `null` is no element.
    pub(super) fn elements(&self) -> Option<Vec<Field<'a>>> {
        let Value::List(nodes) = &self.node.value else { return None };
        let fields = nodes.iter().enumerate().filter(|(_, node)| node.value != Value::Null).map(|(index, node)| {
            Field { key: format!("{}[{index}]", self.key), name: node.span.start..node.span.start + 1, node }
        });
        Some(fields.collect())
    }

    /// This object's keys.
    pub(super) fn block(&self, findings: &mut Findings) -> Option<Block<'a>> {
        Block::open(&self.key, self.name.clone(), self.node, findings)
    }

    /// A duration: Go's syntax, or a bare whole number of seconds. None if it is an empty text.
    pub(super) fn duration(&self, findings: &mut Findings) -> Option<Nanos> {
        let text = self.some_text(findings)?;
        let nanos = seconds_or_duration(&text);
        if nanos.is_none() {
            let reason = format!("`{text}` is no duration");
            findings.error(&self.node.span, &self.key, reason).fix(DURATION);
        }
        nanos
    }

    /// A duration that counts only if it is more than nothing.
    pub(super) fn positive(&self, findings: &mut Findings) -> Option<Duration> {
        let nanos = self.duration(findings)?;
        if nanos < 0 {
            let reason = "a negative duration counts as none";
            findings.warn(&self.node.span, &self.key, reason).fix("remove it, or write a positive one");
        }
        u64::try_from(nanos).ok().filter(|nanos| *nanos > 0).map(Duration::from_nanos)
    }
}

/// How a duration is written.
pub(super) const DURATION: &str =
    "write a number and a unit, like `\"90s\"`, `\"1m30s\"` or `\"500ms\"`; a bare whole number is seconds";

/// A value as Go prints it where a text is wanted and something else is given.
pub(super) fn go_text(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => float(*number),
        Value::Text(text) => text.clone(),
        Value::List(nodes) => {
            let words: Vec<String> = nodes.iter().map(|node| go_text(&node.value)).collect();
            format!("[{}]", words.join(" "))
        }
        Value::Object(members) => {
            let words: Vec<String> =
                members.iter().map(|member| format!("{}:{}", member.key, go_text(&member.node.value))).collect();
            format!("map[{}]", words.join(" "))
        }
    }
}
