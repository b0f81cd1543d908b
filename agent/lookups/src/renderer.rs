//! Renders a set on a thread of its own, within a time limit, so that a template that does not end hangs nobody.

use std::{
    sync::{
        Arc,
        mpsc::{SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use helium_templates::{
    Bounds, Kept, Strictness,
    lookup::Lookup,
    render::{Render, render_within},
    template::Template,
    values::Values,
};
use tokio::{sync::oneshot, time::timeout};

/// How long a render that was asked to end may take to do so, before its thread is given up.
const LAST: Duration = Duration::from_millis(500);

/// Templates, and what they are filled with beside what they ask.
#[derive(Clone, Debug, Default)]
pub struct Set {
    /// The templates.
    pub templates: Vec<Template>,
    /// The values.
    pub values: Values,
    /// What is done about names that are not there.
    pub strictness: Strictness,
}

/// One render, with all that it needs.
type Job = Box<dyn FnOnce() + Send>;

/// Renders sets, one at a time.
pub(crate) struct Renderer {
    limit: Duration,
    /// The thread, once there is one. It is no thread of the runtime's: one that never ends would keep the runtime from ending.
    thread: Option<SyncSender<Job>>,
    /// The set that did not end in time, and what was said of it: it is not rendered again.
    refused: Option<(Arc<Set>, String)>,
    /// What is parsed already of the templates.
    kept: Kept,
}

impl Renderer {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, thread: None, refused: None, kept: Kept::default() }
    }

    /// Renders a set. The error says that it took too long; the same set is then not tried again.
    pub(crate) async fn render(&mut self, set: &Arc<Set>, lookup: Arc<dyn Lookup>) -> Result<Render, String> {
        if let Some((refused, words)) = &self.refused
            && Arc::ptr_eq(refused, set)
        {
            return Err(words.clone());
        }
        let bounds = Bounds::default();
        let (sender, mut made) = oneshot::channel();
        let (of, within, kept) = (Arc::clone(set), bounds.clone(), self.kept.clone());
        self.begin(Box::new(move || {
            let _ = sender.send(render_within(&of.templates, &of.values, &lookup, of.strictness, &within, &kept));
        }))?;
        if let Ok(made) = timeout(self.limit, &mut made).await {
            return made.map_err(|_| {
                self.thread = None;
                "the render ended without a word".to_owned()
            });
        }
        // Whatever becomes of this thread, the next render has another.
        self.thread = None;
        bounds.stop();
        let ended = timeout(LAST, made).await.is_ok();
        let words = format!(
            "rendering took longer than {:?} and {}: are there loops within loops? It is not tried again until the templates change",
            self.limit,
            if ended { "was ended" } else { "does not end" }
        );
        self.refused = Some((Arc::clone(set), words.clone()));
        Err(words)
    }

    /// Gives a render to the thread, which waits for it.
    fn begin(&mut self, job: Job) -> Result<(), String> {
        let none = |error: &dyn std::fmt::Display| format!("there is no thread to render on: {error}");
        if self.thread.is_none() {
            let (sender, jobs) = sync_channel::<Job>(1);
            let run = move || jobs.iter().for_each(|job| job());
            thread::Builder::new().name("render".to_owned()).spawn(run).map_err(|error| none(&error))?;
            self.thread = Some(sender);
        }
        let sent = self.thread.as_ref().map_or(Ok(()), |thread| thread.try_send(job));
        sent.map_err(|error| {
            self.thread = None;
            none(&error)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use helium_templates::{lookup::Nothing, render::Rendered};

    use super::*;

    fn set(text: &str) -> Arc<Set> {
        let template = Template::read_from(Path::new("a.tera"), text, Path::new("/etc")).unwrap();
        Arc::new(Set { templates: vec![template], ..Set::default() })
    }

    fn loops(body: &str) -> Arc<Set> {
        let ranges = "{% for a in range(end=100000) %}".repeat(3);
        set(&format!("{ranges}{body}{}", "{% endfor %}".repeat(3)))
    }

    #[tokio::test]
    async fn a_template_that_does_not_end_is_given_up_and_not_tried_again_until_it_changes() {
        let mut renderer = Renderer::new(Duration::from_millis(200));
        let endless = loops("{% if a > 1000000 %}x{% endif %}");
        let error = renderer.render(&endless, Arc::new(Nothing)).await.unwrap_err();
        assert!(error.contains("took longer than 200ms"), "{error}");
        assert_eq!(renderer.render(&endless, Arc::new(Nothing)).await.unwrap_err(), error);
        let made = renderer.render(&set("x"), Arc::new(Nothing)).await.unwrap();
        assert!(matches!(made.result, Rendered::Ready(_)));
    }
}
