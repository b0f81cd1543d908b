//! Single keys: CAS, flags, values, names, refusals.

use consul_client::{Address, Client, Config, HttpTransport, Read};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::world::{World, cases};

cases![
    cas_writes_only_what_is_as_it_was,
    cas_of_zero_only_creates,
    a_conditional_deletion_wants_the_index_or_nothing_there,
    flags_are_whole_numbers_of_64_bits_and_are_forgotten_when_not_given,
    an_empty_value_is_null,
    a_value_may_have_512_kib_and_not_a_byte_more,
    a_raw_read_is_the_value_itself,
    a_missing_key_is_404_with_the_marks_of_a_read,
    names_may_be_escaped,
    a_prefix_is_any_beginning_of_a_name,
    names_are_cut_at_a_separator,
    names_without_any_match_are_404,
    a_tree_is_deleted_without_its_neighbours,
    conditions_that_exclude_each_other_are_refused,
    what_is_no_number_is_500,
    a_key_needs_a_name,
    other_methods_are_refused,
    double_slashes_are_moved,
    an_answer_is_packed_for_whoever_asks_for_it_over_http;
    quiet
];

async fn cas_writes_only_what_is_as_it_was(w: World) {
    let key = format!("{}a", w.prefix());
    w.set(&key, "1").await;
    let index = w.entry(&key).await["ModifyIndex"].as_u64().unwrap();
    assert_eq!(w.put(&format!("kv/{key}?cas={}", index - 1), "2").await.says(), (200, "false".into()));
    assert_eq!(w.put(&format!("kv/{key}?cas={}", index + 1), "2").await.says(), (200, "false".into()));
    assert_eq!(w.put(&format!("kv/{key}?cas={index}"), "2").await.says(), (200, "true".into()));
    assert_eq!(w.put(&format!("kv/{key}?cas={index}"), "3").await.says(), (200, "false".into()));
    assert_eq!(w.entry(&key).await["Value"], "Mg==");
    assert_eq!(w.put(&format!("kv/{key}-missing?cas=5"), "2").await.says(), (200, "false".into()));
}

async fn cas_of_zero_only_creates(w: World) {
    let key = format!("{}a", w.prefix());
    assert_eq!(w.put(&format!("kv/{key}?cas=0"), "1").await.says(), (200, "true".into()));
    assert_eq!(w.put(&format!("kv/{key}?cas=0"), "2").await.says(), (200, "false".into()));
    let entry = w.entry(&key).await;
    assert_eq!(entry["Value"], "MQ==");
    assert_eq!(entry["CreateIndex"], entry["ModifyIndex"]);
}

async fn a_conditional_deletion_wants_the_index_or_nothing_there(w: World) {
    let key = format!("{}a", w.prefix());
    w.set(&key, "1").await;
    let index = w.entry(&key).await["ModifyIndex"].as_u64().unwrap();
    for (cas, done) in [(0, "false"), (index - 1, "false"), (index, "true"), (5, "true")] {
        assert_eq!(w.raw("DELETE", &format!("kv/{key}?cas={cas}"), "").await.says(), (200, done.into()), "{cas}");
    }
}

async fn flags_are_whole_numbers_of_64_bits_and_are_forgotten_when_not_given(w: World) {
    let key = format!("{}a", w.prefix());
    w.set(&format!("{key}?flags=18446744073709551615"), "1").await;
    assert_eq!(w.entry(&key).await["Flags"].as_u64(), Some(u64::MAX));
    w.set(&key, "1").await;
    assert_eq!(w.entry(&key).await["Flags"], 0);
}

async fn an_empty_value_is_null(w: World) {
    let key = format!("{}a", w.prefix());
    w.set(&key, "").await;
    let entry = w.entry(&key).await;
    let index = &entry["ModifyIndex"];
    let wanted =
        json!({"LockIndex": 0, "Key": key, "Flags": 0, "Value": null, "CreateIndex": index, "ModifyIndex": index});
    assert_eq!(entry, wanted);
}

async fn a_value_may_have_512_kib_and_not_a_byte_more(w: World) {
    let key = format!("{}a", w.prefix());
    assert_eq!(w.put(&format!("kv/{key}"), vec![b'x'; 524_288]).await.says(), (200, "true".into()));
    let over = w.put(&format!("kv/{key}"), vec![b'y'; 524_289]).await;
    let words = "Request body(524289 bytes) too large, max size: 524288 bytes. \
                 See https://www.consul.io/docs/agent/options.html#kv_max_value_size.";
    assert_eq!(over.says(), (413, words.into()));
    assert_eq!(w.get(&format!("kv/{key}?raw")).await.body.len(), 524_288);
}

async fn a_raw_read_is_the_value_itself(w: World) {
    let key = format!("{}a", w.prefix());
    w.set(&key, "some <b>value</b>").await;
    assert_eq!(w.get(&format!("kv/{key}?raw")).await.text(), "some <b>value</b>");
    assert_eq!(w.get(&format!("kv/{key}-missing?raw")).await.says(), (404, String::new()));
}

async fn a_missing_key_is_404_with_the_marks_of_a_read(w: World) {
    let missing = w.get(&format!("kv/{}a", w.prefix())).await;
    assert_eq!(missing.says(), (404, String::new()));
    assert_eq!(missing.known_leader.as_deref(), Some("true"));
    assert!(missing.index.unwrap() >= 1);
}

async fn names_may_be_escaped(w: World) {
    let p = w.prefix();
    w.set(&format!("{p}a%20b%2Fc%25"), "1").await;
    assert_eq!(w.get(&format!("kv/{p}?keys")).await.json(), json!([format!("{p}a b/c%")]));
    assert_eq!(w.get(&format!("kv/{p}a%20b/c%25?raw")).await.text(), "1");
}

