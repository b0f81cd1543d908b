//! The `consul` program against both: what it prints must be the same.

use std::process::Command;

use helium_e2e::Consul;

use crate::world::{World, cases};

cases![
    the_program_writes_reads_and_deletes_keys,
    the_program_lists_nodes_and_services,
    the_program_registers_a_service,
    the_program_holds_a_lock_while_it_runs_a_command,
    the_program_exports_and_imports_keys;
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
