//! Steps: each is named, timed and run even if an earlier one failed; the first failure is the exit code.

use std::{
    fmt,
    io::{self, BufRead, BufReader},
    process::{Command, ExitCode, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It holds; in a few words what was seen.
    Passed(String),
    /// It could not be tried, and why. Said in the summary, and no failure.
    NotRun(String),
    /// It does not hold.
    Failed {
        /// The exit code of whatever failed.
        code: u8,
        /// In a few words what is wrong.
        words: String,
    },
}

impl Outcome {
    /// A failure of a step of our own.
    pub(crate) fn failed(words: impl Into<String>) -> Self {
        Outcome::Failed { code: 1, words: words.into() }
    }
}

/// How many tests passed, failed and were left out, from the `test result:` lines of the test runner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tests {
    passed: usize,
    failed: usize,
    ignored: usize,
}

impl Tests {
    /// Adds `test result: ok. 7 passed; 0 failed; 0 ignored; ...`; other lines add nothing.
    fn add(&mut self, line: &str) {
        let Some((_, counts)) = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". ")) else {
            return;
        };
        for count in counts.split("; ") {
            let Some((number, what)) = count.split_once(' ') else { continue };
            let number = number.parse().unwrap_or(0);
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

impl fmt::Display for Tests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tests passed, {} failed, {} ignored", self.passed, self.failed, self.ignored)
    }
}

/// All steps of a run, as they end.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    done: Vec<(&'static str, Duration, Outcome)>,
}

impl Steps {
    /// Runs one step and prints its name, time and outcome.
    pub(crate) fn run(&mut self, name: &'static str, work: impl FnOnce() -> Outcome) {
        say(&format!("\n==> {name}"));
        let (outcome, time) = timed(work);
        say(&line(name, time, &outcome));
        self.done.push((name, time, outcome));
    }

    /// Prints all steps again, ends with one line for all, and gives the exit code of the first that failed.
    pub(crate) fn finish(self, title: &str) -> ExitCode {
        say("");
        for (name, time, outcome) in &self.done {
            say(&line(name, *time, outcome));
        }
        let (words, code) = self.verdict(title);
        say(&words);
        ExitCode::from(code)
    }

    fn verdict(&self, title: &str) -> (String, u8) {
        let seconds = self.done.iter().map(|(_, time, _)| time.as_secs()).sum::<u64>();
        let time = format!("{} min {:02} s", seconds / 60, seconds % 60);
        let named = |wanted: fn(&Outcome) -> bool| {
            let names: Vec<&str> = self.done.iter().filter(|(.., o)| wanted(o)).map(|(name, ..)| *name).collect();
            names.join(", ")
        };
        let failed = named(|outcome| matches!(outcome, Outcome::Failed { .. }));
        let left_out = named(|outcome| matches!(outcome, Outcome::NotRun(_)));
        let left_out = if left_out.is_empty() { left_out } else { format!("; not run: {left_out}") };
        let first =
            self.done.iter().find_map(|(.., o)| if let Outcome::Failed { code, .. } = o { Some(*code) } else { None });
        match first {
            Some(code) => (format!("{title}: FAILED in {time}: {failed}{left_out}"), code.max(1)),
            None => (format!("{title}: passed in {time}{left_out}"), 0),
        }
    }
}

fn line(name: &str, time: Duration, outcome: &Outcome) -> String {
    let (verdict, words) = match outcome {
        Outcome::Passed(words) => ("ok", words),
        Outcome::NotRun(words) => ("NOT RUN", words),
        Outcome::Failed { words, .. } => ("FAILED", words),
    };
    let words = if words.is_empty() { String::new() } else { format!("  {words}") };
    format!("    {verdict:<8} {name:<12} {:>7.1} s{words}", time.as_secs_f32())
}

/// Runs a command of which only the exit code counts.
pub(crate) fn command(mut command: Command) -> Outcome {
    match command.status() {
        Ok(status) => judge(status, String::new()),
        Err(error) => Outcome::failed(format!("{command:?}: {error}")),
    }
}

/// Runs a command that runs tests: its output is printed as it comes, and its tests are counted.
pub(crate) fn tests(mut command: Command) -> Outcome {
    let mut count = Tests::default();
    let mut run = || -> io::Result<ExitStatus> {
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        if let Some(pipe) = child.stdout.take() {
            for line in BufReader::new(pipe).split(b'\n') {
                let line = line?;
                let text = String::from_utf8_lossy(&line);
                say(&text);
                count.add(&text);
            }
        }
        child.wait()
    };
    match run() {
        Ok(status) if status.success() && count.passed == 0 => Outcome::failed("no test was run"),
        Ok(status) => judge(status, count.to_string()),
        Err(error) => Outcome::failed(format!("{command:?}: {error}")),
    }
}

fn judge(status: ExitStatus, words: String) -> Outcome {
    if status.success() {
        return Outcome::Passed(words);
    }
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    let gap = if words.is_empty() { "" } else { "; " };
    Outcome::Failed { code, words: format!("{words}{gap}{status}") }
}

/// Prints a line; it is written at once, and so stands before what the next command prints.
pub(crate) fn say(line: &str) {
    println!("{line}");
}

#[allow(clippy::disallowed_methods, reason = "a script tells the time that it really took")]
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    (work(), start.elapsed())
}

#[cfg(test)]
mod tests_of_steps {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn tests_are_counted_over_all_binaries() {
        let mut count = Tests::default();
        count.add("test result: ok. 7 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.13s");
        count.add("test result: FAILED. 4 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 36.04s");
        count.add("test a::b ... ok");
        assert_eq!(count, Tests { passed: 11, failed: 1, ignored: 1 });
    }

    #[test]
    fn the_exit_code_is_that_of_the_first_failure() {
        let mut steps = Steps::default();
        steps.run("one", || command(shell("exit 0")));
        steps.run("two", || command(shell("exit 101")));
        steps.run("three", || command(shell("exit 3")));
        steps.run("four", || Outcome::NotRun("no moon".to_owned()));
        let (words, code) = steps.verdict("all");
        assert_eq!((words.as_str(), code), ("all: FAILED in 0 min 00 s: two, three; not run: four", 101));
    }

    #[test]
    fn a_run_without_failure_passes_and_names_what_was_left_out() {
        let mut steps = Steps::default();
        steps.run("one", || Outcome::Passed(String::new()));
        steps.run("two", || Outcome::NotRun("no moon".to_owned()));
        assert_eq!(steps.verdict("all"), ("all: passed in 0 min 00 s; not run: two".to_owned(), 0));
    }

    #[test]
    fn a_test_command_that_runs_no_test_fails() {
        assert_eq!(tests(shell("true")), Outcome::failed("no test was run"));
        let one = "echo 'test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured'";
        assert_eq!(tests(shell(one)), Outcome::Passed("1 tests passed, 0 failed, 0 ignored".to_owned()));
    }
}
