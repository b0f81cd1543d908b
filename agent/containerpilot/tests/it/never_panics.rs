//! No text makes it panic, and what it says lies within the text.

use helium_containerpilot::load;
use proptest::prelude::*;

use crate::env;

const WHOLE: &str = r#"{ /* c */
  consul: {address: "{{ .CONSUL | default "c" }}", tls: {verify: true}}, logging: {level: 'DEBUG'}, stopTimeout: 0x5,
  jobs: [{name: "app", port: 80, exec: ["a", 'b\u00e4'], health: {exec: "x y", interval: 1, ttl: 5, timeout: "1.5s"},
    interfaces: ["eth0[1]", "10.0.0.0/8", "static:1.2.3.4"], when: {source: "watch.db", each: "changed"}, restarts: -1.5e3},
    {name: 'b', when: {all: [{source: 'app', once: 'healthy'}], timeout: 5}, restartDelay: "1s"}, // ä€😀
    {{ range $i, $n := loop 3 -}} {name: "j{{ $i }}", when: {interval: "1m"}}, {{ end }}
  ], watches: [{name: "db", interval: 1}, {key: "k"}], telemetry: {port: 9090, metrics: [{name: "n", help: "h", type: "counter"}]},
}"#;

fn check(text: &str) {
    let loaded = load(text, &env(&[("A", "x=y"), ("N", "ä\n'\"")]));
    assert_eq!(loaded.config.is_some(), loaded.problems.is_empty());
    for problem in loaded.problems.iter().chain(&loaded.warnings) {
        assert!(problem.span.end <= text.len() && problem.span.start <= problem.span.end, "{problem:?}");
        assert!(problem.line >= 1 && problem.column >= 1 && !problem.reason.is_empty());
        assert!(!problem.render("f", text).is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_at_all(text in "\\PC{0,60}|[\\s\\S]{0,40}") {
        check(&text);
    }

    #[test]
    fn any_heap_of_words(words in prop::collection::vec(
        prop::sample::select(vec!["{", "}", "[", "]", ":", ",", "'", "\"", "\\", "//", "/*", "*/", "{{", "}}", "{{-", "-}}", ".", ".A", "$x",
            ":=", "=", "|", "if", "end", "else", "range", "with", "loop", "print", "printf", "%d", "split", "(", ")", " ", "\n", "ä", "1", "-",
            "0x", "e", "jobs", "name", "when", "consul", "health", "true", "null", "u00", "`", "`a`"]), 0..40)) {
        check(&words.concat());
        check(&words.join(" "));
    }

    #[test]
    fn a_whole_file_with_a_piece_cut_out_doubled_or_replaced(
        from in 0..WHOLE.len(), length in 0..40_usize, by in "[\\[\\]{}:,'\"a1. \\n]{0,4}|ä|\\{\\{ \\.[AN] \\}\\}") {
        let from = (0..=from).rev().find(|at| WHOLE.is_char_boundary(*at)).unwrap_or(0);
        let to = (from + length..=WHOLE.len()).find(|at| WHOLE.is_char_boundary(*at)).unwrap_or(WHOLE.len());
        check(&format!("{}{by}{}", &WHOLE[..from], &WHOLE[to..]));
        check(&format!("{}{by}{}", &WHOLE[..to], &WHOLE[from..]));
    }
}

#[test]
fn the_whole_file_is_otherwise_wrong_in_one_place_only() {
    let problems = load(WHOLE, &env(&[])).problems;
    let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["jobs[0].restarts"]);
}