async fn a_prefix_is_any_beginning_of_a_name(w: World) {
    let p = w.prefix();
    for name in ["app/x", "app2/y", "b"] {
        w.set(&format!("{p}{name}"), "1").await;
    }
    let keys = w.get(&format!("kv/{p}app?recurse")).await.json();
    let names: Vec<&str> = keys.as_array().unwrap().iter().map(|entry| entry["Key"].as_str().unwrap()).collect();
    assert_eq!(names, [format!("{p}app/x"), format!("{p}app2/y")]);
}

async fn names_are_cut_at_a_separator(w: World) {
    let p = w.prefix();
    for name in ["a/1", "a/2", "b/3/4", "c"] {
        w.set(&format!("{p}{name}"), "1").await;
    }
    let cut = w.get(&format!("kv/{p}?keys&separator=/")).await.json();
    assert_eq!(cut, json!([format!("{p}a/"), format!("{p}b/"), format!("{p}c")]));
    let without_slash = p.trim_end_matches('/');
    assert_eq!(w.get(&format!("kv/{without_slash}?keys&separator=/")).await.json(), json!([p]));
}

async fn names_without_any_match_are_404(w: World) {
    let p = w.prefix();
    assert_eq!(w.get(&format!("kv/{p}?keys")).await.says(), (404, String::new()));
    assert_eq!(w.get(&format!("kv/{p}?recurse")).await.says(), (404, String::new()));
}

async fn a_tree_is_deleted_without_its_neighbours(w: World) {
    let p = w.prefix();
    for name in ["a/1", "a/2/3", "ab", "a"] {
        w.set(&format!("{p}{name}"), "1").await;
    }
    assert_eq!(w.raw("DELETE", &format!("kv/{p}a/?recurse"), "").await.says(), (200, "true".into()));
    assert_eq!(w.get(&format!("kv/{p}?keys")).await.json(), json!([format!("{p}a"), format!("{p}ab")]));
}

async fn conditions_that_exclude_each_other_are_refused(w: World) {
    for flags in ["acquire=a&release=b", "acquire=a&cas=1", "cas=1&release=b"] {
        let refused = w.put(&format!("kv/x?{flags}"), "").await;
        assert_eq!(refused.status, 400, "{flags}");
        assert!(refused.text().starts_with("Conflicting flags: "), "{refused:?}");
    }
    assert_eq!(
        w.raw("DELETE", "kv/x?cas=1&recurse", "").await.says(),
        (400, "Conflicting flags: cas=1&recurse=".into())
    );
}

async fn what_is_no_number_is_500(w: World) {
    for query in ["cas=abc", "flags=-1", "flags=abc"] {
        let refused = w.put(&format!("kv/x?{query}"), "").await;
        let value = query.split_once('=').unwrap().1;
        assert_eq!(refused.says(), (500, format!("strconv.ParseUint: parsing {value:?}: invalid syntax")), "{query}");
    }
}

async fn a_key_needs_a_name(w: World) {
    for (method, path) in [("GET", "kv/"), ("PUT", "kv/"), ("DELETE", "kv/")] {
        assert_eq!(w.raw(method, path, "").await.says(), (400, "Missing key name".into()), "{method}");
    }
}

async fn other_methods_are_refused(w: World) {
    assert_eq!(w.raw("POST", "kv/x", "").await.says(), (405, "method POST not allowed".into()));
    assert_eq!(w.raw("PUT", "catalog/nodes", "").await.says(), (405, "method PUT not allowed".into()));
    assert_eq!(w.raw("GET", "catalog/register", "").await.says(), (405, "method GET not allowed".into()));
    assert_eq!(w.get("no-such-thing").await.status, 404);
    assert_eq!(w.get("acl/token/self").await.says(), (401, "ACL support disabled".into()));
}

async fn double_slashes_are_moved(w: World) {
    assert_eq!(w.get("kv/a//b").await.status, 301);
    assert_eq!(w.get("kv/a//b").await.json(), Value::Null);
}

/// Headers and body of an answer as they come over the wire.
async fn on_the_wire(address: &str, path: &str, more: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET /v1/{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{more}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    (String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase(), bytes[end..].to_vec())
}

async fn an_answer_is_packed_for_whoever_asks_for_it_over_http(w: World) {
    let Some(address) = w.address.clone() else { return };
    let key = format!("{}a", w.prefix());
    let value = "x".repeat(3000);
    w.set(&key, &value).await;
    let (path, asks, packed) = (format!("kv/{key}?raw"), "Accept-Encoding: gzip\r\n", "\r\ncontent-encoding: gzip\r\n");
    let (head, body) = on_the_wire(&address, &path, asks).await;
    assert!(head.contains(packed) && head.contains("\r\nvary: accept-encoding\r\n"), "{head}");
    assert!(body.starts_with(&[0x1f, 0x8b]) && body.len() < 1000, "{} bytes", body.len());
    let (head, body) = on_the_wire(&address, &path, "").await;
    assert!(!head.contains(packed) && body == value.as_bytes(), "{head}");
    let (head, body) = on_the_wire(&address, &format!("kv/{key}-missing"), asks).await;
    assert!(head.starts_with("http/1.1 404") && !head.contains(packed) && body.is_empty(), "{head}");

    let (host, port) = address.rsplit_once(':').unwrap();
    let place = Address::Http { host: host.to_owned(), port: port.parse().unwrap() };
    let config = Config { gzip: Some(true), ..Config::at(place) };
    let client = Client::over(std::sync::Arc::new(HttpTransport::new(&config).unwrap()), None);
    let read = client.kv_get(&key, &Read::default()).await.unwrap();
    assert_eq!(read.value.unwrap().value, value.as_bytes());
}
