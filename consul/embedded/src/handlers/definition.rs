//! Definitions of services and checks in request bodies: what is wrong with them, in Consul's words, and what they mean.

use std::time::Duration;

use crate::decode::{Fields, Problem};
use crate::reply::Failure;
use crate::state::{AgentCheck, Check, CheckDefinition, CheckKind, Meta, Service, Weights};

/// Checks are not run more often than this.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// How long an answer may take if nothing is said.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

fn decode<T>(result: Result<T, Problem>) -> Result<T, Failure> {
    result.map_err(|problem| Failure::bad(format!("Request decode failed: {problem}")))
}

/// A service as an agent is told of it, with its checks.
pub(super) fn service(mut fields: Fields, node: &str) -> Result<(Service, Vec<AgentCheck>), Failure> {
    let (service, checks) = decode(read_service(&mut fields))?;
    decode(fields.finish())?;
    if service.service.is_empty() {
        return Err(Failure::bad("Missing service name"));
    }
    check_meta(service.meta.as_ref())?;
    if service.weights.passing == 0 {
        return Err(Failure::bad("Invalid Weights: Passing must be greater than 0"));
    }
    let several = checks.len() > 1;
    let mut own = Vec::new();
    for (at, fields) in checks.into_iter().enumerate() {
        let mut check = check(fields, node)?;
        if check.check.check_id.is_empty() {
            let suffix = if several { format!(":{}", at + 1) } else { String::new() };
            check.check.check_id = format!("service:{}{suffix}", service.id);
        }
        if check.check.name.is_empty() {
            check.check.name = format!("Service '{}' check", service.service);
        }
        check.check.service_id.clone_from(&service.id);
        own.push(check);
    }
    Ok((service, own))
}

fn read_service(fields: &mut Fields) -> Result<(Service, Vec<Fields>), Problem> {
    let name = fields.string("Name")?;
    let id = fields.string("ID")?;
    let service = Service {
        id: if id.is_empty() { name.clone() } else { id },
        service: name,
        tags: fields.strings("Tags")?.unwrap_or_default(),
        address: fields.string("Address")?,
        tagged_addresses: fields.take("TaggedAddresses"),
        meta: Some(fields.meta("Meta")?.unwrap_or_default()),
        port: fields.number("Port")?,
        weights: weights(fields)?,
        enable_tag_override: fields.bool("EnableTagOverride")?,
        ..Service::default()
    };
    let kind = fields.string("Kind")?;
    if !kind.is_empty() || fields.take("Proxy").is_some() || fields.take("Connect").is_some() {
        return Err("Connect is not served by the embedded server".into());
    }
    fields.string("Namespace")?;
    let mut checks: Vec<Fields> = fields.object("Check")?.into_iter().collect();
    checks.extend(fields.objects("Checks")?);
    Ok((service, checks))
}

fn weights(fields: &mut Fields) -> Result<Weights, Problem> {
    match fields.object("Weights")? {
        None => Ok(Weights::default()),
        Some(mut fields) => Ok(Weights { passing: fields.number("Passing")?, warning: fields.number("Warning")? }),
    }
}

/// The limits of metadata: 64 pairs, keys of 128 characters `[A-Za-z0-9_-]`, values of 512.
fn check_meta(meta: Option<&Meta>) -> Result<(), Failure> {
    let meta = meta.into_iter().flatten();
    if meta.clone().count() > 64 {
        let words = "Invalid Service Meta: Node metadata cannot contain more than 64 key/value pairs";
        return Err(Failure::bad(words));
    }
    for (key, value) in meta {
        let problem = if key.is_empty() {
            "Key cannot be blank"
        } else if !key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
            "Key contains invalid characters"
        } else if key.len() > 128 {
            "Key is too long (limit: 128 characters)"
        } else if value.len() > 512 {
            "Value is too long (limit: 512 characters)"
        } else {
            continue;
        };
        let words = format!("Invalid Service Meta: Couldn't load metadata pair ('{key}', '{value}'): {problem}");
        return Err(Failure::bad(words));
    }
    Ok(())
}

/// A check as an agent is told of it.
pub(super) fn check(mut fields: Fields, node: &str) -> Result<AgentCheck, Failure> {
    let (mut check, wanted) = decode(read_check(&mut fields, node))?;
    decode(fields.finish())?;
    if !matches!(check.status.as_str(), "" | "passing" | "warning" | "critical") {
        return Err(Failure::bad("Status for checks must 'passing', 'warning', 'critical'"));
    }
    if check.status.is_empty() {
        check.status = "critical".into();
    }
    if check.check_id.is_empty() && !check.name.is_empty() && check.service_id.is_empty() {
        check.check_id.clone_from(&check.name);
    }
    let definition = wanted.definition()?;
    definition.kind.name().clone_into(&mut check.kind);
    Ok(AgentCheck::new(check, definition))
}

