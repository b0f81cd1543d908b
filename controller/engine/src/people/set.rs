//! Set: single values of a Deployment's template, changed in place.

use helium_crds::{Kind, ObjectKey};
use serde_json::{Value, json};

use super::{
    People, PeopleError,
    manifest::{ObjectRef, Stored},
    scale::{counts_by_version, edited},
    undo::say_why,
};

/// One value to set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// The version label.
    Version(String),
    /// An environment variable; none takes it out.
    Env(String, Option<String>),
}

impl People {
    /// Sets values of the template of a Deployment, all of them or none. Gives the object before and after; the same if it was so.
    ///
    /// # Errors
    /// There is no such Deployment, counts by version hold what runs, or the spec that comes of it is not sound.
    pub async fn set(
        &self,
        key: &ObjectKey,
        settings: &[Setting],
        reason: Option<&str>,
    ) -> Result<(Stored, Stored), PeopleError> {
        let object = ObjectRef::new(Kind::Deployment, key.clone());
        let change = |_: usize, stored: &Stored| {
            if let Some(counts) = counts_by_version(stored) {
                return Err(PeopleError::CountsHeld { object: ObjectRef::of(stored), counts });
            }
            let after = edited(stored, |spec| {
                if let Some(Value::Object(template)) = spec.get_mut("template") {
                    for setting in settings {
                        put(template, setting);
                    }
                }
            })?;
            Ok(after.map(|mut after| {
                say_why(&mut after, reason);
                after
            }))
        };
        let results = self.edit(std::slice::from_ref(&object), Kind::Deployment, change).await?;
        results.into_iter().next().ok_or(PeopleError::NotFound(object))
    }
}

fn put(template: &mut serde_json::Map<String, Value>, setting: &Setting) {
    match setting {
        Setting::Version(version) => {
            template.insert("version".to_owned(), json!(version));
        }
        Setting::Env(name, value) => {
            let env = template.entry("env").or_insert_with(|| json!({}));
            let Value::Object(env) = env else { return };
            match value {
                Some(value) => drop(env.insert(name.clone(), json!(value))),
                None => drop(env.remove(name)),
            }
        }
    }
}
