//! `helium render`: keep files as Consul has them.

use std::{
    fs,
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
};

use clap::Args;
use helium_crds::Period;
use helium_lookups::{
    Local, Order, Set, Watcher, WatcherConfig, Work,
    memory::Memory,
    shell::Surroundings,
    watcher::{OnceError, WatchError},
    wish::{self, Wish, WishError, Wishes},
};
use helium_runtime::shutdown::Shutdown;
use helium_templates::{
    Strictness,
    files::RealFiles,
    quiet::Wait,
    template::Form,
    values::{Layer, Origin, Values},
};
use serde_json::Value;

use super::{
    following::{self, ChildArgs, FollowArgs, duration},
    serving::Signals,
};
use crate::{
    output::{Console, Exit, Failure, Outcome},
    session::Session,
};

const AFTER_HELP: &str = "\
Templates are in Tera (`.tera`) or Mustache (`.mustache`). In Tera they ask with services(name=\"db\", tag=\"primary\"), key(path=\"a/b\"),
keys(prefix=\"a/\"), leader(service=\"db\"), address(), file(path=\"/etc/hostname\") and env(name=\"HOME\"), each of one text with default=\"...\".
A template whose name begins with `_` makes no file and is there to be included: {% include \"_header.tera\" %}.

All files of a call are put in place together or not at all, after every --check; then the commands of the files that changed are run, each
once, and --reload. What failed keeps the old files and is tried again with the next change. While Consul is away nothing changes and nothing
ends. SIGHUP reads the templates and values again; SIGTERM ends it. With a command behind `--`, that is started after the first render,
restarted (or sent --reload-signal) on each change, and its exit code is this one's.

Exit codes with --once: 4 if names are missing, 5 if Consul did not answer in time, 7 if a check refused; with --dry: 1 if something would change.

Examples:
  helium render -t haproxy.cfg.tera:/etc/haproxy/haproxy.cfg --check 'haproxy -c -f {}' --reload 'systemctl reload haproxy'
  helium render -t app.conf.tera:/etc/app.conf:'systemctl reload app' --wait 200ms:5s --splay 10s
  helium render -t nginx.conf.tera:/etc/nginx/nginx.conf --reload-signal HUP -- nginx -g 'daemon off;'
  helium render -t app.conf.tera:/etc/app.conf --values site.yaml --once --dry";

/// Options of `helium render`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct RenderArgs {
    /// A template, the file that it makes, and a command that is run when that has changed; may be given several times
    #[arg(short, long = "template", value_name = "IN[:OUT[:COMMAND]]", required_unless_present = "config")]
    templates: Vec<Wish>,
    /// A file of YAML that says the same with room for more: `templates` (each with `in`, `out`, `command`, `mode`, `backup`, `secret`),
    /// `values`, `check`, `reload`; its paths are as seen from its folder
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Values for the templates, a file of JSON, YAML or TOML; of several the later ones win
    #[arg(long, value_name = "FILE")]
    values: Vec<PathBuf>,
    /// The same, and nobody may see any of them: files that hold one are for their owner alone
    #[arg(long, value_name = "FILE")]
    secret_values: Vec<PathBuf>,
    /// Keys below this prefix in Consul are secret
    #[arg(long = "secret", value_name = "PREFIX")]
    secrets: Vec<String>,
    /// A command that looks at new files before they are put in place: `{}` is the new file if there is one, `{NAME}` that of this name
    #[arg(long = "check", value_name = "COMMAND")]
    checks: Vec<String>,
    /// A command that is run when any file has changed, once for all of them
    #[arg(long, value_name = "COMMAND")]
    reload: Vec<String>,
    /// How long a check or a command may take
    #[arg(long, value_name = "PERIOD", default_value = "30s")]
    command_timeout: Period,
    #[command(flatten)]
    once: OnceArgs,
    /// Names that are missing are nothing, in place of an error
    #[arg(long)]
    lenient: bool,
    /// Names that are missing are an error, which is so anyway
    #[arg(long, conflicts_with = "lenient")]
    strict: bool,
    #[command(flatten)]
    form: FormArgs,
    /// Remove files that an earlier call with the same state made and this one does not
    #[arg(long)]
    prune: bool,
    /// The folder for what has to outlive this process [default: a hidden one beside the first file]
    #[arg(long, value_name = "FOLDER")]
    state: Option<PathBuf>,
    /// What `address()` gives [default: the address that this machine has towards others]
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,
    /// The key that names the leader of a service `{}` [default: `service/{}/leader`]
    #[arg(long, value_name = "KEY")]
    leader_key: Option<String>,
    #[command(flatten)]
    follow: FollowArgs,
    #[command(flatten)]
    child: ChildArgs,
    /// A program to run beside
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Whether it ends by itself.
#[derive(Args, Debug)]
struct OnceArgs {
    /// Put the files in place once and end
    #[arg(long)]
    once: bool,
    /// Show what would change, without secrets, and end; exit code 1 if there is something
    #[arg(long)]
    dry: bool,
    /// How long `--once` and `--dry` wait for answers
    #[arg(long, value_name = "PERIOD", default_value = "30s")]
    timeout: Period,
}

/// How files shall be.
#[derive(Args, Debug)]
struct FormArgs {
    /// The permission bits of the files [default: those they have, and 0644 for new ones]
    #[arg(long, value_name = "OCTAL", value_parser = wish::mode)]
    mode: Option<u32>,
    /// Keep the file that is replaced, with `.bak` at its end
    #[arg(long)]
    backup: bool,
}

impl RenderArgs {
    /// Whether it runs until it is told to stop.
    pub(super) fn stays(&self) -> bool {
        !self.once.once && !self.once.dry
    }

    /// Reads templates and values.
    fn work(&self) -> Result<Work, Failure> {
        let form = Form { mode: self.form.mode, backup: self.form.backup, ..Form::default() };
        let wishes = self.config.as_deref().map(Wishes::read).transpose()?.unwrap_or_default();
        let all: Vec<Wish> = wishes.templates.into_iter().chain(self.templates.iter().cloned()).collect();
        let (templates, commands) = wish::read(&all, &form)?;
        let origin = Origin::Defaults(self.config.clone().unwrap_or_default());
        let written = Layer::of_json(Value::Object(wishes.values), &origin);
        let written = std::iter::once(written.map_err(|error| Failure::usage(error.to_string())));
        let open = self.values.iter().map(|path| layer(path));
        let secret = self.secret_values.iter().map(|path| layer(path).map(Layer::secret));
        let values = Values::merge(written.chain(open).chain(secret).collect::<Result<Vec<_>, _>>()?);
        let strictness = if self.lenient { Strictness::Lenient } else { Strictness::Strict };
        let set = Arc::new(Set { templates, values, strictness });
        let checks = [wishes.check, self.checks.clone()].concat();
        let reload = [wishes.reload, self.reload.clone()].concat();
        Ok(Work {
            set,
            checks,
            commands,
            reload,
            values_from: "in Consul, with `--values`, or as `default` in the template".to_owned(),
        })
    }

    fn config(&self, work: &Work) -> Result<WatcherConfig, Failure> {
        let beside = || wish::state_beside(&work.set.templates);
        let state = self.state.clone().or_else(beside).ok_or_else(|| {
            Failure::usage("none of the templates makes a file: names that begin with `_` are there to be included")
        })?;
        let surroundings = Surroundings {
            environment: following::environment(),
            cwd: following::folder()?,
            user: None,
            limit: duration(self.command_timeout),
            grace: duration(Period::from_secs(5)),
        };
        let child = (!self.command.is_empty()).then(|| self.child.plan(self.command.clone())).transpose()?;
        let (wait, remove_left) = (self.follow.wait(Wait::default()), self.prune);
        let render_limit = duration(Period::from_secs(30));
        Ok(WatcherConfig { state, wait, render_limit, surroundings, remove_left, child })
    }

    fn watcher(&self, work: Work, session: &Session) -> Result<Watcher, Failure> {
        let config = self.config(&work)?;
        let unreadable = |source| WatchError::Memory { folder: config.state.clone(), source };
        let memory = Memory::load(&RealFiles, &config.state).map_err(unreadable)?;
        let local = Local {
            address: self.address.clone().or_else(following::own_address),
            environment: following::environment(),
            files: true,
            secret_prefixes: self.secrets.clone(),
            secret_variables: Vec::new(),
        };
        let follower = self.follow.follower(session, local, memory.believed, self.leader_key.clone())?;
        Ok(Watcher::open(work, config, follower, session.ports.clone())?)
    }
}

fn layer(path: &Path) -> Result<Layer, Failure> {
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("{}: cannot read the values: {error}", path.display())))?;
    Layer::of_defaults(&[(path.to_owned(), text)]).map_err(|error| Failure::usage(error.to_string()))
}

