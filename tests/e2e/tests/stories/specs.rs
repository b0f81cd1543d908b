//! The YAML that stories apply: `helium sample` under a check every second.

/// A Deployment of the sample server; `more` are further lines of the spec.
pub(crate) fn deployment(name: &str, version: &str, replicas: u32, more: &str) -> String {
    with_flags(name, version, replicas, "", more)
}

/// The same, with further flags of `helium sample`.
pub(crate) fn with_flags(name: &str, version: &str, replicas: u32, flags: &str, more: &str) -> String {
    let flags = flags.split_whitespace().fold(String::new(), |all, flag| all + ", \"" + flag + "\"");
    format!(
        r#"apiVersion: helium.dev/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  template:
    version: "{version}"
    exec: {{command: ["${{HELIUM_BIN}}", "sample", "--port", "${{PORT_http}}", "--version", "${{VERSION}}"{flags}]}}
    ports: [{{name: http}}]
    checks: [{{name: up, http: {{port: http, path: /health}}, interval: 1s, timeout: 1s}}]
  strategy: {{rolling: {{maxSurge: 1, maxUnavailable: 0}}}}
  minHealthyTime: 1s
  progressDeadline: 30s
{more}"#
    )
}

/// A Canary that switches: `{preview: 1}`; `more` are further fields of its spec.
pub(crate) fn switch(name: &str, how: &str, more: &str) -> String {
    canary(name, "X").replace("steps: X", &format!("blueGreen: {how}\n{more}"))
}

/// A Canary with these steps, as `[{setWeight: 50%}, {soak: 2s}]`.
pub(crate) fn canary(name: &str, steps: &str) -> String {
    format!(
        "---\napiVersion: helium.dev/v1\nkind: Canary\nmetadata: {{name: {name}}}\nspec:\n  steps: {steps}\n  \
         analysis: {{health: {{minPassing: 100%, failuresInARow: 2}}}}\n"
    )
}
