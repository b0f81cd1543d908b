//! What is measured, and the page that Prometheus reads.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Mutex, PoisonError},
};

use helium_containerpilot::config::{Metric, MetricKind};
use helium_supervisor::Event;

use crate::watches::Counts;

/// The upper bounds of a histogram, as the client libraries of Prometheus have them.
const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Why a measurement was not taken.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BadMeasure {
    /// The file has no such metric.
    #[error("the file has no metric `{0}`; its name is namespace, subsystem and name joined by underscores")]
    Unknown(String),
    /// A counter cannot go back.
    #[error("`{0}` is a counter and cannot go back")]
    Negative(String),
}

/// One metric of the file and what was measured.
#[derive(Clone, Debug)]
struct Measured {
    metric: Metric,
    /// The value of a counter or gauge, the sum of the others.
    sum: f64,
    count: u64,
    /// How many were at most so large, by [`BUCKETS`].
    within: [u64; BUCKETS.len()],
}

#[derive(Debug, Default)]
struct Inner {
    measured: Vec<Measured>,
    events: BTreeMap<(String, String), u64>,
    requests: BTreeMap<(u16, String), u64>,
}

/// All that is measured.
#[derive(Debug)]
pub struct Metrics {
    inner: Mutex<Inner>,
    watched: Counts,
}

impl Metrics {
    /// Nothing yet, but what watches see.
    pub fn new(watched: Counts) -> Self {
        Self { inner: Mutex::default(), watched }
    }

    /// From now on these metrics; one that is the same keeps its values.
    pub fn keep(&self, metrics: &[Metric]) {
        let mut inner = self.lock();
        let old = std::mem::take(&mut inner.measured);
        inner.measured = metrics
            .iter()
            .map(|metric| {
                let known = old.iter().find(|known| known.metric == *metric).cloned();
                let new = Measured { metric: metric.clone(), sum: 0.0, count: 0, within: [0; BUCKETS.len()] };
                known.unwrap_or(new)
            })
            .collect();
    }

    /// Takes a measurement.
    ///
    /// # Errors
    /// There is no such metric, or it is a counter that would go back.
    pub fn measure(&self, name: &str, value: f64) -> Result<(), BadMeasure> {
        let mut inner = self.lock();
        let measured = inner.measured.iter_mut().find(|measured| measured.metric.key == name);
        let measured = measured.ok_or_else(|| BadMeasure::Unknown(name.to_owned()))?;
        match measured.metric.kind {
            MetricKind::Counter if value < 0.0 => return Err(BadMeasure::Negative(name.to_owned())),
            MetricKind::Gauge => measured.sum = value,
            MetricKind::Counter | MetricKind::Histogram | MetricKind::Summary => measured.sum += value,
        }
        measured.count += 1;
        for (within, bound) in measured.within.iter_mut().zip(BUCKETS) {
            *within += u64::from(value <= bound);
        }
        Ok(())
    }

    /// An event came.
    pub fn happened(&self, event: &Event) {
        let key = (event.code.name().to_owned(), event.source.to_string());
        *self.lock().events.entry(key).or_default() += 1;
    }

    /// A request of the control socket was answered.
    pub fn answered(&self, code: u16, path: &str) {
        *self.lock().requests.entry((code, path.to_owned())).or_default() += 1;
    }

