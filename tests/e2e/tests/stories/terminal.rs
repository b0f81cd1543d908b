//! A person at a terminal: each command with all that it said and its exit code, as one text to keep.

use std::fmt::Write as _;

use helium_e2e::{Consul, Helium};

/// What was typed and what came of it.
pub(crate) struct Terminal {
    pub(crate) helium: Helium,
    address: String,
    said: String,
}

impl Terminal {
    /// A person on this Consul.
    pub(crate) fn on(consul: &Consul) -> Self {
        Self { helium: Helium::on(consul), address: consul.address(), said: String::new() }
    }

    /// The same person on a line to that Consul.
    pub(crate) fn at(address: &str) -> Self {
        Self { helium: Helium::at(address), address: address.to_owned(), said: String::new() }
    }

    /// Writes a file into the person's folder.
    pub(crate) fn write(&self, name: &str, text: &str) {
        self.helium.write(name, text);
    }

    /// Types a command: its words are separated by blanks. What it says on stderr has a bar in front.
    #[track_caller]
    pub(crate) fn types(&mut self, line: &str, code: i32) {
        self.types_with(line, &[], code);
    }

    /// The same with variables of the environment.
    #[track_caller]
    pub(crate) fn types_with(&mut self, line: &str, variables: &[(&str, &str)], code: i32) {
        let arguments: Vec<&str> = line.split(' ').collect();
        let mut command = self.helium.command(&arguments);
        command.envs(variables.iter().copied());
        let output = helium_e2e::command::run(&mut command, "", std::time::Duration::from_secs(30));
        let output = output.expect_code(code);
        for (name, value) in variables {
            writeln!(self.said, "$ export {name}={value}").unwrap();
        }
        write!(self.said, "$ helium {line}\n{}", output.stdout).unwrap();
        for words in output.stderr.lines() {
            writeln!(self.said, "{}", format!("| {words}").trim_end()).unwrap();
        }
        if code != 0 {
            writeln!(self.said, "(exit code {code})").unwrap();
        }
        self.said.push('\n');
    }

    /// All of it, without what differs from run to run.
    pub(crate) fn said(&self) -> String {
        self.said.replace(&self.address, "CONSUL")
    }
}
