//! The tree of a template and an environment into a text.

use std::{collections::BTreeMap, ops::Range};

use super::{
    Rendered, TemplateError,
    functions::call,
    parse::{Base, Command, Node, Operand, Pipeline},
    value::Value,
};

/// A text that is larger than this is a mistake, and not a configuration: 8 MiB.
const LARGEST: usize = 8 << 20;
/// So many nodes and operands are looked at in one rendering, and no more.
const STEPS: usize = 1_000_000;

/// Renders what was parsed.
pub(super) fn eval(file: &str, nodes: &[Node], env: &BTreeMap<String, String>) -> Result<Rendered, TemplateError> {
    let variables = vec![("$".to_owned(), Value::Env(env))];
    let mut eval = Eval { file, env, variables, rendered: Rendered::default(), steps: 0 };
    eval.nodes(nodes, &Value::Env(env))?;
    Ok(eval.rendered)
}

struct Eval<'e> {
    file: &'e str,
    env: &'e BTreeMap<String, String>,
    /// The innermost last.
    variables: Vec<(String, Value<'e>)>,
    rendered: Rendered,
    steps: usize,
}

impl<'e> Eval<'e> {
    fn nodes(&mut self, nodes: &[Node], dot: &Value<'e>) -> Result<(), TemplateError> {
        let depth = self.variables.len();
        for node in nodes {
            self.node(node, dot)?;
        }
        self.variables.truncate(depth);
        Ok(())
    }

    fn node(&mut self, node: &Node, dot: &Value<'e>) -> Result<(), TemplateError> {
        match node {
            Node::Text(span) => {
                self.step(span)?;
                self.rendered.copy(self.file, span);
            }
            Node::Action { span, pipeline } => {
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.variables.is_empty() {
                    self.rendered.make(span, &value.to_string());
                }
            }
            Node::If { arms, otherwise } => self.choose(arms, otherwise, dot)?,
            Node::With { pipeline, body, otherwise } => {
                let depth = self.variables.len();
                let value = self.pipeline(pipeline, dot)?;
                if value.is_true() {
                    self.nodes(body, &value)?;
                } else {
                    self.nodes(otherwise, dot)?;
                }
                self.variables.truncate(depth);
            }
            Node::Range { pipeline, body, otherwise } => self.range(pipeline, body, otherwise, dot)?,
        }
        Ok(())
    }

    fn choose(
        &mut self,
        arms: &[(Pipeline, Vec<Node>)],
        otherwise: &[Node],
        dot: &Value<'e>,
    ) -> Result<(), TemplateError> {
        let depth = self.variables.len();
        let mut chosen = otherwise;
        for (condition, body) in arms {
            if self.pipeline(condition, dot)?.is_true() {
                chosen = body;
                break;
            }
        }
        self.nodes(chosen, dot)?;
        self.variables.truncate(depth);
        Ok(())
    }

