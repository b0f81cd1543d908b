//! `telemetry` and its metrics.

use super::{block::Field, interfaces, port, some_text};
use crate::{
    config::{Metric, MetricKind, Telemetry},
    finding::Findings,
    json5::Value,
};

const KINDS: &str = "write `counter`, `gauge`, `histogram` or `summary`";

pub(super) fn telemetry(field: &Field<'_>, findings: &mut Findings) -> Option<Telemetry> {
    let mut block = field.block(findings)?;
    let port = block.take("port").map_or(Some(9090), |field| port(&field, findings));
    let specs = block.take("interfaces");
    if let Some(field) = &specs
        && matches!(field.node.value, Value::Text(_))
    {
        let finding = findings.error(&field.node.span, &field.key, "a list should be here, and this is a text");
        finding.fix("write it between `[` and `]`");
    }
    let interfaces = interfaces(specs.filter(|field| !matches!(field.node.value, Value::Text(_))).as_ref(), findings);
    let tags = block.take("tags").map_or(Some(Vec::new()), |field| field.texts(findings));
    let metrics = match block.take("metrics") {
        None => Some(Vec::new()),
        Some(field) if matches!(&field.node.value, Value::Object(members) if members.is_empty()) => Some(Vec::new()),
        Some(field) => {
            if let Some(elements) = field.elements() {
                metrics(&elements, findings)
            } else {
                let reason = format!("a list should be here, and this is {}", field.node.value.kind());
                findings.error(&field.node.span, &field.key, reason).fix("write `[ ... ]`");
                None
            }
        }
    };
    block.ignore(&["MetricConfigs", "JobConfig", "addr"], findings);
    block.finish(findings);
    Some(Telemetry { port: port?, interfaces, tags: tags?, metrics: metrics? })
}

fn metrics(elements: &[Field<'_>], findings: &mut Findings) -> Option<Vec<Metric>> {
    let mut metrics: Vec<Metric> = Vec::with_capacity(elements.len());
    let mut all = true;
    for element in elements {
        let Some(metric) = metric(element, findings) else {
            all = false;
            continue;
        };
        if let Some(other) = metrics.iter().find(|other| other.exposed_name == metric.exposed_name) {
            if other.help == metric.help {
                let reason = format!("there is a metric `{}` before it, whose place it takes", metric.exposed_name);
                findings.warn(&element.name, &element.key, reason).fix("remove one of them");
            } else {
                let reason = format!("there is a metric `{}` before it, with another help", metric.exposed_name);
                findings.error(&element.name, &element.key, reason).fix("give it another name");
            }
        }
        metrics.push(metric);
    }
    all.then_some(metrics)
}

fn metric(element: &Field<'_>, findings: &mut Findings) -> Option<Metric> {
    let mut block = element.block(findings)?;
    let mut text = |name| some_text(block.take(name), findings).map(|(field, text)| (field.node.span.clone(), text));
    let parts = [text("namespace"), text("subsystem"), text("name")];
    let (help, kind) = (text("help"), text("type"));
    block.ignore(&["fullName", "metricType", "collector"], findings);
    let names = parts.each_ref().map(|part| part.as_ref().map_or("", |(_, text)| text.as_str()));
    let key = names.join("_");
    let exposed_name = names.iter().filter(|name| !name.is_empty()).copied().collect::<Vec<_>>().join("_");
    let at = parts[2].as_ref().map_or_else(|| block.at.clone(), |(span, _)| span.clone());
    if names[2].is_empty() {
        findings.error(&at, &block.path("name"), "a metric needs a name").fix("write `name: \"...\"`");
    } else if !is_metric_name(&exposed_name) {
        let reason = format!("`{exposed_name}` is no name of a metric");
        findings.error(&at, &block.path("name"), reason).fix("use letters, digits, `_` and `:`, and no digit first");
    } else if key != exposed_name {
        let reason = format!("measurements for this metric have to be sent under `{key}`");
        findings.warn(&at, &block.path("name"), reason).fix("give it a `namespace` and a `subsystem`");
    }
    if help.is_none() {
        findings.error(&at, &block.path("help"), "a metric needs a help text").fix("write `help: \"...\"`");
    }
    let kind = match &kind {
        None => {
            findings.error(&at, &block.path("type"), "a metric needs a type").fix(KINDS);
            None
        }
        Some((span, text)) => match text.as_str() {
            "counter" => Some(MetricKind::Counter),
            "gauge" => Some(MetricKind::Gauge),
            "histogram" => Some(MetricKind::Histogram),
            "summary" => Some(MetricKind::Summary),
            _ => {
                findings.error(span, &block.path("type"), format!("there is no type `{text}`")).fix(KINDS);
                None
            }
        },
    };
    block.finish(findings);
    Some(Metric { key, exposed_name, help: help?.1, kind: kind? })
}

fn is_metric_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':'))
}
