//! What happens to a service's files over time.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt as _, path::Path};

use helium_templates::{
    Strictness,
    diff::{Old, diff},
    files::RealFiles,
    lookup::Question,
    output::Output,
    render::{Render, Rendered},
    template::Template,
    transaction::{Applied, NoCheck, apply},
    values::{Layer, Naming, Override, Values},
};
use serde_json::json;

use crate::world::{World, instance, render_in, values};

fn ready(made: Render) -> Vec<Output> {
    match made.result {
        Rendered::Ready(outputs) => outputs,
        other => panic!("{other:?}"),
    }
}

fn service(name: &str) -> Question {
    Question::Services { name: name.to_owned(), tag: None }
}

/// First the list of services, then the instances of each.
const TWO_PASSES: &str = r#"{% for name, _ in keys(prefix="backends/") %}{{ name }}:{% for i in services(name=name) %} {{ i.address }}{% endfor %}
{% endfor %}"#;

#[test]
fn a_template_that_needs_two_passes_is_complete_in_the_end_and_never_partly_written() {
    let folder = tempfile::tempdir().unwrap();
    let templates = [Template::read_from(Path::new("lb.conf.tera"), TWO_PASSES, folder.path()).unwrap()];
    let mut world = World::default();
    let render = |world: &World| render_in(world, &templates, &Values::default(), Strictness::Strict);

    let first = render(&world);
    assert!(matches!(first.result, Rendered::Pending));
    assert_eq!(first.asked.lacking, BTreeSet::from([Question::Keys("backends/".into())]));

    world.prefixes.insert("backends/".into(), [("api".into(), String::new()), ("web".into(), String::new())].into());
    let second = render(&world);
    assert!(matches!(second.result, Rendered::Pending));
    assert_eq!(second.asked.lacking, BTreeSet::from([service("api"), service("web")]));

    world.services.insert("api".into(), vec![instance("a", "10.0.0.1", &[])]);
    assert_eq!(render(&world).asked.lacking, BTreeSet::from([service("web")]));
    world.services.insert("web".into(), vec![instance("w", "10.0.0.2", &[])]);
    let last = render(&world);
    assert_eq!(last.asked.questions.len(), 3);
    apply(&RealFiles, &folder.path().join("state"), &ready(last), &NoCheck).unwrap();
    assert_eq!(fs::read_to_string(folder.path().join("lb.conf")).unwrap(), "api: 10.0.0.1\nweb: 10.0.0.2\n");
}

#[test]
fn the_order_of_instances_in_an_answer_changes_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let source = r#"{% for i in services(name="web") %}{{ i.id }} {% endfor %}"#;
    let templates = [Template::read_from(Path::new("lb.tera"), source, folder.path()).unwrap()];
    let mut world = World::default();
    let mut applied = Vec::new();
    for order in [["a", "b"], ["b", "a"]] {
        world.services.insert("web".into(), order.map(|id| instance(id, "10.0.0.1", &[])).into());
        let outputs = ready(render_in(&world, &templates, &Values::default(), Strictness::Strict));
        applied.push(apply(&RealFiles, folder.path(), &outputs, &NoCheck).unwrap());
    }
    assert_eq!(applied, [Applied::Changed(vec![folder.path().join("lb")]), Applied::Unchanged]);
}

#[test]
fn a_template_error_leaves_every_file_of_the_service_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a"), "old").unwrap();
    let templates =
        ["a.tera", "b.tera"].map(|name| Template::read_from(Path::new(name), "{{ x }}{{ y }}", folder.path()).unwrap());
    let made = render_in(&World::default(), &templates, &values(json!({"x": 1})), Strictness::Strict);
    assert!(matches!(made.result, Rendered::Failed(_)));
    assert_eq!(fs::read_to_string(folder.path().join("a")).unwrap(), "old");
}

#[test]
fn a_file_that_holds_a_secret_value_is_0600_and_the_secret_is_in_no_diff_and_no_debug_output() {
    let folder = tempfile::tempdir().unwrap();
    let source = "user = {{ user }}\npass = {{ db.password }}\ntoken = {{ key(path=\"secret/token\") }}\n";
    let templates = [Template::read_from(Path::new("app.conf.tera"), source, folder.path()).unwrap()];
    let password = Override { key: "config/web/db/password", path: "db/password", value: b"hunter2", secret: true };
    let layers =
        [Layer::of_config(json!({"user": "app"})).unwrap(), Layer::of_overrides([password], Naming::Nested).unwrap()];
    let mut world = World { secret_prefix: Some("secret/".into()), ..World::default() };
    world.keys.insert("secret/token".into(), Some("tok-1234".into()));

    let made = render_in(&world, &templates, &Values::merge(layers), Strictness::Strict);
    let told = format!("{made:?}");
    let hidden = made.hidden.clone();
    let outputs = ready(made);
    let shown = diff(Some(Old { bytes: b"user = old\n", mode: 0o644 }), &outputs[0], &hidden);
    for text in [told, shown.clone()] {
        assert!(!text.contains("hunter2") && !text.contains("tok-1234"), "{text}");
    }
    assert!(shown.contains("+user = app\n+pass = (secret)\n+token = (secret)\n"), "{shown}");
    apply(&RealFiles, folder.path(), &outputs, &NoCheck).unwrap();
    let file = folder.path().join("app.conf");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(fs::read_to_string(&file).unwrap().contains("pass = hunter2"));
}

