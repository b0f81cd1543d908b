//! The text of a template into a tree.

use std::ops::Range;

use super::{
    TemplateError,
    lex::{Token, Word, lex},
};

/// A part of a template.
#[derive(Clone, Debug)]
pub(super) enum Node {
    /// These bytes of the file, as they are.
    Text(Range<usize>),
    /// `{{ pipeline }}`
    Action { span: Range<usize>, pipeline: Pipeline },
    /// `if`, with each `else if`.
    If { arms: Vec<(Pipeline, Vec<Node>)>, otherwise: Vec<Node> },
    /// `with`
    With { pipeline: Pipeline, body: Vec<Node>, otherwise: Vec<Node> },
    /// `range`
    Range { pipeline: Pipeline, body: Vec<Node>, otherwise: Vec<Node> },
}

/// Commands, each of which gets what the one before it gave.
#[derive(Clone, Debug)]
pub(super) struct Pipeline {
    pub(super) span: Range<usize>,
    /// `$x :=` or `$i, $x :=`
    pub(super) variables: Vec<String>,
    /// Whether it sets variables that are there (`=`) instead of making new ones.
    pub(super) assigns: bool,
    pub(super) commands: Vec<Command>,
}

/// An operand, or a function with its arguments.
#[derive(Clone, Debug)]
pub(super) struct Command {
    pub(super) operands: Vec<Operand>,
}

/// A value, and the fields that are asked of it.
#[derive(Clone, Debug)]
pub(super) struct Operand {
    pub(super) span: Range<usize>,
    pub(super) base: Base,
    pub(super) fields: Vec<String>,
}

/// Where a value comes from.
#[derive(Clone, Debug)]
pub(super) enum Base {
    Dot,
    Variable(String),
    Function(String),
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Pipeline(Box<Pipeline>),
}

/// How deep blocks and parentheses may stand in each other.
const DEPTH: usize = 50;

/// Reads a template.
pub(super) fn parse(text: &str) -> Result<Vec<Node>, TemplateError> {
    let mut parser = Parser { text, at: 0, trim: false, depth: 0 };
    let (nodes, stop) = parser.nodes()?;
    match stop {
        Stop::End => Ok(nodes),
        Stop::BlockEnd(span) => Err(TemplateError::new(span, "this `end` closes nothing").fix("remove it")),
        Stop::Else(span, _) => Err(TemplateError::new(span, "this `else` belongs to no `if`, `range` or `with`")),
    }
}

/// Why a list of nodes ended.
enum Stop {
    End,
    BlockEnd(Range<usize>),
    /// `else`, with what stands behind it.
    Else(Range<usize>, Vec<Token>),
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    /// Whether white space at the beginning of the next text goes.
    trim: bool,
    depth: usize,
}

const WHITE: [char; 4] = [' ', '\t', '\r', '\n'];