/// Runs `helium render`.
pub(crate) async fn run(args: RenderArgs, session: &Session, console: &mut Console) -> Outcome {
    let work = args.work()?;
    let count = work.set.templates.len();
    let mut watcher = args.watcher(work, session)?;
    let (trigger, shutdown) = Shutdown::new();
    if args.once.dry {
        let shown = watcher.preview(duration(args.once.timeout), &shutdown).await?;
        console.data(&shown)?;
        return Ok(if shown.is_empty() { Exit::Ok } else { Exit::Different });
    }
    if args.once.once {
        for file in watcher.once(duration(args.once.timeout), &shutdown).await? {
            console.line(file.display().to_string())?;
        }
        return Ok(Exit::Ok);
    }
    console.say(format!("helium render: {count} templates, Consul at {}", session.consul()?.address));
    let mut signals = Signals::listen()?;
    let has_child = !args.command.is_empty();
    let mut orders = following::orders(has_child, move || match args.work() {
        Ok(work) => {
            tracing::info!("templates and values were read again");
            Some(Order::Replace(Box::new(work)))
        }
        Err(failure) => {
            tracing::error!("nothing was read again, and the old templates stand: {}", failure.message);
            None
        }
    })?;
    following::to_end(&mut signals, pin!(watcher.run(&mut orders, &shutdown)), &trigger).await
}

