//! `helium explain`: what a field means, or why an object is not there yet.

use clap::{Args, ValueEnum};
use helium_crds::{
    DeploymentStatus, Kind, ObjectKey,
    schema::{ChildDoc, ExplainError, FieldDoc, explain as explain_field},
    status::{Reason, WaitingOn},
};
use helium_engine::people::{ObjectRef, People, PeopleError, Stored, read::InstanceView, undo::version_from};
use jiff::Timestamp;
use serde_json::json;

use super::get_instances;
use crate::{
    names,
    output::{
        Console, Exit, Failure, Outcome, Tone,
        explain::{explain, waiting_line},
        format::to_json,
        hydra_job,
        object_table::phase_tone,
        trouble::{self, end_of_maintenance},
    },
    session::Session,
};

/// Options of `helium explain`.
#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    /// A field (`deployment.spec.strategy`; one that does not exist is exit code 2), or an object (`deployment/hello`; exit code 4)
    #[arg(value_name = "FIELD|OBJECT", required = true, num_args = 1..=2)]
    what: Vec<String>,
    /// Print one JSON document
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Machine>,
}

/// The form for machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Machine {
    /// JSON.
    Json,
}

/// Runs `helium explain`.
pub(crate) async fn run(args: ExplainArgs, session: &Session, console: &mut Console) -> Outcome {
    match args.what.as_slice() {
        [word] if !word.contains('/') => field(word, args.output, console),
        words => {
            for object in names::objects(words, session.namespace())? {
                why(&object, args.output, session, console).await?;
            }
            Ok(Exit::Ok)
        }
    }
}

async fn why(
    object: &ObjectRef,
    output: Option<Machine>,
    session: &Session,
    console: &mut Console,
) -> Result<(), Failure> {
    let people = session.people("explain")?;
    let stored = people.existing(object).await?.value;
    if object.kind == Kind::HydraJob {
        return why_of_job(object, &stored, output, (&people, session), console).await;
    }
    // A Canary has no status of its own: its rollout is its Deployment's.
    let generation = if object.kind == Kind::Deployment { stored.metadata.generation } else { 0 };
    let status = people.status(&object.key).await?;
    let mut lines = explain(&object.key.to_string(), generation, status.as_ref(), session.ports.now());
    let advice = lines.pop_if(|line| line.starts_with("Next: "));
    let views = people.instances(&object.key).await?;
    add_instances(&mut lines, &views, status.as_ref(), session.ports.now());
    lines.extend(version_lines(&stored, &people, session.ports.now()).await?);
    let is_of_instances = status.as_ref().is_none_or(|status| waits_for_instances(status, &views));
    let maintained = end_of_maintenance(&views).filter(|_| is_of_instances).map(|command| format!("Next: {command}"));
    // Logs say nothing of a process that never began.
    let of_logs = advice.as_ref().is_some_and(|advice| advice.starts_with("Next: helium logs"));
    let unmade = (of_logs && trouble::is_before_any_start(&views)).then(|| format!("Next: {}", trouble::MEND));
    lines.extend(maintained.or(unmade).or(advice));
    if output.is_some() {
        let status = status.as_ref().map(serde_json::to_value).transpose()?;
        let instances = views.iter().map(get_instances::document).collect::<Result<Vec<_>, _>>()?;
        let object = object.to_string();
        return console
            .data(to_json(&json!({ "object": object, "lines": lines, "status": status, "instances": instances }))?);
    }
    print(lines, status.as_ref().map_or(Tone::Busy, |status| phase_tone(status.phase)), console)
}

/// Whether nothing is in the way but the health of instances, of which the agents have told.
fn waits_for_instances(status: &DeploymentStatus, views: &[InstanceView]) -> bool {
    let plain = matches!(status.reason, Reason::AllHealthy | Reason::InstancesUnhealthy | Reason::StableUnhealthy);
    plain
        && status.waiting_on.iter().all(|one| !matches!(one, WaitingOn::Unhealthy { .. }) || trouble::tells(views, one))
}

