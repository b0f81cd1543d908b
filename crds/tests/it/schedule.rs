//! What people see when the schedule of a Deployment, or the end of a suspension, is wrong.

use helium_crds::{Source, parse};

fn wrong(spec: &str) -> String {
    let text = format!(
        "apiVersion: helium.dev/v1\nkind: Deployment\nmetadata: {{name: hello}}\nspec:\n  template: {{version: \"1\", exec: {{command: [a]}}}}\n{spec}"
    );
    parse(&Source::new("hello.yaml", text)).expect_err(spec).render(false)
}

#[test]
fn a_schedule_names_times_and_a_zone_that_there_are() {
    insta::assert_snapshot!("bad-time", wrong("  schedule: {windows: [{start: \"0 25 * * *\", duration: 8h}]}\n"));
    insta::assert_snapshot!(
        "bad-zone",
        wrong("  schedule: {timeZone: Europe/Berlln, freezes: [{start: \"0 0 * * *\", duration: 8h}]}\n")
    );
    insta::assert_snapshot!("bad-instant", wrong("  suspend: {reason: holidays, until: tomorrow}\n"));
}
