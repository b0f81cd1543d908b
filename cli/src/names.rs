//! What people call objects on the command line: `deployments`, `deployment hello`, `deploy/hello`, `canary/team/hello`.

use helium_crds::{Kind, ObjectKey};
use helium_engine::people::ObjectRef;

use crate::output::Failure;

/// What a list of words means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    /// Every object of these kinds.
    Kinds(Vec<Kind>),
    /// Just these objects.
    Objects(Vec<ObjectRef>),
}

/// Reads `KIND[,KIND]`, `KIND NAME...` or `KIND/NAME...`. `namespace` is that of names that bear none.
pub(crate) fn selection(words: &[String], namespace: &str) -> Result<Selection, Failure> {
    let [first, rest @ ..] = words else {
        return Err(Failure::usage("name a kind or an object").hint("`deployments`, `deployment/hello`"));
    };
    if first.contains('/') {
        let objects = words.iter().map(|word| object(word, namespace)).collect::<Result<_, _>>()?;
        return Ok(Selection::Objects(objects));
    }
    let kinds = kinds(first)?;
    if rest.is_empty() {
        return Ok(Selection::Kinds(kinds));
    }
    let objects =
        rest.iter().flat_map(|name| kinds.iter().map(move |&kind| ObjectRef::new(kind, key(name, namespace))));
    Ok(Selection::Objects(objects.collect()))
}

/// Reads objects, at least one: `KIND NAME...` or `KIND/NAME...`.
pub(crate) fn objects(words: &[String], namespace: &str) -> Result<Vec<ObjectRef>, Failure> {
    match selection(words, namespace)? {
        Selection::Objects(objects) => Ok(objects),
        Selection::Kinds(kinds) => {
            let kind = kinds.first().map_or("deployment", |kind| kind.singular());
            Err(Failure::usage(format!("which {kind}?")).hint(format!("`{kind}/hello`, or `{kind} hello`")))
        }
    }
}

/// Reads one object: `KIND/NAME`.
pub(crate) fn object(word: &str, namespace: &str) -> Result<ObjectRef, Failure> {
    let (kind, name) = word.split_once('/').ok_or_else(|| Failure::usage(format!("`{word}` is not `kind/name`")))?;
    let kind = Kind::from_name(kind).ok_or_else(|| no_such_kind(kind))?;
    if name.is_empty() || name.matches('/').count() > 1 {
        return Err(Failure::usage(format!("`{word}` is not `kind/name` or `kind/namespace/name`")));
    }
    Ok(ObjectRef::new(kind, key(name, namespace)))
}

/// Reads the name of a Deployment: `hello`, `deployment/hello`, or the Canary of the same name.
pub(crate) fn deployment(word: &str, namespace: &str) -> Result<ObjectKey, Failure> {
    match word.split_once('/') {
        Some((kind, _)) if Kind::from_name(kind) == Some(Kind::HydraJob) => {
            Err(Failure::usage(format!("`{word}` has no rollout: name a Deployment")))
        }
        Some((kind, _)) if Kind::from_name(kind).is_some() => Ok(object(word, namespace)?.key),
        _ => Ok(key(word, namespace)),
    }
}

/// `hello` in the namespace given, or `team/hello`.
fn key(name: &str, namespace: &str) -> ObjectKey {
    match name.split_once('/') {
        Some((namespace, name)) => ObjectKey::new(namespace, name),
        None => ObjectKey::new(namespace, name),
    }
}

fn kinds(word: &str) -> Result<Vec<Kind>, Failure> {
    if word.eq_ignore_ascii_case("all") {
        return Ok(Kind::ALL.to_vec());
    }
    word.split(',').map(|name| Kind::from_name(name).ok_or_else(|| no_such_kind(name))).collect()
}

fn no_such_kind(word: &str) -> Failure {
    let known: Vec<String> =
        Kind::ALL.into_iter().map(|kind| format!("{} ({})", kind.plural(), kind.short())).collect();
    Failure::usage(format!("there is no kind `{word}`")).hint(format!("kinds are {}", known.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    fn named(kind: Kind, namespace: &str, name: &str) -> ObjectRef {
        ObjectRef::new(kind, ObjectKey::new(namespace, name))
    }

    #[test]
    fn kinds_answer_to_every_name_they_have() {
        for name in ["deployment", "deployments", "deploy", "Deployment"] {
            assert_eq!(selection(&words(name), "default").unwrap(), Selection::Kinds(vec![Kind::Deployment]));
        }
        for name in ["canary", "canaries", "can", "CANARIES"] {
            assert_eq!(selection(&words(name), "default").unwrap(), Selection::Kinds(vec![Kind::Canary]));
        }
        let both = Selection::Kinds(vec![Kind::Deployment, Kind::Canary]);
        assert_eq!(selection(&words("all"), "default").unwrap(), Selection::Kinds(Kind::ALL.to_vec()));
        assert_eq!(selection(&words("deploy,can"), "default").unwrap(), both);
    }

    #[test]
    fn objects_are_named_in_either_way() {
        let hello = named(Kind::Deployment, "default", "hello");
        assert_eq!(objects(&words("deployment hello"), "default").unwrap(), std::slice::from_ref(&hello));
        assert_eq!(objects(&words("deploy/hello"), "default").unwrap(), [hello]);
        let team = named(Kind::Canary, "team", "hello");
        assert_eq!(objects(&words("canary/team/hello"), "default").unwrap(), std::slice::from_ref(&team));
        assert_eq!(objects(&words("canary hello"), "team").unwrap(), [team]);
    }

    #[test]
    fn a_rollout_is_named_by_its_deployment_in_any_way() {
        for word in ["hello", "deployment/hello", "can/hello", "default/hello"] {
            assert_eq!(deployment(word, "default").unwrap(), ObjectKey::new("default", "hello"), "{word}");
        }
    }

    #[test]
    fn what_is_no_name_is_a_usage_error() {
        for text in ["job/hello", "deployment/", "deployment/a/b/c", "pods"] {
            assert_eq!(objects(&words(text), "default").unwrap_err().exit, crate::output::Exit::Usage, "{text}");
        }
    }
}
