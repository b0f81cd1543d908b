//! Small edits: what is refused before anything is written, and what is written in several transactions.

use serde_json::json;

use super::*;

fn count(version: &str, replicas: u32) -> VersionCount {
    VersionCount { version: version.to_owned(), replicas }
}

/// `hello-0`, `hello-1` and so on.
fn many(number: usize) -> (String, Vec<ObjectRef>) {
    let names: Vec<String> = (0..number).map(|place| format!("hello-{place}")).collect();
    let texts: Vec<String> = names.iter().map(|name| HELLO.replace("name: hello", &format!("name: {name}"))).collect();
    let object = |name: &String| ObjectRef::new(Kind::Deployment, ObjectKey::new("default", name));
    (texts.join("---"), names.iter().map(object).collect())
}

/// The template of `hello` with other environment, so that it is another revision of the same label.
fn template_with(value: &str) -> Template {
    let text = HELLO.replace("exec:", &format!("env: {{A: {value}}}, exec:"));
    let AnyObject::Deployment(deployment) = objects(&text).remove(0) else { panic!("{text}") };
    deployment.spec.template
}

#[tokio::test(start_paused = true)]
async fn more_objects_than_one_transaction_takes_are_scaled_and_deleted_all_the_same() {
    let desk = Desk::new();
    let (text, names) = many(65);
    desk.apply(&text).await;
    let counts: Vec<(ObjectKey, u32)> = names.iter().map(|name| (name.key.clone(), 5)).collect();
    let scaled = desk.people.scale(&counts).await.unwrap();
    assert!(scaled.iter().all(|scaled| scaled.after.spec["replicas"] == 5));
    assert_eq!(scaled.iter().map(|scaled| ObjectRef::of(&scaled.after)).collect::<Vec<_>>(), names);
    let deleted = desk.people.delete(&names).await.unwrap();
    assert_eq!(deleted.iter().map(|deleted| deleted.object.clone()).collect::<Vec<_>>(), names);
    for row in desk.people.objects().await.unwrap() {
        assert!(row.value.is_deleting() && row.value.spec["replicas"] == 5, "{}", row.value.metadata.name);
    }
}

#[tokio::test(start_paused = true)]
async fn a_faster_write_in_the_second_transaction_costs_another_try_of_what_is_left() {
    let desk = Desk::new();
    let (text, names) = many(65);
    desk.apply(&text).await;
    let last = &names[64];
    let mut theirs = desk.people.existing(last).await.unwrap().value;
    theirs.spec["minHealthyTime"] = "1s".into();
    let key = desk.people.keys().spec(Kind::Deployment, &last.key);
    let faster = Fault::Faster { key, value: serde_json::to_vec(&theirs).unwrap() };
    let counts: Vec<(ObjectKey, u32)> = names.iter().map(|name| (name.key.clone(), 5)).collect();
    let scaled = desk.behind_at("/deployment/hello-64", faster).scale(&counts).await.unwrap();
    assert_eq!(scaled.len(), 65);
    assert!(scaled.iter().all(|scaled| scaled.before.spec["replicas"] == 3 && scaled.after.metadata.generation == 2));
    assert_eq!(scaled[64].after.spec["minHealthyTime"], "1s");
}

