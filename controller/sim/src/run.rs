//! One seed from begin to end: a world, trouble, peace, and the verdict.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use helium_engine::EngineConfig;

use crate::{
    checkers::{self, Violation},
    controllers::Conduct,
    defects::Defect,
    faults::{FaultKind, Faults},
    hydra,
    nemesis::Nemesis,
    net::{Net, Rival, lock},
    rng::Rng,
    show,
    users::Users,
    values::ValueKeepers,
    world::{Setup, World},
};

/// How long after all is healed actual must be desired.
const CONVERGE: Duration = Duration::from_mins(10);
/// How long it must stay so: three resyncs of a minute, with their jitter.
const QUIET: Duration = Duration::from_secs(205);

/// How often one looks whether it does.
const LOOK: Duration = Duration::from_secs(10);

/// The Deployment that takes its version from a build, if there is one, and its HydraJob.
pub(crate) const BUILT: &str = "built";

/// What became of a seed.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The seed.
    pub seed: u64,
    /// The kinds of faults that it drew.
    pub enabled: BTreeSet<FaultKind>,
    /// How often each struck.
    pub struck: BTreeMap<FaultKind, u64>,
    /// How many writes of controllers the fence refused.
    pub fenced: u64,
    /// What was wrong, if anything.
    pub violation: Option<Violation>,
    /// The last lines of the trace.
    pub trace: Vec<String>,
    /// How every object stood in the end.
    pub stands: Vec<String>,
    /// The hash of the whole trace and its length.
    pub digest: (u64, u64),
    /// How many transactions of controllers were carried out.
    pub commits: u64,
    /// How many transactions of controllers were about several objects.
    pub shared: u64,
    /// How long actual took to be desired once all was healed.
    pub converged: Option<Duration>,
    /// How long it all took in simulated time.
    pub simulated: Duration,
}

/// Runs a seed, alone in its own runtime.
///
/// # Errors
/// The runtime could not be made.
pub fn seed(seed: u64, defect: Option<Defect>) -> std::io::Result<Verdict> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    Ok(runtime.block_on(whole(seed, defect)))
}

/// The setup that a seed decides.
pub fn setup(seed: u64, defect: Option<Defect>) -> Setup {
    let mut rng = Rng::new(seed).child("setup");
    let faults = Faults::swarm(&mut rng.child("faults"));
    let conduct = Conduct {
        number: 1 + usize::try_from(rng.below(3)).unwrap_or(0),
        forget: rng.chance(100),
        transactions: if rng.child("transactions").chance(500) { 1 } else { EngineConfig::default().transactions },
        dead_for: (Duration::from_secs(1), Duration::from_secs(40)),
    };
    let nodes = 3 + usize::try_from(rng.below(3)).unwrap_or(0);
    Setup { seed, nodes, conduct, faults, defect, watched: true, crash: None }
}

async fn whole(seed: u64, defect: Option<Defect>) -> Verdict {
    let setup = setup(seed, defect);
    let enabled = setup.faults.enabled();
    let world = World::make(&setup).await;
    let converged = tokio::select! {
        biased;
        () = world.net.broken.notified() => None,
        converged = all_acts(&world) => converged,
    };
    let net = &world.net;
    let (checkers, trace) = (net.checkers(), net.trace());
    let (violation, commits, shared) = (checkers.violation().cloned(), checkers.commits(), checkers.shared());
    let (digest, trace) = (trace.digest(), trace.last(60));
    let stands = show::everything(&net.server.state());
    let struck = net.faults().struck().clone();
    let fenced = net.faults().fenced();
    Verdict {
        seed,
        enabled,
        struck,
        fenced,
        violation,
        trace,
        stands,
        digest,
        commits,
        shared,
        converged,
        simulated: net.now(),
    }
}

async fn all_acts(world: &Arc<World>) -> Option<Duration> {
    let built = hydra::is_there(&world.net).then_some(BUILT);
    let names: Vec<&str> = ["web", "api", "job"].into_iter().chain(built).collect();
    let users = Users::new(world, &names);
    let keepers = ValueKeepers::new(world, &users, &names);
    let mut rng = world.net.rng.child("run");
    tokio::time::sleep(rng.between(Duration::from_millis(100), Duration::from_secs(4))).await;
    keepers.begin().await;
    if let Err(error) = users.begin().await {
        world.net.check(|checkers, _| checkers.fail("L1", format!("nothing could be applied: {error}")));
        return None;
    }
    let rival: Arc<dyn Rival> = Arc::clone(&users) as Arc<dyn Rival>;
    *lock(&world.net.rival) = Some(rival);
    let end = world.net.now() + rng.between(Duration::from_mins(2), Duration::from_mins(5));
    // Whoever is in the middle of a deed at the end is interrupted, as by Ctrl-C.
    tokio::select! {
        biased;
        () = Nemesis::new(world, &users).rage(end) => {}
        () = Arc::clone(&users).live() => {}
        () = keepers.live() => {}
        () = hydra::push(&world.net, built) => {}
    }
    *lock(&world.net.rival) = None;
    world.net.faults().heal();
    world.net.tell("all is healed");
    users.ungarble().await;
    keepers.mend().await;
    world.net.hydra.table().mood = hydra::Mood::Fine;
    let converged = converge(world).await?;
    stay(world).await;
    Some(converged)
}

/// What is not yet as it should be.
fn unsettled(net: &Net) -> Option<String> {
    let state = net.server.state();
    let fleet = checkers::settled(&state, &net.fleet.table());
    fleet.or_else(|| checkers::builds_settled(&state, &net.hydra.table()))
}

/// L1, the first half.
async fn converge(world: &Arc<World>) -> Option<Duration> {
    let net = &world.net;
    let healed = net.now();
    let mut calm = 0;
    let mut problem = String::new();
    while net.now() < healed + CONVERGE {
        tokio::time::sleep(Duration::from_secs(5)).await;
        match unsettled(net) {
            Some(found) => (calm, problem) = (0, found),
            // Three looks in a row: nobody passes by chance.
            None if calm == 2 => return Some(net.now().saturating_sub(healed)),
            None => calm += 1,
        }
    }
    net.check(|checkers, _| checkers.fail("L1", format!("10 minutes after all was healed: {problem}")));
    None
}

/// L1, the second half, L2 and L3.
async fn stay(world: &Arc<World>) {
    let net = &world.net;
    // A controller that is still dead comes back first.
    tokio::time::sleep(Duration::from_secs(50)).await;
    let writes = net.checkers().writes_so_far();
    let end = net.now() + QUIET;
    while net.now() < end {
        tokio::time::sleep(LOOK).await;
        let problem = unsettled(net);
        net.check(|checkers, _| {
            let more = checkers.writes_so_far() - writes;
            if more > 0 {
                checkers.fail("L2", format!("{more} writes of controllers although all was as it should be"));
            }
            if let Some(problem) = problem {
                checkers.fail("L1", format!("it did not stay: {problem}"));
            }
        });
    }
    let state = net.server.state();
    net.check(|checkers, _| {
        if let Some(object) = checkers::unexplained(&state) {
            checkers.fail("L3", object);
        }
        if !checkers::strangers_untouched(&state) {
            checkers.fail("S3", "a stranger's key or service is gone".to_owned());
        }
    });
}
