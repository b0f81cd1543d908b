//! What the guide tells people to write is right, too.

use std::fs;

use helium_crds::{AnyObject, Source, parse};

use crate::here;

#[test]
fn every_metric_of_the_guide_is_one_that_can_be_applied() {
    let guide = fs::read_to_string(here("../docs/guides/metrics.md")).unwrap();
    let blocks = guide.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let metrics: Vec<&str> = blocks.filter(|block| block.starts_with("metrics:")).collect();
    assert_eq!(metrics.len(), 3, "Prometheus, HTTP, Consul");
    for block in metrics {
        let block: Vec<String> = block.lines().map(|line| format!("    {line}")).collect();
        let block = block.join("\n");
        let head = "apiVersion: helium.dev/v1\nkind: Canary\nmetadata: {name: shop}\nspec:\n  steps: [{setWeight: 50%}]\n  analysis:\n";
        let parsed = parse(&Source::new("guide.yaml", format!("{head}{block}")));
        let objects = parsed.unwrap_or_else(|report| panic!("{}", report.render(false)));
        assert!(matches!(&objects[0].object, AnyObject::Canary(canary) if canary.spec.analysis.metrics.len() == 1));
    }
}
