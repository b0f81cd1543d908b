//! Commands that there are in the whole program and not in a build of the agent alone, and what is said of them there.

use clap::{
    CommandFactory as _,
    error::{ContextKind, ContextValue, ErrorKind},
};

use crate::{args::Cli, output::Failure};

/// Their names.
const ELSEWHERE: [&str; 25] = [
    "apply",
    "diff",
    "plan",
    "validate",
    "get",
    "describe",
    "explain",
    "events",
    "delete",
    "scale",
    "set",
    "lock",
    "unlock",
    "rollout",
    "canary",
    "logs",
    "wait",
    "dev",
    "controller",
    "haproxy",
    "node",
    "acl",
    "doctor",
    "schema",
    "sample",
];

/// What is said in place of clap's words if this build was asked for a command that only the whole program has. `words` are those of the
/// command line: behind a command of this build, as in `helium agent apply`, the name means nothing anywhere.
pub(crate) fn asked(error: &clap::Error, words: &[String]) -> Option<Failure> {
    if cfg!(feature = "control") || error.kind() != ErrorKind::InvalidSubcommand {
        return None;
    }
    let Some(ContextValue::String(name)) = error.get(ContextKind::InvalidSubcommand) else { return None };
    let own = Cli::command();
    let is_first = words.iter().take_while(|word| *word != name).all(|word| own.find_subcommand(word).is_none());
    (is_first && ELSEWHERE.contains(&name.as_str())).then(|| {
        Failure::usage(format!("`helium {name}` is not in this build, which has the agent alone"))
            .hint("the whole program has it: one that was built without `--no-default-features`")
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn said(line: &str) -> Option<Failure> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        asked(&Cli::try_parse_from(&words).unwrap_err(), &words)
    }

    fn names() -> Vec<String> {
        Cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect()
    }

    #[cfg(feature = "control")]
    #[test]
    fn the_whole_program_has_every_command_that_a_smaller_build_sends_people_to_it_for() {
        let own = ["agent", "hail", "render", "env", "package", "version", "supervise"];
        let mut control: Vec<String> = names().into_iter().filter(|name| !own.contains(&name.as_str())).collect();
        control.sort();
        let mut elsewhere = ELSEWHERE.to_vec();
        elsewhere.sort_unstable();
        assert_eq!(control, elsewhere);
    }

    #[cfg(not(feature = "control"))]
    #[test]
    fn a_build_of_the_agent_alone_has_the_agent_s_commands_and_says_who_has_the_others() {
        assert_eq!(names(), ["agent", "hail", "render", "env", "package", "version", "supervise"]);
        for name in ELSEWHERE {
            let failure = said(&format!("helium {name}")).unwrap();
            assert!(failure.message.contains(&format!("`helium {name}` is not in this build")), "{failure:?}");
        }
    }

    #[test]
    fn a_word_that_is_no_command_of_any_build_is_left_to_clap() {
        assert!(said("helium aplly").is_none());
        assert!(said("helium agent apply").is_none());
    }
}
