//! One of `watches`.

use super::{
    block::Field,
    is_service_name, service_name, some_text,
    warnings::{Seen, SeenWatch},
};
use crate::{
    config::{Watch, Watched},
    finding::Findings,
};

pub(super) fn watch(field: &Field<'_>, seen: &mut Seen, findings: &mut Findings) -> Option<Watch> {
    let mut block = field.block(findings)?;
    let name = some_text(block.take("name"), findings);
    let key = some_text(block.take("key"), findings);
    let prefix = some_text(block.take("prefix"), findings);
    let interval = block.take("interval");
    let is_service = key.is_none() && prefix.is_none();
    if is_service && interval.is_none() {
        let at = block.at.clone();
        block.missing("interval", &at, "a watch needs `interval`, in seconds", "write `interval: 10`");
    }
    let wants_interval = is_service || interval.is_some();
    let interval = interval.and_then(|field| field.seconds(findings));
    let tag = some_text(block.take("tag"), findings);
    let datacenter = block.take("dc").and_then(|field| field.some_text(findings));
    if let (Some((field, _)), false) = (&tag, is_service) {
        findings.error(&field.name, &field.key, "only services have tags").fix("remove it");
    }
    if let (Some(_), Some((field, _))) = (&key, &prefix) {
        findings.error(&field.name, &field.key, "a watch looks at one key or at one prefix").fix("make it two watches");
    }
    block.ignore(&["serviceName", "discoveryService"], findings);
    let at = name.as_ref().map_or_else(|| block.at.clone(), |(field, _)| field.node.span.clone());
    let path = block.path("name");
    let (name, what) = match (key, prefix) {
        (Some((_, key)), _) => (name.map_or_else(|| key.clone(), |(_, name)| name), Watched::Key(key)),
        (None, Some((_, prefix))) => (name.map_or_else(|| prefix.clone(), |(_, name)| name), Watched::Prefix(prefix)),
        (None, None) => {
            let name = name.map(|(_, name)| name).unwrap_or_default();
            if name.is_empty() {
                let fix = "write `name: \"...\"`, or `key` or `prefix` for Consul KV";
                block.missing("name", &at, "a watch needs the name of a service", fix);
            } else if !is_service_name(&name) {
                let reason = "the name of a service is a small letter, and then letters, digits and dashes";
                findings.error(&at, &path, reason).fix(format!("write `{}`", service_name(&name)));
            }
            (name, Watched::Service { tag: tag.map(|(_, tag)| tag) })
        }
    };
    block.finish(findings);
    seen.watches.push(SeenWatch { name: name.clone(), at, key: path });
    if wants_interval && interval.is_none() {
        return None;
    }
    Some(Watch { name, what, interval, datacenter })
}
