//! What instances do is what is measured.

use std::time::Duration;

use helium_crds::{
    Period,
    measurement::Reading,
    metric::{self, Aggregate, Range},
};
use helium_e2e::{Consul, Helium, Prometheus, eventually};

use crate::scene::{Asker, REQUESTS, Sample, query, value, whole};

/// Version 1 without any fault, version 2 with a quarter of errors and some latency, and a version 3 that nobody asks anything.
struct Versions {
    _one: Sample,
    two: Sample,
    _three: Sample,
    prometheus: Prometheus,
    asker: Asker,
    consul: Consul,
    _helium: Helium,
}

impl Versions {
    /// Both have served as much, and Prometheus has seen it all, the time before included.
    #[track_caller]
    fn start() -> Self {
        let consul = Consul::start();
        let (helium, prometheus) = (Helium::nowhere(), Prometheus::start(&consul));
        let one = Sample::start(&helium, &consul, "1.0.0", &[]);
        let two = Sample::start(&helium, &consul, "2.0.0", &["--error-rate", "0.25", "--latency", "30ms"]);
        let three = Sample::start(&helium, &consul, "3.0.0", &[]);
        for version in ["1.0.0", "2.0.0", "3.0.0"] {
            prometheus.await_number(&served(version), 0.0);
        }
        for (sample, version) in [(&one, "1.0.0"), (&two, "2.0.0")] {
            sample.serve(REQUESTS);
            prometheus.await_number(&served(version), f64::from(REQUESTS));
        }
        let asker = Asker::new(&consul, None);
        Self { _one: one, two, _three: three, prometheus, asker, consul, _helium: helium }
    }

    fn query(&self, text: &str) -> metric::Prometheus {
        query(&self.prometheus.url(), text)
    }
}

fn served(version: &str) -> String {
    format!(r#"sum(http_requests_total{{version="{version}"}})"#)
}

/// The query of the example, as the planner fills it in.
fn errors(version: &str) -> String {
    format!(
        r#"100 * sum(rate(http_requests_total{{version="{version}",code=~"5.."}}[60s])) / sum(rate(http_requests_total{{version="{version}"}}[60s]))"#
    )
}

#[test]
fn errors_and_latency_are_measured_as_they_were_injected() {
    let scene = Versions::start();
    let of = |version| whole(&scene.query(&errors(version)));
    let (canary, stable) = scene.asker.both(of("2.0.0"), of("1.0.0"));
    let Reading::Value { value: canary } = canary else { panic!("{canary:?}") };
    assert!((canary.value() - 25.0).abs() < 1e-6, "{canary}");
    assert_eq!(stable, value(0.0));

    let quantile = |version: &str| {
        let buckets = format!(r#"sum by (le) (http_request_duration_seconds_bucket{{version="{version}"}})"#);
        scene.asker.number(&scene.query(&format!("histogram_quantile(0.9, {buckets})")))
    };
    let (slow, fast) = (quantile("2.0.0"), quantile("1.0.0"));
    assert!((0.025..=0.05).contains(&slow), "30 ms are between these buckets: {slow}");
    assert!(fast < slow, "{fast}");

    // A version that nobody asks anything has no rate of errors, and one that is not there has no series.
    assert_eq!(scene.asker.look(&scene.query(&errors("3.0.0"))), Reading::NoData);
    assert_eq!(scene.asker.look(&scene.query(&errors("4.0.0"))), Reading::NoData);
    assert_eq!(scene.consul.passing("shop"), 3);
}

#[test]
fn a_window_is_made_one_number_and_what_has_gone_is_stale() {
    let mut scene = Versions::start();
    let over = |over_time, text: &str| {
        let range = Some(Range { step: Period::from_secs(1), over_time });
        metric::Prometheus { range, ..scene.query(text) }
    };
    let all = f64::from(REQUESTS);
    // It was scraped before it served anything, and after.
    assert_eq!(scene.asker.look(&over(Aggregate::Min, &served("2.0.0"))), value(0.0));
    assert_eq!(scene.asker.look(&over(Aggregate::Max, &served("2.0.0"))), value(all));
    assert_eq!(scene.asker.look(&over(Aggregate::Last, &served("2.0.0"))), value(all));
    let mean = scene.asker.number(&over(Aggregate::Avg, &served("2.0.0")));
    assert!(mean > 0.0 && mean < all, "{mean}");
    assert_eq!(scene.asker.look(&over(Aggregate::Max, &served("4.0.0"))), Reading::NoData);
    let by_version = over(Aggregate::Max, "sum by (version) (http_requests_total)");
    let why = scene.asker.why(&by_version);
    assert!(why.contains("3 series, where one number is wanted"), "{why}");
    assert_eq!(
        scene.asker.look(&metric::Prometheus { aggregate: Some(Aggregate::Sum), ..by_version }),
        value(2.0 * all)
    );

    let last = over(Aggregate::Last, r#"http_requests_total{version="2.0.0",code="500"}"#);
    scene.two.daemon.kill();
    eventually("the series of the dead instance is stale", Duration::from_secs(30), || {
        let reading = scene.asker.runtime.block_on(scene.asker.ask(whole(&last), Period::from_secs(3)));
        matches!(reading, Reading::Stale { .. }).then_some(())
    });
}

#[test]
fn several_series_are_named_and_nothing_is_divided_by_nothing() {
    let scene = Versions::start();
    let rows = scene.query(r#"http_requests_total{version=~"[12].0.0"}"#);
    let why = scene.asker.why(&rows);
    assert!(
        why.contains("4 series, where one number is wanted") && why.matches("http_requests_total{").count() == 2,
        "{why}"
    );
    let sum = metric::Prometheus { aggregate: Some(Aggregate::Sum), ..rows.clone() };
    assert_eq!(scene.asker.look(&sum), value(f64::from(2 * REQUESTS)));
    let most = metric::Prometheus { aggregate: Some(Aggregate::Max), ..rows };
    assert_eq!(scene.asker.look(&most), value(f64::from(REQUESTS)));

    assert_eq!(scene.asker.look(&scene.query(&format!("{0} / {0}", served("3.0.0")))), Reading::NoData);
    let why = scene.asker.why(&scene.query(&format!("{} / {}", served("1.0.0"), served("3.0.0"))));
    assert!(why.contains("the number is infinite"), "{why}");
    assert_eq!(scene.asker.look(&scene.query("scalar(vector(7))")), value(7.0));
    let why = scene.asker.why(&scene.query(r#""words""#));
    assert!(why.contains("the query gives a text"), "{why}");
    let why = scene.asker.why(&scene.query(r#"http_requests_total{version="1.0.0",code="200"}[1m]"#));
    assert!(why.contains("the query gives points over time"), "{why}");
}
