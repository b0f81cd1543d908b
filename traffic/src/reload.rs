//! How HAProxy is asked to read its files again.

use std::fmt;

use crate::{Socket, shell};

/// How HAProxy is asked to read its files again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reload {
    /// By a command of the shell, such as `systemctl reload haproxy`.
    Command(String),
    /// By the socket of its master process (`haproxy -W -S <socket>`).
    Master(Socket),
}

impl Reload {
    /// Asks for it. Whether HAProxy does it shows in its table; the error says why it could not even be asked.
    pub(crate) async fn run(&self) -> Result<(), String> {
        match self {
            Self::Command(command) => shell::run(command).await,
            // The master takes itself anew at once and most versions close the line without a word; newer ones say how it went.
            Self::Master(socket) => match socket.ask("reload").await {
                Ok(answer) if answer.trim_start().starts_with("Success=0") => Err(last_line(&answer)),
                Ok(_) => Ok(()),
                Err(error) => Err(error.to_string()),
            },
        }
    }
}

impl fmt::Display for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(command) => write!(f, "`{command}`"),
            Self::Master(socket) => write!(f, "`reload` at {socket}"),
        }
    }
}

fn last_line(answer: &str) -> String {
    answer.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_owned()
}
