//! Where a command writes: data on stdout, words on stderr, colour only where somebody looks.

use std::io::{self, IsTerminal, Write};

use super::exit::Failure;

/// The two streams of a command.
pub(crate) struct Console {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    /// Whether stdout is a terminal: progress may redraw, tables may be coloured.
    pub(crate) terminal: bool,
    colour: bool,
    colour_err: bool,
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
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        let terminal = io::stdout().is_terminal();
        Self {
            out: Box::new(io::stdout()),
            err: Box::new(io::stderr()),
            terminal,
            colour: terminal && !plain,
            colour_err: io::stderr().is_terminal() && !plain,
        }
    }

    /// Writes one line of data.
    pub(crate) fn line(&mut self, text: impl AsRef<str>) -> Result<(), Failure> {
        Ok(writeln!(self.out, "{}", text.as_ref())?)
    }

    /// Writes data as it is.
    pub(crate) fn data(&mut self, text: impl AsRef<str>) -> Result<(), Failure> {
        self.out.write_all(text.as_ref().as_bytes())?;
        Ok(self.out.flush()?)
    }

    /// Says something to whoever looks. A lost stderr is nobody's business.
    pub(crate) fn say(&mut self, text: impl AsRef<str>) {
        let _ = writeln!(self.err, "{}", text.as_ref());
    }

    /// Says a warning.
    pub(crate) fn warn(&mut self, text: impl AsRef<str>) {
        let word = paint(self.colour_err, Tone::Warning, "warning:");
        self.say(format!("{word} {}", text.as_ref()));
    }

    /// Says what went wrong, and the way out after an empty line.
    pub(crate) fn failure(&mut self, failure: &Failure) {
        if failure.message.is_empty() {
            return;
        }
        let word = paint(self.colour_err, Tone::Bad, "error:");
        self.say(format!("{word} {}", failure.message));
        if let Some(hint) = &failure.hint {
            let word = paint(self.colour_err, Tone::Busy, "hint:");
            self.say(format!("\n{word} {hint}"));
        }
    }

    /// Whether words may be in colour.
    pub(crate) fn colours_words(&self) -> bool {
        self.colour_err
    }

    /// The text in its colour, where stdout has colours.
    pub(crate) fn paint(&self, tone: Tone, text: &str) -> String {
        paint(self.colour, tone, text)
    }
}

fn paint(colour: bool, tone: Tone, text: &str) -> String {
    if colour { format!("\x1b[{}m{text}\x1b[0m", tone.code()) } else { text.to_owned() }
}
