//! Commands that a person has given, run by the shell within a limit.

use std::{process::Stdio, time::Duration};

use tokio::process::Command;

/// How long one may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Runs a command; the error is what it said last, or why it did not run.
pub(crate) async fn run(command: &str) -> Result<(), String> {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let output = match tokio::time::timeout(LIMIT, shell.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err(format!("it did not end within {LIMIT:?}")),
    };
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("it says nothing");
    Err(format!("{}: {last}", output.status))
}

/// A word of the shell, whatever is in it.
pub(crate) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_command_that_fails_is_told_with_its_last_words() {
        assert_eq!(run("true").await, Ok(()));
        assert_eq!(run("echo first >&2; echo last >&2; exit 3").await, Err("exit status: 3: last".to_owned()));
        assert_eq!(run("exit 4").await, Err("exit status: 4: it says nothing".to_owned()));
    }

    #[tokio::test]
    async fn a_quoted_word_is_one_word() {
        assert_eq!(run(&format!("test {} = \"it's a \\$word\"", quoted("it's a $word"))).await, Ok(()));
    }
}
