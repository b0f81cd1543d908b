//! A crash at every call: a story is told once for each call of its first controller, which dies there, before the call takes
//! effect or after it. However often it dies, the end is the same.

use crate::{
    story::{self, StoryError, Told},
    wire::CrashPoint,
};

/// What came of all crashes of one story.
#[derive(Clone, Debug)]
pub struct Exhausted {
    /// How many crash points there were.
    pub points: u64,
    /// The first that ended in another way: where, and how.
    pub failure: Option<(CrashPoint, String)>,
}

/// Tells a story again and again with a crash at each `stride`-th of its crash points, beginning at the `first`.
///
/// # Errors
/// A line that makes no sense.
pub fn exhaust(script: &str, first: u64, stride: u64) -> Result<Exhausted, StoryError> {
    let whole = story::tell(script, None)?;
    let mut points = 0;
    // Two points a call: before it and after it.
    for point in (0..whole.calls * 2).filter(|point| point % stride == first % stride) {
        let crash = CrashPoint { call: point / 2 + 1, after: point % 2 == 1 };
        let told = story::tell(script, Some(crash))?;
        points += 1;
        if let Some(failure) = differs(&whole, &told) {
            return Ok(Exhausted { points, failure: Some((crash, failure)) });
        }
    }
    Ok(Exhausted { points, failure: None })
}

fn differs(whole: &Told, told: &Told) -> Option<String> {
    if let Some(violation) = &told.violation {
        return Some(format!("{violation}\n{}", told.trace.join("\n")));
    }
    (whole.end != told.end).then(|| {
        let trace: Vec<&str> = told.trace.iter().rev().take(10).rev().map(String::as_str).collect();
        format!("ends as {:#?}\nand not as {:#?}\n{}\n{}", told.end, whole.end, told.output, trace.join("\n"))
    })
}
