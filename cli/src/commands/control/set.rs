//! `helium set`: change single values of a Deployment's template.

use clap::Args;
use helium_engine::people::{ObjectRef, Setting};

use super::waiting::{Waited, wait_for};
use crate::{
    names,
    output::{Console, Exit, Failure, Outcome},
    session::Session,
};

/// Options of `helium set`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  helium set hello version=2.0.1 --wait\n  helium set hello env.GREETING=hello env.DEBUG="
)]
pub(crate) struct SetArgs {
    /// The Deployment
    name: String,
    /// `version=LABEL`, `env.NAME=VALUE`, or `env.NAME=` to take a variable out
    #[arg(value_name = "FIELD=VALUE", required = true)]
    settings: Vec<String>,
    /// Why, for those who look later
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Follow the rollout to its end; exit code 6 if it fails
    #[arg(long)]
    pub(super) wait: bool,
    /// How long to wait
    #[arg(long, value_name = "PERIOD", default_value = "1h", requires = "wait")]
    timeout: helium_crds::Period,
}

/// Runs `helium set`.
pub(crate) async fn run(args: SetArgs, session: &Session, console: &mut Console) -> Outcome {
    let key = names::deployment(&args.name, session.namespace())?;
    let settings: Vec<Setting> = args.settings.iter().map(|word| setting(word)).collect::<Result<_, _>>()?;
    let people = session.people("set")?;
    let (before, after) = people.set(&key, &settings, args.reason.as_deref()).await?;
    let object = ObjectRef::of(&after);
    if before.spec == after.spec {
        console.line(format!("{object} unchanged"))?;
    } else {
        console.line(format!("{object} set {}", args.settings.join(" ")))?;
    }
    match Waited::of(&after).filter(|_| args.wait) {
        Some(waited) => wait_for(vec![waited], &people, args.timeout, console).await,
        None => Ok(Exit::Ok),
    }
}

fn setting(word: &str) -> Result<Setting, Failure> {
    let wrong = || {
        Failure::usage(format!("`{word}` sets nothing"))
            .hint("write `version=LABEL`, `env.NAME=VALUE`, or `env.NAME=` to take a variable out")
    };
    let (field, value) = word.split_once('=').ok_or_else(wrong)?;
    match (field, field.strip_prefix("env.")) {
        ("version", _) if !value.is_empty() => Ok(Setting::Version(value.to_owned())),
        (_, Some(name)) if !name.is_empty() => {
            Ok(Setting::Env(name.to_owned(), Some(value.to_owned()).filter(|value| !value.is_empty())))
        }
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_a_version_or_a_variable() {
        let env = |value: Option<&str>| Setting::Env("A".to_owned(), value.map(str::to_owned));
        for (word, expected) in [
            ("version=2.0", Setting::Version("2.0".to_owned())),
            ("env.A=b=c", env(Some("b=c"))),
            ("env.A=", env(None)),
        ] {
            assert_eq!(setting(word).ok(), Some(expected), "{word}");
        }
        for word in ["version", "version=", "env.=a", "replicas=3", "=a"] {
            assert!(setting(word).is_err(), "{word}");
        }
    }
}
