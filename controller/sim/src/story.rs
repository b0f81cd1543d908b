//! Stories: scripts of what people and fate do, with what there is to see as golden output.
//!
//! | command | meaning |
//! |---|---|
//! | `nodes N`, `controllers N` | how the world is; before anything else |
//! | `deploy NAME VERSION xN [surge=A] [unavailable=A] [recreate] [hold] [values] [deadline=T]` | apply a Deployment; `hold`: a failure waits for a person; `values`: those in Consul are a part of its revisions |
//! | `canary NAME STEP.. [manual] [judged] [weighed]` | apply a Canary: `25%`, `25%:T` (with a soak), `+2` (replicas), `soak:T`, `preview:N`, `switch` or `switch:N` (blue-green), `bake:T`, `pause`, `pause:T`, `promote-after:T`, `analysis`, `gate`, `gate:T:abort` (or `hold`, `continue`); `judged`: by the metric `errors`; `weighed`: by weights in Consul |
//! | `set NAME KEY=TEXT..` (`no-text`: bytes that are none), `unset NAME KEY..`, `wipe-values NAME`, `put-back NAME` | people change its values in Consul |
//! | `hydra-job JOB`; `deploy .. job=JOB` | apply a HydraJob; a Deployment whose version comes from it |
//! | `build JOB [END]`, `finish JOB N good` (or `failed`), `lose-build JOB`, `hydra fine` (or `away`, `nonsense`) | what Hydra builds, and how it is |
//! | `gate NAME open`, `metrics fine` (or `down`, `empty`, `lying`) | what gates and metric sources say |
//! | `run T` | time passes |
//! | `until NAME REASON T` | time passes until the status is about the newest spec and has this reason, at most T |
//! | `show NAME`, `explain NAME`, `events NAME`, `values NAME`, `show-job JOB` | what there is to see; `values`: those that run, by what values they have |
//! | `promote`, `promote-full`, `abort`, `retry`, `pause`, `resume`, `restart`, `undo`, `delete` NAME | what people ask for |
//! | `delete-canary NAME`, `scale NAME N`, `versions NAME V=N..` | more of it |
//! | `crash`, `hand-over`, `end-session` | what happens to the leader |
//! | `agent-stops nN`, `agent-starts nN`, `lose-node nN`, `return-node nN`, `consul-leaves nN`, `consul-crashes nN`, `consul-returns nN` | to a node |
//! | `kill NAME`, `unrecord NAME`, `unassign NAME`, `deregister NAME` | to its oldest instance |
//! | `leap c0 T`, `leap nN -T` | to the wall clock of a machine |
//! | `snapshot`, `restore`, `deny WHAT`, `allow` | to Consul |

mod hydra;
mod values;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, Mutex},
    time::Duration,
};

use consul_client::{Client, Put};
use consul_embedded::state::State;
use helium_crds::{
    Kind, NodeName, ObjectKey, Period,
    control::Verb,
    deployment::VersionCount,
    instance::{Instance, service_id},
    keys::Keys,
};
use helium_engine::people::{ObjectRef, People, PeopleError};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::{
    checkers::Violation,
    controllers::CrashPoint,
    defects::Defect,
    faults::FaultKind,
    instruments::Mood,
    net::lock,
    show,
    specs::{self, Wish},
    truth::{self, Truth},
    users::gate_of,
    wire::{Actor, Call, Life, Wire},
    world::{Setup, World, rights},
};

/// How long a story goes on quietly at its end, before its last state counts.
const EPILOGUE: Duration = Duration::from_mins(2);
/// A state that is expected, and has lasted so long, is the last one.
const LASTING: u32 = 10;

