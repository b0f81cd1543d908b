//! `cargo xtask tidy`: the rules of the house that no compiler checks.
//!
//! Each rule is a pure function from text to what breaks it, with a test that shows it failing on a planted defect.

mod arrows;
mod links;
mod manifest;
mod named;
mod rust;
mod shape;
mod words;

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    metadata::{Metadata, Package},
    project::Project,
    step::Outcome,
};

/// One place where a rule is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The file, from the root of the tree.
    file: PathBuf,
    /// The line, from 1.
    line: usize,
    /// What is wrong, and what would be right.
    words: String,
}

impl Finding {
    fn new(file: &Path, line: usize, words: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, words: words.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.words)
    }
}

/// One text file of the tree.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    /// From the root of the tree.
    path: PathBuf,
    text: String,
}

/// Runs all rules over all files that git knows or would take.
pub(crate) fn run(project: &Project) -> Outcome {
    let findings = Metadata::load(project).and_then(|metadata| {
        let files = files(&project.root).map_err(|error| format!("the files of the tree: {error}"))?;
        Ok((files.len(), all(project, &metadata, &files)))
    });
    match findings {
        Ok((count, findings)) if findings.is_empty() => Outcome::Passed(format!("{count} files")),
        Ok((_, findings)) => {
            for finding in &findings {
                crate::step::say(&finding.to_string());
            }
            Outcome::failed(format!("{} findings", findings.len()))
        }
        Err(error) => Outcome::failed(error),
    }
}

fn all(project: &Project, metadata: &Metadata, files: &[Text]) -> Vec<Finding> {
    let mut findings = arrows::check(metadata, &project.root);
    findings.extend(files.iter().flat_map(|file| words::check_any(file, &project.root)));
    let rust: Vec<(&Text, rust::Code)> =
        files.iter().filter(|file| is(file, "rs")).map(|file| (file, rust::Code::of(&file.text))).collect();
    for (file, code) in &rust {
        findings.extend(shape::check(file, code));
        findings.extend(words::check_rust(file, code));
    }
    let functions = named::functions(rust.iter().map(|(_, code)| code));
    let mut places = named::Places::new();
    for package in &metadata.packages {
        let own = rust.iter().map(|(file, code)| (*file, code));
        places.extend(named::places(&package.name, folder_of(package, project), own));
    }
    for page in files.iter().filter(|file| is(file, "md")) {
        findings.extend(links::check(page, |path| project.root.join(path).exists()));
        findings.extend(named::check(page, &functions));
        findings.extend(named::check_places(page, &places));
    }
    for package in &metadata.packages {
        let folder = folder_of(package, project);
        let own: Vec<&Text> = files.iter().filter(|file| file.path.starts_with(folder)).collect();
        findings.extend(manifest::check(package, folder, &own));
    }
    findings.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
    findings
}

/// The folder of a crate, from the root of the tree.
fn folder_of<'a>(package: &'a Package, project: &Project) -> &'a Path {
    package.manifest.parent().and_then(|path| path.strip_prefix(&project.root).ok()).unwrap_or(Path::new(""))
}

fn is(file: &Text, extension: &str) -> bool {
    file.path.extension().is_some_and(|end| end == extension)
}

/// All text files that git tracks, or would if they were added; what is no UTF-8 is no text.
fn files(root: &Path) -> io::Result<Vec<Text>> {
    let listing = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let output = Command::new("git").args(listing).current_dir(root).output()?;
    if !output.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    let names = String::from_utf8_lossy(&output.stdout);
    let paths = names.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from);
    let read = |path: PathBuf| Some(Text { text: fs::read_to_string(root.join(&path)).ok()?, path });
    Ok(paths.filter_map(read).collect())
}

#[cfg(test)]
fn text(path: &str, text: &str) -> Text {
    Text { path: PathBuf::from(path), text: text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_this_tree_are_found() {
        let files = files(&Project::here().root).unwrap();
        assert!(files.iter().any(|file| file.path == Path::new("xtask/src/tidy/mod.rs")));
        assert!(!files.iter().any(|file| file.path.starts_with("target")));
    }
}
