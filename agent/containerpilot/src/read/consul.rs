//! `consul`: a text or an object, with the environment before both.

use std::collections::BTreeMap;

use super::block::{Block, Field};
use crate::{
    config::{Consul, Scheme, Tls, Token},
    finding::Findings,
    json5::Value,
};

pub(super) fn consul(field: &Field<'_>, env: &BTreeMap<String, String>, findings: &mut Findings) -> Option<Consul> {
    let mut consul = match &field.node.value {
        Value::Text(text) => of_text(field, text, findings)?,
        Value::Object(_) => of_object(field, findings)?,
        other => {
            let reason = format!("no address of Consul is given: this is {}", other.kind());
            findings.error(&field.node.span, &field.key, reason).fix("write `consul: \"localhost:8500\"`");
            return None;
        }
    };
    let set = |name: &str| env.get(name).filter(|value| !value.is_empty()).cloned();
    if consul.address.is_empty() {
        let address = set("CONSUL_HTTP_ADDR").unwrap_or_else(|| "127.0.0.1:8500".to_owned());
        (consul.address, consul.scheme) = split(&address, consul.scheme).unwrap_or((address, consul.scheme));
    }
    consul.token = set("CONSUL_HTTP_TOKEN").map(Token).or(consul.token);
    let tls = &mut consul.tls;
    let places = [
        (&mut tls.ca_file, "CONSUL_CACERT"),
        (&mut tls.ca_path, "CONSUL_CAPATH"),
        (&mut tls.client_cert, "CONSUL_CLIENT_CERT"),
        (&mut tls.client_key, "CONSUL_CLIENT_KEY"),
        (&mut tls.server_name, "CONSUL_TLS_SERVER_NAME"),
    ];
    for (place, name) in places {
        *place = set(name).or(place.take());
    }
    match set("CONSUL_HTTP_SSL_VERIFY").unwrap_or_default().to_lowercase().as_str() {
        "1" | "true" => tls.verify = true,
        "0" | "false" => tls.verify = false,
        _ => {}
    }
    if consul.scheme == Scheme::Https && !consul.tls.verify {
        let reason = "the certificate of Consul is not checked: anybody may answer in its place";
        findings
            .warn(&field.name, "consul.tls.verify", reason)
            .fix("write `tls: {verify: true}` in an object `consul`");
    }
    Some(consul)
}

fn of_text(field: &Field<'_>, text: &str, findings: &mut Findings) -> Option<Consul> {
    let (address, scheme) = address(field, text, Scheme::Http, findings)?;
    Some(Consul { address, scheme, token: None, tls: Tls::default() })
}

fn of_object(field: &Field<'_>, findings: &mut Findings) -> Option<Consul> {
    let mut block = field.block(findings)?;
    let mut consul = Consul { address: String::new(), scheme: Scheme::Http, token: None, tls: Tls::default() };
    if let Some(field) = block.take("scheme") {
        consul.scheme = scheme(&field, findings);
    }
    let mut found = true;
    if let Some(field) = block.take("address") {
        let text = field.text(findings).unwrap_or_default();
        match address(&field, &text, consul.scheme, findings) {
            Some((address, scheme)) => (consul.address, consul.scheme) = (address, scheme),
            None => found = false,
        }
    }
    consul.token = block.take("token").and_then(|field| field.some_text(findings)).map(Token);
    if let Some(mut tls) = block.take("tls").and_then(|field| field.block(findings)) {
        consul.tls = of_tls(&mut tls, findings);
        tls.finish(findings);
    }
    block.finish(findings);
    found.then_some(consul)
}

fn of_tls(block: &mut Block<'_>, findings: &mut Findings) -> Tls {
    let mut text = |name| block.take(name).and_then(|field| field.some_text(findings));
    let (ca_file, ca_path) = (text("cafile"), text("capath"));
    let (client_cert, client_key, server_name) = (text("clientcert"), text("clientkey"), text("servername"));
    let verify = block.take("verify").and_then(|field| field.flag(findings)).unwrap_or(false);
    Tls { ca_file, ca_path, client_cert, client_key, server_name, verify }
}

fn scheme(field: &Field<'_>, findings: &mut Findings) -> Scheme {
    let text = field.text(findings).unwrap_or_default();
    match text.to_lowercase().as_str() {
        "" | "http" => Scheme::Http,
        "https" => Scheme::Https,
        _ => {
            let reason =
                format!("there is no scheme `{text}`: ContainerPilot never reaches Consul with it, here it is http");
            findings.warn(&field.node.span, &field.key, reason).fix("write `http` or `https`");
            Scheme::Http
        }
    }
}

/// `[scheme://]address`.
fn address(field: &Field<'_>, text: &str, scheme: Scheme, findings: &mut Findings) -> Option<(String, Scheme)> {
    let found = split(text, scheme);
    if found.is_none() {
        let reason = format!("the scheme of `{text}` is not known");
        findings.error(&field.node.span, &field.key, reason).fix("write `http://`, `https://` or `unix://`");
    }
    found
}

fn split(text: &str, scheme: Scheme) -> Option<(String, Scheme)> {
    let Some((before, address)) = text.split_once("://") else { return Some((text.to_owned(), scheme)) };
    let scheme = match before {
        "http" => scheme,
        "https" => Scheme::Https,
        "unix" => Scheme::Unix,
        _ => return None,
    };
    Some((address.to_owned(), scheme))
}
