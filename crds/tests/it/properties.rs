//! Properties: what is printed reads back, what is read is stable, and nothing that can be typed makes the reader fall.

use std::collections::BTreeMap;

use helium_crds::{
    Amount, Percent, Period, Source, parse,
    revision::revision_id,
    template::{Driver, Exec, Template},
};
use proptest::prelude::*;

use crate::here;

fn period() -> impl Strategy<Value = Period> {
    (0..=365 * 24 * 3600 * 1000_u64).prop_map(Period::from_millis)
}

fn amount() -> impl Strategy<Value = Amount> {
    prop_oneof![
        any::<u32>().prop_map(Amount::Count),
        (0..=100_u8).prop_map(|share| Amount::Share(Percent::new(share).unwrap())),
    ]
}

/// Text that is nearly YAML of ours: pieces of it, in any order.
fn nearly_yaml() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "apiVersion: helium.dev/v1\n",
        "kind: Deployment\n",
        "kind: Canary\n",
        "metadata: {name: a}\n",
        "metadata:\n",
        "  name: a\n",
        "spec:\n",
        "  replicas: 3\n",
        "  template:\n",
        "    version: \"1\"\n",
        "    exec: {command: [a, \"${PORT}\"]}\n",
        "    ports:\n",
        "      - name: http\n",
        "  steps:\n",
        "    - setWeight: 25%\n",
        "    - soak: 10s\n",
        "---\n",
        "...\n",
        "\t",
        "- ",
        ": ",
        "? ",
        "\"",
        "'",
        "|\n",
        ">-\n",
        "&a ",
        "*a ",
        "!!str ",
        "<<: ",
        "#",
        "{",
        "}",
        "[",
        "]",
        ",",
        "~",
        "null",
        "ä",
        "\u{1f600}",
        "\r\n",
        " ",
        "%YAML 1.2\n",
        "%TAG ! a\n",
        "@",
        "`",
        "\0",
        "\u{feff}",
        "\u{2028}",
        "\\",
        "items:\n",
        "- {}\n",
        "1.10",
        "22:22",
    ]);
    prop::collection::vec(pieces, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn a_period_prints_what_it_reads(period in period()) {
        prop_assert_eq!(period.to_string().parse::<Period>(), Ok(period));
        let json = serde_json::to_string(&period).unwrap();
        prop_assert_eq!(serde_json::from_str::<Period>(&json).unwrap(), period);
    }

    #[test]
    fn an_amount_prints_what_it_reads(amount in amount()) {
        let json = serde_json::to_string(&amount).unwrap();
        prop_assert_eq!(serde_json::from_str::<Amount>(&json).unwrap(), amount);
    }

    #[test]
    fn any_text_is_read_or_reported(text in any::<String>()) {
        render(&text);
    }

    #[test]
    fn nearly_yaml_is_read_or_reported(text in nearly_yaml()) {
        render(&text);
    }

    #[test]
    fn an_example_with_a_piece_cut_out_or_put_in_is_read_or_reported(from in 0..2000_usize, length in 0..40_usize, piece in nearly_yaml()) {
        let text = std::fs::read_to_string(here("examples/hello/v1.yaml")).unwrap();
        let from = from.min(text.len());
        let to = (from + length).min(text.len());
        render(&format!("{}{piece}{}", &text[..from], &text[to..]));
    }

    #[test]
    fn any_bytes_are_read_or_reported(bytes in any::<Vec<u8>>()) {
        match Source::from_bytes("bytes", &bytes) {
            Ok(source) => { let _ = parse(&source); }
            Err(report) => prop_assert!(!report.render(true).is_empty()),
        }
    }

    #[test]
    fn a_text_of_any_characters_comes_through_json(text in "\\PC{0,40}") {
        let template = template(&[("TEXT", &text.replace('$', ""))]);
        let value = serde_json::to_value(&template).unwrap();
        prop_assert_eq!(serde_json::from_value::<Template>(value).unwrap(), template);
    }
}

