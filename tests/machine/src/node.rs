//! The machine as a node of Helium: what is installed on it, and the Deployments that it runs.

use crate::{
    guide, systemd,
    tool::{ensure, get, processes, read, run, wait, write},
};

/// Where `helium`, Consul and the guides come from.
pub(crate) const GIVEN: &str = "/payload";
/// Where the guides' units look for the program.
pub(crate) const HELIUM: &str = "/usr/local/bin/helium";
/// What the instances of the Deployment `keeper` run, all the time.
pub(crate) const KEEPER: &str = "/usr/bin/sleep 1000001";
/// How many of them there are.
pub(crate) const KEEPERS: usize = 2;
/// The limit of their memory, in bytes.
pub(crate) const KEEPERS_MEMORY: &str = "67108864";
/// How many seconds a rollout may take here, where every program is slow.
pub(crate) const ROLLOUT: u64 = 90;

const CONSUL: &str = "[Service]
ExecStart=/payload/consul agent -server -bootstrap-expect=1 -data-dir=/var/lib/consul -node=machine -bind=127.0.0.1 -client=127.0.0.1
Restart=always

[Install]
WantedBy=multi-user.target
";

const CONTROLLER: &str = "[Service]
Type=notify
ExecStart=/usr/local/bin/helium controller
Restart=always

[Install]
WantedBy=multi-user.target
";

/// Installs everything, and starts nothing.
pub(crate) fn install() -> Result<(), String> {
    run("cp", &[&format!("{GIVEN}/helium"), HELIUM])?;
    systemd::install("consul.service", CONSUL)?;
    systemd::install("helium-controller.service", CONTROLLER)?;
    systemd::install(systemd::AGENT, &agents_unit()?)?;
    if systemd::version()? < 254 {
        for name in ["helium-instances.service", "helium-agent.service.d/instances.conf"] {
            systemd::install(name, &guide::block(&guide("agent")?, &format!("/etc/systemd/system/{name}"), "ini")?)?;
        }
    }
    run("systemctl", &["enable", "consul", "helium-controller", "helium-agent"]).map(drop)
}

/// The text of a guide.
pub(crate) fn guide(name: &str) -> Result<String, String> {
    read(&format!("{GIVEN}/guides/{name}.md"))
}

/// The agent's unit, as the guide prints it.
pub(crate) fn agents_unit() -> Result<String, String> {
    guide::block(&guide("agent")?, "/etc/systemd/system/helium-agent.service", "ini")
}

/// A Deployment of one command within limits, as YAML in one line each.
pub(crate) fn deployment(name: &str, replicas: usize, command: &str, resources: &str) -> String {
    format!(
        "apiVersion: helium.dev/v1\nkind: Deployment\nmetadata: {{name: {name}}}\nspec:\n  replicas: {replicas}\n  template:\n    version: \"1\"\n    \
         exec: {{command: {command}}}\n    resources: {{{resources}}}\n  minHealthyTime: 1s\n"
    )
}

/// Applies a document.
pub(crate) fn apply(document: &str) -> Result<String, String> {
    write("/run/applied.yaml", document)?;
    run(HELIUM, &["apply", "-f", "/run/applied.yaml"])
}

/// Deletes a Deployment and waits until none of its processes is left.
pub(crate) fn delete(name: &str, arguments: &str) -> Result<(), String> {
    run(HELIUM, &["delete", "deployment", name])?;
    wait(ROLLOUT, || {
        let left = processes(arguments);
        ensure(left.is_empty(), || format!("of {name} there are still the processes {left:?}"))
    })
}

/// Waits until so many processes run with these arguments.
pub(crate) fn wait_for_processes(arguments: &str, count: usize) -> Result<Vec<u32>, String> {
    wait(ROLLOUT, || {
        let found = processes(arguments);
        ensure(found.len() == count, || format!("{} processes `{arguments}`, not {count}", found.len()))?;
        Ok(found)
    })
}

/// The processes of the Deployment `keeper`, all of them.
pub(crate) fn keepers() -> Result<Vec<u32>, String> {
    let found = processes(KEEPER);
    ensure(found.len() == KEEPERS, || format!("{} processes of `keeper`, not {KEEPERS}", found.len()))?;
    Ok(found)
}

/// That the instances are the very processes that they were.
pub(crate) fn unharmed(before: &[u32]) -> Result<String, String> {
    let now = keepers()?;
    ensure(now == before, || format!("the instances were the processes {before:?}, and are {now:?}"))?;
    Ok(format!("instances {now:?} run on"))
}

/// Waits until the agent has its place in the cluster, and all instances of `keeper` are Running.
pub(crate) fn joined() -> Result<String, String> {
    wait(ROLLOUT, || {
        let (_, words) = get("/readyz")?;
        let wanted = format!("{KEEPERS} Running");
        ensure(words.starts_with("joined as machine") && words.contains(&wanted), || {
            format!("the agent says `{words}`")
        })?;
        Ok(words)
    })
}