/// Why a story cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum StoryError {
    /// A line makes no sense.
    #[error("line {line}: {why}")]
    Line {
        /// The number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// The runtime could not be made.
    #[error(transparent)]
    Runtime(#[from] std::io::Error),
}

/// What a story gave.
#[derive(Clone, Debug)]
pub struct Told {
    /// What there was to see.
    pub output: String,
    /// How everything stands at the end.
    pub end: BTreeMap<String, String>,
    /// What was wrong.
    pub violation: Option<Violation>,
    /// The calls of each controller in each of its lives.
    pub calls: Vec<Vec<Vec<Call>>>,
    /// The calls of each agent in each of its lives, and its effects on its machine.
    pub agents_calls: Vec<Vec<Vec<Call>>>,
    /// Whether whoever was to crash has crashed.
    pub crashed: bool,
    /// The last lines of the trace.
    pub trace: Vec<String>,
}

/// Where somebody crashes in a story, and how the story is expected to end nevertheless.
#[derive(Clone, Copy, Debug)]
pub struct Trial<'a> {
    /// Where it crashes.
    pub crash: CrashPoint,
    /// How everything stands at the end.
    pub end: &'a BTreeMap<String, String>,
}

/// Tells a story, alone in its own runtime.
///
/// # Errors
/// A line that makes no sense.
pub fn tell(script: &str, trial: Option<Trial<'_>>) -> Result<Told, StoryError> {
    alone(async {
        let script = Script::parse(script);
        let mut teller = Teller::new(&Setup { crash: trial.map(|trial| trial.crash), ..script.setup() }).await;
        teller.play(&script).await?;
        Ok(teller.end(trial.map(|trial| trial.end)).await)
    })
}

/// What there is to see, and what is found to be wrong, when a story is told with a bug, and maybe a crash; with it the story may well get stuck.
///
/// # Errors
/// The runtime could not be made.
pub fn tell_with(
    script: &str,
    defect: Defect,
    crash: Option<CrashPoint>,
) -> Result<(String, Option<Violation>), StoryError> {
    alone(async {
        let script = Script::parse(script);
        let mut teller = Teller::new(&Setup { defect: Some(defect), crash, ..script.setup() }).await;
        let world = Arc::clone(&teller.world);
        tokio::select! {
            biased;
            () = world.net.broken.notified() => {}
            told = teller.play(&script) => {
                if let Err(stuck) = told {
                    teller.say(&stuck.to_string());
                }
                tokio::time::sleep(EPILOGUE).await;
            }
        }
        let violation = world.net.checkers().violation().cloned();
        Ok((teller.output, violation))
    })
}

fn alone<T>(story: impl Future<Output = Result<T, StoryError>>) -> Result<T, StoryError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    runtime.block_on(story)
}

/// The words of the lines of a story that say anything, with their numbers.
struct Script<'a>(Vec<(usize, Vec<&'a str>)>);

impl<'a> Script<'a> {
    fn parse(script: &'a str) -> Self {
        let words = |line: &'a str| line.split('#').next().unwrap_or_default().split_whitespace().collect();
        let lines = (1..).zip(script.lines().map(words));
        Self(lines.filter(|(_, words): &(usize, Vec<&str>)| !words.is_empty()).collect())
    }

    fn setup(&self) -> Setup {
        let setting = |name: &str, otherwise: usize| {
            let line = self.0.iter().find(|(_, words)| words.first() == Some(&name));
            line.and_then(|(_, words)| words.get(1)?.parse().ok()).unwrap_or(otherwise)
        };
        Setup::calm(7, setting("nodes", 3), setting("controllers", 1))
    }
}

struct Teller {
    world: Arc<World>,
    people: People,
    client: Client,
    wishes: BTreeMap<String, Wish>,
    snapshot: Mutex<Option<State>>,
    wiped: values::Wiped,
    output: String,
}

impl Teller {
    async fn new(setup: &Setup) -> Self {
        let world = World::make(setup).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let people = world.people(0);
        // If this fails the first line of the story says so.
        let _layout = people.initialise().await;
        let client = world.client(Actor::Operator);
        let (wishes, snapshot, wiped) = (BTreeMap::new(), Mutex::new(None), BTreeMap::new());
        Self { world, people, client, wishes, snapshot, wiped, output: String::new() }
    }

    async fn play(&mut self, script: &Script<'_>) -> Result<(), StoryError> {
        for (line, words) in &script.0 {
            if matches!(words.first(), Some(&("nodes" | "controllers"))) {
                continue;
            }
            let _ = writeln!(self.output, "> {}", words.join(" "));
            self.line(words).await.map_err(|why| StoryError::Line { line: *line, why })?;
        }
        Ok(())
    }