impl From<WishError> for Failure {
    fn from(error: WishError) -> Self {
        Failure::usage(error.to_string())
    }
}

impl From<WatchError> for Failure {
    fn from(error: WatchError) -> Self {
        match &error {
            WatchError::Child(_) => Failure::new(Exit::Child(127), error.to_string()),
            WatchError::Taken { .. } => {
                Failure::new(Exit::Conflict, error.to_string()).hint("`--state` names a folder")
            }
            _ => Failure::internal(error.to_string()),
        }
    }
}

impl From<OnceError> for Failure {
    fn from(error: OnceError) -> Self {
        let exit = match &error {
            OnceError::Lacking { .. } => Exit::Timeout,
            OnceError::Missing(_) => Exit::NotFound,
            OnceError::Wrong(_) => Exit::Usage,
            OnceError::NotApplied(_) => Exit::Refused,
            OnceError::NotTold(_) => Exit::Internal,
            OnceError::Stopped => Exit::Interrupted,
        };
        Failure::new(exit, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: RenderArgs,
    }

    fn read(words: &[&str]) -> Result<RenderArgs, clap::Error> {
        Line::try_parse_from(["render"].iter().chain(words)).map(|line| line.args)
    }

    #[test]
    fn a_template_is_needed_and_a_command_stands_behind_two_dashes() {
        assert!(read(&[]).is_err());
        let args = read(&["-t", "a.tera:/etc/a:x", "--", "nginx", "-g", "daemon off;"]).unwrap();
        assert_eq!((args.command.len(), args.stays()), (3, true));
    }

    #[test]
    fn what_cannot_be_is_said_with_what_would_be_right() {
        let words = |words: &[&str]| read(words).unwrap_err().to_string();
        assert!(words(&["-t", "a.tera", "--mode", "999"]).contains("0640"));
        assert!(
            words(&["-t", "a.tera", "--wait", "1:2"]).contains("100ms")
                || words(&["-t", "a.tera", "--wait", "1:2"]).contains("500ms")
        );
        assert!(words(&["-t", "a.tera", "--reload-signal", "NOPE"]).contains("HUP, INT"));
        let missing = read(&["-t", "/nowhere/a.tera"]).unwrap().work().err().unwrap();
        assert_eq!((missing.exit, missing.message.contains("/nowhere/a.tera: cannot read")), (Exit::Usage, true));
    }
}
