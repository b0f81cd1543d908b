//! The `consul` program against both: what it prints must be the same.

use std::process::Command;

use helium_e2e::Consul;

use crate::world::{World, cases};

cases![
    the_program_writes_reads_and_deletes_keys,
    the_program_lists_nodes_and_services,
    the_program_registers_a_service,
    the_program_holds_a_lock_while_it_runs_a_command,
    the_program_exports_and_imports_keys,
    the_program_lists_keys_by_their_folders_and_shows_flags,
    the_program_deletes_trees_and_by_index,
    the_program_finds_nodes_by_service_and_services_by_node;
    quiet
];

/// Runs the program against the world's address. Gives success, and what it printed.
async fn consul(w: &World, arguments: &[&str]) -> (bool, String) {
    let address = w.address.clone().unwrap();
    let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
    let run = move || {
        let mut command = Command::new(Consul::binary().unwrap());
        command.args(arguments).env("CONSUL_HTTP_ADDR", address).env_remove("CONSUL_HTTP_TOKEN").output().unwrap()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let mut said = String::from_utf8(output.stdout).unwrap();
    said += &String::from_utf8(output.stderr).unwrap();
    (output.status.success(), said)
}

fn done(said: &str) -> (bool, String) {
    (true, said.to_owned())
}

async fn the_program_writes_reads_and_deletes_keys(w: World) {
    let key = format!("{}a", w.prefix());
    assert_eq!(consul(&w, &["kv", "put", &key, "bar"]).await, done(&format!("Success! Data written to: {key}\n")));
    assert_eq!(consul(&w, &["kv", "get", &key]).await, done("bar\n"));
    assert_eq!(consul(&w, &["kv", "get", "-recurse", &key]).await, done(&format!("{key}:bar\n")));
    let index = w.entry(&key).await["ModifyIndex"].to_string();
    let detailed = format!(
        "CreateIndex      {index}\nFlags            0\nKey              {key}\nLockIndex        0\n\
         ModifyIndex      {index}\nSession          -\nValue            bar\n"
    );
    assert_eq!(consul(&w, &["kv", "get", "-detailed", &key]).await, done(&detailed));
    let (written, said) = consul(&w, &["kv", "put", "-cas", "-modify-index=1", &key, "x"]).await;
    assert_eq!((written, said), (false, format!("Error! Did not write to {key}: CAS failed\n")));
    assert!(consul(&w, &["kv", "put", "-cas", &format!("-modify-index={index}"), &key, "x"]).await.0);
    assert_eq!(consul(&w, &["kv", "delete", &key]).await, done(&format!("Success! Deleted key: {key}\n")));
    assert_eq!(consul(&w, &["kv", "get", &key]).await, (false, format!("Error! No key exists at: {key}\n")));
}

async fn the_program_lists_nodes_and_services(w: World) {
    let (_, nodes) = consul(&w, &["catalog", "nodes"]).await;
    let own = w.client.agent_self().await.unwrap();
    let wanted = [own.node_name.as_str(), &own.node_id[..8], "127.0.0.1", "dc1"];
    assert!(nodes.lines().any(|line| line.split_whitespace().eq(wanted)), "{nodes}");
    let name = w.name();
    w.register(&serde_json::json!({"Name": name, "Tags": ["b", "a"]})).await;
    let (_, services) = consul(&w, &["catalog", "services", "-tags"]).await;
    assert!(services.lines().any(|line| line.split_whitespace().eq([name.as_str(), "a,b"])), "{services}");
    assert!(services.lines().any(|line| line.trim() == "consul"), "{services}");
    assert_eq!(consul(&w, &["catalog", "datacenters"]).await, done("dc1\n"));
    let (listed, members) = consul(&w, &["members"]).await;
    assert!(listed && members.contains("alive") && members.contains("1.8.7"), "{members}");
}

async fn the_program_registers_a_service(w: World) {
    let name = w.name();
    let argument = format!("-name={name}");
    assert_eq!(
        consul(&w, &["services", "register", &argument, "-port=80"]).await,
        done(&format!("Registered service: {name}\n"))
    );
    assert_eq!(w.get("agent/services").await.json()[&name]["Port"], 80);
    let id = format!("-id={name}");
    assert_eq!(consul(&w, &["services", "deregister", &id]).await, done(&format!("Deregistered service: {name}\n")));
}

async fn the_program_holds_a_lock_while_it_runs_a_command(w: World) {
    let p = w.prefix();
    assert_eq!(consul(&w, &["lock", "-shell=false", &p, "echo", "locked"]).await, done("locked\n"));
    assert_eq!(w.get(&format!("kv/{p}.lock")).await.status, 404);
}

async fn the_program_exports_and_imports_keys(w: World) {
    let p = w.prefix();
    let import = format!("[{{\"key\":\"{p}a\",\"flags\":3,\"value\":\"YmFy\"}}]");
    assert_eq!(consul(&w, &["kv", "import", &import]).await, done(&format!("Imported: {p}a\n")));
    let wanted = format!("[\n\t{{\n\t\t\"key\": \"{p}a\",\n\t\t\"flags\": 3,\n\t\t\"value\": \"YmFy\"\n\t}}\n]\n");
    assert_eq!(consul(&w, &["kv", "export", &p]).await, done(&wanted));
}

async fn the_program_lists_keys_by_their_folders_and_shows_flags(w: World) {
    let p = w.prefix();
    for (key, flags) in [("t/1", "-flags=42"), ("t/2", "-flags=0"), ("z", "-flags=7")] {
        assert!(consul(&w, &["kv", "put", flags, &format!("{p}{key}"), "x"]).await.0);
    }
    // Without a separator the program takes a slash.
    for arguments in [&["kv", "get", "-keys", &p][..], &["kv", "get", "-keys", "-separator=/", &p]] {
        assert_eq!(consul(&w, arguments).await, done(&format!("{p}t/\n{p}z\n")));
    }
    let whole = done(&format!("{p}t/1\n{p}t/2\n{p}z\n"));
    assert_eq!(consul(&w, &["kv", "get", "-keys", "-separator=", &p]).await, whole);
    assert_eq!(w.entry(&format!("{p}t/1")).await["Flags"], 42);
    let (_, said) = consul(&w, &["kv", "get", "-detailed", &format!("{p}z")]).await;
    assert!(said.lines().any(|line| line.split_whitespace().eq(["Flags", "7"])), "{said}");
}

async fn the_program_deletes_trees_and_by_index(w: World) {
    let p = w.prefix();
    for key in ["t/1", "t/2", "z"] {
        w.set(&format!("{p}{key}"), "x").await;
    }
    let tree = format!("{p}t");
    let deleted = |what: &str| done(&format!("Success! Deleted keys with prefix: {what}\n"));
    assert_eq!(consul(&w, &["kv", "delete", "-recurse", &tree]).await, deleted(&tree));
    assert_eq!(consul(&w, &["kv", "get", "-recurse", &p]).await, done(&format!("{p}z:x\n")));
    assert_eq!(consul(&w, &["kv", "delete", "-recurse", &tree]).await, deleted(&tree), "nothing is left to delete");
    let z = format!("{p}z");
    let (gone, said) = consul(&w, &["kv", "delete", "-cas", "-modify-index=1", &z]).await;
    assert_eq!((gone, said), (false, format!("Error! Did not delete key {z}: CAS failed\n")));
    let index = format!("-modify-index={}", w.entry(&z).await["ModifyIndex"]);
    assert_eq!(consul(&w, &["kv", "delete", "-cas", &index, &z]).await, done(&format!("Success! Deleted key: {z}\n")));
}

async fn the_program_finds_nodes_by_service_and_services_by_node(w: World) {
    let name = w.name();
    w.register(&serde_json::json!({"Name": name, "Tags": ["b", "a"]})).await;
    let own = w.client.agent_self().await.unwrap();
    let has = |said: &str, wanted: &[&str]| said.lines().any(|line| line.split_whitespace().eq(wanted.iter().copied()));
    let (_, nodes) = consul(&w, &["catalog", "nodes", &format!("-service={name}")]).await;
    assert!(has(&nodes, &[&own.node_name, &own.node_id[..8], "127.0.0.1", "dc1"]), "{nodes}");
    assert_eq!(nodes.lines().count(), 2, "a heading and one node: {nodes}");
    let (_, nodes) = consul(&w, &["catalog", "nodes", "-detailed"]).await;
    let whole = nodes.lines().find(|line| line.contains(&own.node_id)).unwrap_or_default();
    for part in ["lan=127.0.0.1, lan_ipv4=127.0.0.1, wan=127.0.0.1", "consul-network-segment="] {
        assert!(whole.contains(part), "{part:?} in {nodes}");
    }
    let node = format!("-node={}", own.node_name);
    let (_, services) = consul(&w, &["catalog", "services", &node]).await;
    assert!(has(&services, &[&name]) && has(&services, &["consul"]), "{services}");
    let (_, services) = consul(&w, &["catalog", "services", &node, "-tags"]).await;
    assert!(has(&services, &[&name, "a,b"]), "{services}");
    let (found, said) = consul(&w, &["catalog", "nodes", "-service=no-such-service"]).await;
    assert_eq!((found, said.trim()), (true, "No nodes match the given query - try expanding your search."));
}
