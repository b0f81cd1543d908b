//! The table: a figure, its goal, what it is held against, and what a peer came to.

use std::{fmt::Write as _, time::Duration};

/// One figure.
pub(super) struct Row {
    what: &'static str,
    unit: &'static str,
    goal: f64,
    measured: f64,
    beside: Option<(&'static str, f64)>,
    peer: Option<Result<f64, String>>,
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

    /// What a peer came to, or why there is nothing of it.
    pub(super) fn peer(self, measured: Result<f64, String>) -> Self {
        Self { peer: Some(measured), ..self }
    }

    fn text(&self) -> String {
        let Self { what, unit, goal, measured, .. } = self;
        let verdict = if measured <= goal { "met" } else { "MISSED" };
        let mut text = format!("  {what:<50} {:>9} goal {:>8} {verdict:<7}", show(*measured, unit), show(*goal, unit));
        if let Some((what, beside)) = self.beside {
            let _ = write!(text, " {:>7.1} x {} ({what})", measured / beside, show(beside, unit));
        }
        match &self.peer {
            Some(Ok(peer)) => {
                let _ = write!(text, "  peer {}", show(*peer, unit));
            }
            Some(Err(why)) => {
                let _ = write!(text, "  {why}");
            }
            None => {}
        }
        text
    }
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

    #[test]
    fn a_figure_stands_beside_its_goal_its_ratio_and_its_peer() {
        let row = Row::new("x", "ms", 2.0, 3.0).beside("bare", 1.5).peer(Err("y is not on the PATH".into()));
        let text = row.text().split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(text, "x 3.0 ms goal 2.0 ms MISSED 2.0 x 1.5 ms (bare) y is not on the PATH");
        let met = Row::new("x", "", 2.0, 2.0).peer(Ok(69.0)).text();
        assert!(met.contains("met") && met.ends_with("peer 69"), "{met}");
    }
}
