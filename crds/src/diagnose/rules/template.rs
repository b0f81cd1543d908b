//! Rules of a Deployment's template.

use std::time::Duration;

use serde_json::Value;

use super::{super::nearest::nearest, super::words, Code, Findings, Path, entries, items};
use crate::{
    template::Election,
    variables::{self, ExpandError},
};

pub(super) fn check(template: Option<&Value>, at: &Path, findings: &mut Findings) {
    let Some(template) = template.filter(|template| template.is_object()) else { return };
    let ports = Ports::of(template);
    ports_are_distinct(template, at, findings);
    checks(template, at, &ports, findings);
    super::package::check(template, at, findings);
    election(template, at, findings);
    super::jobs::check(template, at, findings);
    env_names(template, at, &ports, findings);
    variables(template, at, &ports, findings);
}

/// The names of the ports. If a name is broken, a check or variable that names none of the others may mean it.
struct Ports<'v> {
    names: Vec<&'v str>,
    sound: bool,
}

impl<'v> Ports<'v> {
    fn of(template: &'v Value) -> Self {
        let ports = template.get("ports");
        let names: Vec<Option<&str>> = items(ports).map(|(_, port)| port.get("name").and_then(Value::as_str)).collect();
        let sound = ports.is_none_or(Value::is_array) && names.iter().all(Option::is_some);
        Self { names: names.into_iter().flatten().collect(), sound }
    }
}

fn ports_are_distinct(template: &Value, at: &Path, findings: &mut Findings) {
    let ports = at.field("ports");
    let names = items(template.get("ports"))
        .filter_map(|(index, port)| Some((ports.index(index).field("name"), port.get("name")?.as_str()?)));
    findings.repeated("ports", names);
    let mut taken = Vec::new();
    for (index, port) in items(template.get("ports")) {
        let Some(number) = port.get("port").and_then(Value::as_u64) else { continue };
        if taken.contains(&number) {
            let help = "leave `port` out for a free one, or give another number".to_owned();
            findings.value(
                ports.index(index).field("port"),
                Code::Conflict,
                format!("two ports have the number {number}"),
                help,
            );
        }
        taken.push(number);
    }
}

fn checks(template: &Value, at: &Path, ports: &Ports<'_>, findings: &mut Findings) {
    let checks = at.field("checks");
    let names = items(template.get("checks"))
        .filter_map(|(index, check)| Some((checks.index(index).field("name"), check.get("name")?.as_str()?)));
    findings.repeated("checks", names);
    for (index, check) in items(template.get("checks")).filter(|_| ports.sound) {
        for driver in ["http", "tcp"] {
            let Some(target) = check.get(driver).filter(|target| target.is_object()) else { continue };
            let at = checks.index(index).field(driver);
            match target.get("port") {
                None if ports.names.is_empty() => {
                    let help = "add `ports: [{name: http}]` to the template".to_owned();
                    findings.value(at, Code::UnknownPort, format!("the `{driver}` check has no port to look at"), help);
                }
                Some(Value::String(port)) if !ports.names.contains(&port.as_str()) => {
                    findings.value(
                        at.field("port"),
                        Code::UnknownPort,
                        format!("there is no port `{port}`"),
                        known_ports(port, ports),
                    );
                }
                _ => {}
            }
        }
    }
}

/// A leader needs time to hear from Consul before it has to begin to stop: three requests of 2 s, and a second for clocks.
fn election(template: &Value, at: &Path, findings: &mut Findings) {
    let Some(election) = super::read::<Election>(template.get("election")) else { return };
    let window = election.session_ttl.min(election.lock_delay).as_duration();
    if window < election.stop_within.as_duration() + Duration::from_secs(7) {
        let message = "nobody could lead: `stopWithin` leaves no time to hear from Consul".to_owned();
        let help = "make it shorter than `sessionTtl` and `lockDelay` by 7s at least".to_owned();
        findings.value(at.field("election"), Code::NeverSucceeds, message, help);
    }
}

fn known_ports(typed: &str, ports: &Ports<'_>) -> String {
    match nearest(typed, ports.names.iter().copied()) {
        Some(name) => format!("did you mean `{name}`?"),
        None if ports.names.is_empty() => format!("the template has no ports; add `ports: [{{name: {typed}}}]` to it"),
        None => format!("the template has {}", words::list(&ports.names)),
    }
}

