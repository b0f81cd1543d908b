//! `helium canary get`: a Deployment as a tree, once or as it changes.

use std::time::Duration;

use clap::Args;
use helium_crds::{Kind, ObjectKey};
use helium_engine::people::{ObjectRef, People, Stored, follow::Follow};

use crate::{
    names,
    output::{
        Console, Exit, Failure, Outcome,
        canvas::{Canvas, cut, size},
        console::redraws,
        object_table::{phase_of, phase_tone, version},
        tree::{Line, tree},
    },
    session::Session,
};

/// How often the tree is drawn again for the sake of the times in it, and of what instances say.
const TICK: Duration = Duration::from_secs(1);

/// Options of `helium canary get`.
#[derive(Args, Debug)]
pub(crate) struct CanaryGetArgs {
    /// The Deployment
    name: String,
    /// Show it again whenever it changes: drawn over on a terminal, one after the other in a pipe
    #[arg(short, long)]
    watch: bool,
}

/// Runs `helium canary get`.
pub(crate) async fn run(args: CanaryGetArgs, session: &Session, console: &mut Console) -> Outcome {
    let key = names::deployment(&args.name, session.namespace())?;
    let people = session.people("canary")?;
    let lines = look(&key, &people, session).await?;
    let redraw = args.watch && redraws();
    let mut canvas = Canvas::default();
    show(&lines, redraw.then_some(&mut canvas), console)?;
    if !args.watch {
        return Ok(Exit::Ok);
    }
    let mut shown = lines;
    let mut follow = Follow::key(&people, people.keys().status(Kind::Deployment, &key));
    loop {
        tokio::select! {
            biased;
            changed = follow.next() => drop(changed?),
            () = tokio::time::sleep(TICK), if redraw => {}
        }
        let lines = look(&key, &people, session).await?;
        if redraw {
            show(&lines, Some(&mut canvas), console)?;
        } else if lines != shown {
            console.line("")?;
            show(&lines, None, console)?;
        }
        shown = lines;
    }
}

/// The tree as it is now.
async fn look(key: &ObjectKey, people: &People, session: &Session) -> Result<Vec<Line>, Failure> {
    let stored: Stored = people.existing(&ObjectRef::new(Kind::Deployment, key.clone())).await?.value;
    let status = people.status(key).await?;
    let phase = phase_of(&stored, status.as_ref());
    let counts =
        status.as_ref().map_or_else(|| "-".to_owned(), |status| format!("{}/{}", status.healthy, status.wanted));
    let head = format!("deployment/{key}  {phase}  {counts}  {}", version(&stored, status.as_ref()));
    let head = Line { text: head, tone: Some(phase_tone(phase)) };
    let Some(status) = status else { return Ok(vec![head]) };
    let instances = people.instances(key).await?;
    Ok([head].into_iter().chain(tree(&status, &instances, session.ports.now())).collect())
}

/// Draws the tree over the last one, as far as it fits; without a canvas it is printed whole.
fn show(lines: &[Line], canvas: Option<&mut Canvas>, console: &mut Console) -> Result<(), Failure> {
    let Some(canvas) = canvas else {
        return lines.iter().try_for_each(|line| console.line(line.paint(None, console)));
    };
    let size = size();
    // The cursor stands in the line below.
    let room = size.height.saturating_sub(1).max(1);
    let mut drawn: Vec<String> = lines.iter().map(|line| line.paint(Some(size.width), console)).collect();
    if drawn.len() > room {
        let hidden = drawn.split_off(room - 1).len();
        drawn.push(cut(&format!("... {hidden} more lines"), size.width));
    }
    canvas.draw(&drawn, console)
}
