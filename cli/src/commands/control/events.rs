//! `helium events`: what happened to objects lately.

use clap::Args;
use helium_crds::{Kind, event::Event, event::Severity};
use helium_engine::people::{ObjectRef, follow::Follow};
use serde_json::{Value, json};

use super::describe::severity;
use crate::{
    names,
    output::{
        Console, Exit, Failure, Outcome, Tone,
        format::{Document, items, to_document, to_yaml},
        table::{Endless, Rows},
        time::age,
    },
    session::Session,
};

/// Options of `helium events`.
#[derive(Args, Debug)]
pub(crate) struct EventsArgs {
    /// `KIND NAME...` or `KIND/NAME...`; default: every object of the namespace
    #[arg(value_name = "OBJECT")]
    objects: Vec<String>,
    /// Print the events as documents
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Document>,
    /// Go on printing what happens
    #[arg(short, long)]
    watch: bool,
}

/// Runs `helium events`.
pub(crate) async fn run(args: EventsArgs, session: &Session, console: &mut Console) -> Outcome {
    let wanted = match args.objects.as_slice() {
        [] => None,
        words => Some(names::objects(words, session.namespace())?),
    };
    let people = session.people("events")?;
    let mut follow = Follow::prefix(&people, format!("{}events/", people.keys().root()));
    let mut seen: Vec<(ObjectRef, Event)> = Vec::new();
    let mut table = Endless::default();
    loop {
        let pairs = follow.next().await?;
        let mut events = selected(people.parse_events(&pairs), wanted.as_deref(), session);
        events.sort_by_key(|(_, event)| event.at);
        let new: Vec<_> = events.iter().filter(|event| !seen.contains(event)).cloned().collect();
        print(&new, &args, &mut table, session, console)?;
        if !args.watch {
            return Ok(Exit::Ok);
        }
        seen = events;
    }
}

/// The events of the objects that were asked for; those of a rollout belong to Deployment and Canary alike.
fn selected(
    events: Vec<(ObjectRef, Event)>,
    wanted: Option<&[ObjectRef]>,
    session: &Session,
) -> Vec<(ObjectRef, Event)> {
    let fits = |object: &ObjectRef| match wanted {
        None => object.key.namespace == session.namespace(),
        Some(wanted) => {
            let of_rollout = |one: &ObjectRef| one.kind != Kind::HydraJob && one.key == object.key;
            wanted.contains(object) || object.kind == Kind::Deployment && wanted.iter().any(of_rollout)
        }
    };
    events.into_iter().filter(|(object, _)| fits(object)).collect()
}

fn print(
    events: &[(ObjectRef, Event)],
    args: &EventsArgs,
    table: &mut Endless,
    session: &Session,
    console: &mut Console,
) -> Result<(), Failure> {
    if let Some(document) = args.output {
        let values: Vec<Value> = events.iter().map(as_json).collect();
        if args.watch {
            return values.iter().try_for_each(|value| match document {
                Document::Json => console.line(value.to_string()),
                Document::Yaml => console.data(format!("---\n{}", to_yaml(value)?)),
            });
        }
        return console.data(to_document(&items(&values), document)?);
    }
    if events.is_empty() {
        if !args.watch {
            console.say("no events");
        }
        return Ok(());
    }
    let lines = table.lines(&event_rows(events, true, session), false, console);
    lines.into_iter().try_for_each(|line| console.line(line))
}

fn as_json((object, event): &(ObjectRef, Event)) -> Value {
    json!({
        "object": object.to_string(),
        "at": event.at,
        "severity": event.severity,
        "reason": event.reason,
        "message": event.message,
    })
}

/// Events as a table.
pub(super) fn event_rows(events: &[(ObjectRef, Event)], with_object: bool, session: &Session) -> Rows {
    let object: &[&'static str] = if with_object { &["OBJECT"] } else { &[] };
    let mut rows = Rows::new(&[&["AGE", "TYPE"], object, &["REASON", "MESSAGE"]].concat());
    for (name, event) in events {
        let mut cells = vec![age(Some(event.at), session.ports.now()), severity(event.severity).to_owned()];
        cells.extend(object.iter().map(|_| name.to_string()));
        cells.extend([event.reason.clone(), event.message.clone()]);
        match event.severity {
            Severity::Warning => rows.add_toned(cells, 1, Tone::Warning),
            Severity::Normal => rows.add(cells),
        }
    }
    rows
}