    async fn end(self, expected: Option<&BTreeMap<String, String>>) -> Told {
        let net = &self.world.net;
        let (mut until, mut crashed, mut lasted) = (net.now() + EPILOGUE, false, 0);
        while lasted < LASTING && net.now() < until {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if !crashed && self.crashed() {
                (crashed, until) = (true, net.now() + EPILOGUE);
            }
            let as_expected = crashed && expected.is_some_and(|expected| *expected == self.endings());
            lasted = if as_expected { lasted + 1 } else { 0 };
        }
        Told {
            output: self.output.clone(),
            end: self.endings(),
            violation: net.checkers().violation().cloned(),
            calls: self.world.controllers.calls(),
            agents_calls: self.world.agents.calls(),
            crashed,
            trace: net.trace().last(60),
        }
    }

    fn crashed(&self) -> bool {
        let faults = self.world.net.faults();
        [FaultKind::CrashBefore, FaultKind::CrashAfter, FaultKind::AgentCrash]
            .iter()
            .any(|kind| faults.struck().contains_key(kind))
    }

    fn endings(&self) -> BTreeMap<String, String> {
        let state = self.world.net.server.state();
        let objects = truth::objects(&state).into_iter();
        objects.map(|object| (object.name.clone(), ending(&state, &object))).collect()
    }

    fn say(&mut self, line: &str) {
        let _ = writeln!(self.output, "{line}");
    }

    fn say_all(&mut self, lines: &[String]) {
        for line in lines {
            self.say(line);
        }
    }

    async fn line(&mut self, words: &[&str]) -> Result<(), String> {
        let (verb, rest) = words.split_first().ok_or("an empty line")?;
        let name = rest.first().copied().unwrap_or_default();
        match *verb {
            "run" => tokio::time::sleep(period(name)?).await,
            "until" => self.until(rest).await?,
            "show" => self.say_all(&show::object(&self.world.net.server.state(), &key(name))),
            "explain" => self.say_all(&show::explain(&self.world.net.server.state(), &key(name))),
            "events" => self.say_all(&show::events(&self.world.net.server.state(), &key(name))),
            "values" => self.say_all(&show::values(&self.world.net.server.state(), &key(name))),
            "set" | "unset" | "wipe-values" | "put-back" => {
                let state = self.world.net.server.state();
                values::change(&self.client, &state, &mut self.wiped, verb, rest).await?;
            }
            "build" | "finish" | "lose-build" | "hydra" => {
                hydra::change(&mut self.world.net.hydra.table(), verb, rest)?;
            }
            "show-job" => self.say_all(&show::job(&self.world.net.server.state(), &key(name))),
            "hydra-job" => {
                let job = specs::hydra_job(name).map_err(|error| error.to_string())?;
                let outcome = self.people.apply(&[job]).await.map(drop);
                self.told(outcome);
            }
            "deploy" | "canary" | "scale" | "versions" | "undo" | "delete" | "delete-canary" => {
                let outcome = self.edit(verb, rest).await?;
                self.told(outcome);
            }
            "promote" | "promote-full" | "abort" | "retry" | "pause" | "resume" | "restart" => {
                let outcome = self.people.request(&key(name), asked(verb), None).await.map(drop);
                self.told(outcome);
            }
            "snapshot" => *lock(&self.snapshot) = Some(self.world.net.server.state()),
            "restore" | "deny" | "allow" => self.consul(verb, name)?,
            "crash" | "hand-over" | "end-session" => self.leader(verb).await,
            "agent-stops" | "agent-starts" | "lose-node" | "return-node" | "consul-leaves" | "consul-crashes"
            | "consul-returns" => {
                self.node(verb, name)?;
            }
            "gate" => {
                let value = *rest.get(1).ok_or("gate NAME VALUE")?;
                let client = self.world.client(Actor::Operator);
                let put = client.kv_put(&gate_of(name), value.to_owned(), &Put::default()).await;
                put.map_err(|error| error.to_string())?;
            }
            "leap" => self.leap(rest)?,
            "metrics" => *lock(&self.world.net.mood) = mood(name)?,
            "kill" | "unrecord" | "unassign" | "deregister" => self.instance(verb, name).await?,
            other => return Err(format!("what is `{other}`?")),
        }
        Ok(())
    }

