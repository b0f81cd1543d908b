//! What is told of a failure: one bounded line in which no secret is.

use std::fmt::Display;

use base64::{Engine as _, prelude::BASE64_STANDARD};

/// The longest line, in characters. It goes into a status, beside many others.
const LONGEST: usize = 400;
/// What stands for a secret.
const HIDDEN: &str = "(hidden)";

/// Why something is not known. Only [`Hidden::tell`] makes one, so that none holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Why(String);

impl Why {
    /// Why, where no secret was at hand.
    pub(crate) fn of(error: &impl Display) -> Self {
        Hidden::default().tell(error)
    }
}

impl From<Why> for String {
    fn from(why: Why) -> Self {
        why.0
    }
}

/// The secrets that a request held, in all the forms in which its answer may show them.
#[derive(Clone, Default)]
pub(crate) struct Hidden(Vec<String>);

impl Hidden {
    /// Hides these texts, also where they are encoded as base64, in a URL or in JSON.
    pub(crate) fn of<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        Self::in_order(secrets.into_iter().flat_map(forms).filter(|form| !form.is_empty()).collect())
    }

    /// Hides what either hides.
    pub(crate) fn and(&self, other: &Self) -> Self {
        Self::in_order(self.0.iter().chain(&other.0).cloned().collect())
    }

    /// The longest first: what is left of it after a shorter one was hidden would not be found any more.
    fn in_order(mut forms: Vec<String>) -> Self {
        forms.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        forms.dedup();
        Self(forms)
    }

    /// One line without these secrets, cut after they were taken out: a half of one would not be recognised.
    pub(crate) fn tell(&self, error: &impl Display) -> Why {
        let text = self.0.iter().fold(error.to_string(), |text, secret| text.replace(secret, HIDDEN));
        let printable = |c: char| if c.is_control() { ' ' } else { c };
        let mut words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
        let mut line = words.next().unwrap_or_default().to_owned();
        for word in words {
            line.push(' ');
            line.push_str(word);
        }
        let mut kept: String = line.chars().map(printable).take(LONGEST).collect();
        if kept.len() < line.len() {
            kept.push_str("...");
        }
        Why(kept)
    }
}

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hidden({} forms)", self.0.len())
    }
}

/// A secret as it is, and as a server that echoes it may have written it down.
fn forms(secret: &str) -> [String; 4] {
    let json = serde_json::Value::from(secret).to_string();
    let json = json.trim_matches('"').to_owned();
    let url = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    [secret.to_owned(), BASE64_STANDARD.encode(secret), url, json]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(secrets: &[&str], text: &str) -> String {
        Hidden::of(secrets.iter().copied()).tell(&text).into()
    }

    #[test]
    fn a_secret_is_hidden_in_every_form_that_a_server_may_echo() {
        let secret = "s3/c\"ret+";
        for echo in [secret.to_owned()].into_iter().chain(forms(secret)) {
            let told = told(&[secret], &format!("401: no user has the token {echo}!"));
            assert_eq!(told, "401: no user has the token (hidden)!");
        }
    }

    #[test]
    fn a_secret_that_is_a_part_of_another_leaves_nothing_of_it() {
        assert_eq!(told(&["abc", "abc-def"], "abc-def abc"), "(hidden) (hidden)");
    }

    #[test]
    fn a_secret_over_the_end_of_the_line_is_hidden_before_the_line_is_cut() {
        let text = format!("{}0123456789", "x".repeat(LONGEST - 5));
        assert_eq!(told(&["0123456789"], &text), format!("{}(hidd...", "x".repeat(LONGEST - 5)));
    }

    #[test]
    fn an_answer_of_many_lines_is_told_in_one() {
        assert_eq!(told(&[], "<html>\r\n\t<b>no</b>\u{1b}[31m \n"), "<html> <b>no</b> [31m");
    }

    #[test]
    fn hidden_texts_are_not_in_its_debug_output() {
        assert!(!format!("{:?}", Hidden::of(["hunter2"])).contains("hunter2"));
    }
}
