//! Builds trees from the parser's events, within a budget of size, depth and number of nodes.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    ops::Range,
};

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use super::{
    Entry, Node, Value,
    advice::advice,
    json::{Mapped, join_surrogates},
    split::split,
};
use crate::diagnose::{Code, Path, Problems};

/// The longest source, in bytes.
const MAX_BYTES: usize = 8 << 20;
/// The deepest nesting.
const MAX_DEPTH: usize = 64;
/// The most nodes of one source, with what aliases repeat counted each time.
const MAX_NODES: usize = 500_000;

/// One document of a source.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    /// Its content.
    pub(crate) root: Node,
}

/// The documents of the source that `problems` belong to. Empty ones are left out; one that cannot be parsed is a problem.
pub(crate) fn documents(problems: &mut Problems<'_>) -> Vec<Document> {
    let text = std::sync::Arc::clone(&problems.source().text);
    if text.len() > MAX_BYTES {
        let message = format!("the text has {} bytes; at most {MAX_BYTES} are read", text.len());
        problems.add(0..0, "", Code::TooBig, message, Some("split it into several files".to_owned()));
        return Vec::new();
    }
    let mut nodes = 0;
    let mut found = Vec::new();
    for chunk in split(&text) {
        let mut builder = Builder::new(&text[chunk.clone()], chunk.start, problems, &mut nodes);
        builder.run();
        found.append(&mut builder.documents);
    }
    found
}

/// Builds the documents of one chunk.
struct Builder<'a, 'p> {
    chunk: &'a str,
    /// The chunk as it is parsed.
    text: Cow<'a, str>,
    /// Where the chunk begins in the source.
    base: usize,
    /// Byte offsets in the chunk of the text's characters, since the parser counts characters; empty if they are the same.
    bytes: Vec<usize>,
    stack: Vec<Frame>,
    anchors: HashMap<usize, (Node, usize)>,
    documents: Vec<Document>,
    problems: &'a mut Problems<'p>,
    nodes: &'a mut usize,
}

/// A list or mapping that is not complete yet.
struct Frame {
    start: usize,
    anchor: usize,
    /// The count of nodes when it began.
    nodes_before: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Mapping { entries: Vec<Entry>, seen: HashSet<String>, key: Key },
}

/// The key that waits for its value.
enum Key {
    None,
    Waiting {
        key: String,
        plain: bool,
        span: Range<usize>,
    },
    /// The key was refused; so its value is dropped.
    Refused,
}

/// Building stops here: the problem has been told.
struct Stop;

impl<'a, 'p> Builder<'a, 'p> {
    fn new(chunk: &'a str, base: usize, problems: &'a mut Problems<'p>, nodes: &'a mut usize) -> Self {
        let Mapped { text, bytes } = join_surrogates(chunk);
        Self {
            chunk,
            text,
            base,
            bytes,
            stack: Vec::new(),
            anchors: HashMap::new(),
            documents: Vec::new(),
            problems,
            nodes,
        }
    }

