//! The values that a package brings: `default.json`, `default.yaml` or `default.toml`.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Layer, Origin, ValueError};
use crate::snippet::{Place, Snippet};

/// The names of the files that may hold a package's values.
pub const DEFAULT_FILES: [&str; 4] = ["default.json", "default.yaml", "default.yml", "default.toml"];

impl Layer {
    /// The values of a package, of the files that were found in it. No file is no values; two files leave it open which one counts.
    pub fn of_defaults(files: &[(PathBuf, String)]) -> Result<Self, ValueError> {
        match files {
            [] => Ok(Self::default()),
            [(path, text)] => Self::of_file(path, text),
            [(one, _), (other, _), ..] => Err(ValueError::TwoDefaults { one: one.clone(), other: other.clone() }),
        }
    }

    fn of_file(path: &Path, text: &str) -> Result<Self, ValueError> {
        let origin = Origin::Defaults(path.to_owned());
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let value = match path.extension().and_then(|extension| extension.to_str()) {
            Some("toml") => of_toml(text),
            Some("yaml" | "yml") => of_yaml(text),
            _ => of_json(text),
        };
        let value = value.map_err(|(message, place)| {
            let name = path.display().to_string();
            ValueError::Syntax { report: Snippet { name: &name, text, message: &message, place, help: None }.render() }
        })?;
        Self::of_json(value, &origin)
    }
}

type Trouble = (String, Place);

fn of_json(text: &str) -> Result<Value, Trouble> {
    serde_json::from_str(text).map_err(|error| {
        // The message ends in the place, which is shown anyway.
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or(&message).to_owned();
        (message, Place::LineColumn(error.line(), error.column()))
    })
}

fn of_yaml(text: &str) -> Result<Value, Trouble> {
    serde_saphyr::from_str(text).map_err(|error| {
        let error = error.without_snippet();
        let place = error.location().map_or(Place::Nowhere, |place| {
            Place::LineColumn(usize::try_from(place.line()).unwrap_or(1), usize::try_from(place.column()).unwrap_or(1))
        });
        let message = error.to_string();
        let message = message.lines().next().unwrap_or_default();
        (message.split(" at line ").next().unwrap_or(message).to_owned(), place)
    })
}

fn of_toml(text: &str) -> Result<Value, Trouble> {
    toml::from_str(text).map_err(|error| {
        let place = error.span().map_or(Place::Nowhere, Place::Bytes);
        (error.message().to_owned(), place)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::values::Values;

    fn read(name: &str, text: &str) -> Result<Value, ValueError> {
        let layer = Layer::of_defaults(&[(PathBuf::from(name), text.to_owned())])?;
        Ok(Values::merge([layer]).to_json())
    }

    #[test]
    fn the_three_formats_say_the_same() {
        let wanted = json!({"db": {"port": 5432, "hosts": ["a", "b"]}, "on": true});
        let files = [
            ("default.json", r#"{"db": {"port": 5432, "hosts": ["a", "b"]}, "on": true}"#),
            ("default.yaml", "db:\n  port: 5432\n  hosts: [a, b]\non: true\n"),
            ("default.toml", "on = true\n[db]\nport = 5432\nhosts = ['a', 'b']\n"),
        ];
        for (name, text) in files {
            assert_eq!(read(name, text).unwrap(), wanted, "{name}");
            assert_eq!(read(name, " \n").unwrap(), json!({}), "{name}");
        }
    }

    #[test]
    fn an_error_shows_file_line_column_and_the_line() {
        let json = read("web/default.json", "{\n  \"port\": 1,\n  \"host\" \"a\"\n}\n").unwrap_err();
        insta::assert_snapshot!(json, @r#"
        error: expected `:`
         --> web/default.json:3:10
          |
        3 |   "host" "a"
          |          ^
        "#);
        let yaml = read("web/default.yaml", "port: 1\nhost: [a\n").unwrap_err();
        insta::assert_snapshot!(yaml, @"
        error: unclosed bracket '['
         --> web/default.yaml:2:7
          |
        2 | host: [a
          |       ^
        ");
        let toml = read("web/default.toml", "port = 1\nhost = \n").unwrap_err();
        insta::assert_snapshot!(toml, @"
        error: string values must be quoted, expected literal string
         --> web/default.toml:2:8
          |
        2 | host = 
          |        ^
        ");
    }

    #[test]
    fn two_files_of_defaults_are_refused() {
        let files = ["default.json", "default.toml"].map(|name| (PathBuf::from(name), String::new()));
        let error = Layer::of_defaults(&files).unwrap_err().to_string();
        assert_eq!(error, "default.json and default.toml are both there: keep one of them");
    }
}
