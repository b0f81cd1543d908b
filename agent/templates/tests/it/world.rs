//! A world that answers templates from maps, and helpers to render in it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use helium_templates::{
    Strictness,
    lookup::{Answer, Instance, Lookup, Question},
    render::{Render, Rendered, render},
    template::Template,
    values::{Layer, Values},
};
use serde_json::Value;

/// What is known; what is in no map is not known yet.
#[derive(Clone, Default)]
pub(crate) struct World {
    pub(crate) services: BTreeMap<String, Vec<Instance>>,
    pub(crate) keys: BTreeMap<String, Option<String>>,
    pub(crate) prefixes: BTreeMap<String, BTreeMap<String, String>>,
    pub(crate) files: BTreeMap<PathBuf, String>,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) secret_prefix: Option<String>,
}

fn answer<T: Clone>(found: Option<&T>) -> Answer<T> {
    found.cloned().map_or(Answer::NotYet, Answer::Known)
}

impl Lookup for World {
    fn services(&self, name: &str, tag: Option<&str>) -> Answer<Vec<Instance>> {
        let Answer::Known(mut found) = answer(self.services.get(name)) else { return Answer::NotYet };
        found.retain(|instance| tag.is_none_or(|tag| instance.tags.iter().any(|has| has == tag)));
        Answer::Known(found)
    }
    fn key(&self, key: &str) -> Answer<Option<String>> {
        answer(self.keys.get(key))
    }
    fn keys(&self, prefix: &str) -> Answer<BTreeMap<String, String>> {
        answer(self.prefixes.get(prefix))
    }
    fn leader(&self, service: &str) -> Answer<Option<String>> {
        answer(self.keys.get(&format!("leader/{service}")))
    }
    fn address(&self) -> Answer<Option<String>> {
        Answer::Known(Some("10.0.0.7".to_owned()))
    }
    fn file(&self, path: &Path) -> Answer<Option<String>> {
        Answer::Known(self.files.get(path).cloned())
    }
    fn environment(&self, name: &str) -> Answer<Option<String>> {
        Answer::Known(self.environment.get(name).cloned())
    }
    fn is_secret(&self, question: &Question) -> bool {
        matches!((question, &self.secret_prefix), (Question::Key(key), Some(prefix)) if key.starts_with(prefix.as_str()))
    }
}

pub(crate) fn instance(id: &str, address: &str, tags: &[&str]) -> Instance {
    let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
    Instance { id: id.into(), address: address.into(), port: 5432, node: "n".into(), tags, meta: BTreeMap::new() }
}

pub(crate) fn values(json: Value) -> Values {
    Values::merge([Layer::of_config(json).unwrap()])
}

pub(crate) fn template(name: &str, text: &str) -> Template {
    Template::read_from(Path::new(name), text, Path::new("/etc/app")).unwrap()
}

pub(crate) fn render_in(world: &World, templates: &[Template], values: &Values, strictness: Strictness) -> Render {
    let lookup: Arc<dyn Lookup> = Arc::new(world.clone());
    render(templates, values, &lookup, strictness)
}

/// The text that one template makes, or the error as a person reads it.
pub(crate) fn text(name: &str, text: &str, json: Value, world: &World) -> String {
    match render_in(world, &[template(name, text)], &values(json), Strictness::Strict).result {
        Rendered::Ready(outputs) => String::from_utf8(outputs[0].bytes.clone()).unwrap(),
        Rendered::Pending => "pending".to_owned(),
        Rendered::Failed(error) => error.to_string(),
    }
}
