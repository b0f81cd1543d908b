//! The name that somebody most likely meant.

/// The nearest of the known names, if it is near enough to be what was meant: the same but for case and punctuation, or
/// at most a third of its letters away.
pub fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = fold(typed);
    known
        .into_iter()
        .map(|name| (strsim::osa_distance(&plain, &fold(name)), name))
        .filter(|(distance, name)| *distance <= (name.chars().count().max(plain.chars().count()) / 3).max(1))
        .filter(|(distance, name)| *distance < name.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

fn fold(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_and_far_ones_are_not() {
        let known = ["replicas", "minHealthyTime", "template", "env"];
        assert_eq!(nearest("replicsa", known), Some("replicas"));
        assert_eq!(nearest("min_healthy_time", known), Some("minHealthyTime"));
        assert_eq!(nearest("Template", known), Some("template"));
        assert_eq!(nearest("envs", known), Some("env"));
        assert_eq!(nearest("image", known), None);
        assert_eq!(nearest("x", ["a"]), None);
    }
}
