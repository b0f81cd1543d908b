//! The environment of an instance, and `${NAME}` in its command, environment and working directory.
//!
//! A process gets the variables below, those of the template's `env`, and of the agent's own environment only what any program
//! needs ([`INHERITED`](helium_crds::variables::INHERITED)): the agent's token for Consul is not for its workloads.

use std::{borrow::Cow, collections::BTreeMap, path::Path};

use helium_crds::{
    instance::Assignment,
    job::Job,
    template::Driver,
    variables::{
        ExpandError, HELIUM_ADDRESS, HELIUM_BIN, HELIUM_INSTANCE, HELIUM_JOB, HELIUM_PACKAGE, HELIUM_WORK, PORT,
        PORT_PREFIX, VERSION, expand, references,
    },
};

use helium_processes::Command;

use super::user::{self, RunAs};
use crate::{config::AgentConfig, instance::dir::InstanceDir};

/// Where programs are looked for when the agent itself has no PATH.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Why a template cannot be turned into a command for this machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EnvironmentError {
    /// A text that cannot be filled in.
    #[error("{place}: {source}")]
    Expand { place: String, source: ExpandError },
    /// There is no such user.
    #[error("exec.user: {0}")]
    User(String),
    /// A variable that is defined by itself.
    #[error("env.{name} is defined by itself")]
    Cycle { name: String },
}

/// What of a template is to be run, with everything filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// The instance itself.
    pub(crate) command: Command,
    /// What looks at new files of its templates; empty if nothing does.
    pub(crate) check: Vec<String>,
    /// The jobs, by name: the command of each, and that of its check.
    pub(crate) jobs: BTreeMap<String, (Command, Option<Command>)>,
}

/// Fills in the template of an assignment. `inherited` is what the agent passes on of its own environment; in `dir` is the working directory
/// of a command that names none, and there one begins that is not absolute.
pub(crate) fn resolve(
    config: &AgentConfig,
    assignment: &Assignment,
    ports: &BTreeMap<String, u16>,
    inherited: &BTreeMap<String, String>,
    dir: &InstanceDir,
) -> Result<Resolved, EnvironmentError> {
    let mut given = inherited.clone();
    given.entry("PATH".to_owned()).or_insert_with(|| DEFAULT_PATH.to_owned());
    given.extend(builtins(config, assignment, ports));
    given.insert(HELIUM_WORK.to_owned(), path_text(&dir.work()));
    if assignment.template.package.is_some() {
        given.insert(HELIUM_PACKAGE.to_owned(), path_text(&dir.view()));
    }
    let Driver::Exec(exec) = &assignment.template.driver;
    let run_as = exec.user.as_deref().map(user::find).transpose().map_err(EnvironmentError::User)?;
    if let Some(run_as) = &run_as {
        given.extend(names_of(run_as));
    }
    let own = &assignment.template.env;
    let scope = Scope { own, given: &given };
    let mut env = given.clone();
    for name in own.keys().filter(|name| !is_reserved(name)) {
        env.insert(name.clone(), scope.own_value(name, &mut Vec::new())?);
    }
    let argv = fill_in_all(&exec.command, "command", &env)?;
    let check = assignment.template.templates.as_ref().map_or(&[][..], |templates| &templates.check);
    let check = fill_in_all(check, "templates.check", &env)?;
    let cwd = exec.cwd.as_ref().map(|text| fill_in(text, "cwd", &env)).transpose()?;
    let cwd = cwd.map_or_else(|| dir.work(), |cwd| dir.work().join(cwd));
    let command = Command { argv, env, cwd, user: run_as.map(|run_as| run_as.ids) };
    let jobs = assignment.template.jobs.iter();
    let jobs = jobs.map(|(name, job)| Ok((name.clone(), of_job(name, job, &command, dir)?)));
    let jobs = jobs.collect::<Result<_, EnvironmentError>>()?;
    Ok(Resolved { command, check, jobs })
}

