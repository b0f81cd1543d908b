//! Findings about a rendered text, as they are collected while it is read.

use std::ops::Range;

use crate::problem::Severity;

/// A problem or a warning whose place is still in the rendered text.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    /// Bytes of the rendered text.
    pub(crate) span: Range<usize>,
    pub(crate) key: String,
    pub(crate) reason: String,
    pub(crate) fix: Option<String>,
    /// What is said instead of `fix` where a template gave part of the text: what a fix repeats might be a secret of the environment.
    pub(crate) discreet_fix: Option<String>,
}

impl Finding {
    /// Says what would be right.
    pub(crate) fn fix(&mut self, fix: impl Into<String>) {
        self.fix = Some(fix.into());
    }

    /// Says what would be right, and the same without words of the file.
    pub(crate) fn fix_or(&mut self, fix: impl Into<String>, discreet: impl Into<String>) {
        self.fix = Some(fix.into());
        self.discreet_fix = Some(discreet.into());
    }
}

/// All findings, in the order in which they were made.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) list: Vec<Finding>,
}

impl Findings {
    /// What makes the file be refused.
    pub(crate) fn error(&mut self, span: &Range<usize>, key: &str, reason: impl Into<String>) -> &mut Finding {
        self.add(Severity::Error, span, key, reason.into())
    }

    /// What its author should know.
    pub(crate) fn warn(&mut self, span: &Range<usize>, key: &str, reason: impl Into<String>) -> &mut Finding {
        self.add(Severity::Warning, span, key, reason.into())
    }

    fn add(&mut self, severity: Severity, span: &Range<usize>, key: &str, reason: String) -> &mut Finding {
        self.list.push(Finding {
            severity,
            span: span.clone(),
            key: key.to_owned(),
            reason,
            fix: None,
            discreet_fix: None,
        });
        let last = self.list.len() - 1;
        &mut self.list[last]
    }
}