#[test]
fn a_key_that_is_deleted_leaves_the_file_and_says_so_and_is_followed_when_it_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let source = "{{ key(path=\"shared/motd\") }}";
    let templates = [Template::read_from(Path::new("motd.tera"), source, folder.path()).unwrap()];
    let mut world = World::default();
    let mut step = |value: Option<&str>| {
        world.keys.insert("shared/motd".into(), value.map(str::to_owned));
        match render_in(&world, &templates, &Values::default(), Strictness::Strict).result {
            Rendered::Ready(outputs) => {
                apply(&RealFiles, folder.path(), &outputs, &NoCheck).unwrap();
                String::new()
            }
            Rendered::Pending => "pending".to_owned(),
            Rendered::Failed(error) => error.to_string(),
        }
    };
    assert_eq!(step(Some("hello")), "");
    assert!(step(None).ends_with("\n  motd.tera:1:14: the key shared/motd"));
    assert_eq!(fs::read_to_string(folder.path().join("motd")).unwrap(), "hello");
    assert_eq!(step(Some("again")), "");
    assert_eq!(fs::read_to_string(folder.path().join("motd")).unwrap(), "again");
}

#[test]
fn a_syntax_error_is_told_at_once_and_does_not_wait_for_answers() {
    let templates = ["{{ key(path=\"a\") }}", "{{ b"].map(|text| crate::world::template("x.tera", text));
    let made = render_in(&World::default(), &templates, &Values::default(), Strictness::Strict);
    assert!(matches!(made.result, Rendered::Failed(_)));
    assert_eq!(made.asked.lacking, BTreeSet::from([Question::Key("a".into())]));
}

#[test]
fn templates_of_a_set_include_one_another_and_parts_make_no_file() {
    let part = Template::read_from(Path::new("in/_header.tera"), "# {{ app }}{{ nowhere }}\n", Path::new("/etc/app"));
    let page = Template::read_from(
        Path::new("in/a.conf.tera"),
        "{% include \"_header.tera\" %}x = 1\n",
        Path::new("/etc/app"),
    );
    let broken = Template::read_from(Path::new("in/b.conf.tera"), "{% if %}", Path::new("/etc/app"));
    let set = [part.unwrap(), page.unwrap()];
    let render = |set: &[Template], json| render_in(&World::default(), set, &values(json), Strictness::Strict);
    let outputs = ready(render(&set, json!({"app": "web", "nowhere": "!"})));
    assert_eq!(outputs.len(), 1);
    assert_eq!(String::from_utf8_lossy(&outputs[0].bytes), "# web!\nx = 1\n");
    let Rendered::Failed(error) = render(&set, json!({"app": "web"})).result else { panic!() };
    assert!(error.to_string().contains("in/_header.tera:1:"), "{error}");
    let with_broken = [set[0].clone(), set[1].clone(), broken.unwrap()];
    let Rendered::Failed(error) = render(&with_broken, json!({"app": "web", "nowhere": ""})).result else { panic!() };
    assert_eq!(error.wrong.len(), 1, "what is wrong with one template is told once: {error}");
}

#[test]
fn a_template_that_makes_too_much_or_takes_too_long_is_ended() {
    let text = "{% for a in range(end=100000) %}{% for b in range(end=100000) %}x{% endfor %}{% endfor %}";
    let set = [Template::read_from(Path::new("a.tera"), text, Path::new("/etc/app")).unwrap()];
    let lookup: std::sync::Arc<dyn helium_templates::lookup::Lookup> = std::sync::Arc::new(World::default());
    let render = |bounds: &helium_templates::Bounds| {
        let made = helium_templates::render::render_within(
            &set,
            &Values::default(),
            &lookup,
            Strictness::Strict,
            bounds,
            &helium_templates::Kept::default(),
        );
        let Rendered::Failed(error) = made.result else { panic!("{:?}", made.result) };
        error.to_string()
    };
    let small = helium_templates::Bounds::of_bytes(1000);
    assert!(render(&small).contains("makes more than 1000 bytes"), "{}", render(&small));
    let stopped = helium_templates::Bounds::of_bytes(usize::MAX);
    let of_thread = stopped.clone();
    let thread = std::thread::spawn(move || of_thread.stop());
    assert!(render(&stopped).contains("took too long"));
    thread.join().unwrap();
}