    fn run(&mut self) {
        let text = self.text.clone();
        for event in Parser::new_from_str(&text) {
            let step = match event {
                Ok((event, span)) => self.event(event, span),
                Err(error) => {
                    self.syntax_error(&error);
                    Err(Stop)
                }
            };
            if step.is_err() {
                return;
            }
        }
    }

    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Stop> {
        let range = self.range(&span);
        match event {
            Event::DocumentStart(_) => self.anchors.clear(),
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.is_some(), &range);
                self.count(1, &range)?;
                let value = Value::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain };
                self.finish(Node { span: range, value }, anchor, 1);
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_tag(tag.is_some(), &range);
                self.open(&range, anchor, Content::List(Vec::new()))?;
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_tag(tag.is_some(), &range);
                let content = Content::Mapping { entries: Vec::new(), seen: HashSet::new(), key: Key::None };
                self.open(&range, anchor, content)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(range.end),
            Event::Alias(anchor) => {
                let Some((node, size)) = self.anchors.get(&anchor).cloned() else {
                    let message = "an alias stands within what it repeats".to_owned();
                    self.problems.add(range, "", Code::Syntax, message, None);
                    return Err(Stop);
                };
                self.count(size, &range)?;
                self.finish(node, 0, size);
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn open(&mut self, range: &Range<usize>, anchor: usize, content: Content) -> Result<(), Stop> {
        if self.stack.len() >= MAX_DEPTH {
            self.too_deep(range.clone());
            return Err(Stop);
        }
        let nodes_before = *self.nodes;
        self.count(1, range)?;
        self.stack.push(Frame { start: range.start, anchor, nodes_before, content });
        Ok(())
    }

    fn close(&mut self, end: usize) {
        let Some(frame) = self.stack.pop() else { return };
        let value = match frame.content {
            Content::List(items) => Value::Sequence(items),
            Content::Mapping { entries, .. } => Value::Mapping(entries),
        };
        let size = *self.nodes - frame.nodes_before;
        self.finish(Node { span: frame.start..end.max(frame.start), value }, frame.anchor, size);
    }

    /// Puts a complete node where it belongs: into the list or mapping that is open, or on top of a document.
    fn finish(&mut self, node: Node, anchor: usize, size: usize) {
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), size));
        }
        let Some(frame) = self.stack.last_mut() else {
            if !node.is_null() {
                self.documents.push(Document { root: node });
            }
            return;
        };
        match &mut frame.content {
            Content::List(items) => items.push(node),
            Content::Mapping { entries, seen, key } => match std::mem::replace(key, Key::None) {
                Key::None => match accept_key(node, entries, seen) {
                    Ok(accepted) => *key = accepted,
                    Err(refusal) => {
                        *key = Key::Refused;
                        self.refuse_key(refusal);
                    }
                },
                Key::Waiting { key, plain, span } => entries.push(Entry { key, plain, key_span: span, value: node }),
                Key::Refused => {}
            },
        }
    }

    fn refuse_key(&mut self, refusal: Refusal) {
        let path = self.path();
        let (span, path, code, message, help) = match refusal {
            Refusal::NotAWord(span) => (span, path, Code::WrongType, "a key must be a word".to_owned(), None),
            Refusal::Merge(span) => {
                let help = "write the fields out, or repeat a whole value with `&name` and `*name`".to_owned();
                (span, path, Code::MergeKey, "the merge key `<<` is not known here".to_owned(), Some(help))
            }
            Refusal::Duplicate { key, span, first } => {
                let line = self.problems.source().location(first).line;
                let help = format!("it is given on line {line} already; keep one of the two");
                let message = format!("`{key}` is given twice in one mapping");
                (span, path.field(&key), Code::DuplicateKey, message, Some(help))
            }
        };
        self.problems.add(span, &path.to_string(), code, message, help);
    }

    /// The way to the list or mapping that is open.
    fn path(&self) -> Path {
        self.stack.iter().rev().skip(1).rev().fold(Path::default(), |path, frame| match &frame.content {
            Content::List(items) => path.index(items.len()),
            Content::Mapping { key: Key::Waiting { key, .. }, .. } => path.field(key),
            Content::Mapping { .. } => path,
        })
    }

    fn count(&mut self, size: usize, range: &Range<usize>) -> Result<(), Stop> {
        *self.nodes += size;
        if *self.nodes <= MAX_NODES {
            return Ok(());
        }
        let message = format!("the text holds more than {MAX_NODES} values");
        self.problems.add(range.clone(), "", Code::TooBig, message, Some("split it into several files".to_owned()));
        Err(Stop)
    }

    fn too_deep(&mut self, range: Range<usize>) {
        let message = format!("lists and mappings are nested more than {MAX_DEPTH} deep");
        self.problems.add(range, "", Code::TooBig, message, None);
    }

    fn refuse_tag(&mut self, tagged: bool, range: &Range<usize>) {
        if tagged {
            let help = "leave the word with `!` out; write quotes around what is text".to_owned();
            self.problems.add(range.clone(), "", Code::Tag, "tags are not known here".to_owned(), Some(help));
        }
    }

    fn syntax_error(&mut self, error: &ScanError) {
        let at = self.offset(error.marker().index());
        if error.info().contains("recursion limit") {
            self.too_deep(at..at + 1);
            return;
        }
        if let Some(tab) = self.tab_before(at) {
            let message = "a tab stands in the indentation; YAML allows only spaces there".to_owned();
            self.problems.add(tab, "", Code::Tab, message, Some("put two spaces in place of each tab".to_owned()));
            return;
        }
        let (before, rest) = self.chunk.split_at_checked(at - self.base).unwrap_or((self.chunk, ""));
        let line = |offset| self.problems.source().location(self.base + offset).line;
        let help = advice(error.info(), before, rest, line);
        let message = format!("this is not YAML: {}", error.info());
        self.problems.add(at..at + 1, "", Code::Syntax, message, help);
    }

    /// The first tab in the indentation of a line that begins at or before an error.
    fn tab_before(&self, error: usize) -> Option<Range<usize>> {
        let mut offset = self.base;
        for line in self.chunk.split_inclusive('\n') {
            if offset > error {
                return None;
            }
            let indent = line.len() - line.trim_start_matches([' ', '\t']).len();
            if let Some(tab) = line[..indent].find('\t') {
                return Some(offset + tab..offset + tab + 1);
            }
            offset += line.len();
        }
        None
    }

    fn range(&self, span: &Span) -> Range<usize> {
        let start = self.offset(span.start.index());
        start..self.offset(span.end.index()).max(start)
    }

    /// The byte offset in the source of a character of the chunk.
    fn offset(&self, character: usize) -> usize {
        let byte = if self.bytes.is_empty() { Some(character) } else { self.bytes.get(character).copied() };
        self.base + byte.unwrap_or(self.chunk.len()).min(self.chunk.len())
    }
}

/// Why a key is not taken.
enum Refusal {
    /// It is a list or mapping.
    NotAWord(Range<usize>),
    /// It is `<<`.
    Merge(Range<usize>),
    /// It is there already, at the byte `first`.
    Duplicate { key: String, span: Range<usize>, first: usize },
}

fn accept_key(node: Node, entries: &[Entry], seen: &mut HashSet<String>) -> Result<Key, Refusal> {
    let Value::Scalar { text: key, plain } = node.value else { return Err(Refusal::NotAWord(node.span)) };
    if key == "<<" && plain {
        return Err(Refusal::Merge(node.span));
    }
    if seen.insert(key.clone()) {
        return Ok(Key::Waiting { key, plain, span: node.span });
    }
    let first = entries.iter().find(|entry| entry.key == key).map_or(node.span.start, |entry| entry.key_span.start);
    Err(Refusal::Duplicate { key, span: node.span, first })
}
