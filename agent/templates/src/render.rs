//! All templates of a service, rendered together: all of them, or what is lacking or wrong in any of them.

use std::{collections::BTreeSet, fmt, sync::Arc};

use crate::{
    engine::{self, Bounds, Failure, Job, Kept, Missing, Strictness},
    hidden::Hidden,
    lookup::{Asked, Lookup, Recorder},
    output::Output,
    template::Template,
    values::Values,
};

/// What came of a render.
#[derive(Clone, Debug)]
pub struct Render {
    /// The files, or why there are none.
    pub result: Rendered,
    /// What the templates asked: which services and prefixes have to be followed.
    pub asked: Asked,
    /// The texts that nobody may see, of the values and of the answers.
    pub hidden: Hidden,
}

/// The files, or why there are none.
#[derive(Clone, Debug)]
pub enum Rendered {
    /// Every template made its file.
    Ready(Vec<Output>),
    /// Answers are lacking, see [`Asked::lacking`]: render again when they are there.
    Pending,
    /// The templates or the values are wrong.
    Failed(RenderError),
}

/// Why templates make nothing: every reason there is, in all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct RenderError {
    /// Templates that are wrong: file, line, column, the line itself and what is wrong.
    pub wrong: Vec<String>,
    /// Names that nobody gives.
    pub missing: BTreeSet<Missing>,
}

impl fmt::Display for RenderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words("in the package's defaults, in config/ or in the Deployment"))
    }
}

impl RenderError {
    /// All of it for people; `place` says where values are given.
    pub fn words(&self, place: &str) -> String {
        let mut parts = self.wrong.clone();
        if !self.missing.is_empty() {
            let names: Vec<String> = self.missing.iter().map(|missing| format!("\n  {missing}")).collect();
            let what = match names.len() {
                1 => "1 value is missing; give it".to_owned(),
                count => format!("{count} values are missing; give them"),
            };
            parts.push(format!("error: {what} {place}:{}", names.concat()));
        }
        parts.join("\n\n")
    }
}

/// Renders all templates of a service once, within the usual bounds.
pub fn render(templates: &[Template], values: &Values, lookup: &Arc<dyn Lookup>, strictness: Strictness) -> Render {
    render_within(templates, values, lookup, strictness, &Bounds::default(), &Kept::default())
}

/// Renders all templates of a service. Those that are [parts](Template::is_part) make no file. What is parsed of them is
/// kept for the next render of the same.
pub fn render_within(
    templates: &[Template],
    values: &Values,
    lookup: &Arc<dyn Lookup>,
    strictness: Strictness,
    bounds: &Bounds,
    kept: &Kept,
) -> Render {
    kept.only(templates);
    let recorder = Recorder::new(Arc::clone(lookup));
    let mut error = RenderError::default();
    let mut made = Vec::new();
    let mut certain = false;
    for template in templates.iter().filter(|template| !template.is_part()) {
        let job = Job { template, set: templates, values, lookup: &recorder, strictness, bounds, kept };
        match engine::engine(template.language).render(&job) {
            Ok(text) => made.push((template, text)),
            Err(Failure::Missing(missing)) => error.missing.extend(missing),
            Err(Failure::Syntax(report)) => {
                certain = true;
                error.wrong.push(report);
            }
            Err(Failure::Fault(report)) => error.wrong.push(report),
        }
    }
    let asked = recorder.into_asked();
    let mut hidden = values.hidden();
    hidden.extend(&asked.hidden);
    let result = if !asked.lacking.is_empty() && !certain {
        // What stands in for an answer may well be why a template failed, so nothing is said of that yet. No answer mends its syntax.
        Rendered::Pending
    } else if error != RenderError::default() {
        error.wrong.iter_mut().for_each(|report| *report = hidden.mask(report));
        Rendered::Failed(error)
    } else {
        Rendered::Ready(made.into_iter().map(|(template, text)| Output::of(template, text, &hidden)).collect())
    };
    Render { result, asked, hidden }
}
