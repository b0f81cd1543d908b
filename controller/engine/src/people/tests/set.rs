//! Single values, and why they were set.

use helium_crds::deployment::CAUSE_ANNOTATION;

use super::*;
use crate::people::Setting;

fn key() -> ObjectKey {
    ObjectKey::new("default", "hello")
}

async fn cause(desk: &Desk) -> Option<String> {
    let stored = desk.people.existing(&ObjectRef::new(Kind::Deployment, key())).await.unwrap().value;
    stored.metadata.annotations.get(CAUSE_ANNOTATION).cloned()
}

#[tokio::test(start_paused = true)]
async fn a_version_and_variables_are_set_together_with_the_reason() {
    let desk = Desk::new();
    desk.apply(HELLO).await;
    let settings =
        [Setting::Version("2.0.0".to_owned()), Setting::Env("GREETING".to_owned(), Some("hello".to_owned()))];
    let (before, after) = desk.people.set(&key(), &settings, Some("asked for")).await.unwrap();
    assert_eq!(
        (&before.spec["template"]["version"], &after.spec["template"]["version"]),
        (&"1.0.0".into(), &"2.0.0".into())
    );
    assert_eq!(after.spec["template"]["env"]["GREETING"], "hello");
    assert_eq!((after.metadata.generation, cause(&desk).await.as_deref()), (2, Some("asked for")));
    let (before, after) = desk.people.set(&key(), &settings, None).await.unwrap();
    assert_eq!(before.spec, after.spec);
    assert_eq!(after.metadata.generation, 2, "what is so already is not written");
    let (_, after) = desk.people.set(&key(), &[Setting::Env("GREETING".to_owned(), None)], None).await.unwrap();
    assert!(after.spec["template"]["env"].get("GREETING").is_none());
    assert_eq!(cause(&desk).await, None, "the reason was that of another change");
}

#[tokio::test(start_paused = true)]
async fn a_value_that_is_not_sound_is_refused_as_in_a_file() {
    let desk = Desk::new();
    desk.apply(HELLO).await;
    let error = desk.people.set(&key(), &[Setting::Version("2 0".to_owned())], None).await.unwrap_err();
    assert!(error.to_string().contains("is not allowed as `version`"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_file_leaves_what_helium_noted_until_it_changes_the_spec() {
    let desk = Desk::new();
    desk.apply(HELLO).await;
    let version = HELLO.replace("1.0.0", "2.0.0");
    desk.people.set(&key(), &[Setting::Version("2.0.0".to_owned())], Some("asked for")).await.unwrap();
    let applied = desk.apply(&version).await;
    assert_eq!(applied[0].outcome, crate::people::Outcome::Unchanged);
    assert_eq!(cause(&desk).await.as_deref(), Some("asked for"));
    desk.apply(HELLO).await;
    assert_eq!(cause(&desk).await, None);
}
