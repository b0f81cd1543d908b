//! What templates render to, where they fail, and where rendered text came from.

use super::*;

fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn world() -> BTreeMap<String, String> {
    env(&[("NAME", "Template"), ("PARTS", "a:b:c"), ("COUNT", "3"), ("URL", "x?y=z"), ("EMPTY", "")])
}

#[track_caller]
fn renders(template: &str, expected: &str) {
    match render(template, &world()) {
        Ok(rendered) => assert_eq!(rendered.text, expected, "{template}"),
        Err(error) => panic!("{template}: {error:?}"),
    }
}

#[track_caller]
fn fails(template: &str, at: &str, reason: &str) {
    let error = render(template, &world()).expect_err(template);
    assert_eq!((&template[error.span.clone()], error.reason.as_str()), (at, reason), "{template}");
}

#[test]
fn variables_defaults_and_pipelines_are_rendered() {
    renders("Hello, {{.NAME}}!", "Hello, Template!");
    renders("Hello, {{ .NONAME }}!", "Hello, !");
    renders(r#"{{ .NONAME | default "World" }}"#, "World");
    renders(r#"{{ .EMPTY | default 100 }} {{ .NO | default 10.1 }} {{ default "x" .NAME }}"#, "100 10.1 Template");
    renders(r#"{{ .PARTS | split ":" | join "." }}"#, "a.b.c");
    renders(r#"{{ .NAME | replaceAll "e" "_" }}"#, "T_mplat_");
    renders(r#"{{ .NAME | regexReplaceAll "[epa]+" "_" }}"#, "T_m_l_t_");
    renders(r#"{{ .NAME | regexReplaceAll `(T)e` "${1}x" }}"#, "Txmplate");
    renders(r#"{{ env (printf "NA%s" "ME") }}"#, "Template");
    renders(r#"{{ .PARTS | split "" }}{{ .EMPTY | split ":" }}"#, "[a : b : c][]");
}

#[test]
fn loops_count_up_down_and_by_a_variable() {
    renders("{{ loop 5 }}{{ loop 2 5 }}{{ loop 5 2 }}", "[0 1 2 3 4][2 3 4][5 4 3]");
    renders("{{ loop .COUNT }}{{ loop 1 .COUNT }}", "[0 1 2][1 2]");
    renders("{{ range $i := loop 2 5 -}}i={{$i}},{{ end }}", "i=2,i=3,i=4,");
    renders(r#"{{ range $i, $p := split ":" .PARTS }}{{ if $i }},{{ end }}{{ $p }}{{ end }}"#, "a,b,c");
    renders(r#"{{ range split ":" .EMPTY }}x{{ else }}none{{ end }}"#, "none");
}

#[test]
fn blocks_conditions_and_variables_are_rendered() {
    renders(r#"{{ if eq .COUNT "3" }}three{{ else }}other{{ end }}"#, "three");
    renders(r#"{{ if eq .COUNT "1" }}1{{ else if eq .COUNT "2" "3" }}2 or 3{{ else }}?{{ end }}"#, "2 or 3");
    renders("{{ with .NAME }}{{ . }}{{ end }}{{ with .NO }}x{{ else }}-{{ end }}", "Template-");
    renders(r#"{{ $x := "a" }}{{ if true }}{{ $x = "b" }}{{ end }}{{ $x }}{{ $.NAME }}"#, "bTemplate");
    renders(r#"{{ and .NAME .COUNT }} {{ or .NO "x" }} {{ not .NO }} {{ len .NAME }}"#, "3 x true 8");
    renders(
        r#"{{ index . "NAME" }} {{ index (split ":" .PARTS) 1 }} {{ lt 1 2 }} {{ ge "a" "b" }}"#,
        "Template b true false",
    );
    renders(r#"{{ printf "%03d|%-4s|%q|%v" 7 "ab" "c" true }}{{ print 1 2 "x" }}"#, r#"007|ab  |"c"|true1 2x"#);
}

#[test]
fn a_list_of_watches_from_numbered_variables_is_rendered() {
    let template = "watches: [{{ range $i := loop 0 5 -}}{{ if (env (printf \"SERVICE_%d\" $i)) -}}
      { name: '{{ env (printf \"SERVICE_%d\" $i) }}', interval: {{ env (printf \"POLL_%d\" $i) | default 5 }} },
      {{- end }}{{- end }}]";
    let set = env(&[("SERVICE_1", "db"), ("SERVICE_3", "web"), ("POLL_3", "9")]);
    let rendered = render(template, &set).unwrap().text;
    assert_eq!(rendered, "watches: [{ name: 'db', interval: 5 },{ name: 'web', interval: 9 },]");
}

#[test]
fn trim_markers_and_comments_are_taken_out() {
    renders("a {{- 1 -}} b", "a1b");
    renders("a {{- /* nothing */ -}} b{{/* x */}}c", "abc");
    renders("a\n  {{- if true }}\n  b\n  {{- end }}\n", "a\n  b\n");
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    fails("{{ if .A }}x", "{{ if .A }}", "this `if` has no `end`");
    fails("x{{ end }}", "{{ end }}", "this `end` closes nothing");
    fails("{{ .A", "{{", "this `{{` is never closed");
    fails("{{ .A\n}}", "{{ .A", "an action ends on the line on which it begins");
    fails("{{ defualt 1 .A }}", "defualt", "there is no function `defualt`");
    fails("{{ template \"x\" }}", "{{ template \"x\" }}", "`template` is not supported in these files");
    fails("{{ .NAME.X }}", ".NAME.X", "`.X` is asked of a text, which has no fields");
    fails("{{ if eq .COUNT 3 }}{{ end }}", "eq", "a text and a whole number cannot be compared");
    fails("{{ range .NAME }}{{ end }}", "{{ range .NAME }}", "`range` goes over a list, and this is a text");
    fails("{{ }}", "{{ }}", "there is nothing between `{{` and `}}`");
    fails("{{ loop 1000000000 }}", "loop", "`loop` counts at most 100000 steps");
}

#[test]
fn a_template_that_grows_without_bound_is_stopped() {
    let loops = "{{ range loop 9999 }}{{ range loop 9999 }}xxxxxxxx{{ end }}{{ end }}";
    let error = render(loops, &world()).unwrap_err();
    assert!(error.reason.contains("too long"), "{error:?}");
}

#[test]
fn a_text_that_doubles_in_each_turn_is_stopped() {
    let doubling = r#"{{ $x := "0123456789" }}{{ range loop 99 }}{{ $x = print $x $x }}{{ end }}"#;
    let error = render(doubling, &world()).unwrap_err();
    assert_eq!(error.reason, "the values of `print` are larger than 1 MiB");
}

#[test]
fn every_place_of_the_rendered_text_leads_back_into_the_file() {
    let file = "a: '{{ .NAME }}', {{ range loop 2 }}b{{ end }}c";
    let rendered = render(file, &world()).unwrap();
    assert_eq!(rendered.text, "a: 'Template', bbc");
    let back = |part: &str| {
        let at = rendered.text.find(part).unwrap();
        let source = rendered.source(&(at..at + part.len()));
        (&file[source.span], source.made)
    };
    assert_eq!(back("a:"), ("a:", false));
    assert_eq!(back("mpl"), ("{{ .NAME }}", true));
    assert_eq!(back("'Template'"), ("'{{ .NAME }}'", false));
    assert_eq!(back("bb"), ("b", false));
    assert_eq!(back("c"), ("c", false));
}

#[test]
fn a_value_that_containerpilot_would_cut_is_whole_and_noted() {
    let rendered = render("{{ .URL }}{{ env \"URL\" }}", &world()).unwrap();
    assert_eq!(rendered.text, "x?y=zx?y=z");
    assert_eq!(rendered.cut, [(3..7, "URL".to_owned())]);
}