    fn range(
        &mut self,
        pipeline: &Pipeline,
        body: &[Node],
        otherwise: &[Node],
        dot: &Value<'e>,
    ) -> Result<(), TemplateError> {
        let over = self.commands(pipeline, dot)?;
        let entries: Vec<(Value<'e>, Value<'e>)> = match over {
            Value::List(values) => (0..).map(Value::Int).zip(values).collect(),
            Value::Env(env) => {
                env.iter().map(|(name, value)| (Value::Text(name.clone()), Value::Text(value.clone()))).collect()
            }
            Value::Nil => Vec::new(),
            other => {
                let error = format!("`range` goes over a list, and this is {}", other.kind());
                return Err(
                    TemplateError::new(pipeline.span.clone(), error).fix("make a list of it with `split` or `loop`")
                );
            }
        };
        if entries.is_empty() {
            return self.nodes(otherwise, dot);
        }
        let depth = self.variables.len();
        for (index, value) in entries {
            match pipeline.variables.as_slice() {
                [] => {}
                [one] => self.set(one, value.clone(), pipeline)?,
                [first, second, ..] => {
                    self.set(first, index, pipeline)?;
                    self.set(second, value.clone(), pipeline)?;
                }
            }
            self.nodes(body, &value)?;
            self.variables.truncate(depth);
        }
        Ok(())
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value<'e>) -> Result<Value<'e>, TemplateError> {
        let value = self.commands(pipeline, dot)?;
        for name in &pipeline.variables {
            self.set(name, value.clone(), pipeline)?;
        }
        Ok(value)
    }

    fn set(&mut self, name: &str, value: Value<'e>, pipeline: &Pipeline) -> Result<(), TemplateError> {
        if !pipeline.assigns {
            self.variables.push((name.to_owned(), value));
            return Ok(());
        }
        match self.variables.iter_mut().rev().find(|(known, _)| known == name) {
            Some((_, place)) => *place = value,
            None => return Err(unknown_variable(&pipeline.span, name)),
        }
        Ok(())
    }

    fn commands(&mut self, pipeline: &Pipeline, dot: &Value<'e>) -> Result<Value<'e>, TemplateError> {
        let mut last = None;
        for command in &pipeline.commands {
            last = Some(self.command(command, last, dot)?);
        }
        Ok(last.unwrap_or(Value::Nil))
    }

    fn command(
        &mut self,
        command: &Command,
        last: Option<Value<'e>>,
        dot: &Value<'e>,
    ) -> Result<Value<'e>, TemplateError> {
        let Some((first, rest)) = command.operands.split_first() else { return Ok(Value::Nil) };
        let Base::Function(name) = &first.base else {
            if !rest.is_empty() || last.is_some() {
                let error =
                    TemplateError::new(first.span.clone(), "only a function takes arguments, and this is a value");
                return Err(error);
            }
            return self.operand(first, dot);
        };
        let mut arguments = Vec::with_capacity(rest.len() + 1);
        for operand in rest {
            arguments.push(self.operand(operand, dot)?);
        }
        arguments.extend(last);
        self.call(first, name, &arguments)
    }

    fn call(&mut self, operand: &Operand, name: &str, arguments: &[Value<'e>]) -> Result<Value<'e>, TemplateError> {
        self.steps += arguments.iter().map(Value::size).sum::<usize>() / 64;
        self.step(&operand.span)?;
        let value = call(name, arguments, self.env).map_err(|wrong| TemplateError {
            span: operand.span.clone(),
            reason: wrong.reason,
            fix: wrong.fix,
        })?;
        self.fields(value, operand)
    }

    fn operand(&mut self, operand: &Operand, dot: &Value<'e>) -> Result<Value<'e>, TemplateError> {
        self.step(&operand.span)?;
        let value = match &operand.base {
            Base::Dot => dot.clone(),
            Base::Variable(name) => match self.variables.iter().rev().find(|(known, _)| known == name) {
                Some((_, value)) => value.clone(),
                None => return Err(unknown_variable(&operand.span, name)),
            },
            Base::Function(name) => return self.call(operand, name, &[]),
            Base::Nil => Value::Nil,
            Base::Bool(value) => Value::Bool(*value),
            Base::Int(value) => Value::Int(*value),
            Base::Float(value) => Value::Float(*value),
            Base::Text(text) => Value::Text(text.clone()),
            Base::Pipeline(pipeline) => self.pipeline(pipeline, dot)?,
        };
        self.steps += value.size() / 64;
        self.fields(value, operand)
    }

    fn fields(&mut self, mut value: Value<'e>, operand: &Operand) -> Result<Value<'e>, TemplateError> {
        for field in &operand.fields {
            let Value::Env(env) = value else {
                let error = format!("`.{field}` is asked of {}, which has no fields", value.kind());
                let error = TemplateError::new(operand.span.clone(), error);
                return Err(error.fix(format!("write `$.{field}` for a variable of the environment")));
            };
            let text = env.get(field).cloned().unwrap_or_default();
            if text.contains('=') {
                self.rendered.cut.push((operand.span.clone(), field.clone()));
            }
            value = Value::Text(text);
        }
        Ok(value)
    }

    /// Counts what is done, so that a template always comes to its end.
    fn step(&mut self, span: &Range<usize>) -> Result<(), TemplateError> {
        self.steps += 1;
        if self.steps > STEPS || self.rendered.text.len() > LARGEST {
            return Err(TemplateError::new(span.clone(), "this template renders to more than 8 MiB, or for too long"));
        }
        Ok(())
    }
}

fn unknown_variable(span: &Range<usize>, name: &str) -> TemplateError {
    TemplateError::new(span.clone(), format!("the variable `{name}` is not set here"))
        .fix(format!("a variable of the environment is `.{}`", name.trim_start_matches('$')))
}
