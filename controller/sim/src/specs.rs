//! The objects that users apply.

use helium_crds::{AnyObject, any_object::DecodeError};
use serde_json::{Value, json};

use crate::hydra;

/// A Deployment in the making.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Its name.
    pub name: String,
    /// The version, whose end says how it behaves.
    pub version: String,
    /// How many.
    pub replicas: u32,
    /// `{"rolling": {...}}` or `{"recreate": {}}`.
    pub strategy: Value,
    /// Whether a failed rollout waits for a person.
    pub pause_on_failure: bool,
    /// The progress deadline.
    pub deadline: String,
    /// How long an instance must be healthy before it counts.
    pub min_healthy: String,
    /// Anything that makes the template another one without a new label.
    pub env: String,
    /// Whether the values in Consul are a part of its revisions.
    pub values: bool,
    /// The HydraJob that its version comes from; `version` is then only told in `env`.
    pub job: Option<String>,
}

impl Wish {
    /// A Deployment with what most have.
    pub fn new(name: &str, version: &str, replicas: u32) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            replicas,
            strategy: json!({"rolling": {"maxSurge": 1, "maxUnavailable": 0}}),
            pause_on_failure: false,
            deadline: "60s".to_owned(),
            min_healthy: "5s".to_owned(),
            env: String::new(),
            values: false,
            job: None,
        }
    }

    /// As an object.
    ///
    /// # Errors
    /// A wish that breaks a rule.
    pub fn object(&self) -> Result<AnyObject, DecodeError> {
        let on_failure = if self.pause_on_failure { "pause" } else { "rollback" };
        let env = if self.env.is_empty() { json!({}) } else { json!({ "SALT": self.env }) };
        let mut object = json!({
            "apiVersion": "helium.dev/v1",
            "kind": "Deployment",
            "metadata": {"namespace": "default", "name": self.name},
            "spec": {
                "replicas": self.replicas,
                "template": {
                    "version": self.version,
                    "exec": {"command": ["serve"]},
                    "env": env,
                    "ports": [{"name": "http"}],
                    "checks": [{"name": "up", "http": {"port": "http", "path": "/health"}, "interval": "1s", "timeout": "1s"}]
                },
                "strategy": self.strategy,
                "minHealthyTime": self.min_healthy,
                "progressDeadline": self.deadline,
                "onFailure": on_failure
            }
        });
        if self.values {
            object["spec"]["template"]["package"] = json!({ "url": "file:///srv/${VERSION}" });
        }
        if let Some(job) = &self.job {
            object["spec"]["versionFrom"] = json!({ "hydraJob": job });
            let template = &mut object["spec"]["template"];
            template["env"]["WISH"] = self.version.clone().into();
            if let Some(fields) = template.as_object_mut() {
                fields.remove("version");
            }
        }
        read(&object)
    }
}

/// The Canary of a Deployment, with its steps as JSON, or fields of its spec in their place, judged by the metric `errors` if it is to be.
///
/// # Errors
/// Steps that break a rule.
pub fn canary(name: &str, way: &Value, auto_promote: bool, judged: bool) -> Result<AnyObject, DecodeError> {
    let errors = json!({
        "name": "errors",
        "prometheus": {"url": "http://prometheus", "query": "errors of ${VERSION} of ${DEPLOYMENT}"},
        "criterion": {"max": 5},
        "interval": "4s",
    });
    let metrics = if judged { json!([errors]) } else { json!([]) };
    let mut spec = json!({
        "autoPromote": auto_promote,
        "analysis": {"health": {"minPassing": "100%", "failuresInARow": 2}, "metrics": metrics}
    });
    match way {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| spec[name] = value.clone()),
        steps => spec["steps"] = steps.clone(),
    }
    read(&json!({
        "apiVersion": "helium.dev/v1",
        "kind": "Canary",
        "metadata": {"namespace": "default", "name": name},
        "spec": spec,
    }))
}

/// The HydraJob of a name.
///
/// # Errors
/// A name that breaks a rule.
pub fn hydra_job(name: &str) -> Result<AnyObject, DecodeError> {
    read(&json!({
        "apiVersion": "helium.dev/v1",
        "kind": "HydraJob",
        "metadata": {"namespace": "default", "name": name},
        "spec": {"url": hydra::url(name), "interval": "15s"},
    }))
}

fn read(value: &Value) -> Result<AnyObject, DecodeError> {
    AnyObject::from_json(value.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_valid_objects() {
        Wish::new("web", "2-bad", 3).object().unwrap();
        let AnyObject::Deployment(web) = (Wish { values: true, ..Wish::new("web", "2", 3) }).object().unwrap() else {
            panic!("it is no Deployment")
        };
        assert!(web.spec.template.takes_overrides());
        Wish { job: Some("job".to_owned()), ..Wish::new("web", "2", 3) }.object().unwrap();
        hydra_job("job").unwrap();
        canary("web", &json!([{"setWeight": "25%"}, {"soak": "10s"}, {"pause": {}}]), false, true).unwrap();
        canary("web", &json!({"blueGreen": {"preview": 1}, "scaleDownDelay": "5s"}), false, true).unwrap();
    }
}