/// The command of a job and that of its check: in the environment of the main process, and its own beside it.
fn of_job(
    name: &str,
    job: &Job,
    main: &Command,
    dir: &InstanceDir,
) -> Result<(Command, Option<Command>), EnvironmentError> {
    let at = |field: &str| format!("jobs.{name}.{field}");
    let mut given = main.env.clone();
    given.insert(HELIUM_JOB.to_owned(), name.to_owned());
    let run_as = job.user.as_deref().map(user::find).transpose().map_err(EnvironmentError::User)?;
    if let Some(run_as) = &run_as {
        given.extend(names_of(run_as));
    }
    let mut env = given.clone();
    for (own, value) in job.env.iter().filter(|(own, _)| !is_reserved(own)) {
        env.insert(own.clone(), fill_in(value, &at(&format!("env.{own}")), &given)?);
    }
    let cwd = job.cwd.as_ref().map(|text| fill_in(text, &at("cwd"), &env)).transpose()?;
    let cwd = cwd.map_or_else(|| main.cwd.clone(), |cwd| dir.work().join(cwd));
    let user = run_as.map_or(main.user, |run_as| Some(run_as.ids));
    let command = |argv| Command { argv, env: env.clone(), cwd: cwd.clone(), user };
    let own = command(fill_in_all(&job.command, &at("command"), &env)?);
    let check = job.check.as_ref().map(|check| fill_in_all(&check.command, &at("check.command"), &env));
    Ok((own, check.transpose()?.map(command)))
}

fn names_of(run_as: &RunAs) -> [(String, String); 3] {
    let named = [("USER", &run_as.name), ("LOGNAME", &run_as.name), ("HOME", &run_as.home)];
    named.map(|(name, value)| (name.to_owned(), value.clone()))
}

/// Names that a template cannot give another meaning.
fn is_reserved(name: &str) -> bool {
    name.starts_with("HELIUM_")
}

fn builtins(config: &AgentConfig, assignment: &Assignment, ports: &BTreeMap<String, u16>) -> BTreeMap<String, String> {
    let template = &assignment.template;
    let mut all = BTreeMap::from([
        (VERSION.to_owned(), template.version.clone()),
        (HELIUM_INSTANCE.to_owned(), assignment.id.to_string()),
        (HELIUM_ADDRESS.to_owned(), config.address.clone()),
        ("HELIUM_NODE".to_owned(), config.node.to_string()),
        (HELIUM_BIN.to_owned(), path_text(&config.helium_bin)),
        ("HELIUM_NAMESPACE".to_owned(), assignment.deployment.namespace.clone()),
        ("HELIUM_DEPLOYMENT".to_owned(), assignment.deployment.name.clone()),
    ]);
    for (name, number) in ports {
        all.insert(format!("{PORT_PREFIX}{name}"), number.to_string());
    }
    if let Some(number) = template.ports.first().and_then(|first| ports.get(&first.name)) {
        all.insert(PORT.to_owned(), number.to_string());
    }
    all
}

fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// The variables that the values of `env` can see: each other, and what is given.
struct Scope<'a> {
    own: &'a BTreeMap<String, String>,
    given: &'a BTreeMap<String, String>,
}

impl Scope<'_> {
    /// The value of one of `env`, filled in. `open` holds the names that are being filled in around it. A name that uses itself
    /// means the given variable of that name, so that `PATH: /opt/bin:${PATH}` does what people expect.
    fn own_value(&self, name: &str, open: &mut Vec<String>) -> Result<String, EnvironmentError> {
        let text = self.own.get(name).map_or("", String::as_str);
        let place = format!("env.{name}");
        let mut values = BTreeMap::new();
        open.push(name.to_owned());
        for used in references(text).map_err(|source| EnvironmentError::Expand { place: place.clone(), source })? {
            let given = self.given.get(used);
            let value = if used == name || is_reserved(used) || !self.own.contains_key(used) {
                given.cloned()
            } else if open.iter().any(|outer| outer == used) {
                return Err(EnvironmentError::Cycle { name: used.to_owned() });
            } else {
                Some(self.own_value(used, open)?)
            };
            values.extend(value.map(|value| (used.to_owned(), value)));
        }
        open.pop();
        fill_in(text, &place, &values)
    }
}

fn fill_in_all(
    texts: &[String],
    place: &str,
    values: &BTreeMap<String, String>,
) -> Result<Vec<String>, EnvironmentError> {
    texts.iter().enumerate().map(|(index, text)| fill_in(text, &format!("{place}[{index}]"), values)).collect()
}

