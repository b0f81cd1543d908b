//! What is to be measured: `[SECONDS] [PART...]`.

use std::time::Duration;

/// How long Consul is away, unless it is said.
const AWAY: Duration = Duration::from_mins(1);

/// One part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// `helium render` beside `consul-template`.
    Files,
    /// `helium env` beside `envconsul`.
    Variables,
    /// `helium agent --containerpilot` beside `containerpilot`.
    Services,
    /// `helium agent` with one instance.
    Node,
    /// The memory of the build of the agent alone.
    Small,
    /// Consul goes away.
    Outage,
    /// What the way from a write to the file is made of.
    Latency,
}

impl Part {
    const ALL: [(&'static str, Part); 7] = [
        ("files", Part::Files),
        ("variables", Part::Variables),
        ("services", Part::Services),
        ("node", Part::Node),
        ("small", Part::Small),
        ("outage", Part::Outage),
        ("latency", Part::Latency),
    ];

    /// All of them, in the order in which they are measured.
    pub(super) fn all() -> impl Iterator<Item = Part> {
        Self::ALL.into_iter().map(|(_, part)| part)
    }
}

/// What is to be measured.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    /// How long Consul is away.
    pub(super) away: Duration,
    parts: Vec<Part>,
}

impl Wish {
    /// Reads the arguments behind `agent`: all parts unless some are named.
    ///
    /// # Errors
    /// A word is neither a number of seconds nor a part.
    pub(crate) fn from_arguments(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut wish = Self { away: AWAY, parts: Vec::new() };
        for word in arguments {
            if let Ok(seconds) = word.parse() {
                wish.away = Duration::from_secs(seconds);
                continue;
            }
            let found = Part::ALL.iter().find(|(name, _)| *name == word);
            let (_, part) = found.ok_or_else(|| {
                let names: Vec<&str> = Part::ALL.iter().map(|(name, _)| *name).collect();
                format!("{word} is neither how many seconds Consul is away nor one of: {}", names.join(", "))
            })?;
            wish.parts.push(*part);
        }
        Ok(wish)
    }

    pub(super) fn has(&self, part: Part) -> bool {
        self.parts.is_empty() || self.parts.contains(&part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(words: &str) -> Result<Wish, String> {
        Wish::from_arguments(words.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn without_a_part_all_are_measured_and_otherwise_those_that_are_named() {
        let all = wish("").unwrap();
        assert!(all.has(Part::Files) && all.has(Part::Latency) && all.away == AWAY);
        let some = wish("600 outage").unwrap();
        assert!(some.has(Part::Outage) && !some.has(Part::Files) && some.away == Duration::from_mins(10));
    }

    #[test]
    fn a_word_that_means_nothing_is_refused_with_those_that_do() {
        let error = wish("60 memory").unwrap_err();
        assert_eq!(
            error,
            "memory is neither how many seconds Consul is away nor one of: files, variables, services, node, small, outage, latency"
        );
    }
}
