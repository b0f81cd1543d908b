//! `helium get instances`: the instances of Deployments, each with what its agent says of it.

use helium_crds::{Kind, ObjectKey, instance::Desired};
use helium_engine::people::{ObjectRef, People, read::InstanceView};
use serde_json::{Value, json};

use super::{
    describe::{message, state},
    get::GetArgs,
};
use crate::{
    names,
    output::{
        Console, Exit, Failure, Outcome, Tone,
        format::{Format, items, to_json, to_yaml},
        table::Rows,
        time::age,
        trouble,
    },
    session::Session,
};

/// Whether the instances are asked for, which are no objects that anybody applies.
pub(super) fn are_asked_for(args: &GetArgs) -> bool {
    args.objects.first().is_some_and(|word| matches!(word.as_str(), "instances" | "instance"))
}

/// Runs `helium get instances [DEPLOYMENT...]`.
pub(super) async fn run(args: &GetArgs, session: &Session, console: &mut Console) -> Outcome {
    if args.watch {
        return Err(Failure::usage("instances cannot be watched")
            .hint("`helium get deployments --watch`, or `helium rollout status NAME`"));
    }
    let people = session.people("get")?;
    let mut views = Vec::new();
    for key in wanted(args, &people, session).await? {
        views.extend(people.instances(&key).await?);
    }
    let documents = || views.iter().map(document).collect::<Result<Vec<_>, _>>();
    match args.output {
        Some(Format::Json) => console.data(to_json(&items(&documents()?))?)?,
        Some(Format::Yaml) => {
            let texts = documents()?.iter().map(to_yaml).collect::<Result<Vec<_>, _>>()?;
            console.data(texts.join("---\n"))?;
        }
        Some(Format::Name) => {
            views.iter().try_for_each(|view| console.line(format!("instance/{}", view.instance.id)))?;
        }
        None | Some(Format::Wide) if views.is_empty() => console.say("nothing found"),
        None | Some(Format::Wide) => {
            let rows = rows(&views, args, session);
            rows.lines(console).into_iter().try_for_each(|line| console.line(line))?;
        }
    }
    Ok(Exit::Ok)
}

/// The Deployments that were named, each of which must be there, or all.
async fn wanted(args: &GetArgs, people: &People, session: &Session) -> Result<Vec<ObjectKey>, Failure> {
    let named = args.objects.get(1..).unwrap_or_default();
    let mut keys = Vec::new();
    for name in named {
        let key = names::deployment(name, session.namespace())?;
        people.existing(&ObjectRef::new(Kind::Deployment, key.clone())).await?;
        keys.push(key);
    }
    if named.is_empty() {
        let objects = people.objects().await?.into_iter().map(|row| row.value);
        let deployments = objects.filter(|stored| stored.kind == Kind::Deployment);
        let keys_of_all = deployments.map(|stored| stored.key());
        keys.extend(keys_of_all.filter(|key| args.all_namespaces || key.namespace == session.namespace()));
    }
    Ok(keys)
}

/// An instance as what the controller intends and what its agent says.
pub(super) fn document(view: &InstanceView) -> Result<Value, serde_json::Error> {
    Ok(json!({ "instance": serde_json::to_value(&view.instance)?, "report": serde_json::to_value(&view.report)? }))
}

fn rows(views: &[InstanceView], args: &GetArgs, session: &Session) -> Rows {
    let namespace: &[&'static str] = if args.all_namespaces { &["NAMESPACE"] } else { &[] };
    let columns = ["INSTANCE", "VERSION", "ROLE", "NODE", "STATE", "RESTARTS", "AGE", "MESSAGE"];
    let mut rows = Rows::new(&[namespace, &columns].concat());
    for view in views {
        let InstanceView { instance, report } = view;
        let healthy = instance.healthy_since.is_some();
        let (shown, tone) = match instance.desired {
            Desired::Stop => ("Stopping".to_owned(), Tone::Busy),
            Desired::Run if !trouble::beside(view, &[]).is_empty() => (state(view), Tone::Bad),
            Desired::Run if healthy => ("Healthy".to_owned(), Tone::Good),
            Desired::Run => (state(view), Tone::Busy),
        };
        let mut cells: Vec<String> = namespace.iter().map(|_| instance.deployment.namespace.clone()).collect();
        let place = cells.len() + 4;
        cells.extend([
            instance.id.to_string(),
            instance.version.clone(),
            instance.role.tag().to_owned(),
            instance.node.to_string(),
            shown,
            report.as_ref().map_or(0, |report| report.restarts).to_string(),
            age(Some(instance.created_at), session.ports.now()),
            message(view),
        ]);
        rows.add_toned(cells, place, tone);
    }
    rows
}
