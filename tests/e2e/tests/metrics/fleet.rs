//! What Helium itself puts into Consul is what the guide's configuration makes labels of.

use std::time::Duration;

use helium_e2e::{Consul, Daemon, Helium, Http, Prometheus, eventually, ports, process};

use crate::scene::{Asker, REQUESTS, query, value};

const DEPLOYMENT: &str = r#"apiVersion: helium.dev/v1
kind: Deployment
metadata: {name: shop}
spec:
  replicas: 2
  template:
    version: "1.0.0"
    exec: {command: ["${HELIUM_BIN}", "sample", "--port", "${PORT_http}", "--version", "${VERSION}", "--error-rate", "0.5"]}
    ports: [{name: http}]
    checks: [{name: up, http: {port: http, path: /health}, interval: 1s, timeout: 1s}]
  minHealthyTime: 1s
"#;

/// What an agent started outlives it.
struct Instances(String);

impl Drop for Instances {
    fn drop(&mut self) {
        for pid in process::with_variable("HELIUM_NODE", &self.0) {
            process::kill(pid);
        }
    }
}

#[test]
fn the_labels_of_the_guide_are_there_for_whatever_helium_runs() {
    let consul = Consul::start();
    let helium = Helium::on(&consul);
    let node = format!("n{}", consul.port());
    let _instances = Instances(node.clone());
    let address = format!("127.0.0.1:{}", ports::free());
    let _controller: Daemon = helium.start("controller", &["controller", "--http-addr", &address]);
    let data = helium.folder().join("data").to_str().unwrap().to_owned();
    let mut agent = helium.start("agent", &["agent", "--node", &node, "--data-dir", &data]);
    let file = helium.write("shop.yaml", DEPLOYMENT);
    eventually("the controller takes specs", Duration::from_secs(30), || {
        (!consul.value("helium/v1/layout").is_null()).then_some(())
    });
    helium.run_for(Duration::from_mins(2), &["apply", "-f", &file, "--wait"]).ok();

    let (prometheus, asker) = (Prometheus::start(&consul), Asker::new(&consul, None));
    let of_shop = r#"sum(http_requests_total{namespace="default",deployment="shop",version="1.0.0",role="stable"})"#;
    prometheus.await_number(of_shop, 0.0);
    let instances = consul.http().json("/v1/health/service/shop?passing");
    for instance in instances.as_array().unwrap() {
        let http = Http::on(u16::try_from(instance["Service"]["Port"].as_u64().unwrap()).unwrap());
        for _ in 0..REQUESTS / 2 {
            http.get("/").unwrap();
        }
    }
    prometheus.await_number(of_shop, f64::from(REQUESTS));
    let url = prometheus.url();
    assert_eq!(asker.look(&query(&url, of_shop)), value(f64::from(REQUESTS)));
    let one = instances[0]["Service"]["Meta"]["helium-instance"].as_str().unwrap();
    let failed = format!(r#"http_requests_total{{instance="{one}",code="500"}}"#);
    assert_eq!(asker.look(&query(&url, &failed)), value(f64::from(REQUESTS / 4)));
    let revision = instances[0]["Service"]["Meta"]["helium-revision"].as_str().unwrap();
    assert_eq!(asker.look(&query(&url, &format!(r#"count(up{{revision="{revision}"}} == 1)"#))), value(2.0));
    agent.kill();
}
