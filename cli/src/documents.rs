//! Files of documents: read, parsed and validated together, so that every problem of all of them is told at once.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use clap::Args;
use helium_crds::{AnyObject, Kind, Report, Source, parse_all_in};
use serde_json::json;

use crate::output::{Console, Exit, Failure, format::to_json};

/// Where documents come from.
#[derive(Args, Debug)]
pub(crate) struct Files {
    /// A file or folder of YAML or JSON documents, or `-` for stdin; may be given several times
    #[arg(short, long = "filename", value_name = "PATH", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Go into folders within folders
    #[arg(short = 'R', long)]
    pub(crate) recursive: bool,
}

/// What came of reading documents.
#[derive(Debug)]
pub(crate) enum Read {
    /// Every document is sound, and there is at least one; Deployments come first.
    Sound(Vec<AnyObject>),
    /// Something is wrong with at least one.
    Problems(Report),
}

/// What problems are told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    /// A person, on stderr: each problem with its line and a caret.
    Person,
    /// A machine, on stdout: `{"valid": false, "problems": [...]}`.
    Machine,
}

/// Reads and validates every document. `namespace` is given to those that name none. No document at all is an error: whoever names
/// files means to find something in them.
pub(crate) fn read(files: &Files, namespace: &str) -> Result<Read, Failure> {
    let mut sources = Vec::new();
    let mut report = Report::default();
    for path in paths(files)? {
        match contents(&path) {
            Ok(source) => sources.push(source),
            Err(problems) => report.problems.extend(problems.problems),
        }
    }
    match parse_all_in(namespace, &sources) {
        Ok(parsed) if report.problems.is_empty() => {
            if parsed.is_empty() {
                return Err(Failure::usage("no documents in the files given"));
            }
            let mut objects: Vec<AnyObject> = parsed.into_iter().map(|parsed| parsed.object).collect();
            objects.sort_by_key(|object| Kind::ALL.iter().position(|kind| *kind == object.kind()));
            Ok(Read::Sound(objects))
        }
        Ok(_) => Ok(Read::Problems(report)),
        Err(problems) => {
            report.problems.extend(problems.problems);
            Ok(Read::Problems(report))
        }
    }
}

/// Reads and validates every document for a command that needs them all sound.
pub(crate) fn sound(files: &Files, namespace: &str, console: &mut Console) -> Result<Vec<AnyObject>, Failure> {
    sound_or_told(files, namespace, Reader::Person, console)
}

/// The same, with the problems told to either reader.
pub(crate) fn sound_or_told(
    files: &Files,
    namespace: &str,
    reader: Reader,
    console: &mut Console,
) -> Result<Vec<AnyObject>, Failure> {
    match read(files, namespace)? {
        Read::Sound(objects) => Ok(objects),
        Read::Problems(report) => {
            match reader {
                Reader::Person => console.say(report.render(console.colours_words()).trim_end()),
                Reader::Machine => {
                    console.data(to_json(&json!({ "valid": false, "problems": report.problems }))?)?;
                }
            }
            Err(Failure::new(Exit::Usage, ""))
        }
    }
}

/// The files to read, those of a folder in the order of their names.
fn paths(files: &Files) -> Result<Vec<PathBuf>, Failure> {
    let mut all = Vec::new();
    for path in &files.files {
        if path.is_dir() {
            let before = all.len();
            walk(path, files.recursive, &mut all)?;
            if all.len() == before {
                let hint = "files end in .yaml, .yml or .json; `-R` goes into folders within folders";
                return Err(Failure::usage(format!("no documents in the folder `{}`", path.display())).hint(hint));
            }
        } else {
            all.push(path.clone());
        }
    }
    Ok(all)
}

fn walk(folder: &Path, recursive: bool, all: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut entries: Vec<PathBuf> =
        entries.map_err(|error| unreadable(folder, &error))?.into_iter().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            if recursive {
                walk(&path, recursive, all)?;
            }
        } else if path.extension().is_some_and(|end| ["yaml", "yml", "json"].iter().any(|known| end == *known)) {
            all.push(path);
        }
    }
    Ok(())
}

/// The text of a file, or of stdin. One that cannot be read is a problem among others, so that these are told as well.
fn contents(path: &Path) -> Result<Source, Report> {
    let (name, bytes) = if path == Path::new("-") {
        let mut bytes = Vec::new();
        ("<stdin>".to_owned(), std::io::stdin().read_to_end(&mut bytes).map(|_| bytes))
    } else {
        (path.display().to_string(), fs::read(path))
    };
    match bytes {
        Ok(bytes) => Source::from_bytes(name, &bytes),
        Err(error) => Err(Source::unreadable(name, &error)),
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::usage(format!("cannot read `{}`: {error}", path.display()))
}
