//! Rules for objects that are applied together.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Code, Draft, Problem};
use crate::{AnyObject, deployment::service_name};

/// Objects that are given twice, and Deployments that would share a service.
pub(super) fn check(drafts: &[Draft<'_>]) -> Vec<Problem> {
    let mut seen: BTreeMap<(String, String, String), &Draft<'_>> = BTreeMap::new();
    let mut services: BTreeMap<String, &Draft<'_>> = BTreeMap::new();
    let mut found = Vec::new();
    for draft in drafts {
        let Some(id) = identity(&draft.json) else { continue };
        let what = format!("{}/{}", id.0.to_lowercase(), id.2);
        if let Some(first) = seen.get(&id) {
            found.push(problem(draft, first, Code::DuplicateObject, format!("{what} is given twice")));
            continue;
        }
        seen.insert(id, draft);
        let Some(AnyObject::Deployment(deployment)) = draft.parsed.as_ref().map(|parsed| &parsed.object) else {
            continue;
        };
        let service = service_name(deployment);
        if let Some(first) = services.get(&service) {
            found.push(problem(
                draft,
                first,
                Code::ServiceClash,
                format!("two Deployments would share the service `{service}`"),
            ));
        }
        services.entry(service).or_insert(draft);
    }
    found
}

/// Kind, namespace and name, where all three can be told.
fn identity(json: &Value) -> Option<(String, String, String)> {
    let text = |pointer: &str| Some(json.pointer(pointer)?.as_str()?.to_owned());
    Some((text("/kind")?, text("/metadata/namespace")?, text("/metadata/name")?))
}

fn problem(draft: &Draft<'_>, first: &Draft<'_>, code: Code, message: String) -> Problem {
    Problem {
        source: draft.source.clone(),
        span: draft.name_span.clone(),
        path: "metadata.name".to_owned(),
        code,
        message,
        help: Some(format!("the first is at {}", first.source.location(first.name_span.start))),
    }
}
