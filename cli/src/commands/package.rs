//! `helium package`: make packages, look into them, and check them. None of it asks a store.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use helium_packages::{
    archive::{self, Inspected, Limits},
    digest::Digest,
    installer::{self, Reason},
    manifest::Manifest,
    signature::Key,
    source::Form,
};
use serde_json::json;

use crate::output::{Console, Exit, Failure, Outcome, format::to_json};

/// What can be done with packages.
#[derive(Debug, Subcommand)]
pub(crate) enum PackageCommand {
    /// Make an archive of a folder; the same folder always gives the same bytes
    Build(BuildArgs),
    /// Show what is in a package
    Inspect(InspectArgs),
    /// Check a package's digest, and its signature
    Verify(VerifyArgs),
}

/// Options of `helium package build`.
#[derive(Args, Debug)]
pub(crate) struct BuildArgs {
    /// The folder; what the package says of itself is in `helium/package.yaml`
    folder: PathBuf,
    /// The archive, `.tar.zst` or `.tar.gz` [default: `NAME-VERSION.tar.zst`, as the package says]
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Options of `helium package inspect`.
#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    /// An archive, or a folder
    package: PathBuf,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Options of `helium package verify`.
#[derive(Args, Debug)]
pub(crate) struct VerifyArgs {
    /// An archive, or a folder
    package: PathBuf,
    /// The SHA-256 that it must have
    #[arg(long, value_name = "DIGEST")]
    sha256: Option<Digest>,
    /// The public key of minisign, or the file that holds it, by which it must be signed
    #[arg(long, value_name = "KEY|FILE")]
    public_key: Option<String>,
    /// The signature [default: the package's name with `.minisig`]
    #[arg(long, value_name = "FILE", requires = "public_key")]
    signature: Option<PathBuf>,
}

/// Runs `helium package`.
pub(crate) fn run(command: &PackageCommand, console: &mut Console) -> Outcome {
    match command {
        PackageCommand::Build(args) => build(args, console),
        PackageCommand::Inspect(args) => inspect(args, console),
        PackageCommand::Verify(args) => verify(args, console),
    }
}

fn build(args: &BuildArgs, console: &mut Console) -> Outcome {
    if !args.folder.is_dir() {
        return Err(Failure::usage(format!("{} is no folder", args.folder.display())));
    }
    let inspected = archive::write::inspect(&args.folder).map_err(|error| unfit(&error))?;
    let file = match &args.file {
        Some(file) => file.clone(),
        None => PathBuf::from(named(inspected.manifest.as_ref())?),
    };
    let form = Form::of_name(&file.to_string_lossy()).ok_or_else(|| {
        Failure::usage(format!("{} ends in neither `.tar.zst` nor `.tar.gz`", file.display()))
            .hint("the ending says how the archive is compressed")
    })?;
    if file.exists() {
        let words = format!("{} is there already", file.display());
        return Err(Failure::new(Exit::Conflict, words).hint("remove it, or name another one with `-f`"));
    }
    let digest = archive::write::build(&args.folder, form, &file).map_err(|error| unfit(&error))?;
    console.line(format!("{}: {}", file.display(), amount(&inspected)))?;
    console.line(format!("sha256: {digest}"))?;
    Ok(Exit::Ok)
}

/// The file's name, by what the package says of itself.
fn named(manifest: Option<&Manifest>) -> Result<String, Failure> {
    match manifest.map(|manifest| (&manifest.name, &manifest.version)) {
        Some((name, Some(version))) => Ok(format!("{name}-{version}.tar.zst")),
        Some((_, None)) => Err(Failure::usage("the package does not say its version, and `-f` names no file")
            .hint("write `version` into helium/package.yaml, or name the archive: `-f hello-1.0.0.tar.zst`")),
        None => Err(Failure::usage("the folder has no helium/package.yaml, and `-f` names no file")
            .hint("write one with `name` and `version`, or name the archive: `-f hello-1.0.0.tar.zst`")),
    }
}

fn inspect(args: &InspectArgs, console: &mut Console) -> Outcome {
    let inspected = archive::inspect(&args.package, Limits::default()).map_err(|error| unfit(&error))?;
    let digest = installer::verify_local(&args.package, None, None).map_err(|reason| refused(&reason))?;
    if args.json {
        let Inspected { manifest, contents, files, bytes } = &inspected;
        let document = json!({
            "sha256": digest.to_string(), "manifest": manifest, "contents": contents, "files": files, "bytes": bytes,
        });
        console.data(to_json(&document)?)?;
        return Ok(Exit::Ok);
    }
    for line in lines(&inspected, digest) {
        console.line(line)?;
    }
    Ok(Exit::Ok)
}

/// What people read of a package: `hello 1.0.0: 3 files, 120 bytes`, and what in it has a meaning by its name.
fn lines(inspected: &Inspected, digest: Digest) -> Vec<String> {
    let Inspected { manifest, contents, .. } = inspected;
    let name = manifest.as_ref().map_or_else(
        || "no helium/package.yaml".to_owned(),
        |manifest| match &manifest.version {
            Some(version) => format!("{} {version}", manifest.name),
            None => format!("{}, of no version", manifest.name),
        },
    );
    let mut lines = vec![format!("{name}: {}", amount(inspected)), format!("sha256: {digest}")];
    let own = manifest.iter().flat_map(|manifest| [("roles", &manifest.roles), ("packages", &manifest.packages)]);
    lines.extend(own.filter(|(_, all)| !all.is_empty()).map(|(what, all)| format!("{what}: {}", all.join(", "))));
    let known = [
        ("defaults", &contents.defaults),
        ("hooks", &contents.hooks),
        ("checks", &contents.checks),
        ("templates", &contents.templates),
    ];
    let paths = |all: &[PathBuf]| all.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
    lines.extend(known.iter().filter(|(_, all)| !all.is_empty()).map(|(what, all)| format!("{what}: {}", paths(all))));
    lines
}

fn amount(inspected: &Inspected) -> String {
    let count = |number: u64, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    format!("{}, {}", count(inspected.files, "file"), count(inspected.bytes, "byte"))
}

fn verify(args: &VerifyArgs, console: &mut Console) -> Outcome {
    let key = args.public_key.as_deref().map(key).transpose()?;
    let signature = match &key {
        Some(_) => {
            let beside = || PathBuf::from(format!("{}.minisig", args.package.display()));
            let path = args.signature.clone().unwrap_or_else(beside);
            Some(text(&path)?)
        }
        None => None,
    };
    let signed = key.as_ref().zip(signature.as_deref());
    let digest = installer::verify_local(&args.package, args.sha256, signed).map_err(|reason| refused(&reason))?;
    let by = if signed.is_some() { ", signed by that key" } else { "" };
    let is = if args.sha256.is_some() { "ok" } else { "no digest was given to compare with" };
    console.line(format!("sha256: {digest}"))?;
    console.say(format!("{}: {is}{by}", args.package.display()));
    Ok(Exit::Ok)
}

/// A key as it is, or the file that holds it.
fn key(given: &str) -> Result<Key, Failure> {
    let held = if Path::new(given).is_file() { text(Path::new(given))? } else { given.to_owned() };
    Key::read(&held).map_err(|error| Failure::usage(format!("`--public-key`: {error}")))
}

fn text(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
}

fn unfit(error: &archive::Error) -> Failure {
    Failure::usage(error.to_string())
}

fn refused(reason: &Reason) -> Failure {
    Failure::usage(reason.to_string())
}

#[cfg(test)]
#[path = "package_tests.rs"]
mod tests;
