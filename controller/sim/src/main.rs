//! Runs seeds: `cargo run -p helium-sim -- --seeds N [--from S] [--seed S] [--defect NAME]`; or stories with a crash at every call:
//! `--exhaust controller/sim/stories`, and also at those that leave the same behind: `--every-call`,
//! or of each agent instead of the controllers: `--agents`; or one story, as it is told with a bug:
//! `--story FILE --defect NAME`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is a command line tool")]

use std::{collections::BTreeMap, process::ExitCode, time::Duration};

use helium_sim::{
    defects::Defect,
    exhaust::{self, Scope, Victims},
    faults::FaultKind,
    parallel,
    run::{self, Verdict},
    story, trace,
};

/// Worlds are made of small allocations, on all cores at once.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Seeds that once found something are run before all others.
const REGRESSIONS: &str = include_str!("../regressions.txt");
/// One seed in so many is run twice, and must give the same trace.
const TWICE: u64 = 20;
/// With fewer seeds than this, a kind of fault may not strike.
const ENOUGH: u64 = 50;

/// What was asked for on the command line.
#[derive(Debug, Default)]
struct Wanted {
    seeds: u64,
    from: u64,
    only: Option<u64>,
    defect: Option<Defect>,
    verbose: bool,
    keep_going: bool,
    exhaust: Option<String>,
    story: Option<String>,
    every_call: bool,
    victims: Victims,
}

fn main() -> ExitCode {
    match parse(std::env::args().skip(1)) {
        Ok(wanted) => match obey(&wanted) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        },
        Err(problem) => {
            eprintln!(
                "{problem}\nusage: helium-sim [--seeds N] [--from S] [--seed S] [--defect NAME] [--exhaust FILE|FOLDER [--agents] [--every-call]] [--story FILE --defect NAME] [--verbose] [--keep-going] [--aloud]"
            );
            ExitCode::from(2)
        }
    }
}

fn obey(wanted: &Wanted) -> std::io::Result<bool> {
    match (&wanted.exhaust, &wanted.story, wanted.defect) {
        (Some(path), _, _) => exhaust(path, wanted),
        (None, Some(path), Some(defect)) => tell(path, defect),
        (None, Some(_), None) => {
            Err(std::io::Error::other("--story needs --defect; without one, the test of the stories tells all"))
        }
        (None, None, _) => go(wanted),
    }
}

/// Tells a story with a bug. True if it is caught.
fn tell(path: &str, defect: Defect) -> std::io::Result<bool> {
    let (output, violation) =
        story::tell_with(&std::fs::read_to_string(path)?, defect, None).map_err(std::io::Error::other)?;
    println!("{output}");
    let caught = violation.as_ref().is_some_and(|violation| violation.checker == defect.checker());
    match violation {
        Some(violation) => println!("{violation}"),
        None => println!("the defect {} was not caught", defect.name()),
    }
    Ok(caught)
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Wanted, String> {
    let mut wanted = Wanted { seeds: 20, ..Wanted::default() };
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--seeds" => wanted.seeds = number(&value()?)?,
            "--from" => wanted.from = number(&value()?)?,
            "--seed" => wanted.only = Some(number(&value()?)?),
            "--defect" => {
                let name = value()?;
                wanted.defect = Some(Defect::parse(&name).ok_or_else(|| format!("there is no defect {name}"))?);
            }
            "--verbose" => wanted.verbose = true,
            "--exhaust" => wanted.exhaust = Some(value()?),
            "--story" => wanted.story = Some(value()?),
            "--every-call" => wanted.every_call = true,
            "--agents" => wanted.victims = Victims::Agents,
            "--keep-going" => wanted.keep_going = true,
            "--aloud" => trace::aloud(),
            other => return Err(format!("what is {other}?")),
        }
    }
    Ok(wanted)
}

fn number(text: &str) -> Result<u64, String> {
    let parsed = text.strip_prefix("0x").map_or_else(|| text.parse(), |hex| u64::from_str_radix(hex, 16));
    parsed.map_err(|_| format!("{text} is no number"))
}

/// What came of all seeds together.
#[derive(Default)]
struct Sum {
    seeds: usize,
    struck: BTreeMap<FaultKind, u64>,
    commits: u64,
    shared: u64,
    fenced: u64,
    simulated: Duration,
    /// Whether any failed, or the planted defect was caught.
    found: bool,
    error: Option<std::io::Error>,
}

/// A seed's verdict, and whether a second run gave the same.
type Outcome = std::io::Result<(Verdict, bool)>;

