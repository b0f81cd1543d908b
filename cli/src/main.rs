//! Deployments and canaries over Consul, without Kubernetes.
fn main() {}
