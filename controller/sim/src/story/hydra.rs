//! What becomes of builds and of their Hydra, as stories tell it.

use crate::hydra::{Mood, State, Table};

/// Begins, ends or deletes a build, or has Hydra be in a mood.
pub(super) fn change(table: &mut Table, verb: &str, words: &[&str]) -> Result<(), String> {
    match (verb, words) {
        ("build", [job, end @ ..]) => {
            let end = end.first().map(|end| format!("-{end}")).unwrap_or_default();
            table.begin(job, &end);
        }
        ("finish", [job, number, how]) => {
            let number = number.parse().map_err(|_| format!("{number} is no number"))?;
            let state = match *how {
                "good" => State::Good,
                "failed" => State::Failed,
                other => return Err(format!("no build is `{other}`")),
            };
            table.finish(job, number, state);
        }
        ("lose-build", [job]) => {
            table.lose_newest(job).ok_or("there is no build to lose")?;
        }
        ("hydra", [mood]) => {
            table.mood = match *mood {
                "fine" => Mood::Fine,
                "away" => Mood::Away,
                "nonsense" => Mood::Nonsense,
                other => return Err(format!("Hydra is not `{other}`")),
            }
        }
        _ => return Err("build JOB [END], finish JOB N good|failed, lose-build JOB, hydra MOOD".to_owned()),
    }
    Ok(())
}
