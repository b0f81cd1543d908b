//! `helium hail`: a Nix profile that follows a job of Hydra.

use std::{env, path::PathBuf, pin::pin, time::Duration};

use clap::{ArgGroup, Args};
use helium_crds::Period;
use helium_nix::{
    Hail, Options,
    options::{Error, profile_of},
    people::{self, Granted},
    status::Status,
};
use helium_runtime::shutdown::Shutdown;

use super::serving::Signals;
use crate::{
    output::{Console, Exit, Failure, Outcome, format::to_json},
    session::Session,
};

/// How systemd tells where it listens; no child is to answer in our place.
const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";

/// What it does, and how it ends.
const AFTER_HELP: &str = "\
The profile is set to the latest build of the job, and its bin/activate is run: as root, if helium is. An activation that fails is tried
again twice; then the last generation that was good is set and activated, and the build is not taken again until there is another one or
`--retry` asks for it. The same is done with a profile that `nix-env` has set meanwhile: a person's hand counts more than Hydra.

Exit codes of --oneshot, --rollback and --retry:
  0  up to date, or updated         3  the profile could not be set
  1  Hydra gave nothing to take     4  the newest build's activation has failed; the last good one is active
  2  the command line is wrong      5  an activation has failed, and there is no way back

Examples:
  helium hail --profile web --job-uri https://hydra.example/job/shop/main/web
  helium hail --profile web --job-uri https://hydra.example/job/shop/main/web --whole-jobset --oneshot
  helium hail --profile web --rollback";

/// Options of `helium hail`.
#[derive(Args, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[command(after_help = AFTER_HELP, group = ArgGroup::new("action"))]
pub(crate) struct HailArgs {
    /// The profile: a path, or a name below /nix/var/nix/profiles
    #[arg(long, value_name = "PROFILE", value_parser = |text: &str| Ok::<_, String>(profile_of(text)))]
    profile: PathBuf,
    /// The address of Hydra's job
    #[arg(long, value_name = "URI", required_unless_present_any = ["rollback", "retry", "remove", "status"])]
    job_uri: Option<String>,
    /// The file with logins for Hydra and for what Nix fetches [default: /etc/netrc]
    #[arg(long, value_name = "FILE")]
    netrc_file: Option<PathBuf>,
    /// How many minutes to wait between two looks at Hydra, give or take a tenth
    #[arg(long, value_name = "MINUTES", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    poll_period: u32,
    /// Look once and end, in place of staying
    #[arg(long, group = "action")]
    oneshot: bool,
    /// Take a build only once all jobs of its evaluation have succeeded
    #[arg(long)]
    whole_jobset: bool,
    /// How long an activation may take before it is killed with all that it started
    #[arg(long, value_name = "PERIOD", default_value = "10m")]
    activate_limit: Period,
    /// How long setting the profile may take, what Nix fetches for it included
    #[arg(long, value_name = "PERIOD", default_value = "1h")]
    switch_limit: Period,
    /// Activate the profile at the start even if it is active
    #[arg(long)]
    activate_always: bool,
    /// Where everything is remembered; beside it are its status, log and lock [default: the profile with `.hail.json`]
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Nix's program to set profiles with
    #[arg(long, value_name = "PROGRAM", default_value = "nix-env", env = "HELIUM_NIX_ENV")]
    nix_env: String,
    /// Go back to the newest other generation that was good
    #[arg(long, group = "action")]
    rollback: bool,
    /// Take what has failed, and what was gone back from, again
    #[arg(long, group = "action")]
    retry: bool,
    /// Deactivate the profile by its bin/deactivate, and remove it with all its generations
    #[arg(long, group = "action")]
    remove: bool,
    /// Show where the profile is, and what stands in the way
    #[arg(long, group = "action")]
    status: bool,
    /// Print the status as one JSON document
    #[arg(long, requires = "status", conflicts_with_all = ["oneshot", "rollback", "retry", "remove"])]
    json: bool,
}

impl HailArgs {
    /// Whether it runs until it is told to stop.
    pub(super) fn stays(&self) -> bool {
        !(self.oneshot || self.rollback || self.retry || self.remove || self.status)
    }
}