fn fill_in(text: &str, place: &str, values: &BTreeMap<String, String>) -> Result<String, EnvironmentError> {
    expand(text, |name| values.get(name).map(|value| Cow::Borrowed(value.as_str())))
        .map_err(|source| EnvironmentError::Expand { place: place.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn resolved(command: &[&str], env: &[(&str, &str)]) -> Result<Command, EnvironmentError> {
        let mut assignment = testing::assignment("hello-0");
        let Driver::Exec(exec) = &mut assignment.template.driver;
        exec.command = command.iter().map(ToString::to_string).collect();
        exec.cwd = Some("/srv/${HELIUM_DEPLOYMENT}".to_owned());
        assignment.template.env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let ports = BTreeMap::from([("http".to_owned(), 20_001), ("admin".to_owned(), 20_002)]);
        let inherited = BTreeMap::from([("PATH".to_owned(), "/bin".to_owned())]);
        resolve(&testing::config(), &assignment, &ports, &inherited, &InstanceDir::at("/i".into()))
            .map(|resolved| resolved.command)
    }

    #[test]
    fn a_command_sees_ports_version_names_and_env() {
        let done = resolved(
            &["${HELIUM_BIN}", "--port=${PORT_http}", "${PORT}", "${PORT_admin}", "${VERSION}-${GREETING}", "$$ $HOME"],
            &[("GREETING", "hi ${HELIUM_INSTANCE}")],
        )
        .unwrap();
        assert_eq!(done.argv, ["/opt/helium", "--port=20001", "20001", "20002", "1.0.0-hi hello-0", "$$ $HOME"]);
        assert_eq!(done.cwd, Path::new("/srv/hello"));
        assert_eq!(done.env["GREETING"], "hi hello-0");
        assert_eq!((done.env["HELIUM_NODE"].as_str(), done.env["HELIUM_NAMESPACE"].as_str()), ("n1", "default"));
    }

    #[test]
    fn env_may_use_env_and_extend_what_is_given_but_not_helium_s_own() {
        let done = resolved(
            &["true"],
            &[("A", "a${B}"), ("B", "b${VERSION}"), ("PATH", "/opt:${PATH}"), ("HELIUM_INSTANCE", "another")],
        )
        .unwrap();
        assert_eq!((done.env["A"].as_str(), done.env["PATH"].as_str()), ("ab1.0.0", "/opt:/bin"));
        assert_eq!(done.env["HELIUM_INSTANCE"], "hello-0");
    }

    #[test]
    fn an_instance_learns_where_it_is_registered_and_so_has_to_listen() {
        let config = AgentConfig { address: "10.1.2.3".to_owned(), ..testing::config() };
        let mut assignment = testing::assignment("hello-0");
        let Driver::Exec(exec) = &mut assignment.template.driver;
        exec.command = vec!["--listen=${HELIUM_ADDRESS}:${PORT}".to_owned()];
        let ports = BTreeMap::from([("http".to_owned(), 20_001)]);
        let done =
            resolve(&config, &assignment, &ports, &BTreeMap::new(), &InstanceDir::at("/i".into())).unwrap().command;
        assert_eq!(done.argv, ["--listen=10.1.2.3:20001"]);
        assert_eq!(done.env["HELIUM_ADDRESS"], "10.1.2.3");
    }

    #[test]
    fn a_doubled_dollar_writes_the_brace_as_it_is() {
        assert_eq!(resolved(&["$${PORT} is ${PORT}"], &[]).unwrap().argv, ["${PORT} is 20001"]);
    }

    #[test]
    fn what_cannot_be_filled_in_names_its_place() {
        for (command, env, words) in [
            ("x", vec![("A", "${NOPE}")], "env.A: `${NOPE}` stands for nothing here"),
            ("${PORT_web}", vec![], "command[0]: `${PORT_web}` stands for nothing here"),
            ("${PORT", vec![], "command[0]: `${PORT` lacks its closing brace"),
            ("x", vec![("A", "${B}"), ("B", "${A}")], "env.A is defined by itself"),
            ("x", vec![("A", "${A}")], "env.A: `${A}` stands for nothing here"),
        ] {
            assert_eq!(resolved(&[command], &env).unwrap_err().to_string(), words);
        }
    }
}
