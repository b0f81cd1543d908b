//! `${NAME}` in commands and environment values: which names there are, and how they are replaced.
//!
//! `$${NAME}` stands for the text `${NAME}`. A `$` that is not followed by `{` is itself, so that shell scripts pass through.

use std::borrow::Cow;

use crate::template::Template;

/// The first port's number.
pub const PORT: &str = "PORT";
/// The template's version label.
pub const VERSION: &str = "VERSION";
/// The path of the agent's own `helium` program.
pub const HELIUM_BIN: &str = "HELIUM_BIN";
/// The id of the instance.
pub const HELIUM_INSTANCE: &str = "HELIUM_INSTANCE";
/// A folder of the instance's own, which stays over restarts: the working directory of a command that names none.
pub const HELIUM_WORK: &str = "HELIUM_WORK";
/// The folder of the package, as this instance sees it: with its own rendered files. Set where the template has a package.
pub const HELIUM_PACKAGE: &str = "HELIUM_PACKAGE";
/// The address that the instance is registered with and checked at: where it has to listen.
pub const HELIUM_ADDRESS: &str = "HELIUM_ADDRESS";
/// The name of the node that the instance runs on.
pub const HELIUM_NODE: &str = "HELIUM_NODE";
/// The namespace of the instance's Deployment.
pub const HELIUM_NAMESPACE: &str = "HELIUM_NAMESPACE";
/// The name of the instance's Deployment.
pub const HELIUM_DEPLOYMENT: &str = "HELIUM_DEPLOYMENT";
/// The name of the job that a process is of, in an instance that has jobs; `main` for its main process.
pub const HELIUM_JOB: &str = "HELIUM_JOB";
/// What begins the names that no template can give another meaning.
pub const RESERVED_PREFIX: &str = "HELIUM_";
/// What an agent passes on of its own environment, where it has it; `PATH` is always there.
pub const INHERITED: [&str; 13] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "XDG_RUNTIME_DIR",
];
/// What comes before a port's name in the variable that holds its number: `PORT_http`.
pub const PORT_PREFIX: &str = "PORT_";

/// The names in queries to metric sources.
pub const IN_QUERIES: [&str; 8] =
    ["SERVICE", "DEPLOYMENT", "NAMESPACE", "VERSION", "REVISION", "ROLE", "INSTANCES", "WINDOW"];

/// Why a text cannot be expanded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    /// A name that stands for nothing.
    #[error("`${{{0}}}` stands for nothing here")]
    UnknownVariable(String),
    /// `${` without its `}`.
    #[error("`{0}` lacks its closing brace")]
    Unclosed(String),
}

/// A piece of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece<'a> {
    Text(&'a str),
    Variable(&'a str),
    Unclosed(&'a str),
}

/// The names of a text's `${NAME}`, in order.
///
/// # Errors
/// The first `${` that lacks its `}`.
pub fn references(text: &str) -> Result<Vec<&str>, ExpandError> {
    let mut names = Vec::new();
    for piece in pieces(text) {
        match piece {
            Piece::Text(_) => {}
            Piece::Variable(name) => names.push(name),
            Piece::Unclosed(rest) => return Err(ExpandError::Unclosed(rest.to_owned())),
        }
    }
    Ok(names)
}

/// The text with every `${NAME}` replaced by what `lookup` gives.
///
/// # Errors
/// A name for which `lookup` gives nothing, and `${` without its `}`.
pub fn expand<'v>(text: &str, lookup: impl Fn(&str) -> Option<Cow<'v, str>>) -> Result<String, ExpandError> {
    let mut expanded = String::with_capacity(text.len());
    for piece in pieces(text) {
        match piece {
            Piece::Text(text) => expanded.push_str(text),
            Piece::Variable(name) => {
                let value = lookup(name).ok_or_else(|| ExpandError::UnknownVariable(name.to_owned()))?;
                expanded.push_str(&value);
            }
            Piece::Unclosed(rest) => return Err(ExpandError::Unclosed(rest.to_owned())),
        }
    }
    Ok(expanded)
}

/// The variables that Helium sets for an instance of a template, in the order of their names.
pub fn set_by_helium(template: &Template) -> Vec<String> {
    let mut names = names_for_ports(template.ports.iter().map(|port| port.name.as_str()));
    names.extend(template.package.as_ref().map(|_| HELIUM_PACKAGE.to_owned()));
    names.sort();
    names
}

/// The same for ports of these names.
pub(crate) fn names_for_ports<'a>(ports: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut names: Vec<String> = ports.into_iter().map(|port| format!("{PORT_PREFIX}{port}")).collect();
    if !names.is_empty() {
        names.push(PORT.to_owned());
    }
    let always = [
        VERSION,
        HELIUM_ADDRESS,
        HELIUM_BIN,
        HELIUM_DEPLOYMENT,
        HELIUM_INSTANCE,
        HELIUM_NAMESPACE,
        HELIUM_NODE,
        HELIUM_WORK,
    ];
    names.extend(always.map(str::to_owned));
    names.sort();
    names
}

fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some(at) = rest.find("${") else { return Some(Piece::Text(std::mem::take(&mut rest))) };
        if at > 0 && rest.as_bytes()[at - 1] == b'$' {
            // `$${` gives `${`: the first dollar goes.
            let before = &rest[..at - 1];
            if !before.is_empty() {
                rest = &rest[at - 1..];
                return Some(Piece::Text(before));
            }
            let literal = &rest[1..3];
            rest = &rest[3..];
            return Some(Piece::Text(literal));
        }
        if at > 0 {
            let before = &rest[..at];
            rest = &rest[at..];
            return Some(Piece::Text(before));
        }
        let Some(end) = rest.find('}') else { return Some(Piece::Unclosed(std::mem::take(&mut rest))) };
        let name = &rest[2..end];
        rest = &rest[end + 1..];
        Some(Piece::Variable(name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<Cow<'static, str>> {
        (name == "PORT").then_some(Cow::Borrowed("8080"))
    }

    #[test]
    fn variables_are_replaced_and_a_doubled_dollar_is_text() {
        for (text, expanded) in [
            ("", ""),
            ("${PORT}", "8080"),
            (":${PORT}/${PORT}", ":8080/8080"),
            ("$PORT $ $$", "$PORT $ $$"),
            ("$${PORT}", "${PORT}"),
            ("a$${PORT}b${PORT}", "a${PORT}b8080"),
            ("ä${PORT}ö", "ä8080ö"),
        ] {
            assert_eq!(expand(text, lookup), Ok(expanded.to_owned()), "{text}");
        }
    }

    #[test]
    fn an_unknown_name_and_an_open_brace_are_errors() {
        assert_eq!(expand("${HOST}", lookup), Err(ExpandError::UnknownVariable("HOST".to_owned())));
        assert_eq!(expand("x${PORT", lookup), Err(ExpandError::Unclosed("${PORT".to_owned())));
        assert_eq!(references("${A} $${B} ${C}"), Ok(vec!["A", "C"]));
    }
}
