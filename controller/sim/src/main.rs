//! Runs seeds: `cargo run -p helium-sim -- --seeds N [--from S] [--seed S] [--defect NAME]`; or stories with a crash at every call:
//! `--exhaust controller/sim/stories`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is a command line tool")]

use std::{collections::BTreeMap, process::ExitCode};

use helium_sim::{
    defects::Defect,
    exhaust,
    faults::FaultKind,
    run::{self, Verdict},
    trace,
};

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
}

fn main() -> ExitCode {
    match parse(std::env::args().skip(1)) {
        Ok(wanted) => match wanted.exhaust.as_deref().map_or_else(|| go(&wanted), exhaust) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        },
        Err(problem) => {
            eprintln!(
                "{problem}\nusage: helium-sim [--seeds N] [--from S] [--seed S] [--defect NAME] [--exhaust FILE|FOLDER] [--verbose] [--keep-going] [--aloud]"
            );
            ExitCode::from(2)
        }
    }
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

fn go(wanted: &Wanted) -> std::io::Result<bool> {
    let seeds = seeds(wanted);
    let mut struck: BTreeMap<FaultKind, u64> = BTreeMap::new();
    let (mut commits, mut simulated, mut failed) = (0, std::time::Duration::ZERO, 0);
    for (place, seed) in seeds.iter().copied().enumerate() {
        let verdict = run::seed(seed, wanted.defect)?;
        if wanted.verbose {
            let end = verdict.converged.map_or_else(|| "-".to_owned(), |after| format!("{after:?}"));
            println!("{seed:#x}: {} commits, {:?}, settled after {end}", verdict.commits, verdict.simulated);
        }
        match (&verdict.violation, wanted.defect) {
            (None, _) => {}
            // Another checker may be faster; the defect is caught when its own is.
            (Some(violation), Some(defect)) if violation.checker != defect.to_string() => {
                println!("seed {seed:#x}: {violation}");
                continue;
            }
            (Some(_), defect) => {
                explain(&verdict, defect, wanted.keep_going);
                failed += 1;
                if wanted.keep_going {
                    continue;
                }
                return Ok(defect.is_some());
            }
        }
        if (place as u64).is_multiple_of(TWICE) && run::seed(seed, wanted.defect)?.digest != verdict.digest {
            println!("seed {seed:#x} gives another trace when it is run again");
            return Ok(false);
        }
        for (kind, count) in verdict.struck {
            *struck.entry(kind).or_default() += count;
        }
        commits += verdict.commits;
        simulated += verdict.simulated;
    }
    println!(
        "{} seeds, {commits} commits of controllers, {:.1} simulated hours",
        seeds.len(),
        simulated.as_secs_f64() / 3600.0
    );
    let idle = report(&struck);
    let enough = wanted.only.is_none() && seeds.len() as u64 >= ENOUGH;
    if let Some(defect) = wanted.defect {
        println!("the defect {defect} was not caught");
        return Ok(false);
    }
    Ok(failed == 0 && !(enough && idle))
}

/// Tells stories with a crash at every call: the one of this file, or all in a folder.
fn exhaust(path: &str) -> std::io::Result<bool> {
    let path = std::path::Path::new(path);
    let mut scripts = vec![path.to_path_buf()];
    if path.is_dir() {
        let files: Result<Vec<_>, _> = std::fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path())).collect();
        scripts = files?.into_iter().filter(|file| file.extension().is_some_and(|end| end == "txt")).collect();
        scripts.sort();
    }
    let mut all_well = true;
    for script in scripts {
        let exhausted = exhaust::exhaust(&std::fs::read_to_string(&script)?, 0, 1).map_err(std::io::Error::other)?;
        println!("{}: {} crash points", script.display(), exhausted.points);
        if let Some((crash, failure)) = exhausted.failure {
            println!("  {crash:?}: {failure}");
            all_well = false;
        }
        all_well &= exhausted.points > 0;
    }
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
    let defect = defect.map(|defect| format!(" --defect {defect}")).unwrap_or_default();
    println!("again: cargo run -p helium-sim -- --seed {:#x}{defect}", verdict.seed);
}