    fn told(&mut self, outcome: Result<(), PeopleError>) {
        if let Err(error) = outcome {
            self.say(&format!("refused: {error}"));
        }
    }

    async fn until(&mut self, rest: &[&str]) -> Result<(), String> {
        let &[name, reason, limit] = rest else { return Err("until NAME REASON TIME".to_owned()) };
        let begin = self.world.net.now();
        let end = begin + period(limit)?;
        loop {
            let Truth { status, deployment, .. } = Truth::of(&self.world.net.server.state(), &key(name));
            let generation = deployment.map(|deployment| deployment.metadata.generation);
            let is_so = |status: &helium_crds::DeploymentStatus| {
                status.reason.to_string() == reason && Some(status.observed_generation) == generation
            };
            if status.as_ref().map_or(reason == "gone", is_so) {
                return Ok(());
            }
            if self.world.net.now() >= end {
                self.say(&format!("{name} is not {reason} after {limit}"));
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    async fn edit(&mut self, verb: &str, rest: &[&str]) -> Result<Result<(), PeopleError>, String> {
        let (name, options) = rest.split_first().ok_or("it needs a name")?;
        let object = |kind| [ObjectRef::new(kind, key(name))];
        Ok(match verb {
            "deploy" => {
                let wish = wish(self.wishes.get(*name), name, options)?;
                let object = wish.object().map_err(|error| error.to_string())?;
                self.wishes.insert((*name).to_owned(), wish);
                self.people.apply(&[object]).await.map(drop)
            }
            "canary" => {
                let way = way(name, options)?;
                let (automatic, judged) = (!options.contains(&"manual"), options.contains(&"judged"));
                let canary = specs::canary(name, &way, automatic, judged);
                self.people.apply(&[canary.map_err(|error| error.to_string())?]).await.map(drop)
            }
            "scale" => {
                let replicas = options.first().and_then(|number| number.parse().ok()).ok_or("scale NAME N")?;
                self.people.scale(&[(key(name), replicas)]).await.map(drop)
            }
            "versions" => {
                let counts: Option<Vec<VersionCount>> = options.iter().map(|word| count(word)).collect();
                self.people.scale_versions(&key(name), &counts.ok_or("versions NAME V=N..")?).await.map(drop)
            }
            "undo" => self.people.undo(&key(name), None).await.map(drop),
            "delete" => self.people.delete(&object(Kind::Deployment)).await.map(drop),
            _ => self.people.delete(&object(Kind::Canary)).await.map(drop),
        })
    }

    fn consul(&self, verb: &str, what: &str) -> Result<(), String> {
        let net = &self.world.net;
        match verb {
            "restore" => {
                let older = lock(&self.snapshot).clone().ok_or("there is no snapshot")?;
                net.server.restore(older);
                net.check(|checkers, net| checkers.restored(net.now()));
            }
            "deny" if what == "catalog" => net.server.set_acl(Some(rights(Some("catalog")))),
            "deny" => net.server.set_acl(Some(rights(Some(&format!("{}{what}", Keys::default().root()))))),
            _ => net.server.set_acl(Some(rights(None))),
        }
        Ok(())
    }

    async fn leader(&self, verb: &str) {
        let controllers = &self.world.controllers;
        let leader = controllers.leader().unwrap_or(0);
        match verb {
            "crash" => controllers.crash(leader),
            "hand-over" => controllers.hand_over(leader, false),
            _ => {
                let lock = Keys::default().controller_lock();
                let holder = self.world.net.server.with_state(|state| state.kv().get(&lock)?.session.clone());
                if let Some(session) = holder.flatten() {
                    let _ended = self.client.session_destroy(&session).await;
                }
            }
        }
    }

    fn leap(&self, rest: &[&str]) -> Result<(), String> {
        let &[whose, by] = rest else { return Err("leap WHO TIME".to_owned()) };
        let number = whose.get(1..).and_then(|number| number.parse().ok()).ok_or("whose clock?")?;
        let whose = if whose.starts_with('c') { Actor::Controller(number) } else { Actor::Agent(number) };
        let length = period(by.trim_start_matches('-'))?;
        let length = SignedDuration::try_from(length).map_err(|error| error.to_string())?;
        self.world.net.clocks.leap(whose, if by.starts_with('-') { -length } else { length });
        Ok(())
    }

    fn node(&self, verb: &str, name: &str) -> Result<(), String> {
        let number: usize = name.strip_prefix('n').and_then(|number| number.parse().ok()).ok_or("which node?")?;
        let server = &self.world.net.server;
        let node = NodeName::from(name);
        match verb {
            "agent-stops" => self.world.stop_agent(number),
            "agent-starts" => self.world.start_agent(number),
            "lose-node" => {
                self.world.stop_agent(number);
                self.world.net.fleet.table().switch_off(&node);
                server.set_reachable(name, false);
            }
            "return-node" => {
                server.join(name, "10.0.0.1");
                self.world.net.fleet.table().switch_on(&node);
                self.world.start_agent(number);
            }
            "consul-leaves" => server.leave(name),
            "consul-crashes" => server.crash(name),
            _ => server.join(name, "10.0.0.1"),
        }
        Ok(())
    }

    async fn instance(&mut self, verb: &str, name: &str) -> Result<(), String> {
        let truth = Truth::of(&self.world.net.server.state(), &key(name));
        let oldest = truth.running().min_by_key(|instance| ordinal(instance)).cloned();
        let victim = oldest.ok_or("nothing runs")?;
        let keys = Keys::default();
        match verb {
            "kill" => {
                self.world.net.fleet.table().kill(&victim.node, &victim.id);
            }
            "unrecord" => drop(self.client.kv_delete(&keys.instance(&key(name), &victim.id), None).await),
            "unassign" => drop(self.client.kv_delete(&keys.assignment(&victim.node, &victim.id), None).await),
            _ => {
                let wire = Wire::new(&self.world.net, Actor::Operator, victim.node.as_str(), Life::until(None));
                let client = Client::over(wire, Some("user".to_owned()));
                drop(client.agent_deregister_service(&service_id(&victim.id)).await);
            }
        }
        Ok(())
    }
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("default", name)
}

fn period(text: &str) -> Result<Duration, String> {
    text.parse::<Period>().map(Period::as_duration).map_err(|error| error.to_string())
}

fn asked(verb: &str) -> Verb {
    match verb {
        "promote" => Verb::Promote,
        "promote-full" => Verb::PromoteFull,
        "abort" => Verb::Abort,
        "retry" => Verb::Retry,
        "pause" => Verb::Pause,
        "resume" => Verb::Resume,
        _ => Verb::Restart,
    }
}

/// A Deployment as the words say, on top of what was applied before.
fn wish(before: Option<&Wish>, name: &str, options: &[&str]) -> Result<Wish, String> {
    let mut wish = before.cloned().unwrap_or_else(|| Wish::new(name, "1", 1));
    let amount = |text: &str| text.parse::<u32>().map_or_else(|_| json!(text), |number| json!(number));
    let (mut surge, mut unavailable) = (json!(1), json!(0));
    let mut rolling = false;
    for option in options {
        match option.split_once('=') {
            Some(("surge", value)) => (surge, rolling) = (amount(value), true),
            Some(("unavailable", value)) => (unavailable, rolling) = (amount(value), true),
            Some(("deadline", value)) => value.clone_into(&mut wish.deadline),
            Some(("job", value)) => wish.job = Some(value.to_owned()),
            Some(("env", value)) => value.clone_into(&mut wish.env),
            Some((other, _)) => return Err(format!("what is `{other}`?")),
            None if *option == "recreate" => wish.strategy = json!({"recreate": {}}),
            None if *option == "hold" => wish.pause_on_failure = true,
            None if *option == "values" => wish.values = true,
            None => match option.strip_prefix('x').and_then(|number| number.parse().ok()) {
                Some(number) => wish.replicas = number,
                None => (*option).clone_into(&mut wish.version),
            },
        }
    }
    if rolling {
        wish.strategy = json!({"rolling": {"maxSurge": surge, "maxUnavailable": unavailable}});
    }
    Ok(wish)
}

/// The steps of a Canary, or the switch in their place, and its bake.
fn way(name: &str, options: &[&str]) -> Result<Value, String> {
    let mut way = json!({});
    let mut steps = Vec::new();
    for word in options.iter().filter(|word| !["manual", "judged"].contains(word)) {
        if *word == "weighed" {
            way["trafficRouting"] = "consulWeights".into();
            continue;
        }
        match word.split_once(':') {
            Some(("bake", time)) => way["scaleDownDelay"] = time.into(),
            Some(("switch", number)) => way["blueGreen"] = json!({ "preview": amount(number) }),
            None if *word == "switch" => way["blueGreen"] = json!({}),
            _ => steps.push(step(name, word)?),
        }
    }
    if !steps.is_empty() {
        way["steps"] = steps.into();
    }
    Ok(way)
}

/// `2` or `50%`.
fn amount(word: &str) -> Value {
    word.parse::<u32>().map_or_else(|_| word.into(), Value::from)
}

fn step(name: &str, word: &str) -> Result<Value, String> {
    let gate = json!({"kv": {"key": gate_of(name)}, "interval": "5s"});
    Ok(match word.split_once(':') {
        Some(("soak", time)) => json!({ "soak": time }),
        Some(("preview", number)) => json!({ "preview": amount(number) }),
        Some(("pause", time)) => json!({ "pause": {"duration": time} }),
        Some(("promote-after", time)) => json!({ "pause": {"promoteAfter": time} }),
        Some(("gate", limit)) => {
            let (timeout, does) = limit.split_once(':').ok_or("gate:TIME:abort, hold or continue")?;
            let mut gate = gate;
            gate["timeout"] = timeout.into();
            gate["onTimeout"] = does.into();
            json!({ "gate": gate })
        }
        Some((weight, soak)) if weight.ends_with('%') => json!({ "setWeight": weight, "soak": soak }),
        None if word == "pause" => json!({"pause": {}}),
        None if word == "analysis" => json!({"analysis": {}}),
        None if word == "gate" => json!({ "gate": gate }),
        None if word.ends_with('%') => json!({ "setWeight": word }),
        None => match word.strip_prefix('+').and_then(|number| number.parse::<u32>().ok()) {
            Some(number) => json!({ "setReplicas": number }),
            None => return Err(format!("what step is `{word}`?")),
        },
        Some(_) => return Err(format!("what step is `{word}`?")),
    })
}

fn mood(word: &str) -> Result<Mood, String> {
    Ok(match word {
        "fine" => Mood::Fine,
        "down" => Mood::Down,
        "empty" => Mood::Empty,
        "lying" => Mood::Lying,
        other => return Err(format!("metrics are not `{other}`")),
    })
}

fn count(word: &str) -> Option<VersionCount> {
    let (version, replicas) = word.split_once('=')?;
    Some(VersionCount { version: version.to_owned(), replicas: replicas.parse().ok()? })
}

fn ordinal(instance: &Instance) -> u64 {
    instance.id.as_str().rsplit('-').nth(1).and_then(|ordinal| ordinal.parse().ok()).unwrap_or(0)
}

/// What counts of how an object stands: phase, stable version, and how many of each version should run and are healthy.
fn ending(state: &State, object: &ObjectKey) -> String {
    let truth = Truth::of(state, object);
    let mut counts: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
    for instance in truth.running() {
        let count = counts.entry(&instance.version).or_default();
        count.0 += 1;
        count.1 += u32::from(truth::is_healthy(state, instance));
    }
    let stopping = truth.instances.len() - truth.running().count();
    let status = truth.status.as_ref();
    let stable = status.and_then(|status| status.stable.as_ref()).map(|stable| stable.version.as_str());
    let reason = status.map(|status| status.reason.to_string()).unwrap_or_default();
    format!("{reason}, stable {stable:?}, running and healthy {counts:?}, stopping {stopping}")
}
