//! A Prometheus that cannot answer, or does not want to.

use std::{fs, time::Duration};

use helium_crds::{
    Period, metric,
    secret::{Auth, BasicAuth, SecretRef},
};
use helium_e2e::{
    Consul, Prometheus, ports,
    prometheus::{PASSWORD, USER},
};

use crate::scene::{Asker, query, value, whole};

#[test]
fn a_wrong_query_and_a_wrong_address_say_what_is_wrong() {
    let consul = Consul::start();
    let (prometheus, asker) = (Prometheus::start(&consul), Asker::new(&consul, None));
    let retried = |url: &str, text: &str| metric::Prometheus { retries: 2, ..query(url, text) };
    let why = asker.why(&retried(&prometheus.url(), "sum(rate(up[1m])"));
    let place = format!("{}/api/v1/query: 400 Bad Request: bad_data: ", prometheus.url());
    assert!(why.starts_with(&place) && why.contains("parse error"), "a query that is wrong is asked once: {why}");
    let why = asker.why(&query(&prometheus.url(), "label_replace(vector(1), \"a\", \"$1\", \"b\", \"(\")"));
    assert!(why.contains("invalid regular expression"), "{why}");

    let nobody = format!("http://127.0.0.1:{}", ports::free());
    let why = asker.why(&retried(&nobody, "up"));
    assert!(
        why.starts_with("asked 3 times: ") && why.contains("cannot be reached") && why.contains("refused"),
        "{why}"
    );
    let why = asker.why(&query(&format!("http://{}", consul.address()), "up"));
    assert!(why.contains("/api/v1/query: 404 Not Found"), "another server is no Prometheus: {why}");
    let why = asker.why(&query(&format!("{}/nowhere", prometheus.url()), "up"));
    assert!(why.contains("/nowhere/api/v1/query: 404 Not Found"), "{why}");
}

#[test]
fn one_that_is_killed_in_the_middle_and_comes_back_is_asked_again() {
    let consul = Consul::start();
    let (mut prometheus, asker) = (Prometheus::start(&consul), Asker::new(&consul, None));
    let patient = metric::Prometheus { retries: 10, ..query(&prometheus.url(), "vector(4)") };
    prometheus.freeze();
    let reading = asker.runtime.block_on(async {
        let answered = asker.ask(whole(&patient), Period::from_secs(60));
        let dies = tokio::task::spawn_blocking(move || {
            // The kernel takes the connection of a frozen process, so the question is on its way by then.
            helium_e2e::eventually("the question has arrived", Duration::from_secs(10), || {
                (waiting_bytes(&prometheus) > 0).then_some(())
            });
            prometheus.kill();
            prometheus.start_again();
            prometheus
        });
        let (reading, prometheus) = futures::future::join(answered, dies).await;
        drop(prometheus.unwrap());
        reading
    });
    assert_eq!(reading, value(4.0));
    let why = asker.why(&metric::Prometheus { retries: 1, ..patient });
    assert!(why.starts_with("asked 2 times: ") && why.contains("cannot be reached"), "{why}");
}

/// How much has arrived at the port of a Prometheus that it has not read.
fn waiting_bytes(prometheus: &Prometheus) -> u64 {
    let port = prometheus.url().rsplit(':').next().unwrap().parse::<u16>().unwrap();
    let place = format!(":{port:04X}");
    // A row is `sl local remote state tx:rx ...`, all in hexadecimal.
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .flat_map(|file| {
            fs::read_to_string(file).unwrap_or_default().lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
        })
        .filter_map(|row| {
            let fields: Vec<&str> = row.split_whitespace().collect();
            let (local, state, queues) = (fields.get(1)?, fields.get(3)?, fields.get(4)?);
            // 0A is a listening socket: its queue counts connections.
            let is_its = local.ends_with(&place) && *state != "0A";
            is_its.then(|| u64::from_str_radix(queues.split(':').nth(1)?, 16).ok()).flatten()
        })
        .sum()
}

#[test]
fn a_password_opens_one_that_is_guarded_and_is_told_to_nobody_else() {
    let consul = Consul::start();
    let (prometheus, folder) = (Prometheus::guarded(&consul), tempfile::tempdir().unwrap());
    let asker = Asker::new(&consul, Some(folder.path().to_owned()));
    let guarded = |name: &str| {
        let password = SecretRef::File(name.to_owned());
        let auth = Some(Auth::Basic(BasicAuth { username: USER.to_owned(), password }));
        metric::Prometheus { auth, ..query(&prometheus.url(), "vector(5)") }
    };
    fs::write(folder.path().join("right"), format!("{PASSWORD}\n")).unwrap();
    fs::write(folder.path().join("wrong"), "guess-of-somebody").unwrap();
    assert_eq!(asker.look(&guarded("right")), value(5.0));
    let why = asker.why(&guarded("wrong"));
    assert!(why.contains("401 Unauthorized") && !why.contains("guess"), "{why}");
    let why = asker.why(&metric::Prometheus { auth: None, ..guarded("right") });
    assert!(why.contains("401 Unauthorized"), "{why}");
    consul.http().put("/v1/kv/helium/v1/secret/monitoring/prometheus", PASSWORD);
    let password = SecretRef::Kv("monitoring/prometheus".to_owned());
    let auth = Some(Auth::Basic(BasicAuth { username: USER.to_owned(), password }));
    assert_eq!(asker.look(&metric::Prometheus { auth, ..guarded("right") }), value(5.0));
}
