//! Texts that nobody may see, and how they are kept out of what is told.

use std::{collections::BTreeSet, fmt};

use serde_json::Value;

/// What stands in the place of a secret.
pub const MASK: &str = "(secret)";
/// Shorter texts than this are not looked for: `1` or `on` as a secret would black out half of every file, and guard nothing.
const SHORTEST: usize = 4;

/// Texts that nobody may see.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Hidden {
    texts: BTreeSet<String>,
}

impl Hidden {
    /// Adds a text.
    pub fn add(&mut self, text: &str) {
        for text in [text, text.trim()] {
            if text.len() >= SHORTEST {
                self.texts.insert(text.to_owned());
            }
        }
        // A secret of many lines, such as a key, is hidden line by line too, as a diff shows it.
        if text.trim().contains('\n') {
            text.lines().map(str::trim).filter(|line| line.len() >= SHORTEST).for_each(|line| {
                self.texts.insert(line.to_owned());
            });
        }
    }

    /// Adds every text and number within a value.
    pub fn add_value(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.add(text),
            Value::Array(list) => list.iter().for_each(|value| self.add_value(value)),
            Value::Object(map) => map.values().for_each(|value| self.add_value(value)),
            Value::Number(number) => self.add(&number.to_string()),
            Value::Bool(_) | Value::Null => {}
        }
    }

    /// Adds all texts of another.
    pub fn extend(&mut self, other: &Hidden) {
        self.texts.extend(other.texts.iter().cloned());
    }

    /// Whether a text holds any of these.
    pub fn is_in(&self, text: &str) -> bool {
        self.texts.iter().any(|secret| text.contains(secret.as_str()))
    }

    /// The text with every secret replaced. Longer ones go first, for a shorter one may be a part of them.
    pub fn mask(&self, text: &str) -> String {
        let mut texts: Vec<&String> = self.texts.iter().collect();
        texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
        texts.into_iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), MASK))
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hidden({})", self.texts.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_holds_another_is_replaced_as_a_whole() {
        let mut hidden = Hidden::default();
        hidden.add("hunter2");
        hidden.add("hunter2-and-more\n");
        assert_eq!(hidden.mask("a=hunter2 b=hunter2-and-more"), "a=(secret) b=(secret)");
        assert!(!format!("{hidden:?}").contains("hunter2"));
    }

    #[test]
    fn a_key_of_many_lines_is_hidden_line_by_line() {
        let mut hidden = Hidden::default();
        hidden.add("-----BEGIN-----\nAAAABBBB\n-----END-----\n");
        assert_eq!(hidden.mask("+AAAABBBB"), "+(secret)");
    }
}
