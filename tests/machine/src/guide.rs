//! The units as the guides print them, so that what is tried is what people copy.

/// The first block of `language` behind `marker`; the error names what is not there.
pub(crate) fn block(guide: &str, marker: &str, language: &str) -> Result<String, String> {
    let behind =
        guide.split_once(marker).map(|(_, behind)| behind).ok_or_else(|| format!("no guide says `{marker}`"))?;
    let begin = format!("```{language}\n");
    let block = behind.split_once(&begin).and_then(|(_, block)| block.split_once("\n```"));
    block.map(|(block, _)| format!("{block}\n")).ok_or_else(|| format!("no block of `{language}` behind `{marker}`"))
}

/// The value of the only line `key=` of a unit.
pub(crate) fn value<'a>(unit: &'a str, key: &str) -> Result<&'a str, String> {
    let mut values = unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value),
        _ => Err(format!("the unit has not one line `{key}=`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUIDE: &str = "one `a.service`:\n\n```ini\n[A]\nX=1\n```\n\n```sh\nno\n```\n\nand `b.service`:\n\n```ini\n[B]\nX=2\nX=3\n```\n";

    #[test]
    fn a_block_is_the_first_of_its_language_behind_the_words() {
        assert_eq!(block(GUIDE, "`a.service`", "ini").unwrap(), "[A]\nX=1\n");
        assert_eq!(block(GUIDE, "`b.service`", "ini").unwrap(), "[B]\nX=2\nX=3\n");
        assert!(block(GUIDE, "`c.service`", "ini").unwrap_err().contains("`c.service`"));
        assert!(block(GUIDE, "`b.service`", "sh").unwrap_err().contains("`sh`"));
    }

    #[test]
    fn a_value_is_that_of_the_only_line_of_its_key() {
        assert_eq!(value("[A]\nX=1\nXY=2\n", "X"), Ok("1"));
        assert!(value("X=1\nX=2\n", "X").is_err() && value("", "X").is_err());
    }
}
