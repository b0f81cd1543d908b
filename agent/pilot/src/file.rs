//! A file, read with its environment, and why it is refused.

use std::{
    collections::BTreeMap,
    env, fs, io,
    path::{Path, PathBuf},
};

use helium_containerpilot::{Config, Loaded, Problem, load, render_template};

/// Names the guardian to a supervisor; no business of its jobs.
const GUARDIAN: &str = "HELIUM_GUARDIAN";

/// A file that is taken.
#[derive(Clone, Debug)]
pub struct Taken {
    /// What it says.
    pub config: Config,
    /// What is taken and does not do what it says.
    pub warnings: Vec<Warning>,
}

/// Something about a file that its author should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// In one line, for a log.
    pub brief: String,
    /// With the line of the file, for people.
    pub whole: String,
}

/// Why a file is not taken.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is refused: each problem for people, with line, column, key, reason and what would be right.
    #[error("{}", .0.join("\n"))]
    Refused(Vec<String>),
}

/// The environment of this process, without what is not UTF-8 and what only a supervisor is to know.
pub fn environment() -> BTreeMap<String, String> {
    let pairs = env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    // What the manager of this process listens for is not for jobs, which have a socket of their own where they want one.
    let own = |name: &str| name == GUARDIAN || helium_runtime::notify::VARIABLES.contains(&name);
    pairs.filter(|(name, _)| !own(name)).collect()
}

/// Reads a file and judges it.
///
/// # Errors
/// It cannot be read, or is refused.
pub fn read(path: &Path, environment: &BTreeMap<String, String>) -> Result<Taken, FileError> {
    let text = text(path)?;
    let name = path.display().to_string();
    let told = |problems: &[Problem]| problems.iter().map(|problem| problem.render(&name, &text)).collect::<Vec<_>>();
    let Loaded { config, problems, warnings } = load(&text, environment);
    match config {
        Some(config) => {
            let briefs = warnings.iter().map(|warning| brief(&name, warning));
            let warnings = briefs.zip(told(&warnings)).map(|(brief, whole)| Warning { brief, whole }).collect();
            Ok(Taken { config, warnings })
        }
        None => Err(FileError::Refused(told(&problems))),
    }
}

fn brief(name: &str, problem: &Problem) -> String {
    let Problem { line, column, key, reason, fix, .. } = problem;
    let fix = fix.as_ref().map(|fix| format!("; {fix}")).unwrap_or_default();
    format!("{name}:{line}:{column}: {key}: {reason}{fix}")
}

/// Reads a file and renders it as a template over the environment, and judges nothing else.
///
/// # Errors
/// It cannot be read or rendered.
pub fn rendered(path: &Path, environment: &BTreeMap<String, String>) -> Result<String, FileError> {
    let text = text(path)?;
    render_template(&text, environment)
        .map_err(|problem| FileError::Refused(vec![problem.render(&path.display().to_string(), &text)]))
}

fn text(path: &Path) -> Result<String, FileError> {
    fs::read_to_string(path).map_err(|source| FileError::Unreadable { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.json5");
        fs::write(&path, text).unwrap();
        (folder, path)
    }

    #[test]
    fn a_warning_is_one_line_for_the_log_and_a_picture_for_people() {
        let text = "{ consul: 'c:8500', jobs: [{ name: 'a', exec: 'x', when: { once: 'startup' } }] }";
        let (_folder, path) = written(text);
        let taken = read(&path, &BTreeMap::new()).unwrap();
        let [warning] = &taken.warnings[..] else { panic!("{:?}", taken.warnings) };
        let end = "app.json5:1:66: jobs[0].when.once: without a source this never happens, and the job never starts; \
                   write `source: \"global\"`";
        assert!(warning.brief.ends_with(end), "{}", warning.brief);
        assert!(warning.whole.lines().count() > 3);
    }

    #[test]
    fn a_file_that_is_not_there_is_named_and_one_that_is_wrong_has_all_its_problems() {
        let error = read(Path::new("/does/not/exist"), &BTreeMap::new()).unwrap_err().to_string();
        assert!(error.starts_with("cannot read `/does/not/exist`: "), "{error}");
        let (_folder, path) = written("{ jobs: [{ nam: 'a' }] }");
        let Err(FileError::Refused(problems)) = read(&path, &BTreeMap::new()) else { panic!("it was taken") };
        assert!(problems.len() >= 2, "{problems:?}");
        let (_folder, path) = written("{{ .A }}{{ end }}");
        assert!(matches!(rendered(&path, &BTreeMap::new()), Err(FileError::Refused(_))));
    }
}
