//! Rules of a Deployment.

use serde_json::Value;

use super::{Code, Findings, Path, entries, items, read, template, version_from};
use crate::{
    Amount, Percent, deployment::Rolling, instance::Role, object::DEFAULT_NAMESPACE, period::Period, schedule,
    template::Check,
};

/// The longest name of a service: a DNS label.
const SERVICE_LENGTH: usize = 63;
/// What begins the meta keys that are not people's.
const RESERVED_META: [&str; 2] = ["helium-", "consul-"];

pub(super) fn check(object: &Value, findings: &mut Findings) {
    schedule_can_be_read(object, findings);
    suspend_ends_at_an_instant(object, findings);
    let Some(spec) = object.get("spec") else { return };
    let at = Path::of(&["spec"]);
    counts(spec, &at, findings);
    service(object, findings);
    tags_and_meta(spec, &at, findings);
    strategy(spec, &at, findings);
    version_from::check(spec, &at, findings);
    template::check(spec.get("template"), &at.field("template"), findings);
    times(spec, &at, findings);
}

fn counts(spec: &Value, at: &Path, findings: &mut Findings) {
    if spec.get("replicas").is_some() && spec.get("versions").is_some() {
        let help =
            "keep `replicas` for one version at a time, or `versions` to hold several at chosen counts".to_owned();
        findings.key(at.field("versions"), Code::Conflict, "`replicas` and `versions` stand together", help);
    }
    let versions = at.field("versions");
    let labels = items(spec.get("versions")).filter_map(|(index, version)| {
        Some((versions.index(index).field("version"), version.get("version")?.as_str()?))
    });
    findings.repeated("entries", labels);
}

/// The default name of the service must fit as well as a chosen one.
fn service(object: &Value, findings: &mut Findings) {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let (Some(name), Some(namespace)) = (text("/metadata/name"), text("/metadata/namespace")) else { return };
    if object.pointer("/spec/service").is_some() || namespace == DEFAULT_NAMESPACE {
        return;
    }
    let length = name.len() + 1 + namespace.len();
    if length > SERVICE_LENGTH {
        let message = format!(
            "the service would be called `{name}-{namespace}`: {length} characters, and {SERVICE_LENGTH} are allowed"
        );
        let help = "give it another name in `spec.service`".to_owned();
        findings.value(Path::of(&["metadata", "name"]), Code::BadLength, message, help);
    }
}

fn tags_and_meta(spec: &Value, at: &Path, findings: &mut Findings) {
    let tags = at.field("tags");
    for (index, tag) in items(spec.get("tags")) {
        if let Some(role) = Role::ALL.into_iter().find(|role| tag.as_str() == Some(role.tag())) {
            let message = format!("the tag `{}` is set by Helium, by the role of each instance", role.tag());
            findings.value(tags.index(index), Code::ReservedName, message, "choose another tag".to_owned());
        }
    }
    findings
        .repeated("tags", items(spec.get("tags")).filter_map(|(index, tag)| Some((tags.index(index), tag.as_str()?))));
    for (key, _) in entries(spec.get("meta")) {
        if let Some(prefix) = RESERVED_META.into_iter().find(|prefix| key.starts_with(prefix)) {
            let message = format!("meta that begins with `{prefix}` is not for people to set");
            findings.key(at.field("meta").field(key), Code::ReservedName, message, "choose another name".to_owned());
        }
    }
}

fn strategy(spec: &Value, at: &Path, findings: &mut Findings) {
    let Some(rolling) = read::<Rolling>(spec.pointer("/strategy/rolling")) else { return };
    let none = |amount: Amount| matches!(amount, Amount::Count(0)) || amount == Amount::Share(Percent::ZERO);
    if none(rolling.max_surge) && none(rolling.max_unavailable) {
        let message = "`maxSurge` and `maxUnavailable` are both 0, so no instance could ever be replaced";
        let help = "raise one of them to 1 or more".to_owned();
        findings.key(at.field("strategy").field("rolling"), Code::NeverSucceeds, message, help);
    }
}

/// An instance needs its `minHealthyTime`, and before it as many good checks in a row as were asked for. If that takes as long as the whole
/// deadline, every rollout fails: with `interval: 10s`, `successBeforePassing: 2` and `minHealthyTime: 10s` it takes 30s.
fn times(spec: &Value, at: &Path, findings: &mut Findings) {
    let time = |field: &str, default: u64| match spec.get(field) {
        None => Some(Period::from_secs(default)),
        given => read::<Period>(given),
    };
    let (Some(healthy), Some(deadline)) = (time("minHealthyTime", 10), time("progressDeadline", 600)) else { return };
    let checks = items(spec.pointer("/template/checks")).filter_map(|(_, check)| read::<Check>(Some(check)));
    let passing =
        checks.map(|check| check.interval.as_duration() * check.success_before_passing).max().unwrap_or_default();
    let needed = Period::from(passing + healthy.as_duration());
    if needed >= deadline {
        let message = format!("an instance needs {needed} to count as healthy, but the rollout fails after {deadline}");
        let help = "raise `progressDeadline`, or lower `minHealthyTime`".to_owned();
        let field = if spec.get("progressDeadline").is_some() { "progressDeadline" } else { "minHealthyTime" };
        findings.value(at.field(field), Code::NeverSucceeds, message, help);
    }
}

/// Every time of the schedule is one, and its time zone exists.
fn schedule_can_be_read(object: &Value, findings: &mut Findings) {
    let at = Path::of(&["spec", "schedule"]);
    let zone = object.pointer("/spec/schedule/timeZone").map_or(Some("UTC"), Value::as_str);
    let Some(zone) = zone else { return };
    if schedule::check("0 0 * * *", zone).is_err() {
        let help = "write a name of the IANA database, such as `Europe/Berlin`".to_owned();
        return findings.value(at.field("timeZone"), Code::BadTime, format!("there is no time zone `{zone}`"), help);
    }
    for list in ["windows", "freezes"] {
        for (index, item) in items(object.pointer(&format!("/spec/schedule/{list}"))) {
            let Some(start) = item["start"].as_str() else { continue };
            if schedule::check(start, zone).is_err() {
                let message = format!("`{start}` is no time that comes again");
                let help =
                    "write minute, hour, day of the month, month and day of the week: `0 9 * * MON-FRI`".to_owned();
                findings.value(at.field(list).index(index).field("start"), Code::BadTime, message, help);
            }
        }
    }
}

fn suspend_ends_at_an_instant(object: &Value, findings: &mut Findings) {
    let Some(until) = object.pointer("/spec/suspend/until").and_then(Value::as_str) else { return };
    if until.parse::<jiff::Timestamp>().is_err() {
        let help = "write date, time and zone: `2026-12-24T18:00:00Z`".to_owned();
        let path = Path::of(&["spec", "suspend", "until"]);
        findings.value(path, Code::BadTime, format!("`{until}` is no instant"), help);
    }
}
