//! The messages that people read when a template is wrong or a value is missing.

use helium_templates::{Strictness, render::Rendered};
use serde_json::json;

use crate::world::{World, render_in, template, text, values};

#[test]
fn a_syntax_error_of_tera_names_file_line_and_column_and_shows_the_line() {
    let source = "listen = 80\nhost = {{ host | }}\n";
    insta::assert_snapshot!(text("web/app.conf.tera", source, json!({}), &World::default()), @"
    error: Found `}}` but expected identifier.
     --> web/app.conf.tera:2:18
      |
    2 | host = {{ host | }}
      |                  ^^
    ");
}

#[test]
fn a_syntax_error_of_mustache_names_file_line_and_column_and_shows_the_line() {
    let source = "listen = 80\n{{#tls}}\ncert = {{cert}}\n";
    insta::assert_snapshot!(text("web/app.conf.mustache", source, json!({}), &World::default()), @"
    error: this section is not closed
     --> web/app.conf.mustache:2:1
      |
    2 | {{#tls}}
      | ^^^^^^^^
    ");
}

#[test]
fn an_unknown_function_is_named_with_its_place() {
    let source = "a = {{ vault(path=\"x\") }}\n";
    insta::assert_snapshot!(text("web/app.conf.tera", source, json!({}), &World::default()), @r#"
    error: Unknown function `vault`
     --> web/app.conf.tera:1:8
      |
    1 | a = {{ vault(path="x") }}
      |        ^
    "#);
}

#[test]
fn a_fault_while_rendering_is_named_with_its_place() {
    let source = "a\nb = {{ name + 1 }}\n";
    insta::assert_snapshot!(text("web/app.conf.tera", source, json!({"name": "x"}), &World::default()), @"
    error: `+` requires both operands to be numbers, found `string` and `i64`
     --> web/app.conf.tera:2:8
      |
    2 | b = {{ name + 1 }}
      |        ^^^^^^^^
    ");
}

#[test]
fn all_missing_names_of_all_templates_are_listed_at_once() {
    let tera = "{{ host }} {{ db.port }}\n{% for s in servers %}{{ s.name }}{% endfor %}{{ db.user | upper }} {{ env(name=\"NONE\") }}";
    let mustache = "{{log.level}} {{host}}{{#db}}{{name}} {{helium.env.NONE}}{{/db}} {{db}}";
    let templates = [template("web/a.conf.tera", tera), template("web/b.conf.mustache", mustache)];
    let made = render_in(&World::default(), &templates, &values(json!({"db": {"host": "x"}})), Strictness::Strict);
    let Rendered::Failed(error) = made.result else { panic!("{made:?}") };
    insta::assert_snapshot!(error, @"
    error: 10 values are missing; give them in the package's defaults, in config/ or in the Deployment:
      web/a.conf.tera:1:4: host
      web/a.conf.tera:1:15: db.port
      web/a.conf.tera:2:13: servers
      web/a.conf.tera:2:50: db.user
      web/a.conf.tera:2:82: the variable NONE
      web/b.conf.mustache:1:1: log.level
      web/b.conf.mustache:1:15: host
      web/b.conf.mustache:1:30: name
      web/b.conf.mustache:1:39: helium.env.NONE
      web/b.conf.mustache:1:66: db (a map or a list: name one of its values)
    ");
}