fn env_names(template: &Value, at: &Path, ports: &Ports<'_>, findings: &mut Findings) {
    let set = variables::names_for_ports(ports.names.iter().copied());
    for (name, _) in entries(template.get("env")) {
        if set.contains(name) || name == variables::PORT || name.starts_with(variables::RESERVED_PREFIX) {
            let message = format!("`{name}` is set by Helium");
            findings.key(at.field("env").field(name), Code::ReservedName, message, "choose another name".to_owned());
        }
    }
}

/// Every `${NAME}` is known, and no value of `env` is defined by itself.
fn variables(template: &Value, at: &Path, ports: &Ports<'_>, findings: &mut Findings) {
    let mut set = variables::names_for_ports(ports.names.iter().copied());
    if template.get("package").is_some() {
        set.push(variables::HELIUM_PACKAGE.to_owned());
    }
    let env = entries(template.get("env")).map(|(name, _)| name.as_str());
    let own: Vec<&str> = env.chain(set.iter().map(String::as_str)).collect();
    let known = Known { own, ports };
    let command = at.field("exec").field("command");
    for (index, argument) in items(template.pointer("/exec/command")) {
        let argument = argument.as_str();
        if index == 0 && argument.is_some_and(|program| program.trim().is_empty()) {
            findings.value(command.index(0), Code::EmptyProgram, "the name of the program is empty", None);
        }
        expands(argument, command.index(index), &known, findings);
    }
    expands(template.pointer("/exec/cwd").and_then(Value::as_str), at.field("exec").field("cwd"), &known, findings);
    let look = at.field("templates").field("check");
    for (index, argument) in items(template.pointer("/templates/check")) {
        expands(argument.as_str(), look.index(index), &known, findings);
    }
    for (program, at) in super::jobs::programs(template, at) {
        if program.trim().is_empty() {
            findings.value(at, Code::EmptyProgram, "the name of the program is empty", None);
        }
    }
    for (text, at, more) in super::jobs::texts(template, at) {
        let known = Known { own: [known.own.clone(), more].concat(), ports };
        expands(Some(text), at, &known, findings);
    }
    for (name, value) in entries(template.get("env")) {
        let at = at.field("env").field(name);
        if uses_itself(name, template) {
            let help = "write the text out in one of them".to_owned();
            findings.value(at, Code::NeverSucceeds, format!("`{name}` is defined by itself"), help);
        } else {
            expands(value.as_str(), at, &known, findings);
        }
    }
}

/// Whether the value of an `env` name leads back to it through another one. A name that directly uses itself means what the agent
/// passes on under that name: `PATH: /opt/bin:${PATH}`.
fn uses_itself(name: &str, template: &Value) -> bool {
    let used = |name: &str| -> Vec<&str> {
        let text = template.get("env").and_then(|env| env.get(name)).and_then(Value::as_str).unwrap_or_default();
        variables::references(text).unwrap_or_default()
    };
    let mut seen: Vec<&str> = Vec::new();
    let mut open: Vec<&str> = used(name).into_iter().filter(|used| *used != name).collect();
    while let Some(next) = open.pop() {
        if next == name {
            return true;
        }
        if !seen.contains(&next) {
            seen.push(next);
            open.extend(used(next));
        }
    }
    false
}

/// The variables that a text may use.
struct Known<'a> {
    /// Those of `env`, and those that Helium sets.
    own: Vec<&'a str>,
    ports: &'a Ports<'a>,
}

fn expands(text: Option<&str>, at: Path, known: &Known<'_>, findings: &mut Findings) {
    let names = match text.map_or(Ok(Vec::new()), variables::references) {
        Ok(names) => names,
        Err(error @ (ExpandError::Unclosed(_) | ExpandError::UnknownVariable(_))) => {
            let help = "close it with `}`, or write `$${` for the text `${`".to_owned();
            findings.value(at, Code::UnknownVariable, error.to_string(), help);
            return;
        }
    };
    for name in names.into_iter().filter(|name| !known.own.contains(name) && !variables::INHERITED.contains(name)) {
        let may_be_broken_port = !known.ports.sound && name.starts_with(variables::PORT);
        if !may_be_broken_port {
            let message = format!("`${{{name}}}` stands for nothing");
            findings.value(at.clone(), Code::UnknownVariable, message, known_variables(name, known));
        }
    }
}

fn known_variables(typed: &str, known: &Known<'_>) -> String {
    match nearest(typed, known.own.iter().copied()) {
        _ if typed == variables::PORT && known.ports.names.is_empty() => {
            "add `ports: [{name: http}]` to the template".to_owned()
        }
        Some(name) => format!("did you mean `${{{name}}}`?"),
        None => format!("known here: {}; write `$${{{typed}}}` for the text itself", words::list(&known.own)),
    }
}
