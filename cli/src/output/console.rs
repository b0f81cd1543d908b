//! Where a command writes: data on stdout, words on stderr, colour only where somebody looks.

use std::io::{self, IsTerminal, Write};

use super::exit::Failure;

/// The two streams of a command.
pub(crate) struct Console {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    colour: bool,
    /// Whether stdout holds a document, so that lines of progress go to stderr.
    only_data: bool,
    /// Whether the command goes on when nobody reads its stdout any more.
    outlives_reader: bool,
}

/// What a piece of text is, which decides its colour. The text itself always says so too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// All is well.
    Good,
    /// On the way.
    Busy,
    /// Somebody may want to look.
    Warning,
    /// Something is wrong.
    Bad,
    /// Less important.
    Faint,
    /// More important.
    Strong,
}

impl Tone {
    fn code(self) -> &'static str {
        match self {
            Tone::Good => "32",
            Tone::Busy => "36",
            Tone::Warning => "33",
            Tone::Bad => "31",
            Tone::Faint => "2",
            Tone::Strong => "1",
        }
    }
}

impl Console {
    /// The process's own streams.
    pub(crate) fn of_process() -> Self {
        Self {
            out: Box::new(io::stdout()),
            err: Box::new(io::stderr()),
            colour: io::stdout().is_terminal() && !is_plain(),
            only_data: false,
            outlives_reader: false,
        }
    }

    /// Streams that lead nowhere, without colours, whatever the tests run on.
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        Self {
            out: Box::new(io::sink()),
            err: Box::new(io::sink()),
            colour: false,
            only_data: false,
            outlives_reader: false,
        }
    }

    /// From here on stdout belongs to what a machine reads.
    pub(crate) fn keep_stdout_for_data(&mut self) {
        self.only_data = true;
    }

    /// From here on a reader of stdout that goes away does not end the command: its exit code is still a verdict that somebody waits for.
    pub(crate) fn outlive_its_reader(&mut self) {
        self.outlives_reader = true;
    }

    /// Writes one line of data.
    pub(crate) fn line(&mut self, text: impl AsRef<str>) -> Result<(), Failure> {
        self.write(&format!("{}\n", text.as_ref()))
    }

    /// Writes one line of how something goes on. Such lines are what a command that waits has to tell, so they go to stdout in line with
    /// its other lines; they are words beside the data where stdout holds a document for machines.
    pub(crate) fn progress(&mut self, text: impl AsRef<str>) -> Result<(), Failure> {
        if self.only_data {
            self.say(text);
            return Ok(());
        }
        self.line(text)
    }

    /// Writes data as it is.
    pub(crate) fn data(&mut self, text: impl AsRef<str>) -> Result<(), Failure> {
        self.write(text.as_ref())
    }

    fn write(&mut self, text: &str) -> Result<(), Failure> {
        let written = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
        match written {
            Err(error) if self.outlives_reader && error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => Ok(written?),
        }
    }

    /// Says something to whoever looks. A lost stderr is nobody's business.
    pub(crate) fn say(&mut self, text: impl AsRef<str>) {
        let _ = writeln!(self.err, "{}", text.as_ref());
    }

    /// Says a warning.
    pub(crate) fn warn(&mut self, text: impl AsRef<str>) {
        let word = paint(colours_stderr(), Tone::Warning, "warning:");
        self.say(format!("{word} {}", text.as_ref()));
    }

    /// Says what went wrong, and the way out after an empty line.
    pub(crate) fn failure(&mut self, failure: &Failure) {
        if failure.message.is_empty() {
            return;
        }
        if leads_with_a_word(&failure.message) {
            self.say(&failure.message);
        } else {
            let word = paint(colours_stderr(), Tone::Bad, "error:");
            self.say(format!("{word} {}", failure.message));
        }
        if let Some(hint) = &failure.hint {
            let word = paint(colours_stderr(), Tone::Busy, "hint:");
            self.say(format!("\n{word} {hint}"));
        }
    }

    /// Whether words may be in colour.
    #[allow(clippy::unused_self, reason = "where a command writes is the console's affair")]
    pub(crate) fn colours_words(&self) -> bool {
        colours_stderr()
    }

    /// The text in its colour, where stdout has colours.
    pub(crate) fn paint(&self, tone: Tone, text: &str) -> String {
        paint(self.colour, tone, text)
    }
}

/// Whether a message is a list of findings, each of which says itself what it is.
fn leads_with_a_word(message: &str) -> bool {
    message.starts_with("error: ") || message.starts_with("warning: ")
}

/// Whether stdout is a terminal that can move its cursor: what is shown may be drawn again.
pub(crate) fn redraws() -> bool {
    io::stdout().is_terminal() && !is_dumb()
}

/// Whether words on stderr may be in colour, log lines among them.
pub(crate) fn colours_stderr() -> bool {
    io::stderr().is_terminal() && !is_plain()
}

/// Whether colours are not wanted, or not possible.
fn is_plain() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) || is_dumb()
}

/// Whether the terminal knows no escape sequences.
fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|value| value == "dumb")
}

fn paint(colour: bool, tone: Tone, text: &str) -> String {
    if colour { format!("\x1b[{}m{text}\x1b[0m", tone.code()) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::{super::exit::Exit, *};

    /// A pipe whose reader has gone away.
    struct Broken;

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn without_reader() -> Console {
        Console { out: Box::new(Broken), ..Console::plain() }
    }

    #[test]
    fn a_reader_that_went_away_ends_a_command_quietly() {
        let failure = without_reader().line("a row").unwrap_err();
        assert_eq!((failure.exit, failure.message.as_str()), (Exit::Ok, ""));
    }

    #[test]
    fn a_command_whose_exit_code_is_a_verdict_goes_on_without_its_reader() {
        let mut console = without_reader();
        console.outlive_its_reader();
        console.line("canary 25% (1 of 4) healthy").unwrap();
        console.data("{}").unwrap();
    }

    /// What is said of a failure.
    fn said(message: &str) -> String {
        #[derive(Clone, Default)]
        struct Heard(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);
        impl Write for Heard {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().write(bytes)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let heard = Heard::default();
        let mut console = Console { err: Box::new(heard.clone()), ..Console::plain() };
        console.failure(&Failure::usage(message));
        drop(console);
        String::from_utf8(heard.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn findings_that_say_what_they_are_are_not_called_errors_twice() {
        assert_eq!(said("there is no `x`"), "error: there is no `x`\n");
        assert_eq!(said("error: a key\nwarning: another"), "error: a key\nwarning: another\n");
    }
}
