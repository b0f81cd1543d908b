//! From a wanted share to whole instances.
//!
//! | wanted | weight | surge | canary + stable | why |
//! |---|---|---|---|---|
//! | 3 | 25% | 1 | 1 + 3 | one of four is exactly a quarter |
//! | 3 | 50% | 1 | 2 + 2 | two of four is exactly a half |
//! | 10 | 15% | 0 | 2 + 8 | 1 and 2 are equally far: up |
//! | 1 | 50% | 1 | 1 + 1 | both versions have one wherever there is room for two |

use helium_crds::{
    canary::TrafficRouting,
    quantity::Percent,
    status::{STABLE_WEIGHT, Weight},
};

/// The counts that come nearest to `weight` when `wanted` instances are wanted and `surge` more are allowed.
///
/// From 1% to 99% both versions have at least one instance wherever there is room for two; a tie goes to the smaller total,
/// then to more canaries; at most one of the surge is used. 0% is no canary, and 100% no stable instance. Numerically this is
/// Argo Rollouts' `approximateWeightedCanaryStableReplicaCounts`, whose table is in the tests.
pub fn canary_counts(wanted: u32, weight: Percent, surge: u32) -> Weight {
    let requested = weight.value();
    let counts = |canary: u32, total: u32| Weight {
        requested,
        canary,
        stable: total - canary,
        preview: 0,
        service_weight: None,
    };
    match requested {
        _ if wanted == 0 => return counts(0, 0),
        0 => return counts(0, wanted),
        100 => return counts(wanted, wanted),
        _ => {}
    }
    let least_total = if wanted == 1 && surge > 0 { 2 } else { wanted };
    let most_total = if surge > 0 { wanted + 1 } else { wanted };
    (least_total..=most_total)
        .flat_map(|total| candidates(total, weight).map(move |canary| (canary, total)))
        .min_by(|&a, &b| nearer(a, b, requested))
        .map_or(counts(0, wanted), |(canary, total)| counts(canary, total))
}

/// The counts of a canary's step: as [`canary_counts`], and never no canary where anything is wanted. A single instance without
/// surge is the canary then, and the stable version waits for how it turns out: nothing could be learnt from none.
pub fn step_counts(wanted: u32, weight: Percent, surge: u32) -> Weight {
    let counts = canary_counts(wanted, weight, surge);
    if counts.canary == 0 && wanted > 0 { Weight { canary: 1, stable: wanted - 1, ..counts } } else { counts }
}

/// The counts of `setReplicas: number`: so many canaries, at most the wanted count, beside as many stable instances as the
/// surge leaves room for.
pub fn replica_counts(wanted: u32, number: u32, surge: u32) -> Weight {
    let canary = number.min(wanted);
    let stable = (wanted + surge - canary).min(wanted);
    let total = canary + stable;
    Weight {
        requested: (canary * 100).checked_div(total).unwrap_or(0),
        canary,
        stable,
        preview: 0,
        service_weight: None,
    }
}

/// The counts beside `number` instances of the new version that serve nobody yet: all others serve as they did.
pub fn preview_counts(wanted: u32, number: u32) -> Weight {
    Weight { requested: 0, canary: 0, stable: wanted, preview: number.min(wanted), service_weight: None }
}

/// Counts as near to a share as they come, and under weights in Consul what makes them exact.
pub fn routed(counts: Weight, routing: TrafficRouting) -> Weight {
    match routing {
        TrafficRouting::InstanceRatio => counts,
        TrafficRouting::ConsulWeights => weighed(counts),
    }
}

/// Counts that are asked for as such: under weights in Consul every instance weighs the same.
pub(crate) fn counted(counts: Weight, routing: TrafficRouting) -> Weight {
    match routing {
        TrafficRouting::InstanceRatio => counts,
        TrafficRouting::ConsulWeights => Weight { service_weight: Some(STABLE_WEIGHT), ..counts },
    }
}

/// The same counts, and the weight in Consul that makes the rest of the way: that each of `c` canaries weighs
/// `100 s p / ((100 - p) c)` beside `s` stable instances of 100 each makes their share `p` percent.
///
/// | counts | requested | weight | share |
/// |---|---|---|---|
/// | 1 + 3 | 5% | 16 | 16 of 316 |
/// | 1 + 3 | 25% | 100 | 100 of 400 |
/// | 9 + 1 | 99% | 1100 | 9900 of 10000 |
///
/// Where one of the versions is not there, it is 100. It is never less than 1 nor more than 65535, which are Consul's bounds.
pub fn weighed(counts: Weight) -> Weight {
    let Weight { requested, canary, stable, .. } = counts;
    let alone = canary == 0 || stable == 0 || requested >= 100;
    let weight = if alone { STABLE_WEIGHT } else { weight_beside(stable, canary, requested) };
    Weight { service_weight: Some(weight), ..counts }
}

fn weight_beside(stable: u32, canary: u32, requested: u32) -> u32 {
    let share = u64::from(STABLE_WEIGHT) * u64::from(stable) * u64::from(requested);
    let rest = u64::from(100 - requested) * u64::from(canary);
    let nearest = (share + rest / 2) / rest;
    u32::try_from(nearest).unwrap_or(u32::MAX).clamp(1, GREATEST_WEIGHT)
}

/// The greatest weight that Consul takes.
const GREATEST_WEIGHT: u32 = 65_535;

/// Whether whole instances make this weight to the percent, or weights in Consul do.
pub fn is_exact(weight: Weight) -> bool {
    let (canary, total) = weight.parts();
    match weight.service_weight {
        Some(_) => weight.achieved() == weight.requested,
        None => canary * 100 == u64::from(weight.requested) * total,
    }
}

