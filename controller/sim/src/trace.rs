//! What happened, in order: the last lines to read, and a hash of all of them to compare two runs by.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

/// So many lines are kept, unless all are asked for.
const KEPT: usize = 400;
/// Whether every line is printed at once, those that nobody wants to read included.
static ALOUD: AtomicBool = AtomicBool::new(false);

/// From now on every trace of this process is printed as it grows.
pub fn aloud() {
    ALOUD.store(true, Ordering::Relaxed);
}

/// The story of one run.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    lines: VecDeque<String>,
    hash: u64,
    count: u64,
}

impl Trace {
    /// Adds a line; one that nobody wants to read counts for the hash only.
    pub fn push(&mut self, at: Duration, line: &str, quiet: bool) {
        let line = format!("{:>9.3} {line}", at.as_secs_f64());
        // FNV-1a: any change of any line changes the hash of the whole.
        for byte in line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.count += 1;
        if ALOUD.load(Ordering::Relaxed) {
            print_line(&line);
        }
        if quiet {
            return;
        }
        if self.lines.len() == KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// The last lines, oldest first.
    pub fn last(&self, number: usize) -> Vec<String> {
        self.lines.iter().skip(self.lines.len().saturating_sub(number)).cloned().collect()
    }

    /// The hash of all lines, and how many there were.
    pub fn digest(&self) -> (u64, u64) {
        (self.hash, self.count)
    }
}

#[allow(clippy::print_stdout, reason = "whoever asks for it wants to see it")]
fn print_line(line: &str) {
    println!("{line}");
}
