//! `helium describe`: all that is known of objects, for people.

use clap::Args;
use helium_crds::{DeploymentStatus, Kind, event::Severity, instance::Report};
use helium_engine::people::{ObjectRef, People, Stored, read::InstanceView};

use super::{events::event_rows, explain::version_lines};
use crate::{
    names,
    output::{
        Console, Exit, Failure, Outcome, explain::waiting_line, format::to_yaml, hydra_job, table::Rows, time::age,
        tree::unheld, trouble,
    },
    session::Session,
};

/// Options of `helium describe`.
#[derive(Args, Debug)]
pub(crate) struct DescribeArgs {
    /// `KIND NAME...` or `KIND/NAME...`
    #[arg(value_name = "OBJECT", required = true)]
    objects: Vec<String>,
}

/// Runs `helium describe`.
pub(crate) async fn run(args: DescribeArgs, session: &Session, console: &mut Console) -> Outcome {
    let people = session.people("describe")?;
    for (number, object) in names::objects(&args.objects, session.namespace())?.iter().enumerate() {
        if number > 0 {
            console.line("")?;
        }
        describe(object, &people, session, console).await?;
    }
    Ok(Exit::Ok)
}

async fn describe(
    object: &ObjectRef,
    people: &People,
    session: &Session,
    console: &mut Console,
) -> Result<(), Failure> {
    let stored = people.existing(object).await?.value;
    head(&stored, session, console)?;
    if object.kind == Kind::HydraJob {
        let status = people.hydra_job_status(&object.key).await?;
        section("Status", hydra_job::explain(&stored, status.as_ref(), session.ports.now()), console)?;
        section("Spec", to_yaml(&stored.spec)?.lines().map(str::to_owned).collect(), console)?;
        return events(object, object, people, session, console).await;
    }
    let status = people.status(&object.key).await?;
    let mut lines = status.as_ref().map(|status| status_lines(status, session)).unwrap_or_default();
    lines.extend(version_lines(&stored, people, session.ports.now()).await?);
    section("Status", lines, console)?;
    section("Spec", to_yaml(&stored.spec)?.lines().map(str::to_owned).collect(), console)?;
    if object.kind == Kind::Deployment {
        if let Some(status) = &status {
            table("Versions", &version_rows(status), console)?;
        }
        let instances = people.instances(&object.key).await?;
        table("Instances", &instance_rows(&instances, session), console)?;
        let now = session.ports.now();
        section("Troubles", instances.iter().flat_map(|view| trouble::lines(view, now)).collect(), console)?;
    }
    events(&ObjectRef::new(Kind::Deployment, object.key.clone()), object, people, session, console).await
}

/// The events that are kept for one object, as those of another.
async fn events(
    kept_for: &ObjectRef,
    object: &ObjectRef,
    people: &People,
    session: &Session,
    console: &mut Console,
) -> Result<(), Failure> {
    let log = people.events(kept_for).await?;
    let events: Vec<_> = log.events.into_iter().map(|event| (object.clone(), event)).collect();
    table("Events", &event_rows(&events, false, session), console)
}

/// A heading and its table, if the table has rows.
fn table(title: &str, rows: &Rows, console: &mut Console) -> Result<(), Failure> {
    if rows.is_empty() { Ok(()) } else { section(title, rows.lines(console), console) }
}

/// A heading and its lines, if there are any.
fn section(title: &str, lines: Vec<String>, console: &mut Console) -> Result<(), Failure> {
    if lines.is_empty() {
        return Ok(());
    }
    console.line(format!("{title}:"))?;
    lines.into_iter().try_for_each(|line| console.line(format!("  {line}").trim_end()))
}

fn head(stored: &Stored, session: &Session, console: &mut Console) -> Result<(), Failure> {
    let metadata = &stored.metadata;
    let pairs = |map: &std::collections::BTreeMap<String, String>| {
        map.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", ")
    };
    let mut fields = vec![
        ("Kind", stored.kind.to_string()),
        ("Name", metadata.name.clone()),
        ("Namespace", metadata.namespace.clone()),
        ("Uid", metadata.uid.clone()),
        ("Generation", metadata.generation.to_string()),
        ("Age", age(metadata.created_at, session.ports.now())),
    ];
    if !metadata.labels.is_empty() {
        fields.push(("Labels", pairs(&metadata.labels)));
    }
    if !metadata.annotations.is_empty() {
        fields.push(("Annotations", pairs(&metadata.annotations)));
    }
    if let Some(at) = metadata.deletion_requested_at {
        fields.push(("Deletion", format!("asked for at {at}")));
    }
    for (tool, manager) in &metadata.managers {
        fields.push(("Written by", format!("{} with {tool} at {}", manager.by, manager.at)));
    }
    fields.into_iter().try_for_each(|(name, value)| console.line(format!("{:<14}{value}", format!("{name}:"))))
}

fn status_lines(status: &DeploymentStatus, session: &Session) -> Vec<String> {
    let mut lines = vec![
        format!("{} ({}): {}", status.phase, status.reason, status.message),
        format!("{} of {} healthy; answers generation {}", status.healthy, status.wanted, status.observed_generation),
    ];
    lines.extend(status.waiting_on.iter().filter_map(|waiting| waiting_line(waiting, status, session.ports.now())));
    lines.extend(status.conditions.iter().map(|condition| {
        format!("{:?}: {} ({}) {}", condition.kind, condition.status, condition.reason, condition.message)
    }));
    lines
}

fn version_rows(status: &DeploymentStatus) -> Rows {
    let mut rows = Rows::new(&["VERSION", "REVISION", "ROLE", "DESIRED", "ASSIGNED", "REGISTERED", "HEALTHY"]);
    for version in &status.versions {
        rows.add(vec![
            version.version.clone(),
            version.revision.short().to_owned(),
            version.role.tag().to_owned(),
            version.desired.to_string(),
            version.assigned.to_string(),
            version.registered.to_string(),
            match version.standby {
                0 => version.healthy.to_string(),
                standby => format!("{} ({standby} on standby)", version.healthy),
            },
        ]);
    }
    rows
}

fn instance_rows(instances: &[InstanceView], session: &Session) -> Rows {
    let mut rows = Rows::new(&["INSTANCE", "VERSION", "ROLE", "NODE", "STATE", "RESTARTS", "AGE", "MESSAGE"]);
    for view in instances {
        let InstanceView { instance, report } = view;
        rows.add(vec![
            instance.id.to_string(),
            instance.version.clone(),
            instance.role.tag().to_owned(),
            instance.node.to_string(),
            state(view),
            report.as_ref().map_or(0, |report| report.restarts).to_string(),
            age(Some(instance.created_at), session.ports.now()),
            message(view),
        ]);
    }
    rows
}

/// How far an instance is.
pub(super) fn state(view: &InstanceView) -> String {
    view.report.as_ref().map_or_else(|| "Assigned".to_owned(), |report| format!("{:?}", report.phase))
}

/// All that its agent says of an instance, in a line.
pub(super) fn message(view: &InstanceView) -> String {
    let InstanceView { report, .. } = view;
    let failing = report.iter().flat_map(|report| report.failing.values().cloned());
    let said = report.iter().filter_map(|report| report.message.clone());
    let jobs = report.iter().flat_map(Report::words_of_jobs);
    let mut message: Vec<String> = said.chain(failing).chain(report.iter().flat_map(unheld)).chain(jobs).collect();
    message.extend(trouble::beside(view, &message));
    message.join("; ")
}

/// The word for how bad an event is.
pub(super) fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Normal => "Normal",
        Severity::Warning => "Warning",
    }
}
