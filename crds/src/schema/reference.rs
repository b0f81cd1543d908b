//! The reference pages of the kinds: every field in tables, made from the schemas.

use std::fmt::Write as _;

use super::{
    Field, Shape, ShapeKind,
    explain::{children, default_of, type_name},
    shape,
};
use crate::{Kind, diagnose::Code};

/// The first line of every page.
const MADE: &str = "<!-- Made by `cargo xtask schema` from the types in crds/src; edit those. -->";

/// The pages under the names of their files: `deployment.md`, `canary.md`, `problems.md`.
pub fn reference_pages() -> Vec<(String, String)> {
    let kinds = Kind::ALL.into_iter().map(|kind| (format!("{}.md", kind.singular()), page(kind)));
    kinds.chain([("problems.md".to_owned(), problems())]).collect()
}

/// The codes of problems, which machines may match on.
fn problems() -> String {
    let mut page = format!(
        "{MADE}\n\n# Problems\n\nWhat `helium validate`, `apply` and `diff` may find wrong with a file. With `-o json` each problem has `file`, `line`, \
         `column`, `path`, `code`, `message` and `help`; codes are stable, messages are not.\n\n| Code | Meaning |\n|---|---|\n",
    );
    for code in Code::ALL {
        let _ = writeln!(page, "| `{code}` | {} |", cell(code.meaning()));
    }
    page
}

fn page(kind: Kind) -> String {
    let root = shape(kind);
    let mut page = format!(
        "{MADE}\n\n# {kind}\n\n{}\n\n\
         The same is in `helium explain {}`, and as JSON Schema in `crds/schemas/{}.json`.\n",
        root.description,
        kind.singular(),
        kind.singular(),
    );
    tables(&mut page, "", root);
    page.push_str("\n## Rules between fields\n\n");
    page.push_str(match kind {
        Kind::Deployment => DEPLOYMENT_RULES,
        Kind::Canary => CANARY_RULES,
        Kind::HydraJob => HYDRA_JOB_RULES,
    });
    page
}

/// What `crate::diagnose::rules` checks, and no schema can say.
const DEPLOYMENT_RULES: &str = "\
- Either the template has a `version`, or `versionFrom` says where it comes from.
- `replicas` and `versions` do not stand together, and a version is named once in `versions`.
- `maxSurge` and `maxUnavailable` are not both 0: no instance could ever be replaced.
- `minHealthyTime`, and before it the longest `interval` x `successBeforePassing` of the checks, take less than `progressDeadline`.
- The times of `schedule` are cron expressions of five fields, its time zone exists, and `suspend.until` is an instant.
- Names of ports, names of checks and fixed port numbers are each given once; a check names a port that the template has.
- `${NAME}` names a variable that there is, and no value of `env` leads back to itself. `$${NAME}` is the text `${NAME}`.
- `env` does not set what Helium sets: `PORT`, `PORT_<name>`, `VERSION` and all that begins with `HELIUM_`.
- The tags `stable` and `canary` are the roles', and `meta` that begins with `helium-` or `consul-` is not for people to set.
- Name and namespace make a service name of at most 63 characters, unless `service` gives another; no two Deployments share one.
";

/// The same for a HydraJob.
const HYDRA_JOB_RULES: &str = "\
- None. Whether the job exists is only seen by asking Hydra: `helium get hydrajobs` and `helium explain` tell.
";

/// The same for a Canary.
const CANARY_RULES: &str = "\
- A `setWeight` of `0%` is no step: to wait before the first instance, begin with a `pause`. `100%` is allowed, and leaves no stable
  instance to go back to quickly.
- A `soak`, and a `pause` with `promoteAfter`, look at canary instances, and so come after the first `setWeight` or `setReplicas`.
- A `pause` has `duration` or `promoteAfter`, not both.
- The names of metrics are each given once; `analysis` and `criteria` of a step name metrics that there are.
- A criterion sets a bound, its `min` is not above its `max`, and `marginal` reaches further than what is good.
- `${NAME}` in a query, `url` or `body` is one of `SERVICE`, `DEPLOYMENT`, `NAMESPACE`, `VERSION`, `REVISION`, `ROLE`, `INSTANCES`, `WINDOW`.
- A metric with `background: false` is named by an `analysis` step, and an `analysis` step has a metric to wait for.
- Whether a weight can be had with `exact: true` hangs on the Deployment's count; `helium apply` says it.
";

/// A table for a mapping, and then one for each mapping within it.
fn tables(page: &mut String, at: &str, shape: &Shape) {
    let fields: Vec<&Field> = children(shape).into_iter().filter(|field| !field.read_only).collect();
    let one_of: &[String] = match &shape.kind {
        ShapeKind::List { item, .. } => exactly_one(item),
        _ => exactly_one(shape),
    };
    if !fields.is_empty() {
        let title = if at.is_empty() { "The object".to_owned() } else { format!("`{at}`") };
        let _ = writeln!(page, "\n## {title}\n\n| Field | Type | Default | Meaning |\n|---|---|---|---|");
        for field in &fields {
            let default = match default_of(field) {
                _ if field.required => "required".to_owned(),
                Some(text) if field.default_text.is_some() => text,
                Some(value) => format!("`{value}`"),
                None if one_of.contains(&field.name) => String::new(),
                None => "none".to_owned(),
            };
            let kind = type_name(&field.shape.kind);
            let meaning = meaning(field);
            let _ = writeln!(page, "| `{}` | {} | {} | {} |", field.name, cell(&kind), cell(&default), cell(&meaning));
        }
    }
    if one_of.len() > 1 {
        let names: Vec<String> = one_of.iter().map(|name| format!("`{name}`")).collect();
        let _ = writeln!(page, "\nExactly one of {} is given.", names.join(", "));
    }
    let kept: Vec<String> =
        children(shape).iter().filter(|field| field.read_only).map(|field| format!("`{}`", field.name)).collect();
    if !kept.is_empty() {
        let _ = writeln!(
            page,
            "\nKept by Helium, printed by `helium get -o yaml`, and ignored where it is written: {}.",
            kept.join(", ")
        );
    }
    for field in fields {
        let inner = if at.is_empty() { field.name.clone() } else { format!("{at}.{}", field.name) };
        let inner = if matches!(field.shape.kind, ShapeKind::List { .. }) { format!("{inner}[]") } else { inner };
        tables(page, &inner, &field.shape);
    }
}

/// The fields of which exactly one must be given.
fn exactly_one(shape: &Shape) -> &[String] {
    match &shape.kind {
        ShapeKind::Object(object) => &object.exactly_one,
        _ => &[],
    }
}

/// The description, without what its own column says, and with the words to choose from.
fn meaning(field: &Field) -> String {
    let description = &field.shape.description;
    let described = match description.find(" Default") {
        Some(at) if default_of(field).is_some() => {
            let rest = &description[at + 1..];
            let end = rest.find(". ").map_or(rest.len(), |stop| stop + 2);
            format!("{} {}", &description[..at], &rest[end..]).trim().to_owned()
        }
        _ => description.clone(),
    };
    match &field.shape.kind {
        ShapeKind::Choice(choices) if choices.iter().any(|(_, meaning)| !meaning.is_empty()) => {
            let choices: Vec<String> = choices.iter().map(|(word, meaning)| format!("`{word}`: {meaning}")).collect();
            format!("{described} {}", choices.join(" "))
        }
        _ => described,
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
