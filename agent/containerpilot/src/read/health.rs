//! `health` of a job.

use std::time::Duration;

use super::{
    block::{Block, Field},
    exec::exec,
    raw_output,
};
use crate::{config::Health, finding::Findings};

pub(super) fn health(field: &Field<'_>, findings: &mut Findings) -> Option<Health> {
    let mut block = field.block(findings)?;
    let exec = block.take("exec").map(|field| exec(&field, findings));
    let timeout = block.take("timeout");
    let interval = required(&mut block, "interval", findings);
    let ttl = required(&mut block, "ttl", findings);
    let raw_output = raw_output(block.take("logging").as_ref(), findings);
    if let (Some((_, interval)), Some((field, ttl))) = (&interval, &ttl)
        && ttl <= interval
    {
        let reason = "this is over before the next check: the service is critical in between";
        let fix = format!("write more than `interval`, like {}", interval.as_secs().saturating_mul(3));
        findings.warn(&field.node.span, &field.key, reason).fix(fix);
    }
    let given = timeout.as_ref().is_some_and(|field| !field.is_empty_text());
    let timeout = timeout.and_then(|field| field.positive(findings));
    block.finish(findings);
    let (_, interval) = interval?;
    let timeout = if given { timeout } else { Some(interval) };
    Some(Health { exec: exec.map_or(Some(None), |exec| exec.map(Some))?, interval, ttl: ttl?.1, timeout, raw_output })
}

/// Whether a check is meant, even if something else in it is wrong.
pub(super) fn has_exec(field: &Field<'_>) -> bool {
    field.block(&mut Findings::default()).is_some_and(|mut block| block.take("exec").is_some())
}

/// Whole seconds that have to be there.
fn required<'a>(block: &mut Block<'a>, name: &'static str, findings: &mut Findings) -> Option<(Field<'a>, Duration)> {
    let Some(field) = block.take(name) else {
        let (at, example) = (block.at.clone(), if name == "ttl" { 30 } else { 10 });
        let reason = format!("`health` needs `{name}`, in seconds");
        block.missing(name, &at, &reason, &format!("write `{name}: {example}`"));
        return None;
    };
    let seconds = field.seconds(findings)?;
    Some((field, seconds))
}
