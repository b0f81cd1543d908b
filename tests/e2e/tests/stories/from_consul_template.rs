//! The guide from consul-template: its example is run, and makes what the guide says.

use std::fs;

use helium_e2e::{Consul, Helium};

/// The block of a language in the guide.
#[track_caller]
fn block(guide: &str, language: &str) -> String {
    let fence = format!("```{language}\n");
    let (_, rest) = guide.split_once(&fence).expect(&fence);
    rest.split_once("```").unwrap().0.to_owned()
}

#[test]
fn the_example_of_the_guide_from_consul_template_makes_what_the_guide_shows() {
    let guide = fs::read_to_string(Helium::source().join("docs/guides/from-consul-template.md")).unwrap();
    let consul = Consul::start();
    let helium = Helium::on(&consul);
    for (key, value) in [("maxconns", "15"), ("minconns", "5"), ("deep/er", "not of ls")] {
        consul.http().put(&format!("/v1/kv/service/redis/{key}"), value);
    }
    consul
        .http()
        .put("/v1/agent/service/register", r#"{"ID": "web1", "Name": "web", "Address": "10.5.2.45", "Port": 2492}"#);
    helium.write("app.conf.tera", &block(&guide, "tera"));
    helium.run(&["render", "-t", "app.conf.tera:app.conf", "--once"]).ok();
    assert_eq!(fs::read_to_string(helium.folder().join("app.conf")).unwrap(), block(&guide, "conf"));
    consul.http().put("/v1/kv/app/beta", "yes");
    consul.http().put("/v1/kv/app/limit", "7");
    helium.run(&["render", "-t", "app.conf.tera:app.conf", "--once"]).ok();
    let made = fs::read_to_string(helium.folder().join("app.conf")).unwrap();
    assert!(made.ends_with("beta on\nlimit=7\n"), "{made}");
}

#[test]
fn a_variable_that_holds_equals_signs_is_whole_in_a_template() {
    let consul = Consul::start();
    let mut helium = Helium::on(&consul);
    helium.set_variable("OPTIONS", "a=b=c;d=");
    helium.write("a.tera", "{{ env(name=\"OPTIONS\") }}");
    helium.run(&["render", "-t", "a.tera:a", "--once"]).ok();
    assert_eq!(fs::read_to_string(helium.folder().join("a")).unwrap(), "a=b=c;d=");
}
