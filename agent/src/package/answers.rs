//! What templates ask Consul, answered from what has been fetched for them.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use consul_client::{Client, Error, Read};
use helium_templates::lookup::{Answer, Instance, Lookup, Question};

/// How long Consul may take for one answer.
const LIMIT: Duration = Duration::from_secs(5);

/// An answer of Consul.
#[derive(Clone, Debug)]
enum Found {
    Instances(Vec<Instance>),
    Text(Option<String>),
    Texts(BTreeMap<String, String>),
}

/// The answers that are known so far.
pub(crate) struct Answers {
    client: Client,
    leader_key: Box<dyn Fn(&str) -> String + Send + Sync>,
    address: String,
    env: BTreeMap<String, String>,
    found: Mutex<BTreeMap<Question, Found>>,
}

impl Answers {
    /// No answers yet. `leader_key` names the lock of a service's leader.
    pub(crate) fn new(
        client: Client,
        leader_key: impl Fn(&str) -> String + Send + Sync + 'static,
        address: String,
        env: BTreeMap<String, String>,
    ) -> Arc<Self> {
        Arc::new(Self { client, leader_key: Box::new(leader_key), address, env, found: Mutex::default() })
    }

    /// Fetches what is lacking.
    ///
    /// # Errors
    /// The first question that Consul did not answer, and why.
    pub(crate) async fn fetch<'q>(&self, lacking: impl IntoIterator<Item = &'q Question>) -> Result<(), String> {
        for question in lacking {
            let asked = tokio::time::timeout(LIMIT, self.ask(question)).await;
            let found = match asked {
                Ok(Ok(found)) => found,
                Ok(Err(error)) => return Err(format!("{question} cannot be read: {error}")),
                Err(_) => return Err(format!("{question} cannot be read: no answer within {LIMIT:?}")),
            };
            self.found.lock().unwrap_or_else(PoisonError::into_inner).insert(question.clone(), found);
        }
        Ok(())
    }

    async fn ask(&self, question: &Question) -> Result<Found, Error> {
        let read = Read::default();
        Ok(match question {
            Question::Services { name, tag } => {
                let read = Read { tag: tag.clone(), passing: true, ..read };
                let healthy = self.client.health_service(name, &read).await?.value;
                let instances = healthy.into_iter().map(|one| Instance {
                    address: if one.service.address.is_empty() { one.node.address } else { one.service.address },
                    id: one.service.id,
                    port: one.service.port,
                    node: one.node.node,
                    tags: one.service.tags,
                    meta: one.service.meta,
                });
                Found::Instances(instances.collect())
            }
            Question::Key(key) => Found::Text(self.text(key).await?),
            Question::Leader(service) => Found::Text(self.text(&(self.leader_key)(service)).await?),
            Question::Keys(prefix) => {
                let pairs = self.client.kv_list(prefix, &read).await?.value;
                let texts = pairs.into_iter().filter_map(|pair| {
                    let name = pair.key.strip_prefix(prefix.as_str())?.to_owned();
                    Some((name, String::from_utf8_lossy(&pair.value).into_owned()))
                });
                Found::Texts(texts.filter(|(name, _)| !name.is_empty() && !name.ends_with('/')).collect())
            }
            Question::Address | Question::File(_) | Question::Environment(_) => Found::Text(None),
        })
    }

    async fn text(&self, key: &str) -> Result<Option<String>, Error> {
        let pair = self.client.kv_get(key, &Read::default()).await?.value;
        Ok(pair.map(|pair| String::from_utf8_lossy(&pair.value).into_owned()))
    }

    fn known<T>(&self, question: &Question, take: impl Fn(&Found) -> Option<T>) -> Answer<T> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.get(question).and_then(take).map_or(Answer::NotYet, Answer::Known)
    }

    fn known_text(&self, question: &Question) -> Answer<Option<String>> {
        self.known(question, |found| match found {
            Found::Text(text) => Some(text.clone()),
            Found::Instances(_) | Found::Texts(_) => None,
        })
    }
}

impl Lookup for Answers {
    fn services(&self, name: &str, tag: Option<&str>) -> Answer<Vec<Instance>> {
        let question = Question::Services { name: name.to_owned(), tag: tag.map(str::to_owned) };
        self.known(&question, |found| match found {
            Found::Instances(instances) => Some(instances.clone()),
            Found::Text(_) | Found::Texts(_) => None,
        })
    }

    fn key(&self, key: &str) -> Answer<Option<String>> {
        self.known_text(&Question::Key(key.to_owned()))
    }

    fn keys(&self, prefix: &str) -> Answer<BTreeMap<String, String>> {
        self.known(&Question::Keys(prefix.to_owned()), |found| match found {
            Found::Texts(texts) => Some(texts.clone()),
            Found::Instances(_) | Found::Text(_) => None,
        })
    }

    fn leader(&self, service: &str) -> Answer<Option<String>> {
        self.known_text(&Question::Leader(service.to_owned()))
    }

    fn address(&self) -> Answer<Option<String>> {
        Answer::Known(Some(self.address.clone()))
    }

    fn file(&self, path: &Path) -> Answer<Option<String>> {
        Answer::Known(std::fs::read_to_string(path).ok())
    }

    fn environment(&self, name: &str) -> Answer<Option<String>> {
        Answer::Known(self.env.get(name).cloned())
    }
}
