//! A terminal of a given size with a program in it: what it writes there, and what a person would see on the screen.

use std::{
    fs::File,
    io::Read,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::{
    fs::{Mode, OFlags, open},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

use crate::{command, eventually, process};

/// A program that believes that somebody sits in front of it. Killed when dropped.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    written: Arc<Mutex<Vec<u8>>>,
    reading: Option<JoinHandle<()>>,
    size: Winsize,
}

impl Terminal {
    /// Starts `command` on a terminal of so many rows and columns.
    #[track_caller]
    pub fn start(command: &mut Command, rows: u16, columns: u16) -> Self {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap();
        let theirs = open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        tcsetwinsize(&ours, size).unwrap();
        let plug = || Stdio::from(theirs.try_clone().unwrap());
        let child = command.stdin(plug()).stdout(plug()).stderr(plug()).spawn().unwrap();
        // The command holds sides of its own, and the read below ends only when all of them are closed.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        drop(theirs);
        let written = Arc::new(Mutex::new(Vec::new()));
        let reading = thread::spawn({
            let (written, mut from) = (Arc::clone(&written), File::from(ours));
            move || {
                let mut bytes = [0; 4096];
                // A terminal whose last program is gone answers with an error, which is its end.
                while let Ok(length @ 1..) = from.read(&mut bytes) {
                    written.lock().unwrap().extend_from_slice(&bytes[..length]);
                }
            }
        });
        Self { child, written, reading: Some(reading), size }
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything that was written, escape sequences and all.
    pub fn written(&self) -> String {
        String::from_utf8_lossy(&self.written.lock().unwrap()).into_owned()
    }

    /// What a person sees now.
    pub fn screen(&self) -> Vec<String> {
        screen(&self.written(), usize::from(self.size.ws_row), usize::from(self.size.ws_col))
    }

    /// Waits until a line of the screen contains `text`.
    #[track_caller]
    pub fn wait_to_show(&self, text: &str, limit: Duration) {
        eventually(&format!("the screen shows {text:?}"), limit, || {
            self.screen().iter().any(|line| line.contains(text)).then_some(())
        });
    }

    /// SIGINT, as the terminal sends it at Ctrl-C, and waits for the end: the exit code.
    #[track_caller]
    pub fn interrupt(&mut self, limit: Duration) -> i32 {
        process::interrupt(self.pid());
        self.wait(limit)
    }

    /// Waits for the end, and until all was read: the exit code.
    #[track_caller]
    pub fn wait(&mut self, limit: Duration) -> i32 {
        let ended = command::wait_for(&mut self.child, limit);
        let Some(code) = ended else {
            panic!("it did not end in {limit:?}; the screen:\n{}", self.screen().join("\n"))
        };
        self.reading.take().into_iter().for_each(|reading| reading.join().unwrap());
        code
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if command::wait_for(&mut self.child, Duration::ZERO).is_none() {
            process::kill(self.pid());
            let _end = command::wait_for(&mut self.child, Duration::from_secs(10));
        }
    }
}

/// The screen after `written`, without the empty lines at its end: lines wrap and scroll, the cursor goes up by `CSI n A`, `CSI J` clears what is below it, and colours are
/// not looked at. Any other sequence fails the test: the screen would not be what a person sees.
fn screen(written: &str, rows: usize, columns: usize) -> Vec<String> {
    let mut lines: Vec<Vec<char>> = vec![Vec::new()];
    // The row counts from the top of all that was ever written; what has scrolled away cannot be reached any more.
    let (mut row, mut column) = (0_usize, 0_usize);
    let mut rest = written.chars();
    while let Some(char) = rest.next() {
        match char {
            '\r' => column = 0,
            '\n' => row += 1,
            '\x1b' => {
                assert_eq!(rest.next(), Some('['), "not a sequence that this terminal knows");
                let mut digits = String::new();
                let verb = rest.by_ref().find(|char| char.is_alphabetic() || (digits.push(*char), false).1);
                match verb {
                    Some('A') => {
                        let top = lines.len().saturating_sub(rows);
                        row = row.saturating_sub(digits.parse().unwrap_or(1)).max(top);
                    }
                    Some('J') => {
                        lines[row].truncate(column);
                        lines.iter_mut().skip(row + 1).for_each(Vec::clear);
                    }
                    Some('m') | None => {}
                    Some(other) => panic!("not a sequence that this terminal knows: {digits}{other}"),
                }
            }
            char => {
                if column == columns {
                    (row, column) = (row + 1, 0);
                }
                let line = lines_to(&mut lines, row);
                line.resize(line.len().max(column + 1), ' ');
                line[column] = char;
                column += 1;
            }
        }
        lines_to(&mut lines, row);
    }
    let top = lines.len().saturating_sub(rows);
    let shown = lines[top..].iter().map(|line| line.iter().collect::<String>().trim_end().to_owned());
    let mut shown: Vec<String> = shown.collect();
    while shown.last().is_some_and(String::is_empty) {
        shown.pop();
    }
    shown
}

/// The line of a row, with all before it.
fn lines_to(lines: &mut Vec<Vec<char>>, row: usize) -> &mut Vec<char> {
    lines.resize(lines.len().max(row + 1), Vec::new());
    &mut lines[row]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_wraps_scrolls_and_is_drawn_over() {
        assert_eq!(screen("one\r\ntwo\r\n", 9, 9), ["one", "two"]);
        assert_eq!(screen("abcdef", 9, 4), ["abcd", "ef"]);
        assert_eq!(screen("1\r\n2\r\n3\r\n", 3, 9), ["2", "3"]);
        assert_eq!(screen("old\r\nolder\r\n\x1b[2A\x1b[Jnew\r\n", 9, 9), ["new"]);
        assert_eq!(screen("\x1b[32mgreen\x1b[0m", 9, 9), ["green"]);
        // What has scrolled away cannot be drawn over.
        assert_eq!(screen("1\r\n2\r\n3\r\n\x1b[3A\x1b[Jx\r\n", 3, 9), ["x"]);
    }

    #[test]
    fn a_program_finds_a_terminal_of_the_size_that_was_asked_for() {
        let mut terminal = Terminal::start(Command::new("sh").args(["-c", "test -t 1 && stty size"]), 7, 33);
        assert_eq!(terminal.wait(Duration::from_secs(10)), 0);
        assert_eq!(terminal.screen(), ["7 33"]);
    }
}
