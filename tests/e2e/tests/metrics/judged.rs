//! Canaries that a real Prometheus judges, by the numbers of real instances that real requests reach.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use helium_e2e::{Consul, Daemon, Helium, Http, Output, Prometheus, eventually, ports, process, wait};
use serde_json::Value;

/// The longest that a rollout may take on a slow machine.
const ROLLOUT: Duration = Duration::from_mins(3);

/// A store, a controller, an agent, a Prometheus, and requests to every instance all the time.
struct Shop {
    helium: Helium,
    consul: Consul,
    prometheus: Prometheus,
    controller: Http,
    node: String,
    stop: Arc<AtomicBool>,
    customers: Option<JoinHandle<()>>,
    daemons: Vec<Daemon>,
}

impl Shop {
    #[track_caller]
    fn open() -> Self {
        let consul = Consul::start();
        let helium = Helium::on(&consul);
        let prometheus = Prometheus::start(&consul);
        let (node, port) = (format!("n{}", consul.port()), ports::free());
        let address = format!("127.0.0.1:{port}");
        let data = helium.folder().join("data").to_str().unwrap().to_owned();
        let controller = helium.start("controller", &["controller", "--http-addr", &address]);
        let agent = helium.start("agent", &["agent", "--node", &node, "--data-dir", &data]);
        eventually("the controller is ready", Duration::from_secs(30), || {
            Http::on(port).get("/readyz").ok().filter(|answer| answer.status == 200).map(drop)
        });
        let stop = Arc::new(AtomicBool::new(false));
        let customers = Some(customers(consul.http(), Arc::clone(&stop)));
        let daemons = vec![controller, agent];
        Self { helium, consul, prometheus, controller: Http::on(port), node, stop, customers, daemons }
    }

    /// The Deployment at a version, whose instances fail so many of their answers, beside its Canary.
    fn documents(&self, version: &str, errors: &str) -> String {
        let url = self.prometheus.url();
        format!(
            r#"apiVersion: helium.dev/v1
kind: Deployment
metadata: {{name: shop}}
spec:
  replicas: 3
  template:
    version: "{version}"
    exec: {{command: ["${{HELIUM_BIN}}", "sample", "--port", "${{PORT_http}}", "--version", "${{VERSION}}", "--error-rate", "{errors}"]}}
    ports: [{{name: http}}]
    checks: [{{name: up, http: {{port: http, path: /health}}, interval: 1s, timeout: 1s}}]
  strategy: {{rolling: {{maxSurge: 1, maxUnavailable: 0}}}}
  minHealthyTime: 1s
---
apiVersion: helium.dev/v1
kind: Canary
metadata: {{name: shop}}
spec:
  steps: [{{setWeight: 25%, soak: 1s, minSamples: 2}}, {{setWeight: 50%, soak: 1s}}]
  analysis:
    metrics:
      - name: errors
        prometheus:
          url: {url}
          query: >-
            100 * (sum(rate(http_requests_total{{version="${{VERSION}}",code=~"5.."}}[${{WINDOW}}])) or vector(0))
            / sum(rate(http_requests_total{{version="${{VERSION}}"}}[${{WINDOW}}]))
        criterion: {{max: 5}}
        interval: 4s
        window: 10s
"#
        )
    }

    #[track_caller]
    fn apply(&self, version: &str, errors: &str) -> Output {
        let file = self.helium.write(&format!("{version}.yaml"), &self.documents(version, errors));
        self.helium.run_for(ROLLOUT, &["apply", "-f", &file, "--wait"])
    }

    fn status(&self) -> Value {
        let shards = self.consul.keys("helium/v1/status/");
        let key = shards.iter().find(|key| key.ends_with("/default/deployment/shop")).unwrap();
        self.consul.value(key)
    }