    /// The page, in the text format 0.0.4.
    pub fn page(&self) -> String {
        let mut page = String::new();
        let inner = self.lock();
        for measured in &inner.measured {
            measured.write(&mut page);
        }
        head(&mut page, "containerpilot_events", "events that came, by code and source", "counter");
        for ((code, source), count) in &inner.events {
            let (code, source) = (label(code), label(source));
            let _ = writeln!(page, "containerpilot_events{{code=\"{code}\",source=\"{source}\"}} {count}");
        }
        head(
            &mut page,
            "containerpilot_control_http_requests",
            "requests of the control socket, by code and path",
            "counter",
        );
        for ((code, path), count) in &inner.requests {
            let path = label(path);
            let _ = writeln!(page, "containerpilot_control_http_requests{{code=\"{code}\",path=\"{path}\"}} {count}");
        }
        head(&mut page, "containerpilot_watch_instances", "healthy instances of watched services", "gauge");
        for (service, count) in &*self.watched.borrow() {
            let _ = writeln!(page, "containerpilot_watch_instances{{service=\"{}\"}} {count}", label(service));
        }
        page
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Measured {
    fn write(&self, page: &mut String) {
        let Self { metric: Metric { exposed_name: name, help, kind, .. }, sum, count, within } = self;
        match kind {
            MetricKind::Counter => {
                head(page, name, help, "counter");
                let _ = writeln!(page, "{name} {sum}");
            }
            MetricKind::Gauge => {
                head(page, name, help, "gauge");
                let _ = writeln!(page, "{name} {sum}");
            }
            MetricKind::Histogram => {
                head(page, name, help, "histogram");
                for (bound, within) in BUCKETS.iter().zip(within) {
                    let _ = writeln!(page, "{name}_bucket{{le=\"{bound}\"}} {within}");
                }
                let _ = writeln!(page, "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum {sum}\n{name}_count {count}");
            }
            MetricKind::Summary => {
                head(page, name, help, "summary");
                let _ = writeln!(page, "{name}_sum {sum}\n{name}_count {count}");
            }
        }
    }
}

fn head(page: &mut String, name: &str, help: &str, kind: &str) {
    let help = help.replace('\\', "\\\\").replace('\n', "\\n");
    let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn label(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use helium_supervisor::Code;

    use super::*;

    fn metric(name: &str, kind: MetricKind) -> Metric {
        Metric { key: format!("{name}__"), exposed_name: name.to_owned(), help: format!("what {name} is"), kind }
    }

    #[test]
    fn each_kind_has_its_lines_and_nothing_else_is_taken() {
        let metrics = Metrics::new(Counts::new(BTreeMap::from([("up".to_owned(), 2)])));
        let kinds = [MetricKind::Counter, MetricKind::Gauge, MetricKind::Histogram, MetricKind::Summary];
        let all: Vec<Metric> = ["c", "g", "h", "s"].iter().zip(kinds).map(|(name, kind)| metric(name, kind)).collect();
        metrics.keep(&all);
        for name in ["c__", "g__", "h__", "s__"] {
            metrics.measure(name, 0.3).unwrap();
            metrics.measure(name, 2.0).unwrap();
        }
        assert_eq!(metrics.measure("c__", -1.0), Err(BadMeasure::Negative("c__".to_owned())));
        assert_eq!(metrics.measure("c", 1.0), Err(BadMeasure::Unknown("c".to_owned())));
        metrics.happened(&Event::of_job(Code::Healthy, "app"));
        metrics.answered(200, "/v3/metric");
        let page = metrics.page();
        for line in [
            "# HELP c what c is",
            "# TYPE c counter",
            "c 2.3",
            "g 2",
            "h_bucket{le=\"0.25\"} 0",
            "h_bucket{le=\"0.5\"} 1",
            "h_bucket{le=\"2.5\"} 2",
            "h_bucket{le=\"+Inf\"} 2",
            "h_count 2",
            "s_sum 2.3",
            "containerpilot_events{code=\"healthy\",source=\"app\"} 1",
            "containerpilot_control_http_requests{code=\"200\",path=\"/v3/metric\"} 1",
            "containerpilot_watch_instances{service=\"up\"} 2",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is missing:\n{page}");
        }
    }

    #[test]
    fn a_metric_that_stays_keeps_its_value_and_one_that_goes_loses_it() {
        let metrics = Metrics::new(Counts::new(BTreeMap::new()));
        let (one, two) = (metric("one", MetricKind::Counter), metric("two", MetricKind::Counter));
        metrics.keep(&[one.clone(), two]);
        metrics.measure("one__", 5.0).unwrap();
        metrics.keep(&[one]);
        assert!(metrics.page().contains("\none 5\n"));
        assert!(metrics.measure("two__", 1.0).is_err());
    }
}