/// What the agents say of instances that are not as they should be, in place of what the controller has heard of the same.
fn add_instances(lines: &mut Vec<String>, views: &[InstanceView], status: Option<&DeploymentStatus>, now: Timestamp) {
    if let Some(status) = status {
        let told = status.waiting_on.iter().filter(|waiting| trouble::tells(views, waiting));
        let told: Vec<String> =
            told.filter_map(|waiting| waiting_line(waiting, status, now)).map(|line| format!("  {line}")).collect();
        lines.retain(|line| !told.contains(line));
    }
    lines.extend(views.iter().flat_map(|view| trouble::lines(view, now)).map(|line| format!("  {line}")));
}

/// Where the version of a Deployment comes from, if not from its template.
pub(super) async fn version_lines(
    stored: &Stored,
    people: &People,
    now: Timestamp,
) -> Result<Vec<String>, PeopleError> {
    let Some(from) = version_from(stored).filter(|_| stored.kind == Kind::Deployment) else { return Ok(Vec::new()) };
    let key = ObjectKey::new(&stored.metadata.namespace, &from.hydra_job);
    let job = people.object(&ObjectRef::new(Kind::HydraJob, key.clone())).await?.map(|row| row.value);
    let status = people.hydra_job_status(&key).await?;
    Ok(hydra_job::source(&from, job.as_ref(), status.as_ref(), now))
}

async fn why_of_job(
    object: &ObjectRef,
    stored: &Stored,
    output: Option<Machine>,
    (people, session): (&People, &Session),
    console: &mut Console,
) -> Result<(), Failure> {
    let status = people.hydra_job_status(&object.key).await?;
    let lines = hydra_job::explain(stored, status.as_ref(), session.ports.now());
    if output.is_some() {
        let status = status.as_ref().map(serde_json::to_value).transpose()?;
        return console.data(to_json(&json!({ "object": object.to_string(), "lines": lines, "status": status }))?);
    }
    print(lines, hydra_job::state(stored, status.as_ref()).1, console)
}

fn print(lines: Vec<String>, tone: Tone, console: &mut Console) -> Result<(), Failure> {
    for line in lines {
        let painted = match line.split_once(": ") {
            Some((head, rest)) if !line.starts_with(' ') && !head.contains(' ') => {
                let tone = if head == "Next" { Tone::Strong } else { tone };
                format!("{}: {rest}", console.paint(tone, head))
            }
            _ => line,
        };
        console.line(painted)?;
    }
    Ok(())
}

fn field(path: &str, output: Option<Machine>, console: &mut Console) -> Outcome {
    let doc = explain_field(path).map_err(|error| {
        // A field is a word of the language, as a kind is: a wrong one is a wrong command line, not something that is missing.
        let failure = Failure::usage(error.to_string());
        match error {
            ExplainError::UnknownField { known, .. } if !known.is_empty() => {
                failure.hint(format!("fields there are {}", known.join(", ")))
            }
            _ => failure,
        }
    })?;
    if output.is_some() {
        console.data(to_json(&serde_json::to_value(&doc)?)?)?;
    } else {
        lines(&doc, console).into_iter().try_for_each(|line| console.line(line))?;
    }
    Ok(Exit::Ok)
}

fn lines(doc: &FieldDoc, console: &Console) -> Vec<String> {
    let mut head = format!("{}: {}", console.paint(Tone::Strong, &doc.path), doc.r#type);
    head.push_str(&rule(doc.required, doc.default.as_deref()));
    let mut lines = vec![head, format!("  {}", doc.description)];
    if !doc.choices.is_empty() {
        lines.extend([String::new(), "Choices:".to_owned()]);
        lines.extend(doc.choices.iter().map(|(word, meaning)| format!("  {word}: {meaning}")));
    }
    if !doc.fields.is_empty() {
        lines.extend([String::new(), "Fields:".to_owned()]);
        lines.extend(doc.fields.iter().flat_map(|field| child_lines(field, console)));
    }
    lines
}

fn child_lines(field: &ChildDoc, console: &Console) -> [String; 2] {
    let kept = if field.kept_by_helium { ", kept by Helium" } else { "" };
    let rule = rule(field.required && !field.kept_by_helium, field.default.as_deref());
    let name = console.paint(Tone::Strong, &field.name);
    [format!("  {name}: {}{rule}{kept}", field.r#type), format!("      {}", field.description)]
}

/// `, required`, or `, default 10s`.
fn rule(required: bool, default: Option<&str>) -> String {
    match (required, default) {
        (true, _) => ", required".to_owned(),
        (false, Some(default)) => format!(", default {default}"),
        (false, None) => String::new(),
    }
}