    /// The line of the controller's `/metrics` that begins so.
    fn gauge(&self, name: &str) -> Option<String> {
        let page = self.controller.get("/metrics").unwrap().text();
        page.lines().find(|line| line.starts_with(name)).map(str::to_owned)
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(customers) = self.customers.take() {
            drop(customers.join());
        }
        self.daemons.clear();
        for pid in process::with_variable("HELIUM_NODE", &self.node) {
            process::kill(pid);
        }
    }
}

/// Requests to each instance that is in the catalog, some twenty a second.
fn customers(consul: Http, stop: Arc<AtomicBool>) -> JoinHandle<()> {
    thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            let instances = consul.get("/v1/health/service/shop").ok();
            let instances: Value =
                instances.and_then(|answer| serde_json::from_str(&answer.text()).ok()).unwrap_or_default();
            let ports = instances.as_array().into_iter().flatten().filter_map(|one| one["Service"]["Port"].as_u64());
            for port in ports.filter_map(|port| u16::try_from(port).ok()) {
                // One that is starting or stopping refuses: that is no news to anybody here.
                drop(Http::on(port).get("/"));
            }
            wait::pause(Duration::from_millis(50));
        }
    })
}

#[test]
fn a_version_that_answers_with_errors_is_rolled_back_by_its_metric_alone() {
    let shop = Shop::open();
    shop.apply("1.0.0", "0").ok();
    let promoted = shop.apply("2.0.0", "0").ok();
    assert!(promoted.stdout.contains("promoted 2.0.0: 3/3 healthy"), "{}", promoted.stdout);

    let failed = shop.apply("3.0.0", "0.5");
    assert_eq!(failed.code, 6, "{failed:?}");
    assert!(failed.stdout.contains("failed: errors failed twice in a row: "), "{}", failed.stdout);
    assert!(failed.stdout.contains("rolled back: 2.0.0 kept 3/3 healthy throughout"), "{}", failed.stdout);
    let status = shop.status();
    assert_eq!(
        (&status["reason"], &status["rollout"]["abort"]["cause"]),
        (&"RolloutAborted".into(), &"MetricFailed".into())
    );
    let errors = &status["rollout"]["analysis"]["metrics"]["errors"];
    let sample = errors["samples"].as_array().unwrap().last().unwrap();
    let measured = sample["canary"]["value"].as_f64().unwrap();
    assert!((30.0..=70.0).contains(&measured), "half of the answers are errors, and {measured}% were measured");
    assert!(errors["query"].as_str().unwrap().contains("version=\"3.0.0\""), "{errors}");
}

#[test]
fn a_canary_waits_while_its_prometheus_is_away_says_so_and_goes_on_when_it_is_back() {
    let mut shop = Shop::open();
    shop.apply("1.0.0", "0").ok();
    shop.prometheus.kill();
    let file = shop.helium.write("2.yaml", &shop.documents("2.0.0", "0"));
    shop.helium.run(&["apply", "-f", &file]).ok();
    eventually("a sample could not be taken", ROLLOUT, || {
        shop.status()["rollout"]["analysis"]["metrics"]["errors"]["inconclusive"].as_u64().filter(|count| *count >= 2)
    });
    let explained = shop.helium.run(&["explain", "deployment/shop"]).ok();
    assert!(
        explained.stdout.contains("waits for good samples of errors: 0 of 2; the last one was "),
        "{}",
        explained.stdout
    );
    assert!(explained.stdout.contains("refused"), "{}", explained.stdout);
    assert_eq!(shop.status()["reason"], "CanaryStep", "it is held, and not given up");
    let achieved = shop.gauge("helium_rollout_weight_achieved").unwrap();
    assert_eq!(achieved, r#"helium_rollout_weight_achieved{namespace="default",name="shop"} 25"#);
    assert_eq!(shop.gauge("helium_rollout_metric_value{"), None, "there is no number to show");

    shop.prometheus.start_again();
    eventually("the canary is promoted", ROLLOUT, || (shop.status()["stable"]["version"] == "2.0.0").then_some(()));
}
