//! What metric sources and gates are assumed to say in a preview: that all is good. Nothing outside is asked.

use futures::future::{BoxFuture, FutureExt as _, ready};
use helium_analysis::Measure;
use helium_crds::{
    Number,
    measurement::{Ask, Found, GateReading, Reading},
    metric::{Bounds, Criterion},
};

/// Answers every question as whoever rolls out hopes for.
pub(super) struct Foresight;

impl Measure for Foresight {
    fn measure<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Found> {
        let found = match ask {
            Ask::Metric { stable, criterion, .. } => {
                let (good, beside) = good(criterion);
                Found::Metric { canary: reading(good), stable: stable.as_ref().map(|_| reading(beside)) }
            }
            Ask::Webhook(..) | Ask::Kv(_) => Found::Gate(GateReading::Open),
        };
        ready(found).boxed()
    }
}

/// A number of the canary that is good, and the number of the stable version beside which it is.
///
/// Example: at most 5, and at most 1.2 times stable: 5 beside 4.17.
fn good(criterion: &Criterion) -> (f64, f64) {
    let Criterion { min, max, difference_to_stable, ratio_to_stable, .. } = *criterion;
    let number = within(Bounds { min, max }, 1.0);
    match (ratio_to_stable, difference_to_stable) {
        (Some(ratio), _) if number != 0.0 => (number, number / within(ratio, 1.0)),
        (_, Some(difference)) => (number, number - within(difference, 0.0)),
        _ => (number, number),
    }
}

/// The bound that there is, or a number of its own where there is none.
fn within(bounds: Bounds, otherwise: f64) -> f64 {
    bounds.max.or(bounds.min).map_or(otherwise, Number::value)
}

fn reading(number: f64) -> Reading {
    Number::new(number).map_or(Reading::NoData, |value| Reading::Value { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_foreseen_is_good() {
        for (criterion, expected) in [
            (r#"{"max": 5}"#, (5.0, 5.0)),
            (r#"{"min": 99.5}"#, (99.5, 99.5)),
            (r#"{"ratioToStable": {"max": 2}}"#, (1.0, 0.5)),
            (r#"{"max": 6, "ratioToStable": {"max": 1.5}}"#, (6.0, 4.0)),
            (r#"{"max": 6, "differenceToStable": {"max": 2}}"#, (6.0, 4.0)),
            (r#"{"max": 0, "ratioToStable": {"max": 2}}"#, (0.0, 0.0)),
        ] {
            let criterion: Criterion = serde_json::from_str(criterion).unwrap();
            assert_eq!(good(&criterion), expected, "{criterion:?}");
        }
    }
}