/// What `helium get -o yaml` prints is read back by `helium apply`.
#[test]
fn words_that_need_quotes_get_them_from_the_yaml_writer() {
    let words = [
        "1.10",
        "on",
        "NO",
        "y",
        "22:22",
        "2026-11-21",
        "1_000",
        "0x1f",
        "null",
        "~",
        "",
        " a ",
        "a: b",
        "#a",
        "a #b",
        "- a",
        "@a",
        "%a",
        "a\nb\n",
        "a\tb",
        "'",
        "\"",
        "\\",
        "{",
        "]",
        "*a",
        "&a",
        "!a",
        "|",
        ">",
        "1e3",
        ".5",
        "ä\u{1f600}",
        "\u{85}",
        "\u{7f}",
        "=",
        "<<",
        "true",
        "010",
        "+1",
        "-",
        "?",
        "---",
        "...",
        "a,b",
        ".inf",
    ];
    for word in words {
        let mut object = crate::examples::read(&here("examples/hello/v1.yaml")).remove(0).object;
        let helium_crds::AnyObject::Deployment(deployment) = &mut object else { panic!("it is a Deployment") };
        deployment.spec.template.env.insert("WORD".to_owned(), word.to_owned());
        let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
        let text = serde_saphyr::to_string_with_options(&serde_json::to_value(&object).unwrap(), options).unwrap();
        let parsed = parse(&Source::new("printed", &text)).unwrap_or_else(|report| panic!("{}", report.render(false)));
        assert_eq!(parsed[0].object, object, "{word:?}");
    }
}

/// Reads a text, and prints whatever is wrong in every way there is.
fn render(text: &str) {
    if let Err(report) = parse(&Source::new("random.yaml", text)) {
        assert!(!report.problems.is_empty());
        for problem in &report.problems {
            let location = problem.location();
            assert!(location.line >= 1 && location.column >= 1);
        }
        assert!(!report.render(false).is_empty());
        assert!(!serde_json::to_string(&report).unwrap().is_empty());
    }
}

fn template(env: &[(&str, &str)]) -> Template {
    Template {
        package: None,
        config: serde_json::Map::new(),
        secrets: std::collections::BTreeMap::new(),
        config_update: <_>::default(),
        overrides: <_>::default(),
        resources: <_>::default(),
        jobs: std::collections::BTreeMap::new(),
        election: None,
        templates: None,
        version: "1.0.0".to_owned(),
        driver: Driver::Exec(Exec { command: vec!["sleep".to_owned(), "60".to_owned()], ..Exec::default() }),
        env: env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>(),
        ports: Vec::new(),
        checks: Vec::new(),
    }
}

/// A changed id would restart every rollout of every installation. A new field of the template must be left out of the JSON where it has its
/// default; if this test fails, that is what was forgotten.
#[test]
fn the_id_of_a_revision_never_changes() {
    assert_eq!(
        revision_id(&template(&[("A", "1")])).as_str(),
        "r1-5b1931a74fa7ea73147771758296f0bb4df33f3fdb07cac0de10777f2d6fea1f"
    );
    let full = r#"{"version":"1.0.0","exec":{"command":["a","b"],"cwd":"/srv"},"env":{"A":"1"},
        "ports":[{"name":"http"},{"name":"admin","port":9000}],
        "checks":[{"name":"up","http":{"port":"http","path":"/health"},"interval":"1s","timeout":"1m30s"},
                  {"name":"tcp","tcp":{},"successBeforePassing":1,"failuresBeforeCritical":2}]}"#;
    assert_eq!(
        revision_id(&serde_json::from_str::<Template>(full).unwrap()).as_str(),
        "r1-c15b348ba44d17fd09c6f597524353cd03901f5119454e54513ddea52e49c24c"
    );
}

#[test]
fn another_limit_is_another_revision_and_the_same_one_in_other_words_is_not() {
    let id = |resources: &str| {
        let text = format!(r#"{{"version":"1","exec":{{"command":["a"]}}{resources}}}"#);
        revision_id(&serde_json::from_str::<Template>(&text).unwrap())
    };
    assert_eq!(id(r#","resources":{}"#), id(""));
    let half = id(r#","resources":{"cpu":0.5,"memory":"1Gi"}"#);
    assert_eq!(half, id(r#","resources":{"memory":"1024Mi","cpu":"500m"}"#));
    assert_ne!(half, id(r#","resources":{"cpu":0.6,"memory":"1Gi"}"#));
    assert_ne!(half, id(""));
}

#[test]
fn the_id_of_a_revision_does_not_hang_on_the_order_of_keys() {
    let sorted = r#"{"env":{"A":"1","B":"2"},"exec":{"command":["a"]},"version":"1"}"#;
    let other = r#"{"version":"1","exec":{"command":["a"]},"env":{"B":"2","A":"1"},"ports":[],"checks":[]}"#;
    let id = |text| revision_id(&serde_json::from_str::<Template>(text).unwrap());
    assert_eq!(id(sorted), id(other));
    assert_ne!(id(sorted), id(&sorted.replace("\"1\"", "\"3\"")));
}