/// The two whole counts around the share, with room left for both versions where there is room for two.
fn candidates(total: u32, share: Percent) -> impl Iterator<Item = u32> {
    let (least, most) = if total >= 2 { (1, total - 1) } else { (0, total) };
    let below = share.of_rounded_down(total);
    [below, below + 1].into_iter().map(move |count| count.clamp(least, most))
}

/// Compares two (canary, total) by distance from the share, exactly: |c/t - w/100| as |100c - wt| / t, multiplied crosswise.
fn nearer(a: (u32, u32), b: (u32, u32), requested: u32) -> std::cmp::Ordering {
    let off = |(canary, total): (u32, u32)| (u64::from(canary) * 100).abs_diff(u64::from(requested) * u64::from(total));
    let (left, right) = (off(a) * u64::from(b.1), off(b) * u64::from(a.1));
    left.cmp(&right).then(a.1.cmp(&b.1)).then(b.0.cmp(&a.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (wanted, weights, surge, canary, stable). Rows from Argo Rollouts' `TestApproximateWeightedNewStableReplicaCounts`.
    const TABLE: &[(u32, &[u8], u32, u32, u32)] = &[
        (1, &[1, 49], 0, 0, 1),
        (1, &[50, 99, 100], 0, 1, 0),
        (1, &[1, 25, 50, 75, 99], 1, 1, 1),
        (1, &[100], 1, 1, 0),
        (2, &[1, 50, 99], 0, 1, 1),
        (2, &[1], 1, 1, 2),
        (2, &[50], 1, 1, 1),
        (2, &[99], 1, 2, 1),
        (3, &[10, 25, 33, 49], 0, 1, 2),
        (3, &[50], 0, 2, 1),
        (3, &[10, 25], 1, 1, 3),
        (3, &[33, 34], 1, 1, 2),
        (3, &[49, 50], 1, 2, 2),
        (10, &[1, 14], 0, 1, 9),
        (10, &[15], 0, 2, 8),
        (10, &[99], 0, 9, 1),
        (10, &[1], 1, 1, 10),
        (10, &[18, 19], 1, 2, 9),
        (10, &[20, 23], 1, 2, 8),
        (10, &[24, 25], 1, 3, 8),
        (10, &[99], 1, 10, 1),
        (10, &[0], 1, 0, 10),
        (10, &[100], 1, 10, 0),
        (0, &[0, 50, 100], 1, 0, 0),
    ];

    #[test]
    fn a_weight_becomes_the_nearest_whole_counts() {
        for &(wanted, weights, surge, canary, stable) in TABLE {
            for &weight in weights {
                let counts = canary_counts(wanted, Percent::new(weight).unwrap(), surge);
                let given = format!("{wanted} wanted, {weight}%, surge {surge}");
                assert_eq!((counts.canary, counts.stable), (canary, stable), "{given}");
            }
        }
    }

    #[test]
    fn a_step_has_a_canary_wherever_anything_is_wanted_and_else_is_the_nearest_whole_counts() {
        for &(wanted, weights, surge, canary, stable) in TABLE {
            for &weight in weights {
                let counts = step_counts(wanted, Percent::new(weight).unwrap(), surge);
                let (canary, stable) = if canary == 0 && wanted > 0 { (1, wanted - 1) } else { (canary, stable) };
                let given = format!("{wanted} wanted, {weight}%, surge {surge}");
                assert_eq!(
                    (counts.canary, counts.stable, counts.requested),
                    (canary, stable, u32::from(weight)),
                    "{given}"
                );
            }
        }
    }

    #[test]
    fn a_count_of_canaries_uses_the_surge_before_it_takes_from_the_stable_version() {
        for (wanted, number, surge, canary, stable) in
            [(10, 2, 0, 2, 8), (10, 2, 1, 2, 9), (10, 2, 5, 2, 10), (3, 7, 1, 3, 1), (0, 2, 1, 0, 0)]
        {
            let counts = replica_counts(wanted, number, surge);
            assert_eq!((counts.canary, counts.stable), (canary, stable), "{number} of {wanted}, surge {surge}");
        }
    }

    #[test]
    fn a_weight_in_consul_makes_the_share_that_whole_instances_cannot() {
        for (counts, requested, weight) in [
            ((1, 3), 5, 16),
            ((1, 3), 25, 100),
            ((2, 2), 50, 100),
            ((9, 1), 99, 1100),
            ((1, 1000), 99, 65_535),
            ((1000, 1), 1, 1),
            ((1, 0), 5, 100),
            ((0, 4), 0, 100),
        ] {
            let counts = Weight { requested, canary: counts.0, stable: counts.1, preview: 0, service_weight: None };
            assert_eq!(weighed(counts).service_weight, Some(weight), "{counts:?}");
        }
    }

    #[test]
    fn up_to_a_hundred_instances_a_weight_in_consul_makes_every_share_to_the_percent() {
        for (wanted, surge) in (2..=100).flat_map(|wanted| [(wanted, 0), (wanted, 1)]) {
            for percent in 1..=99 {
                let weight = weighed(step_counts(wanted, Percent::new(percent).unwrap(), surge));
                let off = weight.achieved().abs_diff(u32::from(percent));
                assert!(off <= 1 && (off == 0) == is_exact(weight), "{percent}% of {wanted}: {weight:?}");
            }
        }
    }

    #[test]
    fn a_weight_is_exact_only_if_whole_instances_make_it() {
        assert!(is_exact(canary_counts(3, Percent::new(25).unwrap(), 1)));
        assert!(!is_exact(canary_counts(3, Percent::new(25).unwrap(), 0)));
    }
}