fn go(wanted: &Wanted) -> std::io::Result<bool> {
    let seeds = seeds(wanted);
    let mut sum = Sum::default();
    let run = |place: usize| -> Outcome {
        let verdict = run::seed(seeds[place], wanted.defect)?;
        let again = (place as u64).is_multiple_of(TWICE) && verdict.violation.is_none();
        let same = !again || run::seed(seeds[place], wanted.defect)?.digest == verdict.digest;
        Ok((verdict, same))
    };
    parallel::in_order(seeds.len(), run, |_, outcome| sum.take(wanted, outcome));
    if let Some(error) = sum.error {
        return Err(error);
    }
    if let Some(defect) = wanted.defect {
        if !sum.found {
            println!("the defect {} was not caught", defect.name());
        }
        return Ok(sum.found);
    }
    let hours = sum.simulated.as_secs_f64() / 3600.0;
    println!("{} seeds, {} commits of controllers, {hours:.1} simulated hours", sum.seeds, sum.commits);
    println!("{} transactions were shared by several objects", sum.shared);
    println!("{} writes of deposed leaders refused by the fence", sum.fenced);
    let idle = report(&sum.struck) || sum.shared == 0 || sum.fenced == 0;
    let enough = wanted.only.is_none() && sum.seeds as u64 >= ENOUGH;
    Ok(!(sum.found || enough && idle))
}

impl Sum {
    /// Takes what came of a seed. False if no more are needed.
    fn take(&mut self, wanted: &Wanted, outcome: Outcome) -> bool {
        let (verdict, same) = match outcome {
            Ok(outcome) => outcome,
            Err(error) => {
                self.error = Some(error);
                return false;
            }
        };
        let seed = verdict.seed;
        if wanted.verbose {
            let end = verdict.converged.map_or_else(|| "-".to_owned(), |after| format!("{after:?}"));
            println!("{seed:#x}: {} commits, {:?}, settled after {end}", verdict.commits, verdict.simulated);
        }
        self.seeds += 1;
        self.commits += verdict.commits;
        self.shared += verdict.shared;
        self.fenced += verdict.fenced;
        self.simulated += verdict.simulated;
        if !same {
            self.error =
                Some(std::io::Error::other(format!("seed {seed:#x} gives another trace when it is run again")));
            return false;
        }
        if let Some(violation) = &verdict.violation {
            // Another checker may be faster; a defect is caught when its own is.
            if wanted.defect.is_some_and(|defect| violation.checker != defect.to_string()) {
                println!("seed {seed:#x}: {violation}");
                return true;
            }
            explain(&verdict, wanted.defect, wanted.keep_going);
            self.found = true;
            return wanted.keep_going;
        }
        for (kind, count) in verdict.struck {
            *self.struck.entry(kind).or_default() += count;
        }
        true
    }
}

/// Tells stories with a crash at every call: the one of this file, or all in a folder.
fn exhaust(path: &str, wanted: &Wanted) -> std::io::Result<bool> {
    let path = std::path::Path::new(path);
    let mut scripts = vec![path.to_path_buf()];
    if path.is_dir() {
        let files: Result<Vec<_>, _> = std::fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path())).collect();
        scripts = files?.into_iter().filter(|file| file.extension().is_some_and(|end| end == "txt")).collect();
        scripts.sort();
    }
    let scope = if wanted.every_call { Scope::Calls } else { Scope::States };
    let (mut all_well, mut points, mut calls) = (!scripts.is_empty(), 0, 0);
    for script in scripts {
        let text = std::fs::read_to_string(&script)?;
        let exhausted = exhaust::exhaust(&text, wanted.victims, scope).map_err(std::io::Error::other)?;
        println!("{}: {} calls, {} crash points", script.display(), exhausted.calls, exhausted.points);
        if let Some((crash, failure)) = exhausted.failure {
            println!("  {crash:?}: {failure}");
            all_well = false;
        }
        all_well &= exhausted.points > 0;
        points += exhausted.points;
        calls += exhausted.calls;
    }
    println!("{points} crash points, which stand for {calls} calls");
    Ok(all_well)
}

fn seeds(wanted: &Wanted) -> Vec<u64> {
    match wanted.only {
        Some(seed) => vec![seed],
        None if wanted.defect.is_some() => (wanted.from..wanted.from + wanted.seeds).collect(),
        None => {
            let known = REGRESSIONS.lines().filter_map(|line| number(line.split_whitespace().next()?).ok());
            known.chain(wanted.from..wanted.from + wanted.seeds).collect()
        }
    }
}

/// Prints how often each kind struck. True if one never did.
fn report(struck: &BTreeMap<FaultKind, u64>) -> bool {
    let mut idle = false;
    for kind in FaultKind::ALL {
        let count = struck.get(&kind).copied().unwrap_or(0);
        println!("  {:<22} {count}", kind.to_string());
        idle |= count == 0;
    }
    if idle {
        println!("some faults never struck");
    }
    idle
}

fn explain(verdict: &Verdict, defect: Option<Defect>, briefly: bool) {
    let Some(violation) = &verdict.violation else { return };
    println!("seed {:#x}: {violation}", verdict.seed);
    let enabled: Vec<String> = verdict.enabled.iter().map(ToString::to_string).collect();
    println!("faults: {}", enabled.join(" "));
    if briefly {
        return;
    }
    for line in verdict.trace.iter().skip(verdict.trace.len().saturating_sub(40)) {
        println!("  {line}");
    }
    for line in &verdict.stands {
        println!("  {line}");
    }
    let defect = defect.map(|defect| format!(" --defect {}", defect.name())).unwrap_or_default();
    println!("again: cargo run -p helium-sim -- --seed {:#x}{defect}", verdict.seed);
}
