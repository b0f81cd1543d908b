//! The name that somebody probably meant.

/// The known name that is nearest to one that is not known, if any is near enough.
pub(crate) fn near<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = match name.chars().count() {
        0..=2 => 1,
        3..=5 => 2,
        _ => 3,
    };
    let lower = name.to_lowercase();
    known
        .map(|known| (strsim::damerau_levenshtein(&lower, &known.to_lowercase()), known))
        .filter(|(distance, known)| *distance <= allowed && *distance < known.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::near;

    #[test]
    fn a_name_with_a_slip_leads_to_the_one_that_was_meant() {
        let known = ["name", "exec", "health", "restarts", "ttl", "initial_status", "when"];
        let meant = |name| near(name, known.iter().copied());
        assert_eq!(meant("tll"), Some("ttl"));
        assert_eq!(meant("restart"), Some("restarts"));
        assert_eq!(meant("initialStatus"), Some("initial_status"));
        assert_eq!(meant("heath"), Some("health"));
        assert_eq!(meant("coprocess"), None);
    }
}
