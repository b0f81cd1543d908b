//! The table: a figure, its goal, what it is held against, and what a peer came to.

use std::{fmt::Write as _, time::Duration};

/// One figure.
pub(super) struct Row {
    what: &'static str,
    unit: &'static str,
    goal: f64,
    measured: f64,
    beside: Option<(&'static str, f64)>,
    peer: Option<Result<Option<f64>, String>>,
}

impl Row {
    /// A figure that is good if it is at most the goal.
    pub(super) fn new(what: &'static str, unit: &'static str, goal: f64, measured: f64) -> Self {
        Self { what, unit, goal, measured, beside: None, peer: None }
    }

    /// What the same run came to without any of us.
    pub(super) fn beside(self, what: &'static str, measured: f64) -> Self {
        Self { beside: Some((what, measured)), ..self }
    }

    /// What a peer came to, which may be nothing; or why there is no peer.
    pub(super) fn peer(self, measured: Result<Option<f64>, String>) -> Self {
        Self { peer: Some(measured), ..self }
    }

    fn text(&self) -> String {
        let Self { what, unit, goal, measured, .. } = self;
        let verdict = if measured <= goal { "met" } else { "MISSED" };
        let mut text = format!("  {what:<50} {:>9} goal {:>8} {verdict:<7}", show(*measured, unit), show(*goal, unit));
        match &self.peer {
            Some(Ok(Some(peer))) => {
                let _ = write!(text, " peer {:>10}{:>9}", show(*peer, unit), ratio(*measured, *peer));
            }
            Some(Ok(None)) => {
                let _ = write!(text, " peer {:>10}{:>9}", "-", "");
            }
            Some(Err(why)) => {
                let _ = write!(text, "  {why}");
            }
            None => {}
        }
        if let Some((what, beside)) = self.beside {
            let _ = write!(text, " {:>7.1} x {} ({what})", measured / beside, show(beside, unit));
        }
        text
    }
}

/// Ours as a part of the peer's: `0.04 x`.
fn ratio(ours: f64, peer: f64) -> String {
    if peer > 0.0 { format!("{:.2} x", ours / peer) } else { String::new() }
}

/// All figures, in the order in which they came.
#[derive(Default)]
pub(super) struct Table(Vec<String>);

impl Table {
    pub(super) fn title(&mut self, title: &str) {
        self.0.push(format!("\n{title}"));
    }

    pub(super) fn add(&mut self, row: &Row) {
        self.0.push(row.text());
    }

    pub(super) fn note(&mut self, words: &str) {
        self.0.push(format!("  ({words})"));
    }

    pub(super) fn text(&self) -> String {
        self.0.join("\n")
    }
}

fn show(figure: f64, unit: &str) -> String {
    match unit {
        "" => format!("{figure:.0}"),
        _ => format!("{figure:.1} {unit}"),
    }
}

/// A time in milliseconds.
pub(super) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(row: &Row) -> String {
        row.text().split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_figure_stands_beside_its_goal_its_peer_and_the_least_that_can_be_done() {
        let row = Row::new("x", "ms", 2.0, 3.0).beside("bare", 1.5).peer(Ok(Some(30.0)));
        assert_eq!(words(&row), "x 3.0 ms goal 2.0 ms MISSED peer 30.0 ms 0.10 x 2.0 x 1.5 ms (bare)");
        let row = Row::new("x", "", 2.0, 2.0).peer(Err("y is not on the PATH".into()));
        assert_eq!(words(&row), "x 2 goal 2 met y is not on the PATH");
    }

    #[test]
    fn a_peer_without_such_a_figure_is_a_dash_and_one_of_zero_has_no_ratio() {
        assert_eq!(words(&Row::new("x", "s", 2.0, 1.0).peer(Ok(None))), "x 1.0 s goal 2.0 s met peer -");
        assert_eq!(words(&Row::new("x", "", 2.0, 1.0).peer(Ok(Some(0.0)))), "x 1 goal 2 met peer 0");
    }
}