#[tokio::test(start_paused = true)]
async fn what_was_written_before_a_lost_line_is_told() {
    let desk = Desk::new();
    let (text, names) = many(65);
    desk.apply(&text).await;
    let lost = desk.behind_at("/deployment/hello-64", Fault::RequestLost).delete(&names).await.unwrap_err();
    assert!(matches!(lost, PeopleError::Partly { written: 64, total: 65, .. }), "{lost:?}");
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_named_twice_is_deleted_once_and_not_given_two_counts() {
    let desk = Desk::new();
    desk.apply(HELLO).await;
    let twice = desk.people.scale(&[(hello().key, 1), (hello().key, 2)]).await.unwrap_err();
    assert_eq!(twice.to_string(), "deployment/hello is given twice; give it one count");
    assert_eq!(desk.hello().await.spec["replicas"], 3);
    let deleted = desk.people.delete(&[hello(), hello()]).await.unwrap();
    assert_eq!(deleted, [Deleted { object: hello(), already: false }]);
}

#[tokio::test(start_paused = true)]
async fn counts_are_for_one_revision_each() {
    let desk = Desk::new();
    with_history(&desk).await;
    let index = desk.server.index();
    let refuse = async |counts: &[VersionCount]| {
        let refusal = desk.people.scale_versions(&hello().key, counts).await.unwrap_err();
        assert_eq!(desk.server.index(), index, "nothing was written");
        refusal.to_string()
    };
    let history = desk.people.revisions(&hello().key).await.unwrap();
    let names: Vec<String> =
        history.iter().map(|known| format!("{}@{}", known.template.version, known.id.short())).collect();
    let there = format!("give it one count, or another version: there is {}", names.join(", "));
    let twice = format!("`1.0.0` and `1.0.0` are one revision of deployment/hello; {there}");
    assert_eq!(refuse(&[count("1.0.0", 1), count("1.0.0", 2)]).await, twice);
    let hashed = format!("`2.0.0` and `{}` are one revision of deployment/hello; {there}", names[1]);
    assert_eq!(refuse(&[count("2.0.0", 1), count(&names[1], 2)]).await, hashed);
}

#[tokio::test(start_paused = true)]
async fn a_hash_that_fits_several_revisions_is_refused_and_a_label_means_the_newest() {
    let desk = Desk::new();
    desk.apply(&HELLO.replace("1.0.0", "2.0.0")).await;
    for (number, digits) in [(1, "abcd1111"), (2, "abcd2222")] {
        remember(&desk, number, &RevisionId::new(format!("r1-{digits}")), template_with(digits)).await;
    }
    let ambiguous = desk.people.scale_versions(&hello().key, &[count("1.0.0@abcd", 1)]).await.unwrap_err();
    let words =
        "`1.0.0@abcd` fits several revisions of deployment/hello: 1.0.0@abcd1111, 1.0.0@abcd2222; give more digits";
    assert_eq!(ambiguous.to_string(), words);
    let newest = desk.people.scale_versions(&hello().key, &[count("1.0.0", 1), count("1.0.0@abcd2", 1)]).await;
    assert!(matches!(newest, Err(PeopleError::SameVersion { .. })), "{newest:?}");
    desk.people.scale_versions(&hello().key, &[count("1.0.0", 1), count("1.0.0@abcd1", 1)]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_version_that_no_controller_has_seen_yet_can_be_counted_by_its_template() {
    let desk = Desk::new();
    desk.apply(HELLO).await;
    desk.people.scale_versions(&hello().key, &[count("1.0.0", 2)]).await.unwrap();
    assert_eq!(desk.hello().await.spec["versions"], json!([{"version": "1.0.0", "replicas": 2}]));
}

#[tokio::test(start_paused = true)]
async fn an_edit_stores_nothing_that_an_apply_would_refuse() {
    let desk = Desk::new();
    with_history(&desk).await;
    let mut broken = template_with("text");
    broken.env.insert("A".to_owned(), "${NOBODY}".to_owned());
    broken.version = "0.9.0".to_owned();
    remember(&desk, 9, &RevisionId::new("r1-broken"), broken).await;
    let index = desk.server.index();
    let undo = desk.people.undo(&hello().key, Some(9)).await.unwrap_err();
    assert!(matches!(undo, PeopleError::Invalid { .. }), "{undo:?}");
    let words = undo.to_string();
    assert!(words.starts_with("deployment/hello would not be valid: spec.template.env.A: `${NOBODY}`"), "{words}");
    let scale = desk.people.scale(&[(hello().key, 10_001)]).await.unwrap_err();
    assert!(scale.to_string().contains("spec.replicas: "), "{scale}");
    assert_eq!(desk.server.index(), index);
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_for_a_number_that_is_not_there_is_told_what_is_and_which_number_the_template_has_now() {
    let desk = Desk::new();
    with_history(&desk).await;
    let refuse = async |number| desk.people.undo(&hello().key, Some(number)).await.unwrap_err().to_string();
    assert_eq!(refuse(7).await, "deployment/hello has no revision 7 in its history; there is 1 (1.0.0), 2 (2.0.0)");
    // The first one comes back, as the controller records it.
    let mut first = desk.people.revisions(&hello().key).await.unwrap().remove(0);
    (first.number, first.formerly) = (3, vec![1]);
    desk.put(&desk.people.keys().revision(&hello().key, &first.id), &first).await;
    let words = "deployment/hello has no revision 1 any more: its template came back and is revision 3 now; \
        there is 2 (2.0.0), 3 (1.0.0)";
    assert_eq!(refuse(1).await, words);
}

#[tokio::test(start_paused = true)]
async fn undo_is_refused_while_counts_by_version_hold_what_runs() {
    let desk = Desk::new();
    with_history(&desk).await;
    desk.people.scale_versions(&hello().key, &[count("1.0.0", 1), count("2.0.0", 2)]).await.unwrap();
    let index = desk.server.index();
    let refusal = desk.people.undo(&hello().key, None).await.unwrap_err();
    let words = "deployment/hello is held at counts by version (1.0.0=1,2.0.0=2), so that no template is rolled out";
    assert_eq!(refusal.to_string(), words);
    assert_eq!(desk.server.index(), index);
}
