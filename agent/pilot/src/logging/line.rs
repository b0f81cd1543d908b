//! One line of the log: the forms that ContainerPilot's have.

use std::fmt::{self, Write as _};

use helium_containerpilot::config::LogFormat;
use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};

use super::{Log, Message};

/// A line with its end.
pub(super) fn line(
    format: LogFormat,
    time: Timestamp,
    level: &str,
    message: &str,
    fields: &[(String, String)],
) -> String {
    let time = format!("{time:.3}");
    match format {
        LogFormat::Default => {
            let mut line = format!("{time} ");
            for (name, value) in fields.iter().filter(|(name, _)| name == "job") {
                let _ = write!(line, "[{}] ", if name == "job" { value } else { "" });
            }
            line.push_str(message);
            for (name, value) in fields.iter().filter(|(name, _)| name != "job") {
                let _ = write!(line, " {name}={}", quoted(value));
            }
            line + "\n"
        }
        LogFormat::Text => {
            let mut line = format!("time=\"{time}\" level={level} msg={}", quoted(message));
            for (name, value) in fields {
                let _ = write!(line, " {name}={}", quoted(value));
            }
            line + "\n"
        }
        LogFormat::Json => {
            let own = [("time", time.as_str()), ("level", level), ("msg", message)];
            let own = own.into_iter().map(|(name, value)| (name.to_owned(), Value::from(value)));
            let others = fields.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str())));
            Value::Object(others.chain(own).collect::<Map<_, _>>()).to_string() + "\n"
        }
    }
}

/// A value in quotes if it has to be.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/@^+:".contains(c);
    if !value.is_empty() && value.chars().all(plain) { value.to_owned() } else { format!("{value:?}") }
}

/// Puts what this process says into the log.
pub(super) struct Lines(pub(super) Log);

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warning",
            Level::INFO => "info",
            _ => "debug",
        };
        let mut said = Said::default();
        event.record(&mut said);
        let line = line(self.0.format, self.0.ports.now(), level, &said.message, &said.fields);
        // Who logs must not wait for who writes.
        let _ = self.0.queue.try_send(Message::Line(line.into_bytes()));
    }
}

#[derive(Default)]
struct Said {
    message: String,
    fields: Vec<(String, String)>,
}

impl Said {
    fn add(&mut self, field: &Field, value: String) {
        if field.name() == "message" {
            self.message = value;
        } else {
            self.fields.push((field.name().to_owned(), value));
        }
    }
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}"));
    }
}
