//! One number out of several.

use helium_crds::metric::Aggregate;

/// What `how` makes of these numbers; none of none.
pub(crate) fn one_of(how: Aggregate, numbers: &[f64]) -> Option<f64> {
    let last = *numbers.last()?;
    #[allow(clippy::cast_precision_loss, reason = "an answer of 1 MiB holds fewer than 2^53 numbers")]
    let count = numbers.len() as f64;
    Some(match how {
        Aggregate::Avg => numbers.iter().sum::<f64>() / count,
        Aggregate::Max => numbers.iter().copied().fold(last, f64::max),
        Aggregate::Min => numbers.iter().copied().fold(last, f64::min),
        Aggregate::Sum => numbers.iter().sum(),
        Aggregate::Last => last,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_aggregate_follows_its_worked_example() {
        for (how, expected) in [
            (Aggregate::Avg, 2.5),
            (Aggregate::Max, 5.0),
            (Aggregate::Min, 1.0),
            (Aggregate::Sum, 10.0),
            (Aggregate::Last, 1.0),
        ] {
            assert_eq!(one_of(how, &[3.0, 5.0, 1.0, 1.0]), Some(expected), "{how:?}");
            assert_eq!(one_of(how, &[]), None);
        }
    }
}
