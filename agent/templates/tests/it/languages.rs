//! What the two languages make of values and of the world.

use std::panic::{AssertUnwindSafe, catch_unwind};

use helium_templates::Strictness;
use proptest::prelude::*;
use serde_json::json;

use crate::world::{World, instance, render_in, template, text, values};

fn world() -> World {
    let mut world = World::default();
    let databases = vec![instance("db-2", "10.0.0.2", &["replica"]), instance("db-1", "10.0.0.1", &["primary"])];
    world.services.insert("db".into(), databases);
    world.keys.insert("shared/motd".into(), Some("hello".into()));
    world.keys.insert("leader/db".into(), Some("10.0.0.1".into()));
    world.prefixes.insert("flags/".into(), [("dark".to_owned(), "on".to_owned())].into());
    world.files.insert("/etc/hostname".into(), "web-1".into());
    world.environment.insert("HOME".into(), "/root".into());
    world
}

#[test]
fn tera_asks_the_world_by_functions() {
    let source = r#"{% for db in services(name="db") %}{{ db.address }}:{{ db.port }} {% endfor %}
{% for db in services(name="db", tag="primary") %}{{ db.id }}{% endfor %}
{{ key(path="shared/motd") }} {{ leader(service="db") }} {{ address() }} {{ file(path="/etc/hostname") }} {{ env(name="HOME") }}
{% for name, value in keys(prefix="flags/") %}{{ name }}={{ value }}{% endfor %} {{ env(name="NONE", default="none") }}"#;
    let made = text("a.conf.tera", source, json!({}), &world());
    assert_eq!(made, "10.0.0.1:5432 10.0.0.2:5432 \ndb-1\nhello 10.0.0.1 10.0.0.7 web-1 /root\ndark=on none");
}

#[test]
fn mustache_asks_the_world_by_names() {
    let source = "{{#helium.services.db}}{{address}}:{{port}} {{/helium.services.db}}
{{#helium.services.primary.db}}{{id}}{{/helium.services.primary.db}}
{{helium.key.shared/motd}} {{helium.leader.db}} {{helium.address}} {{helium.file./etc/hostname}} {{helium.env.HOME}}";
    let made = text("a.conf.mustache", source, json!({}), &world());
    assert_eq!(made, "10.0.0.1:5432 10.0.0.2:5432 \ndb-1\nhello 10.0.0.1 10.0.0.7 web-1 /root");
}

#[test]
fn mustache_sections_see_the_values_around_them() {
    let values =
        json!({"domain": "example", "servers": [{"host": "a"}, {"host": "b"}], "off": false, "n": 3, "f": 1.5});
    let source = "{{#servers}}\n{{host}}.{{domain}}\n{{/servers}}\n{{^off}}on{{/off}}{{#none}}{{never}}{{/none}} {{n}} {{f}}{{! n\u{f6} }}";
    assert_eq!(text("a.mustache", source, values, &World::default()), "a.example\nb.example\non 3 1.5");
}

#[test]
fn neither_language_escapes_what_it_writes() {
    let values = json!({"v": "a & \"b\" <c> 'd'"});
    for name in ["a.mustache", "a.html.tera"] {
        assert_eq!(text(name, "{{ v }}", values.clone(), &World::default()), "a & \"b\" <c> 'd'");
    }
}

#[test]
fn lenient_rendering_leaves_nothing_in_the_place_of_what_is_missing() {
    for name in ["a.tera", "a.mustache"] {
        let made = render_in(
            &World::default(),
            &[template(name, "[{{ a }}][{{ b.c }}]")],
            &values(json!({})),
            Strictness::Lenient,
        );
        let helium_templates::render::Rendered::Ready(made) = made.result else { panic!("{made:?}") };
        assert_eq!(made[0].bytes, b"[][]");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_template_makes_either_language_panic(source in "(\\{\\{|\\}\\}|[#^/!&>={}%. \na\u{f6}]|<%|%>){0,24}") {
        for name in ["a.mustache", "a.tera"] {
            let rendered = catch_unwind(AssertUnwindSafe(|| text(name, &source, json!({"a": [1, {"a": "x"}]}), &World::default())));
            prop_assert!(rendered.is_ok(), "{name}: {source:?}");
        }
    }
}
