//! The tags of a Mustache template, as far as it takes to know which names it needs.
//!
//! The library renders and keeps its tree to itself; this finds what is missing before it does. It also keeps from the library what it
//! would stumble over: characters beyond ASCII within a tag.

use std::ops::Range;

/// What a tag does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Variable,
    Section,
    Inverted,
    Close,
    Partial,
    Comment,
    Delimiters,
}

/// One tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) kind: Kind,
    pub(super) name: String,
    /// Its bytes in the template, delimiters included.
    pub(super) span: Range<usize>,
}

/// What is wrong with a tag, and where.
pub(super) type Fault = (&'static str, Range<usize>);

/// The tags of a template in their order.
pub(super) fn scan(text: &str) -> Result<Vec<Tag>, Fault> {
    let (mut open, mut close) = ("{{", "}}");
    let mut tags = Vec::new();
    let mut at = 0;
    while let Some(found) = text[at..].find(open) {
        let start = at + found;
        let inside = start + open.len();
        let triple = open == "{{" && text[inside..].starts_with('{');
        let ending = if triple { "}}}" } else { close };
        let length = text[inside..].find(ending).ok_or(("this tag is not closed", start..inside))?;
        let content = &text[inside..inside + length];
        at = inside + length + ending.len();
        let span = start..at;
        let (kind, rest) = kind_of(content);
        if kind != Kind::Comment && !content.is_ascii() {
            return Err(("a tag holds ASCII only", span));
        }
        if content.contains(open) {
            return Err(("this tag is not closed before the next one begins", start..inside));
        }
        let name = rest.trim();
        if kind == Kind::Delimiters {
            let pair = name.strip_suffix('=').and_then(|pair| pair.trim().split_once(' '));
            let pair = pair.map(|(new_open, new_close)| (new_open.trim(), new_close.trim()));
            let usable = |text: &str| !text.is_empty() && !text.contains([' ', '=']);
            (open, close) = pair
                .filter(|(open, close)| usable(open) && usable(close))
                .ok_or(("delimiters are set by two words between equals signs: {{=<% %>=}}", span.clone()))?;
        } else if name.is_empty() && kind != Kind::Comment {
            return Err(("this tag has no name", span));
        }
        tags.push(Tag { kind, name: name.to_owned(), span });
    }
    balanced(&tags)?;
    Ok(tags)
}

fn kind_of(content: &str) -> (Kind, &str) {
    let kind = match content.as_bytes().first() {
        Some(b'#') => Kind::Section,
        Some(b'^') => Kind::Inverted,
        Some(b'/') => Kind::Close,
        Some(b'>' | b'<' | b'$') => Kind::Partial,
        Some(b'!') => Kind::Comment,
        Some(b'=') => Kind::Delimiters,
        Some(b'&' | b'{') => Kind::Variable,
        _ => return (Kind::Variable, content),
    };
    (kind, &content[1..])
}

fn balanced(tags: &[Tag]) -> Result<(), Fault> {
    let mut open: Vec<&Tag> = Vec::new();
    for tag in tags {
        match tag.kind {
            Kind::Section | Kind::Inverted => open.push(tag),
            Kind::Close => match open.pop() {
                Some(opened) if opened.name == tag.name => {}
                Some(_) => return Err(("another section has to be closed first", tag.span.clone())),
                None => return Err(("no section of this name is open", tag.span.clone())),
            },
            Kind::Partial => {
                return Err(("partials are not known here: a template is one file", tag.span.clone()));
            }
            Kind::Variable | Kind::Comment | Kind::Delimiters => {}
        }
    }
    open.pop().map_or(Ok(()), |tag| Err(("this section is not closed", tag.span.clone())))
}

/// The template with comments of ASCII only, each as long as before, so that places stay where they were.
pub(super) fn plain_comments(text: &str, tags: &[Tag]) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut at = 0;
    for tag in tags.iter().filter(|tag| tag.kind == Kind::Comment) {
        plain.push_str(&text[at..tag.span.start]);
        let mark = |c: char| if c.is_ascii() { c.to_string() } else { "-".repeat(c.len_utf8()) };
        plain.extend(text[tag.span.clone()].chars().map(mark));
        at = tag.span.end;
    }
    plain.push_str(&text[at..]);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_tag_is_found() {
        let text = "{{a}}{{{b}}}{{& c}}{{#d}}{{/d}}{{^e}}{{/e}}{{! n\u{f6} }}{{=<% %>=}}<% f %>{{g}}";
        let tags = scan(text).unwrap();
        let names: Vec<&str> =
            tags.iter().filter(|tag| tag.kind == Kind::Variable).map(|tag| tag.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c", "f"]);
        assert_eq!(plain_comments(text, &tags).len(), text.len());
        assert!(plain_comments(text, &tags).is_ascii());
    }

    #[test]
    fn a_faulty_tag_is_told_with_its_place() {
        let fault = |text| scan(text).unwrap_err();
        assert_eq!(fault("a {{b"), ("this tag is not closed", 2..4));
        assert_eq!(fault("{{#a}}"), ("this section is not closed", 0..6));
        assert_eq!(fault("{{/a}}"), ("no section of this name is open", 0..6));
        assert_eq!(fault("{{#a}}{{#b}}{{/a}}{{/b}}").0, "another section has to be closed first");
        assert_eq!(fault("{{>a}}").0, "partials are not known here: a template is one file");
        assert_eq!(fault("{{}}").0, "this tag has no name");
    }
}
