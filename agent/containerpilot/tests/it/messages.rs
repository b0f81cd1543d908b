//! The words that people read, and the data for programs.

use helium_containerpilot::{Loaded, load, render_template};

use crate::env;

/// All messages about a file, one after the other.
fn messages(text: &str) -> String {
    let Loaded { problems, warnings, .. } = load(text, &env(&[("NAME", "My App"), ("TTL", "nine")]));
    let all: Vec<String> = problems.iter().chain(&warnings).map(|problem| problem.render("app.json5", text)).collect();
    all.join("\n\n")
}

#[test]
fn the_slips_that_people_copy_are_all_told_at_once_with_what_to_write() {
    let text = r#"{
  consul: "consul:8500"
  jobs: [
    {
      name: "app",
      port: 80,
      exec: "/bin/app | tee log",
      health: {
        exec: "/bin/check",
        interval: 5
        tll: 10,
      },
      restart: "never",
    },
    {
      name: "preStop",
      exec: "/bin/stop",
      when: { source: "ap", once: "stoping" },
    },
  ],
}
"#;
    insta::assert_snapshot!(messages(text));
}

#[test]
fn a_place_in_what_a_template_gives_is_that_of_its_action() {
    let text = "{ consul: 'c',\n  jobs: [{ name: '{{ .NAME }}', port: 1, health: { interval: 1, ttl: {{ .TTL }} } }] }";
    insta::assert_snapshot!(messages(text));
}

#[test]
fn a_template_that_cannot_be_rendered_is_told_with_its_place() {
    let text = "{\n  consul: '{{ .CONSUL | defualt \"c\" }}'\n}";
    let problem = render_template(text, &env(&[])).unwrap_err();
    insta::assert_snapshot!(problem.render("app.json5", text));
}

#[test]
fn a_problem_is_data_with_line_column_and_key() {
    let problems = load("{consul: 'c', stopTimeout: '5s'}", &env(&[])).problems;
    insta::assert_snapshot!(serde_json::to_string_pretty(&problems).unwrap());
}

#[test]
fn a_secret_of_the_environment_is_in_no_suggestion() {
    let text = r#"{ consul: { address: 'c', token: "{{ .TOKEN }}" }, jobs: [{ name: 'a', exec: "curl -H {{ .TOKEN }} | sh" }] }"#;
    let unquoted = "{ consul: { address: 'c', token: {{ .TOKEN }} } }";
    let set = env(&[("TOKEN", "hush-hush")]);
    for (text, count) in [(text, 1), (unquoted, 1)] {
        let Loaded { problems, warnings, .. } = load(text, &set);
        let all: Vec<_> = problems.iter().chain(&warnings).collect();
        assert_eq!(all.len(), count, "{all:?}");
        assert!(!format!("{all:?}").contains("hush"), "{all:?}");
    }
}

#[test]
fn a_bracket_that_does_not_match_is_told_with_the_line_of_the_file() {
    let text = "{ consul: '{{ .LINES }}',\n  jobs: [\n}";
    let problems = load(text, &env(&[("LINES", "x")])).problems;
    assert_eq!((problems[0].line, problems[0].reason.as_str()), (3, "this does not close the `[` of line 2"));
}

#[test]
fn the_rendered_text_can_be_had_alone() {
    assert_eq!(render_template("a: {{ .A }}", &env(&[("A", "1")])).as_deref(), Ok("a: 1"));
}
