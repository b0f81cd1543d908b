use std::time::Duration;
use helium_engine::{Engine, EngineConfig, people::{People, Who}};
use helium_runtime::{ports::Ports, shutdown::Shutdown};
use crate::{agent::FakeAgent, stage::*};
use helium_crds::*;

#[tokio::test(flavor = "multi_thread")]
async fn zz_real() {
    let Ok(addr) = std::env::var("ZZ_CONSUL") else { return };
    log();
    let n: u64 = std::env::var("ZZ_N").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let config = consul_client::Config { address: addr.parse().unwrap(), ..consul_client::Config::default() };
    let client = consul_client::Client::new(config).unwrap();
    let ports = Ports::real();
    let keys = keys::Keys::under(&format!("h{}", ports.random_hex(6)));
    let who = Who { by: "alice@test".to_owned(), tool: "helium-apply".to_owned() };
    let people = People::new(client.clone(), keys.clone(), ports.clone(), who);
    let engine = Engine::new(client.clone(), EngineConfig { keys: keys.clone(), ..Default::default() }, ports.clone());
    let (trigger, shutdown) = Shutdown::new();
    let (readiness, metrics) = (engine.readiness(), engine.metrics_registry());
    let task = tokio::spawn(async move { engine.run(shutdown).await.unwrap() });
    let agents: Vec<_> = (0..10).map(|i| FakeAgent::start(client.clone(), keys.clone(), ports.clone(), &format!("n{i}"))).collect();
    people.initialise().await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let began = ports.monotonic();
    for i in 0..n {
        let yaml = HELLO.replace("name: hello", &format!("name: hello{i}")).replace("replicas: 3", "replicas: 10").replace("minHealthyTime: 5s", "minHealthyTime: 0s").replace("progressDeadline: 30s", "progressDeadline: 300s").replace("interval: 1s, timeout: 1s", "interval: 1s, timeout: 1s");
        let parsed = helium_crds::parse_all(&[Source::new("test.yaml", &yaml)]).unwrap();
        people.apply(&parsed.into_iter().map(|p| p.object).collect::<Vec<_>>()).await.unwrap();
    }
    println!("applied after {:?}", ports.monotonic() - began);
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let statuses = people.statuses().await.unwrap();
        let healthy = statuses.values().filter(|s| s.phase == Phase::Healthy).count() as u64;
        println!("{:?}: {healthy} of {} ({n}) {:?}", ports.monotonic() - began, statuses.len(), readiness.status());
        if healthy == n { break }
        if (ports.monotonic() - began).as_secs() > 300 { println!("{statuses:#?}"); break }
    }
    println!("{}", helium_engine::metrics::render(&metrics));
    tokio::time::sleep(Duration::from_secs(3)).await;
    let a = std::fs::read_to_string("/proc/self/stat").unwrap();
    drop(agents);
    tokio::time::sleep(Duration::from_secs(15)).await;
    let b = std::fs::read_to_string("/proc/self/stat").unwrap();
    let t = |s: &str| s.split_whitespace().nth(13).unwrap().parse::<u64>().unwrap() + s.split_whitespace().nth(14).unwrap().parse::<u64>().unwrap();
    println!("cpu ticks in 15 s at rest: {}", t(&b) - t(&a));
    println!("{}", std::fs::read_to_string("/proc/self/status").unwrap().lines().filter(|l| l.starts_with("VmHWM")).collect::<String>());
    println!("{}", helium_engine::metrics::render(&metrics).lines().filter(|l| l.contains("writes") || l.contains("written")).collect::<Vec<_>>().join("\n"));
    trigger.trigger();
    task.await.unwrap();
}
