//! ContainerPilot 3's files: a text and an environment in, a typed configuration out, or every problem with its place and what would be right.
//!
//! Nothing here reads a file, knows a clock or runs anything. The way of a text:
//!
//! | module | what it is |
//! |---|---|
//! | `template` | the file as a template over the environment, rendered with a map back to the file |
//! | `json5` | the rendered text into values with places |
//! | `read` | values into the configuration, by ContainerPilot's rules |
//! | [`config`] | what a file says, with every default filled in |
//! | [`event`] | what jobs wait for |
//! | [`interfaces`] | which address of the machine a service gets |
//! | [`mod@problem`] | what is wrong, for people and as data |

//!
//! ```
//! let env = std::collections::BTreeMap::from([("PORT".to_owned(), "8000".to_owned())]);
//! let text = "{ consul: 'localhost:8500',\n  jobs: [{ name: 'app', exec: ['serve', '{{ .PORT }}'], restart: 'never' }] }";
//! let loaded = helium_containerpilot::load(text, &env);
//! let problem = &loaded.problems[0];
//! assert_eq!((problem.line, problem.column, problem.key.as_str()), (2, 57, "jobs[0].restart"));
//! assert_eq!(problem.fix.as_deref(), Some("did you mean `restarts`?"));
//! println!("{}", problem.render("app.json5", text));
//! ```

pub mod config;
mod duration;
pub mod event;
mod finding;
pub mod interfaces;
mod json5;
mod near;
mod number;
pub mod problem;
mod read;
mod template;

use std::{collections::BTreeMap, ops::Range};

pub use config::Config;
pub use event::{Event, EventCode, Signal, Source, parse_event};
pub use problem::{Problem, Severity};

use crate::{
    finding::Findings,
    problem::line_column,
    template::{Rendered, TemplateError},
};

/// What came of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The configuration, if there are no problems.
    pub config: Option<Config>,
    /// Why the file is refused, in the order of the file.
    pub problems: Vec<Problem>,
    /// What is taken and does not do what it says, in the order of the file.
    pub warnings: Vec<Problem>,
}

/// Reads a file: renders it over the environment, parses it, and judges it. Everything that is wrong is found at once, but what stands behind
/// a template that cannot be rendered, or behind a bracket or a quote that is never closed.
pub fn load(text: &str, env: &BTreeMap<String, String>) -> Loaded {
    let rendered = match template::render(text, env) {
        Ok(rendered) => rendered,
        Err(error) => return Loaded { config: None, problems: vec![of_template(error, text)], warnings: Vec::new() },
    };
    let parsed = json5::parse(&rendered.text);
    let mut findings = Findings::default();
    for mistake in parsed.mistakes {
        let opened = mistake.opened.map(|at| line_column(text, rendered.source(&(at..at + 1)).span.start).0);
        let of_line = opened.map(|line| format!(" of line {line}")).unwrap_or_default();
        let finding = findings.error(&mistake.span, "", mistake.reason + &of_line);
        finding.fix = mistake.fix;
        finding.discreet_fix = Some("look at what the template gives here, and whether it needs quotes".to_owned());
    }
    let config = parsed.root.and_then(|root| read::read(&root, env, &mut findings));
    let mut all: Vec<Problem> = findings
        .list
        .into_iter()
        .map(|finding| of_finding(finding, text, &rendered))
        .chain(cut(text, &rendered))
        .collect();
    all.sort_by_key(|problem| (problem.span.start, problem.severity));
    all.dedup();
    let (problems, warnings): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|problem| problem.severity == Severity::Error);
    Loaded { config: config.filter(|_| problems.is_empty()), problems, warnings }
}

/// Renders a file over the environment, and does nothing else.
pub fn render_template(text: &str, env: &BTreeMap<String, String>) -> Result<String, Box<Problem>> {
    match template::render(text, env) {
        Ok(rendered) => Ok(rendered.text),
        Err(error) => Err(Box::new(of_template(error, text))),
    }
}

fn of_template(error: TemplateError, text: &str) -> Problem {
    problem(Severity::Error, error.span, error.reason, error.fix, text)
}

fn of_finding(finding: finding::Finding, text: &str, rendered: &Rendered) -> Problem {
    let source = rendered.source(&finding.span);
    let as_written = rendered.text.get(finding.span) == text.get(source.span.clone());
    let fix = if as_written { finding.fix } else { finding.discreet_fix.or(finding.fix) };
    let mut problem = problem(finding.severity, source.span, finding.reason, fix, text);
    problem.key = finding.key;
    problem.rendered = source.made;
    problem
}

/// Warnings about values of which ContainerPilot would take a part.
fn cut<'a>(text: &'a str, rendered: &'a Rendered) -> impl Iterator<Item = Problem> + 'a {
    rendered.cut.iter().map(move |(span, name)| {
        let reason =
            format!("the value of `{name}` holds an equals sign, where ContainerPilot cuts it; here it is whole");
        let fix = format!("write `env \"{name}\"`, which is whole in both");
        problem(Severity::Warning, span.clone(), reason, Some(fix), text)
    })
}

fn problem(severity: Severity, span: Range<usize>, reason: String, fix: Option<String>, text: &str) -> Problem {
    let (line, column) = line_column(text, span.start);
    Problem { severity, line, column, span, key: String::new(), reason, fix, rendered: false }
}
