//! A Deployment and its Canary: written together, looked at together.

use super::*;

const CANARY: &str = "
apiVersion: helium.dev/v1
kind: Canary
metadata: {name: hello}
spec: {steps: [{setWeight: 25%}]}
";

/// A line that writes down the keys of each transaction.
struct Recorder {
    server: Arc<dyn Transport>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Transport for Recorder {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Bytes>, TransportError>> {
        if request.uri().path() == "/v1/txn" {
            self.seen.lock().unwrap().push(String::from_utf8_lossy(request.body()).into_owned());
        }
        self.server.send(request)
    }
}

#[tokio::test(start_paused = true)]
async fn no_template_is_stored_without_the_canary_that_is_to_guard_it() {
    let desk = Desk::new();
    desk.people.initialise().await.unwrap();
    let named = |text: &str, place: usize| text.replace("name: hello", &format!("name: hello-{place}"));
    let deployments = (0..100).map(|place| named(HELLO, place));
    let all: Vec<String> = deployments.chain((0..100).map(|place| named(CANARY, place))).collect();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let line = Recorder { server: desk.server.transport(), seen: Arc::clone(&seen) };
    Desk::person(Arc::new(line), None).apply(&objects(&all.join("---"))).await.unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 4);
    for place in 0..100 {
        let holds = |kind: &str| {
            let key = format!("/default/{kind}/hello-{place}\"");
            seen.iter().position(|body| body.contains(&key)).unwrap()
        };
        assert_eq!(holds("deployment"), holds("canary"), "{place}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_guards_nothing_is_told_of_with_the_name_that_was_meant() {
    let desk = Desk::new();
    let typo = CANARY.replace("hello", "helo");
    let lonely = "there is no deployment/helo yet, so it guards nothing";
    assert_eq!(desk.apply(&typo).await[0].warnings, [lonely]);
    let applied = desk.apply(&format!("{typo}---{HELLO}")).await;
    let meant = format!("{lonely}; did you mean deployment/hello?");
    assert_eq!(applied[0].warnings, std::slice::from_ref(&meant));
    assert_eq!((applied[0].outcome, applied[1].warnings.len()), (Outcome::Unchanged, 0));
    assert_eq!(desk.apply(&typo).await[0].warnings, [meant], "the Deployment may be in the store as well");
    let elsewhere = CANARY.replace("name: hello", "name: hello, namespace: team");
    let meant = "there is no deployment/team/hello yet, so it guards nothing; did you mean deployment/hello?";
    assert_eq!(desk.apply(&elsewhere).await[0].warnings, [meant]);
    assert_eq!(desk.apply(CANARY).await[0].warnings, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_canary_beside_recreate_is_told_of_where_two_versions_would_run() {
    let desk = Desk::new();
    let recreate =
        |replicas: u32| HELLO.replace("replicas: 3", &format!("strategy: {{recreate: {{}}}}\n  replicas: {replicas}"));
    let whole = CANARY.replace("25%", "50%");
    desk.apply(&(recreate(1) + "---" + &whole)).await.iter().for_each(|applied| {
        let told = applied.warnings.iter().any(|warning| warning.contains("recreate"));
        assert!(!told, "{:?}", applied.warnings);
    });
    let applied = desk.apply(&recreate(2)).await;
    let words = "a canary runs two versions side by side, also where the strategy of its Deployment is `recreate`";
    assert_eq!(applied[0].warnings, [words]);
}

#[tokio::test(start_paused = true)]
async fn scaling_looks_at_the_canary_as_applying_does() {
    let desk = Desk::new();
    desk.apply(&format!("{HELLO}---{CANARY}")).await;
    let scaled = desk.people.scale(&[(hello().key, 1)]).await.unwrap();
    assert_eq!(scaled[0].warnings, ["step 1 asks for 25% and gets 50% (1 of 2)"]);
    let again = desk.people.scale(&[(hello().key, 1)]).await.unwrap();
    assert_eq!((again[0].before == again[0].after, again[0].warnings.len()), (true, 0));
    desk.people.scale(&[(hello().key, 3)]).await.unwrap();
    desk.apply(&CANARY.replace("spec: {", "spec: {exact: true, ")).await;
    let index = desk.server.index();
    let refusal = desk.people.scale(&[(hello().key, 1)]).await.unwrap_err();
    assert_eq!(refusal.to_string(), "canary/hello asks for exactly 25%, and 1 instance can only make 50%");
    assert_eq!(desk.server.index(), index);
}

fn by_version(versions: &str) -> String {
    HELLO.replace("replicas: 3", &format!("versions: [{versions}]"))
}

#[tokio::test(start_paused = true)]
async fn an_apply_of_counts_names_only_versions_that_a_controller_can_find() {
    let desk = Desk::new();
    let unknown = by_version("{version: 1.0.0, replicas: 1}, {version: v9, replicas: 1}");
    let refuse = async || desk.people.apply(&objects(&unknown)).await.unwrap_err().to_string();
    assert!(refuse().await.starts_with("deployment/hello has no version v9 in its history; there is 1.0.0@"));
    desk.apply(&by_version("{version: 1.0.0, replicas: 2}")).await;
    looked_at(&desk, 1, serde_json::json!({})).await;
    assert!(refuse().await.starts_with("deployment/hello has no version v9 in its history"));
    desk.apply(HELLO).await;
    // A controller that has not seen the newest spec may yet write down what it knows.
    let applied = desk.apply(&unknown).await;
    let warning = &applied[0].warnings[0];
    assert!(warning.starts_with("there is no version v9 in its history, only 1.0.0@"), "{warning}");
    assert!(warning.ends_with("; no controller has looked at it yet"), "{warning}");
}
