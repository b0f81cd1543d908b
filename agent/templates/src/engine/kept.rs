//! Templates that are parsed already, kept from one render to the next.
//!
//! Whoever renders the same templates again and again holds a [`Kept`] for them. What was parsed counts for as long as its texts, with
//! those of all that it includes, are the very same; so a template that has changed is parsed anew, and nobody has to say that it has.
//! A render takes out what it uses and puts it back when it has ended: two renders at once never share it, and the second one parses for itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tera::Tera;

use crate::template::Template;

/// The templates of a call by the name that each is called by: the one that is rendered, and those that it includes or extends.
pub(super) type Called<'a> = BTreeMap<String, &'a Template>;

/// Templates that are parsed already. Clones share them; they are about ten times as large as their texts.
#[derive(Clone, Default)]
pub struct Kept(Arc<Mutex<BTreeMap<String, Parsed>>>);

/// One template with all that it calls.
struct Parsed {
    texts: BTreeMap<String, String>,
    tera: Tera,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Kept").field(&self.lock().keys()).finish()
    }
}

impl Kept {
    /// Forgets all of them: nobody will render them again soon.
    pub fn forget(&self) {
        self.lock().clear();
    }

    /// Takes out what was parsed of these very texts. What was parsed of others is dropped.
    pub(super) fn take(&self, name: &str, called: &Called<'_>) -> Option<Tera> {
        let parsed = self.lock().remove(name)?;
        let same = |((name, text), (called, template)): ((&String, &String), (&String, &&Template))| {
            name == called && *text == template.text
        };
        let is_same = parsed.texts.len() == called.len() && parsed.texts.iter().zip(called).all(same);
        is_same.then_some(parsed.tera)
    }

    /// Puts back, or in, what was parsed.
    pub(super) fn put(&self, name: &str, called: &Called<'_>, tera: Tera) {
        let texts = called.iter().map(|(name, template)| (name.clone(), template.text.clone())).collect();
        self.lock().insert(name.to_owned(), Parsed { texts, tera });
    }

    /// Forgets the templates that are not in this set any more.
    pub(crate) fn only(&self, set: &[Template]) {
        let names: BTreeSet<String> = set.iter().map(|template| template.name.display().to_string()).collect();
        self.lock().retain(|name, _| names.contains(name));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Parsed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        Bounds, Strictness,
        lookup::{Lookup, Nothing},
        render::{Rendered, render_within},
        values::Values,
    };

    fn template(name: &str, text: &str) -> Template {
        Template::read_from(Path::new(name), text, Path::new("/etc")).unwrap()
    }

    /// What the first of the set makes.
    fn made(set: &[Template], lookup: impl Lookup + 'static, kept: &Kept) -> String {
        let lookup: Arc<dyn Lookup> = Arc::new(lookup);
        let made = render_within(set, &Values::default(), &lookup, Strictness::Strict, &Bounds::default(), kept);
        match made.result {
            Rendered::Ready(outputs) => String::from_utf8(outputs[0].bytes.clone()).unwrap(),
            other => format!("{other:?}"),
        }
    }

    fn kept_names(kept: &Kept) -> Vec<String> {
        kept.lock().keys().cloned().collect()
    }

    #[test]
    fn what_was_parsed_is_what_the_next_render_of_the_same_text_uses() {
        let (kept, set) = (Kept::default(), [template("a.tera", "as written")]);
        assert_eq!(made(&set, Nothing, &kept), "as written");
        // Something else in the place of what was parsed shows that this is used, and that nothing is parsed.
        kept.lock().get_mut("a.tera").unwrap().tera.add_raw_template("a.tera", "as kept").unwrap();
        assert_eq!(made(&set, Nothing, &kept), "as kept");
    }

    #[test]
    fn a_template_that_has_changed_or_one_that_it_includes_is_seen_at_once() {
        let kept = Kept::default();
        let page = |text: &str| template("page.tera", text);
        let part = |text: &str| template("_part.tera", text);
        let includes = "{% include \"_part.tera\" %}!";
        assert_eq!(made(&[page(includes), part("one")], Nothing, &kept), "one!");
        assert_eq!(made(&[page(includes), part("two")], Nothing, &kept), "two!");
        assert_eq!(made(&[page("three"), part("two")], Nothing, &kept), "three");
        assert!(made(&[page("{% if %}")], Nothing, &kept).contains("page.tera:1"));
        assert_eq!(made(&[page("three")], Nothing, &kept), "three");
    }

    #[test]
    fn each_render_asks_whom_it_was_given_and_what_is_missing_is_that_of_this_render() {
        use crate::lookup::{Answer, Instance};
        #[derive(Clone, Copy)]
        struct Says(Option<&'static str>);
        impl Lookup for Says {
            fn services(&self, _: &str, _: Option<&str>) -> Answer<Vec<Instance>> {
                Answer::NotYet
            }
            fn key(&self, _: &str) -> Answer<Option<String>> {
                Answer::Known(self.0.map(str::to_owned))
            }
            fn keys(&self, _: &str) -> Answer<BTreeMap<String, String>> {
                Answer::NotYet
            }
            fn leader(&self, _: &str) -> Answer<Option<String>> {
                Answer::NotYet
            }
            fn address(&self) -> Answer<Option<String>> {
                Answer::NotYet
            }
            fn file(&self, _: &Path) -> Answer<Option<String>> {
                Answer::NotYet
            }
            fn environment(&self, _: &str) -> Answer<Option<String>> {
                Answer::NotYet
            }
        }
        let (kept, set) = (Kept::default(), [template("a.tera", "{{ key(path=\"a/b\") }}")]);
        assert_eq!(made(&set, Says(Some("one")), &kept), "one");
        assert!(made(&set, Says(None), &kept).contains("the key a/b"));
        assert_eq!(made(&set, Says(Some("two")), &kept), "two");
    }

    #[test]
    fn no_answers_are_held_when_a_render_has_ended() {
        let (kept, set) = (Kept::default(), [template("a.tera", "{{ address(default=\"none\") }}")]);
        let lookup: Arc<dyn Lookup> = Arc::new(Nothing);
        let bounds = Bounds::default();
        drop(render_within(&set, &Values::default(), &lookup, Strictness::Strict, &bounds, &kept));
        assert_eq!((Arc::strong_count(&lookup), kept_names(&kept)), (1, vec!["a.tera".to_owned()]));
    }

    #[test]
    fn what_is_not_in_the_set_any_more_is_forgotten() {
        let kept = Kept::default();
        made(&[template("a.tera", "a"), template("b.tera", "b")], Nothing, &kept);
        assert_eq!(kept_names(&kept), ["a.tera", "b.tera"]);
        made(&[template("b.tera", "b")], Nothing, &kept);
        assert_eq!(kept_names(&kept), ["b.tera"]);
    }
}