/// How a check is to be done, before it is known whether that makes sense.
struct Wanted {
    http: Option<CheckKind>,
    tcp: String,
    ttl: Duration,
    foreign: Option<&'static str>,
    timing: CheckDefinition,
}

fn read_check(fields: &mut Fields, node: &str) -> Result<(Check, Wanted), Problem> {
    let id = fields.string("CheckID")?;
    let check = Check {
        node: node.to_owned(),
        check_id: if id.is_empty() { fields.string("ID")? } else { id },
        name: fields.string("Name")?,
        status: fields.string("Status")?,
        notes: fields.string("Notes")?,
        service_id: fields.string("ServiceID")?,
        ..Check::default()
    };
    let (url, method) = (fields.string("HTTP")?, fields.string("Method")?);
    let (headers, body) = (fields.headers("Header")?, fields.string("Body")?);
    let http = Some(CheckKind::Http { url: url.clone(), method, headers, body }).filter(|_| !url.is_empty());
    let tcp = fields.string("TCP")?;
    let ttl = fields.duration("TTL")?;
    fields.bool("TLSSkipVerify")?;
    fields.number::<u64>("OutputMaxSize")?;
    fields.string("Namespace")?;
    let foreign = ["Args", "ScriptArgs", "GRPC", "DockerContainerID", "AliasNode", "AliasService"];
    let foreign = foreign.into_iter().find(|name| fields.take(name).is_some());
    let timing = CheckDefinition {
        kind: CheckKind::Ttl(ttl),
        interval: fields.duration("Interval")?,
        timeout: fields.duration("Timeout")?,
        success_before_passing: fields.number("SuccessBeforePassing")?,
        failures_before_critical: fields.number("FailuresBeforeCritical")?,
        deregister_after: Some(fields.duration("DeregisterCriticalServiceAfter")?).filter(|after| !after.is_zero()),
    };
    Ok((check, Wanted { http, tcp, ttl, foreign, timing }))
}

impl Wanted {
    fn definition(self) -> Result<CheckDefinition, Failure> {
        let Self { http, tcp, ttl, foreign, mut timing } = self;
        if let Some(name) = foreign {
            return Err(Failure::bad(format!("Invalid check: {name} checks are not run by the embedded server")));
        }
        let asked = match http {
            Some(http) => Some(http),
            None if tcp.is_empty() => None,
            None => Some(CheckKind::Tcp(tcp)),
        };
        match asked {
            Some(_) if timing.interval.is_zero() => {
                Err(Failure::bad("Invalid check: Interval must be > 0 for Script, HTTP, or TCP checks"))
            }
            Some(kind) => {
                timing.interval = timing.interval.max(MIN_INTERVAL);
                timing.timeout = if timing.timeout.is_zero() { DEFAULT_TIMEOUT } else { timing.timeout };
                Ok(CheckDefinition { kind, ..timing })
            }
            None if ttl.is_zero() => Err(Failure::bad("Invalid check: TTL must be > 0 for TTL checks")),
            None => Ok(timing),
        }
    }
}

/// A service as it is written to the catalog.
pub(super) fn service_in_catalog(mut fields: Fields) -> Result<Service, Problem> {
    let (id, name) = (fields.string("ID")?, fields.string("Service")?);
    let service = Service {
        id: if id.is_empty() { name.clone() } else { id },
        service: name,
        tags: fields.strings("Tags")?.unwrap_or_default(),
        address: fields.string("Address")?,
        tagged_addresses: fields.take("TaggedAddresses"),
        meta: fields.meta("Meta")?,
        port: fields.number("Port")?,
        weights: weights(&mut fields)?,
        enable_tag_override: fields.bool("EnableTagOverride")?,
        ..Service::default()
    };
    for ignored in ["Kind", "Namespace", "Proxy", "Connect", "CreateIndex", "ModifyIndex"] {
        fields.take(ignored);
    }
    fields.finish()?;
    Ok(service)
}

/// A check as it is written to the catalog, where any word is a status.
pub(super) fn check_in_catalog(mut fields: Fields, node: &str) -> Result<Check, Problem> {
    let (id, name, status) = (fields.string("CheckID")?, fields.string("Name")?, fields.string("Status")?);
    let check = Check {
        node: node.to_owned(),
        check_id: if id.is_empty() { name.clone() } else { id },
        name,
        status: if status.is_empty() { "critical".into() } else { status },
        notes: fields.string("Notes")?,
        output: fields.string("Output")?,
        service_id: fields.string("ServiceID")?,
        kind: fields.string("Type")?,
        ..Check::default()
    };
    for ignored in ["Node", "ServiceName", "ServiceTags", "Definition", "Namespace", "CreateIndex", "ModifyIndex"] {
        fields.take(ignored);
    }
    fields.finish()?;
    Ok(check)
}
