//! Which room may know of which: the arrows of the design, as one table.

use std::path::Path;

use super::Finding;
use crate::metadata::Metadata;

/// One room of the house.
struct Room {
    name: &'static str,
    /// The rooms that its code may use.
    code: &'static [&'static str],
    /// Further rooms that its tests may use.
    tests: &'static [&'static str],
}

const fn room(name: &'static str, code: &'static [&'static str], tests: &'static [&'static str]) -> Room {
    Room { name, code, tests }
}

/// The whole house. `consul/*` and `runtime` know nothing of Helium's kinds; the planner knows nothing but them; the agent does not know the
/// controller; only tests and the preview of the CLI know the simulator; the CLI knows all.
const HOUSE: &[Room] = &[
    room("consul-client", &[], &["consul-embedded", "helium-test-consul"]),
    room("consul-embedded", &["consul-client"], &[]),
    room(
        "helium-agent",
        &[
            "consul-client",
            "helium-cgroups",
            "helium-crds",
            "helium-election",
            "helium-instance",
            "helium-lookups",
            "helium-nix",
            "helium-packages",
            "helium-processes",
            "helium-runtime",
            "helium-supervisor",
            "helium-templates",
        ],
        &["consul-embedded", "helium-sample", "helium-test-consul"],
    ),
    room("helium-analysis", &["consul-client", "helium-crds", "helium-hydra", "helium-runtime"], &["consul-embedded"]),
    room("helium-cgroups", &["helium-processes"], &[]),
    room("helium-containerpilot", &[], &[]),
    room("helium-crds", &[], &[]),
    room(
        "helium-bench",
        &[
            "consul-client",
            "helium-crds",
            "helium-e2e",
            "helium-engine",
            "helium-lookups",
            "helium-runtime",
            "helium-templates",
        ],
        &[],
    ),
    room("helium-e2e", &[], &["consul-client", "consul-embedded", "helium-analysis", "helium-crds", "helium-runtime"]),
    room("helium-election", &["consul-client", "helium-runtime"], &["consul-embedded", "helium-test-consul"]),
    room(
        "helium-engine",
        &["consul-client", "helium-analysis", "helium-crds", "helium-notify", "helium-planner", "helium-runtime"],
        &["consul-embedded", "helium-hydra", "helium-sim"],
    ),
    room("helium-hydra", &[], &[]),
    room("helium-instance", &["helium-crds"], &[]),
    room("helium-nix", &["helium-hydra", "helium-packages", "helium-processes", "helium-runtime"], &[]),
    room(
        "helium-lookups",
        &["consul-client", "helium-processes", "helium-runtime", "helium-templates"],
        &["consul-embedded"],
    ),
    room("helium-machine", &[], &[]),
    room("helium-notify", &["helium-analysis", "helium-crds", "helium-runtime"], &["consul-client", "consul-embedded"]),
    room("helium-packages", &["helium-runtime"], &[]),
    room(
        "helium-pilot",
        &["consul-client", "helium-containerpilot", "helium-processes", "helium-runtime", "helium-supervisor"],
        &["consul-embedded"],
    ),
    room("helium-planner", &["helium-crds"], &[]),
    room("helium-processes", &[], &[]),
    room("helium-sample", &[], &[]),
    room("helium-runtime", &["consul-client"], &["consul-embedded", "helium-test-consul"]),
    room(
        "helium-sim",
        &[
            "consul-client",
            "consul-embedded",
            "helium-analysis",
            "helium-crds",
            "helium-engine",
            "helium-hydra",
            "helium-instance",
            "helium-planner",
            "helium-runtime",
        ],
        &[],
    ),
    room("helium-supervisor", &["helium-processes", "helium-runtime"], &[]),
    room(
        "helium",
        &[
            "consul-client",
            "consul-embedded",
            "helium-agent",
            "helium-analysis",
            "helium-crds",
            "helium-engine",
            "helium-nix",
            "helium-lookups",
            "helium-notify",
            "helium-packages",
            "helium-pilot",
            "helium-planner",
            "helium-processes",
            "helium-runtime",
            "helium-sample",
            "helium-sim",
            "helium-templates",
            "helium-traffic",
        ],
        &[],
    ),
    room("helium-templates", &["helium-runtime"], &[]),
    room("helium-test-consul", &[], &[]),
    room("helium-traffic", &["consul-client", "helium-crds", "helium-runtime"], &["helium-e2e"]),
    room("xtask", &["helium-crds"], &[]),
];

/// Rooms of pure decisions, and what may not be anywhere behind them: a runtime, the network, randomness.
const PURE: &[&str] = &["helium-planner", "helium-crds", "helium-containerpilot", "helium-hydra", "helium-instance"];
const IMPURE: &[&str] =
    &["consul-client", "fastrand", "futures", "getrandom", "hyper", "mio", "rand", "socket2", "tokio", "uuid"];

/// Every arrow that the table does not have, and every impurity behind a pure room.
pub(super) fn check(metadata: &Metadata, tree: &Path) -> Vec<Finding> {
    let members: Vec<&str> = metadata.packages.iter().map(|package| package.name.as_str()).collect();
    let mut findings = Vec::new();
    for package in &metadata.packages {
        let file = package.manifest.strip_prefix(tree).unwrap_or(&package.manifest);
        let mut say = |words: String| findings.push(Finding::new(file, 1, words));
        let Some(room) = HOUSE.iter().find(|room| room.name == package.name) else {
            say(format!("{} is not in the table of rooms, xtask/src/tidy/arrows.rs", package.name));
            continue;
        };
        for dependency in package.dependencies.iter().filter(|dependency| members.contains(&dependency.name.as_str())) {
            let in_tests = dependency.for_tests && room.tests.contains(&dependency.name.as_str());
            if !in_tests && !room.code.contains(&dependency.name.as_str()) {
                let whose = if dependency.for_tests { "the tests of " } else { "" };
                say(format!("{whose}{} may not depend on {}", package.name, dependency.name));
            }
        }
    }
    for pure in PURE {
        if let Some(path) = metadata.path_to(pure, |name| IMPURE.contains(&name)) {
            findings.push(Finding::new(
                Path::new("Cargo.toml"),
                1,
                format!("{pure} is pure, but: {}", path.join(" -> ")),
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::examples::workspace;

    fn words(crates: &[(&str, &[&str], &[&str])]) -> Vec<String> {
        check(&workspace(crates), Path::new("/tree")).into_iter().map(|finding| finding.words).collect()
    }

    #[test]
    fn the_arrows_of_the_table_pass() {
        let crates: &[(&str, &[&str], &[&str])] = &[
            ("helium-planner", &["helium-crds", "jiff"], &["proptest"]),
            ("helium-crds", &["serde"], &["proptest"]),
            ("helium-engine", &["helium-planner", "tokio"], &["helium-sim"]),
            ("helium-sim", &["helium-engine"], &[]),
        ];
        assert_eq!(words(crates), Vec::<String>::new());
    }

    #[test]
    fn an_arrow_that_is_not_in_the_table_is_found() {
        let crates: &[(&str, &[&str], &[&str])] =
            &[("helium-agent", &["helium-engine"], &[]), ("helium-engine", &[], &[])];
        assert_eq!(words(crates), ["helium-agent may not depend on helium-engine"]);
    }

    #[test]
    fn an_arrow_of_tests_is_not_one_of_code() {
        let allowed: &[(&str, &[&str], &[&str])] = &[("helium-engine", &[], &["helium-sim"]), ("helium-sim", &[], &[])];
        assert_eq!(words(allowed), Vec::<String>::new());
        let forbidden: &[(&str, &[&str], &[&str])] =
            &[("helium-engine", &["helium-sim"], &[]), ("helium-sim", &[], &[])];
        assert_eq!(words(forbidden), ["helium-engine may not depend on helium-sim"]);
    }

    #[test]
    fn a_new_room_must_enter_the_table() {
        assert_eq!(
            words(&[("helium-attic", &[], &[])]),
            ["helium-attic is not in the table of rooms, xtask/src/tidy/arrows.rs"]
        );
    }

    #[test]
    fn tokio_behind_the_planner_is_found_however_far_behind() {
        let crates: &[(&str, &[&str], &[&str])] =
            &[("helium-planner", &["helium-crds"], &[]), ("helium-crds", &["tokio"], &[])];
        assert_eq!(
            words(crates),
            [
                "helium-planner is pure, but: helium-planner -> helium-crds -> tokio",
                "helium-crds is pure, but: helium-crds -> tokio"
            ]
        );
    }
}
