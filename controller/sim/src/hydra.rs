//! A Hydra of this world, and those who push what it builds: builds begin, succeed, fail and are deleted again; Hydra itself goes away, or
//! answers nonsense.
//!
//! What it answers about a build is read by the same functions that read a real answer. Its chance is its own, as that of
//! [`values`](crate::values) is.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use futures::future::{BoxFuture, FutureExt as _};
use helium_analysis::{Builds, Look, Missed};
use helium_crds::{HydraJobSpec, status::HydraBuild};
use helium_hydra::Built;
use serde_json::json;

use crate::{
    defects::Defect,
    net::{Net, lock},
    rng::Rng,
};

/// How long a look takes that nothing disturbs.
const LOOK: Duration = Duration::from_millis(120);
/// The time between two deeds of those who push.
const PAUSE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(40));
/// How long a build takes.
const BUILDING: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(20));
/// How long Hydra is away, or answers nonsense.
const TROUBLE: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(70));
/// Of so many worlds in a thousand one Deployment takes its version from a build.
const WORLDS: u64 = 300;

/// What Hydra's pages may say in place of an answer.
const NONSENSE: [&str; 5] = [
    "<html>we are upgrading</html>",
    r#"{"id": 7}"#,
    r#"{"id": 9999, "finished": 0, "buildstatus": null}"#,
    r#"{"id": 9999, "finished": 1, "buildstatus": 1, "buildoutputs": {"out": {"path": "/nix/store/00000000000000000000000000009999-web"}}}"#,
    r#"{"id": 9999, "finished": 1, "buildstatus": 0, "buildoutputs": {"out": {"path": "../../etc/passwd"}}}"#,
];

/// Whether a Deployment of this world takes its version from a build.
pub fn is_there(net: &Net) -> bool {
    net.rng.child("hydra").chance(WORLDS)
}

/// The address of the job of a name.
pub fn url(job: &str) -> String {
    format!("https://hydra/job/p/main/{job}")
}

/// What became of a build so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is not finished.
    Building,
    /// It has succeeded.
    Good,
    /// It has failed.
    Failed,
}

/// How Hydra is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// It answers what is so.
    #[default]
    Fine,
    /// It cannot be reached.
    Away,
    /// It answers what nobody can read, or what must not be taken.
    Nonsense,
}

/// All builds, and how Hydra is.
#[derive(Debug, Default)]
pub struct Hydra {
    table: Mutex<Table>,
}

/// The table itself.
#[derive(Debug, Default)]
pub struct Table {
    /// By the name of their job and their number.
    builds: BTreeMap<String, BTreeMap<u64, (State, String)>>,
    /// How Hydra is.
    pub mood: Mood,
    last: u64,
    /// The versions of all that ever succeeded, by job.
    good: BTreeMap<String, BTreeSet<String>>,
}

impl Hydra {
    /// The table.
    pub fn table(&self) -> MutexGuard<'_, Table> {
        lock(&self.table)
    }
}

impl Table {
    /// A build begins whose version ends as given. Gives its number.
    pub fn begin(&mut self, job: &str, end: &str) -> u64 {
        self.last += 1;
        let version = format!("{:032}-{job}{end}", self.last);
        self.builds.entry(job.to_owned()).or_default().insert(self.last, (State::Building, version));
        self.last
    }

    /// A build ends.
    pub fn finish(&mut self, job: &str, number: u64, state: State) {
        let Some(build) = self.builds.get_mut(job).and_then(|builds| builds.get_mut(&number)) else { return };
        build.0 = state;
        if state == State::Good {
            self.good.entry(job.to_owned()).or_default().insert(build.1.clone());
        }
    }

    /// The newest good build is deleted. Gives its number.
    pub fn lose_newest(&mut self, job: &str) -> Option<u64> {
        let (number, _) = self.newest(job)?;
        self.builds.get_mut(job)?.remove(&number);
        Some(number)
    }

    /// The newest good build of a job: its number and its version.
    pub fn newest(&self, job: &str) -> Option<(u64, String)> {
        let builds = self.builds.get(job)?.iter().rev();
        builds.filter(|(_, (state, _))| *state == State::Good).map(|(number, build)| (*number, build.1.clone())).next()
    }

    /// Whether a version is that of a build of the job that has succeeded, whatever became of it since.
    pub fn has_succeeded(&self, job: &str, version: &str) -> bool {
        self.good.get(job).is_some_and(|good| good.contains(version))
    }

    /// A build as Hydra answers it.
    fn answer(&self, job: &str, number: u64) -> Option<String> {
        let (state, version) = self.builds.get(job)?.get(&number)?;
        let status = match state {
            State::Building => None,
            State::Good => Some(0),
            State::Failed => Some(1),
        };
        let out = json!({ "out": { "path": format!("/nix/store/{version}") } });
        let finished = i32::from(status.is_some());
        Some(json!({ "id": number, "finished": finished, "buildstatus": status, "buildoutputs": out }).to_string())
    }

    /// What a look comes to, where `known` is the build that was taken last.
    fn look(&self, job: &str, known: Option<u64>, nonsense: &str) -> Result<Look, Missed> {
        let latest = match (self.mood, self.newest(job)) {
            (Mood::Away, _) => return Err(missed("Unreachable", "connection refused", true)),
            (Mood::Nonsense, _) => nonsense.to_owned(),
            (Mood::Fine, Some((number, _))) => self.answer(job, number).unwrap_or_default(),
            (Mood::Fine, None) => return Err(missed("Nothing", "Hydra knows no build that has succeeded", false)),
        };
        let place = url(job);
        let latest = helium_hydra::read_build(&place, latest.as_bytes())?;
        let newer = known.filter(|known| *known >= latest.id());
        if newer == Some(latest.id()) {
            return Ok(Look::Same);
        }
        if let Some(newer) = newer {
            let answer = self.answer(job, newer);
            let read = answer.map(|answer| helium_hydra::read_build(&place, answer.as_bytes())).transpose()?;
            if read.is_some_and(|build| !build.has_failed()) {
                return Ok(Look::Same);
            }
        }
        let built = latest.built(&place)?;
        Ok(if newer.is_some() { Look::Gone(built) } else { Look::Found(built) })
    }