impl Parser<'_> {
    fn nodes(&mut self) -> Result<(Vec<Node>, Stop), TemplateError> {
        let mut nodes = Vec::new();
        loop {
            let Some(action) = self.text[self.at..].find("{{").map(|found| self.at + found) else {
                self.push_text(&mut nodes, self.text.len(), false);
                self.at = self.text.len();
                return Ok((nodes, Stop::End));
            };
            let inside = &self.text[action + 2..];
            let trims = inside.starts_with("- ") || inside.starts_with("-\t");
            self.push_text(&mut nodes, action, trims);
            let start = if trims { action + 4 } else { action + 2 };
            if self.text[start..].starts_with("/*") {
                self.comment(action, start)?;
                continue;
            }
            // One step back: the space behind `{{-` may also be the one before `-}}`.
            let (tokens, end) = lex(self.text, if trims { start - 1 } else { start }, action)?;
            self.at = end.end;
            self.trim = end.len() == 3;
            if let Some(stop) = self.action(&mut nodes, action..end.end, tokens)? {
                return Ok((nodes, stop));
            }
        }
    }

    fn push_text(&mut self, nodes: &mut Vec<Node>, end: usize, trims: bool) {
        let (mut start, mut end) = (self.at, end);
        if self.trim {
            start = end - self.text[start..end].trim_start_matches(WHITE).len();
            self.trim = false;
        }
        if trims {
            end = start + self.text[start..end].trim_end_matches(WHITE).len();
        }
        if start < end {
            nodes.push(Node::Text(start..end));
        }
    }

    fn comment(&mut self, action: usize, start: usize) -> Result<(), TemplateError> {
        let open = TemplateError::new(action..start + 2, "this comment is never closed").fix("close it with `*/}}`");
        let Some(length) = self.text[start..].find("*/") else { return Err(open) };
        let after = start + length + 2;
        let trims = [" -}}", "\t-}}"].iter().any(|end| self.text[after..].starts_with(end));
        if !trims && !self.text[after..].starts_with("}}") {
            return Err(TemplateError::new(after - 2..after, "a comment ends right before `}}`").fix("write `*/}}`"));
        }
        self.at = after + if trims { 4 } else { 2 };
        self.trim = trims;
        Ok(())
    }

    fn action(
        &mut self,
        nodes: &mut Vec<Node>,
        span: Range<usize>,
        tokens: Vec<Token>,
    ) -> Result<Option<Stop>, TemplateError> {
        let keyword = match tokens.first().map(|token| &token.word) {
            Some(Word::Name(name)) => name.clone(),
            None => return Err(TemplateError::new(span, "there is nothing between `{{` and `}}`")),
            _ => String::new(),
        };
        let rest = || tokens[1..].to_vec();
        match keyword.as_str() {
            "end" if tokens.len() == 1 => return Ok(Some(Stop::BlockEnd(span))),
            "else" => return Ok(Some(Stop::Else(span, rest()))),
            "if" => nodes.push(self.if_block(&span, rest())?),
            "with" | "range" => nodes.push(self.block(&keyword, &span, rest())?),
            "define" | "template" | "block" | "break" | "continue" => {
                return Err(TemplateError::new(span, format!("`{keyword}` is not supported in these files")));
            }
            _ => nodes.push(Node::Action { pipeline: self.pipeline(span.clone(), tokens, 0)?, span }),
        }
        Ok(None)
    }

    fn if_block(&mut self, span: &Range<usize>, condition: Vec<Token>) -> Result<Node, TemplateError> {
        self.enter(span)?;
        let mut arms = Vec::new();
        let mut condition = self.pipeline(span.clone(), condition, 0)?;
        let otherwise = loop {
            let (body, stop) = self.nodes()?;
            match stop {
                Stop::End => return Err(unclosed(span, "if")),
                Stop::BlockEnd(_) => {
                    arms.push((condition, body));
                    break Vec::new();
                }
                Stop::Else(_, tokens) if tokens.is_empty() => {
                    arms.push((condition, body));
                    break self.until_end(span, "if")?;
                }
                Stop::Else(other, mut tokens) => {
                    if tokens[0].word != Word::Name("if".to_owned()) {
                        return Err(TemplateError::new(other, "behind `else` there is nothing or `if`"));
                    }
                    arms.push((condition, body));
                    condition = self.pipeline(other, tokens.split_off(1), 0)?;
                }
            }
        };
        self.depth -= 1;
        Ok(Node::If { arms, otherwise })
    }

    fn block(&mut self, keyword: &str, span: &Range<usize>, tokens: Vec<Token>) -> Result<Node, TemplateError> {
        self.enter(span)?;
        let pipeline = self.pipeline(span.clone(), tokens, if keyword == "range" { 2 } else { 1 })?;
        let (body, stop) = self.nodes()?;
        let otherwise = match stop {
            Stop::End => return Err(unclosed(span, keyword)),
            Stop::BlockEnd(_) => Vec::new(),
            Stop::Else(_, tokens) if tokens.is_empty() => self.until_end(span, keyword)?,
            Stop::Else(other, _) => return Err(TemplateError::new(other, "nothing may stand behind this `else`")),
        };
        self.depth -= 1;
        Ok(if keyword == "range" {
            Node::Range { pipeline, body, otherwise }
        } else {
            Node::With { pipeline, body, otherwise }
        })
    }

    fn until_end(&mut self, span: &Range<usize>, keyword: &str) -> Result<Vec<Node>, TemplateError> {
        match self.nodes()? {
            (nodes, Stop::BlockEnd(_)) => Ok(nodes),
            (_, Stop::End) => Err(unclosed(span, keyword)),
            (_, Stop::Else(other, _)) => Err(TemplateError::new(other, "a second `else`")),
        }
    }

    fn enter(&mut self, span: &Range<usize>) -> Result<(), TemplateError> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(TemplateError::new(span.clone(), format!("blocks stand more than {DEPTH} deep in each other")));
        }
        Ok(())
    }

    fn pipeline(&self, span: Range<usize>, tokens: Vec<Token>, variables: usize) -> Result<Pipeline, TemplateError> {
        let mut words = Words { tokens, at: 0, span: span.clone(), depth: self.depth };
        let pipeline = words.pipeline(span, variables.max(1))?;
        match words.tokens.get(words.at) {
            None => Ok(pipeline),
            Some(token) => Err(TemplateError::new(token.span.clone(), "this parenthesis closes nothing")),
        }
    }
}

