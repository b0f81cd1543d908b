//! What a Canary's weights come to in whole instances, told before anything is stored.

use helium_crds::{
    Amount, AnyObject, CanarySpec, DeploymentSpec,
    deployment::Strategy,
    status::Weight,
    step::{Step, StepKind},
};
use helium_planner::weights::{is_exact, routed, step_counts};

use super::{PeopleError, manifest::ObjectRef};

/// A weight that is made to within so many points of a hundred is near enough to say nothing.
const NEAR: u32 = 5;

/// The weights of a Canary that whole instances of its Deployment cannot make, in the order of its steps.
fn inexact(deployment: &DeploymentSpec, canary: &CanarySpec) -> Vec<(usize, Weight)> {
    let wanted = deployment.wanted();
    let surge = match deployment.strategy {
        Strategy::Rolling(rolling) => rolling.max_surge.rounded_up(wanted),
        Strategy::Recreate(_) => 0,
    };
    let weight = |(place, step): (usize, &Step)| match step.kind {
        StepKind::SetWeight(percent) => {
            Some((place, routed(step_counts(wanted, percent, surge), canary.traffic_routing)))
        }
        _ => None,
    };
    let steps = canary.all_steps();
    steps.iter().enumerate().filter_map(weight).filter(|(_, weight)| !is_exact(*weight)).collect()
}

/// Warns of weights that come out far from what was asked for; with `exact: true` any that is not exact is an error.
///
/// 10% of 3 instances is 1 beside 3 with one of surge, which is 25%: that is worth a warning.
pub(super) fn check(deployment: &AnyObject, canary: &AnyObject) -> Result<Vec<String>, PeopleError> {
    let (AnyObject::Deployment(deployment), AnyObject::Canary(canary)) = (deployment, canary) else {
        return Ok(Vec::new());
    };
    let wanted = deployment.spec.wanted();
    if deployment.spec.versions.is_some() || wanted == 0 {
        return Ok(Vec::new());
    }
    let mut warnings = too_many(wanted, &canary.spec);
    for (place, weight) in inexact(&deployment.spec, &canary.spec) {
        let (requested, achieved) = (weight.requested, weight.achieved());
        if canary.spec.exact {
            return Err(PeopleError::WeightNotPossible { object: ObjectRef::of(canary), requested, achieved, wanted });
        }
        if requested.abs_diff(achieved) > NEAR {
            warnings.push(format!(
                "step {} asks for {requested}% and gets {achieved}% ({})",
                place + 1,
                weight.in_words()
            ));
        }
    }
    Ok(warnings)
}

/// Steps that ask for more canaries than there are to be instances.
fn too_many(wanted: u32, canary: &CanarySpec) -> Vec<String> {
    let warning = |(place, step): (usize, &Step)| match step.kind {
        StepKind::SetReplicas(number) if number > wanted => Some((place, number, "canaries")),
        StepKind::Preview(Amount::Count(number)) if number > wanted => Some((place, number, "previews")),
        _ => None,
    };
    let in_words = |(place, number, what)| {
        format!("step {} asks for {number} {what} and gets {wanted}: no more than `spec.replicas`", place + 1)
    };
    let steps = canary.all_steps();
    steps.iter().enumerate().filter_map(warning).map(in_words).collect()
}

#[cfg(test)]
mod tests {
    use helium_crds::{Kind, Metadata, Object};
    use serde_json::{Value, json};

    use super::{super::manifest, *};

    fn manifest(kind: Kind, spec: Value) -> AnyObject {
        manifest::typed(&Object::new(kind, Metadata::named("default", "hello"), spec)).unwrap()
    }

    fn deployment(replicas: u32, surge: u32) -> AnyObject {
        let template = json!({"version": "1.0.0", "exec": {"command": ["true"]}});
        let strategy = json!({"rolling": {"maxSurge": surge, "maxUnavailable": 1}});
        manifest(Kind::Deployment, json!({"replicas": replicas, "template": template, "strategy": strategy}))
    }

    fn canary(weight: &str, exact: bool) -> AnyObject {
        manifest(Kind::Canary, json!({"steps": [{"setWeight": weight}], "exact": exact}))
    }

    #[test]
    fn a_weight_that_comes_out_far_off_is_a_warning_with_its_numbers() {
        let warnings = check(&deployment(3, 1), &canary("10%", false)).unwrap();
        assert_eq!(warnings, ["step 1 asks for 10% and gets 25% (1 of 4)"]);
    }

    #[test]
    fn more_canaries_than_replicas_is_a_warning() {
        let canary = manifest(Kind::Canary, json!({"steps": [{"setReplicas": 3}, {"setReplicas": 7}]}));
        let warnings = check(&deployment(3, 1), &canary).unwrap();
        assert_eq!(warnings, ["step 2 asks for 7 canaries and gets 3: no more than `spec.replicas`"]);
    }

    #[test]
    fn a_weight_that_comes_out_near_says_nothing() {
        assert!(check(&deployment(3, 1), &canary("25%", false)).unwrap().is_empty());
        assert!(check(&deployment(3, 0), &canary("30%", false)).unwrap().is_empty());
    }

    #[test]
    fn weights_in_consul_make_what_whole_instances_cannot() {
        for exact in [false, true] {
            let spec = json!({"steps": [{"setWeight": "10%"}], "exact": exact, "trafficRouting": "consulWeights"});
            assert!(check(&deployment(3, 1), &manifest(Kind::Canary, spec)).unwrap().is_empty());
        }
    }

    #[test]
    fn an_exact_canary_refuses_a_weight_that_cannot_be_had() {
        assert!(check(&deployment(3, 1), &canary("25%", true)).is_ok());
        let refusal = check(&deployment(3, 0), &canary("30%", true)).unwrap_err();
        assert_eq!(refusal.to_string(), "canary/hello asks for exactly 30%, and 3 instances can only make 33%");
    }
}