/// Runs `helium hail`.
pub(crate) async fn run(args: HailArgs, session: &Session, console: &mut Console) -> Outcome {
    let (ports, options) = (session.ports.clone(), options(&args));
    if args.status {
        return show(&options, args.json, console);
    }
    if args.remove {
        people::remove(&options).await.map_err(failure)?;
        console.line(format!("{} is removed", options.profile.display()))?;
        return Ok(Exit::Ok);
    }
    if args.rollback || args.retry {
        let granted = if args.rollback {
            people::roll_back(options.clone(), ports).await
        } else {
            people::retry(options.clone(), ports).await
        };
        return match granted.map_err(failure)? {
            Granted::Now(outcome) => told(outcome, &options, console),
            Granted::Left => {
                console.line("the program that follows this profile does it; `--status` shows what became of it")?;
                Ok(Exit::Ok)
            }
        };
    }
    let mut hail = Hail::open(options.clone(), ports).map_err(failure)?;
    if args.oneshot {
        let outcome = hail.once().await.map_err(failure)?;
        return told(outcome, &options, console);
    }
    console.say(format!("helium hail: {} follows {}", options.profile.display(), args.job_uri.unwrap_or_default()));
    let mut signals = Signals::of_daemon()?;
    let (trigger, shutdown) = Shutdown::new();
    signals.obeyed_by(pin!(hail.run(shutdown)), &trigger).await?;
    Ok(Exit::Ok)
}

fn options(args: &HailArgs) -> Options {
    let variables =
        env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Options {
        job_uri: args.job_uri.clone(),
        netrc_file: args.netrc_file.clone(),
        state: args.state.clone(),
        poll_period: Duration::from_mins(args.poll_period.into()),
        whole_jobset: args.whole_jobset,
        activate_always: args.activate_always,
        activate_limit: args.activate_limit.as_duration(),
        switch_limit: args.switch_limit.as_duration(),
        nix_env: args.nix_env.clone(),
        env: variables.filter(|(name, _)| name != NOTIFY_SOCKET).collect(),
        notify_socket: env::var_os(NOTIFY_SOCKET),
        ..Options::new(&args.profile)
    }
}

fn show(options: &Options, json: bool, console: &mut Console) -> Outcome {
    let file = options.status();
    if !file.exists() {
        return Err(Failure::new(Exit::NotFound, format!("nothing has followed this profile: no {}", file.display())));
    }
    let status = Status::load(&file);
    if json {
        console.data(to_json(&serde_json::to_value(&status)?)?)?;
    } else {
        console.data(status.to_string())?;
    }
    Ok(Exit::Ok)
}

/// Says how it ended, and where the profile is.
fn told(outcome: helium_nix::Outcome, options: &Options, console: &mut Console) -> Outcome {
    let status = Status::load(&options.status());
    let at = status
        .generation
        .map_or_else(|| "no generation".to_owned(), |at| format!("generation {}: {}", at.number, at.path));
    console.line(format!("{outcome} ({at})"))?;
    if let Some(fault) = status.last_error.filter(|_| outcome.code() != 0) {
        console.say(format!("{}: {}", fault.name, fault.words));
    }
    Ok(Exit::Hail(outcome))
}

/// What stands in the way, for people.
fn failure(error: Error) -> Failure {
    let words = error.to_string();
    match error {
        Error::Locked { .. } => {
            Failure::new(Exit::Refused, words).hint("stop it first, or ask it by `--rollback` or `--retry`")
        }
        Error::NothingGood | Error::Deactivation { .. } => Failure::new(Exit::Refused, words),
        error if error.is_usage() => Failure::usage(words),
        _ => Failure::internal(words),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: HailArgs,
    }

    fn read(line: &str) -> Result<HailArgs, clap::Error> {
        let words = ["hail"].into_iter().chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.args)
    }

    const JOB: &str = "--profile web --job-uri https://h/job/a/b/c";

    #[test]
    fn a_profile_and_a_job_are_enough_and_the_period_is_in_minutes() {
        let args = read(JOB).unwrap();
        let options = options(&args);
        assert_eq!(options.profile, PathBuf::from("/nix/var/nix/profiles/web"));
        assert_eq!((options.poll_period, args.stays()), (Duration::from_mins(5), true));
        assert!(read(&format!("{JOB} --poll-period 0")).is_err());
        assert!(read("--profile web").unwrap_err().to_string().contains("--job-uri"));
    }

    #[test]
    fn what_asks_hydra_for_nothing_needs_no_job_and_only_one_thing_is_done_at_a_time() {
        for action in ["--rollback", "--retry", "--remove", "--status"] {
            assert!(!read(&format!("--profile web {action}")).unwrap().stays(), "{action}");
        }
        assert!(read("--profile web --rollback --remove").is_err());
        assert!(read("--profile web --json --remove").is_err());
    }

    #[test]
    fn the_codes_are_those_of_the_help() {
        use helium_nix::Outcome::{FetchFailed, NoWayBack, RolledBack, SwitchFailed, UpToDate, Updated};
        let codes =
            [UpToDate, Updated, FetchFailed, SwitchFailed, RolledBack, NoWayBack].map(|it| Exit::Hail(it).code());
        assert_eq!(codes, [0, 0, 1, 3, 4, 5]);
    }
}