fn unclosed(span: &Range<usize>, keyword: &str) -> TemplateError {
    TemplateError::new(span.clone(), format!("this `{keyword}` has no `end`")).fix("close it with `{{ end }}`")
}

/// The words of one action.
struct Words {
    tokens: Vec<Token>,
    at: usize,
    span: Range<usize>,
    depth: usize,
}

impl Words {
    fn peek(&self) -> Option<&Word> {
        self.tokens.get(self.at).map(|token| &token.word)
    }

    fn next_is(&mut self, word: &Word) -> bool {
        let is = self.peek() == Some(word);
        self.at += usize::from(is);
        is
    }

    fn pipeline(&mut self, span: Range<usize>, most: usize) -> Result<Pipeline, TemplateError> {
        let (variables, assigns) = self.variables(most)?;
        let mut commands = Vec::new();
        loop {
            commands.push(self.command()?);
            if !self.next_is(&Word::Pipe) {
                return Ok(Pipeline { span, variables, assigns, commands });
            }
        }
    }

    /// `$x :=`, `$x =` or `$i, $x :=` at the beginning, if it is there.
    fn variables(&mut self, most: usize) -> Result<(Vec<String>, bool), TemplateError> {
        let start = self.at;
        let mut names = Vec::new();
        while let Some(Word::Variable(name)) = self.peek().cloned() {
            names.push(name);
            self.at += 1;
            let declares = self.next_is(&Word::Declare);
            if declares || self.next_is(&Word::Assign) {
                if names.len() > most {
                    return Err(self.error("too many variables"));
                }
                return Ok((names, !declares));
            }
            if !self.next_is(&Word::Comma) {
                break;
            }
        }
        self.at = start;
        Ok((Vec::new(), false))
    }

    fn command(&mut self) -> Result<Command, TemplateError> {
        let mut operands = Vec::new();
        while let Some(word) = self.peek() {
            if matches!(word, Word::Pipe | Word::Close) {
                break;
            }
            operands.push(self.operand()?);
        }
        if operands.is_empty() {
            return Err(self.error("a value or a function is missing here"));
        }
        Ok(Command { operands })
    }

    fn operand(&mut self) -> Result<Operand, TemplateError> {
        let Some(token) = self.tokens.get(self.at).cloned() else {
            return Err(self.error("a value is missing here"));
        };
        self.at += 1;
        let mut span = token.span;
        let mut fields = Vec::new();
        let base = match token.word {
            Word::Dot => Base::Dot,
            Word::Field(name) => {
                fields.push(name);
                Base::Dot
            }
            Word::Variable(name) => Base::Variable(name),
            Word::Text(text) => Base::Text(text),
            Word::Int(value) => Base::Int(value),
            Word::Float(value) => Base::Float(value),
            Word::Name(name) => match name.as_str() {
                "true" => Base::Bool(true),
                "false" => Base::Bool(false),
                "nil" => Base::Nil,
                _ => Base::Function(name),
            },
            Word::Open => Base::Pipeline(Box::new(self.inner(&span)?)),
            Word::Pipe | Word::Close | Word::Comma | Word::Declare | Word::Assign => {
                return Err(TemplateError::new(span, "this has no meaning here"));
            }
        };
        while let Some(Token { word: Word::Field(name), span: field, spaced: false }) = self.tokens.get(self.at) {
            fields.push(name.clone());
            span.end = field.end;
            self.at += 1;
        }
        Ok(Operand { span, base, fields })
    }

    fn inner(&mut self, open: &Range<usize>) -> Result<Pipeline, TemplateError> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(self.error("parentheses stand too deep in each other"));
        }
        let pipeline = self.pipeline(open.clone(), 1)?;
        if !self.next_is(&Word::Close) {
            return Err(TemplateError::new(open.clone(), "this parenthesis is never closed"));
        }
        self.depth -= 1;
        Ok(pipeline)
    }

    fn error(&self, reason: &str) -> TemplateError {
        let span = self.tokens.get(self.at).map_or_else(|| self.span.clone(), |token| token.span.clone());
        TemplateError::new(span, reason)
    }
}
