//! Words for people, cut to what a report has room for.

/// At most so many characters of words.
///
/// What is longer ends with `…`, which counts.
pub fn cut(words: &str, most: usize) -> String {
    if words.char_indices().nth(most).is_none() {
        return words.to_owned();
    }
    words.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// The first line that says something, and of it at most so many characters.
pub fn in_a_line(words: &str, most: usize) -> String {
    cut(words.trim().lines().next().unwrap_or_default().trim_end(), most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_between_characters_and_what_fits_stays_as_it_is() {
        assert_eq!(cut("grün", 4), "grün");
        assert_eq!(cut("grüner", 4), "grü…");
        assert_eq!(cut("", 4), "");
    }

    #[test]
    fn of_many_lines_the_first_that_says_something_is_taken() {
        assert_eq!(in_a_line("\n  no such file \nat line 7", 20), "no such file");
        assert_eq!(in_a_line("nobody gives `port`\nmore", 10), "nobody gi…");
        assert_eq!(in_a_line(" \n", 10), "");
    }
}
