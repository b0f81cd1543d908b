//! A drawing on a terminal that is drawn over again and again, within the screen.

use super::{Console, Failure};

/// The size that is taken where a terminal does not tell its own.
const WIDTH: usize = 80;
const HEIGHT: usize = 24;

/// How much fits on the screen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// Characters in a line.
    pub(crate) width: usize,
    /// Lines.
    pub(crate) height: usize,
}

/// The size of the terminal now.
pub(crate) fn size() -> Size {
    let told = rustix::termios::tcgetwinsize(std::io::stdout()).ok();
    let or = |told: Option<u16>, usual: usize| told.filter(|&told| told > 0).map_or(usual, usize::from);
    Size { width: or(told.map(|size| size.ws_col), WIDTH), height: or(told.map(|size| size.ws_row), HEIGHT) }
}

/// As much of a line as fits.
pub(crate) fn cut(line: &str, width: usize) -> String {
    line.chars().take(width).collect()
}

/// The drawing.
#[derive(Debug, Default)]
pub(crate) struct Canvas {
    /// How many lines of it stand above the cursor.
    drawn: usize,
}

impl Canvas {
    /// Draws lines over those that were drawn last. They have to fit: one that wraps, or that has left the screen, could not be drawn over.
    pub(crate) fn draw(&mut self, lines: &[String], console: &mut Console) -> Result<(), Failure> {
        // Up to the first line of the last drawing, and clear what is below.
        let up = if self.drawn > 0 { format!("\x1b[{}A\x1b[J", self.drawn) } else { String::new() };
        self.drawn = lines.len();
        let mut text = lines.join("\n");
        if !text.is_empty() {
            text.push('\n');
        }
        console.data(up + &text)
    }
}