    /// The newest build of all, as who does not ask what became of it takes it.
    fn hasty_look(&self, job: &str, known: Option<u64>) -> Option<Look> {
        let (number, (_, version)) = self.builds.get(job)?.last_key_value()?;
        let built = Built { path: format!("/nix/store/{version}"), build: *number, evaluation: None };
        Some(if known == Some(*number) { Look::Same } else { Look::Found(built) })
    }
}

fn missed(reason: &'static str, message: &str, unreachable: bool) -> Missed {
    Missed { reason, message: message.to_owned(), unreachable }
}

/// Hydra as one controller asks it.
pub struct Asker {
    net: Arc<Net>,
    rng: Mutex<Rng>,
}

impl Asker {
    /// For a life of a controller.
    pub fn new(net: &Arc<Net>, rng: Rng) -> Arc<Self> {
        Arc::new(Self { net: Arc::clone(net), rng: Mutex::new(rng) })
    }

    async fn ask(&self, spec: &HydraJobSpec, known: Option<&HydraBuild>) -> Result<Look, Missed> {
        tokio::time::sleep(LOOK).await;
        let job = spec.url.rsplit('/').next().unwrap_or_default();
        let known = known.filter(|known| known.job == spec.url).map(|known| known.build);
        let nonsense = lock(&self.rng).pick(&NONSENSE).copied().unwrap_or_default();
        let table = self.net.hydra.table();
        match self.net.defect {
            Some(Defect::S18) => table.hasty_look(job, known).map_or_else(|| table.look(job, known, nonsense), Ok),
            Some(Defect::L1Build) if known.is_some() => Ok(Look::Same),
            _ => table.look(job, known, nonsense),
        }
    }
}

impl Builds for Asker {
    fn look<'a>(&'a self, job: &'a HydraJobSpec, known: Option<&'a HydraBuild>) -> BoxFuture<'a, Result<Look, Missed>> {
        self.ask(job, known).boxed()
    }
}

/// Pushes for ever what the job of a name builds, and has Hydra go away now and then; ended from outside.
pub async fn push(net: &Net, job: Option<&str>) {
    let Some(job) = job else { return std::future::pending().await };
    let mut rng = net.rng.child("pushers");
    loop {
        let pause = rng.between(PAUSE.0, PAUSE.1);
        tokio::time::sleep(pause).await;
        let words = match rng.below(100) {
            0..65 => build(net, job, &mut rng).await,
            65..75 => {
                let lost = net.hydra.table().lose_newest(job);
                format!("loses build {lost:?}")
            }
            75..90 => trouble(net, Mood::Away, &mut rng).await,
            _ => trouble(net, Mood::Nonsense, &mut rng).await,
        };
        net.tell(&format!("hydra: {job}: {words}"));
    }
}

async fn build(net: &Net, job: &str, rng: &mut Rng) -> String {
    let ends = ["", "", "", "", "-bad", "-flap", "-slow", "-err"];
    let end = rng.pick(&ends).copied().unwrap_or_default();
    let number = net.hydra.table().begin(job, end);
    let takes = rng.between(BUILDING.0, BUILDING.1);
    tokio::time::sleep(takes).await;
    let state = if rng.chance(700) { State::Good } else { State::Failed };
    net.hydra.table().finish(job, number, state);
    format!("build {number}{end} is {state:?}")
}

async fn trouble(net: &Net, mood: Mood, rng: &mut Rng) -> String {
    net.hydra.table().mood = mood;
    let takes = rng.between(TROUBLE.0, TROUBLE.1);
    tokio::time::sleep(takes).await;
    net.hydra.table().mood = Mood::Fine;
    format!("was {mood:?} for {takes:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_not_succeeded_is_never_found_and_what_is_lost_is_gone() {
        let mut table = Table::default();
        let look = |table: &Table, known| table.look("web", known, NONSENSE[0]);
        assert_eq!(look(&table, None).unwrap_err().reason, "Nothing");
        let one = table.begin("web", "");
        table.finish("web", one, State::Good);
        let two = table.begin("web", "-bad");
        assert!(matches!(look(&table, None), Ok(Look::Found(built)) if built.build == one), "two is not finished");
        table.finish("web", two, State::Failed);
        assert!(matches!(look(&table, Some(one)), Ok(Look::Same)));
        let three = table.begin("web", "");
        table.finish("web", three, State::Good);
        assert!(matches!(look(&table, Some(one)), Ok(Look::Found(built)) if built.build == three));
        assert_eq!(table.lose_newest("web"), Some(three));
        assert!(matches!(look(&table, Some(three)), Ok(Look::Gone(built)) if built.build == one));
        assert_eq!(table.newest("web").map(|(number, _)| number), Some(one));
    }

    #[test]
    fn no_nonsense_is_taken() {
        let mut table = Table { mood: Mood::Nonsense, ..Table::default() };
        let one = table.begin("web", "");
        table.finish("web", one, State::Good);
        for nonsense in NONSENSE {
            for known in [None, Some(one)] {
                assert!(table.look("web", known, nonsense).is_err(), "{nonsense}");
            }
        }
    }
}
