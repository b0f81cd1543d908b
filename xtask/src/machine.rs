//! `cargo xtask machine`: the units of the guides under a real systemd, in a virtual machine of Debian's packages.
//!
//! The root file system is made once and kept with what else was fetched; each run changes only what is forgotten with it. What is tried comes on a second disk, which is made anew each time:
//! `helium`, a Consul, the guides, and the program `helium-machine`, which runs inside and says line by line what it saw. The console's log is kept in `target/machine`.

mod image;
mod virtual_machine;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    project::Project,
    servers::CONSUL,
    step::{self, Outcome},
};
use virtual_machine::VirtualMachine;

/// The releases of Debian that it is tried on: systemd 252, and one that knows `DelegateSubgroup`, which came with 254.
const SUITES: [&str; 2] = ["bookworm", "trixie"];
/// The guides that units are read out of.
const GUIDES: [&str; 2] = ["agent", "nix"];

/// Runs it on the releases that are named, or on all; with `--only=WORD`, the checks with that word in their name and no restart of the machine,
/// or by the word `reboot` that alone.
pub(crate) fn run(project: &Project, arguments: &[&str]) -> Outcome {
    let only = arguments.iter().find_map(|argument| argument.strip_prefix("--only=")).unwrap_or_default();
    let suites: Vec<&str> = arguments.iter().copied().filter(|argument| !argument.starts_with("--only=")).collect();
    if let Some(unknown) = suites.iter().find(|suite| !SUITES.contains(suite)) {
        return Outcome::failed(format!("`{unknown}` is none of {}", SUITES.join(", ")));
    }
    let suites = if suites.is_empty() { &SUITES } else { suites.as_slice() };
    match all(project, suites, only) {
        Ok(outcome) => outcome,
        Err(why) => Outcome::failed(why),
    }
}

fn all(project: &Project, suites: &[&str], only: &str) -> Result<Outcome, String> {
    let build = step::command(project.cargo(&["build", "--package", "helium", "--package", "helium-machine"]));
    if !matches!(build, Outcome::Passed(_)) {
        return Ok(build);
    }
    let folder = project.root.join("target/machine");
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let payload = payload(project, &folder, only)?;
    let (mut counted, mut failed) = (0, Vec::new());
    for suite in suites {
        let image = image::find(project, suite)?;
        step::say(&format!("\n==> {suite}"));
        let machine = VirtualMachine { image: &image, payload: &payload, logs: folder.join(suite) };
        let lines = machine.run(|line| step::say(&table(line)))?;
        counted += lines.iter().filter(|line| line.starts_with("ok\t")).count();
        failed
            .extend(lines.iter().filter_map(|line| Some(format!("{suite}: {}", name(line.strip_prefix("FAILED\t")?)))));
        if lines.last().is_none_or(|line| line != "end") {
            failed.push(format!("{suite}: the machine did not come to its end"));
        }
    }
    if failed.is_empty() && counted > 0 {
        return Ok(Outcome::Passed(format!(
            "{counted} checks on {}; logs in {}",
            suites.join(" and "),
            folder.display()
        )));
    }
    Ok(Outcome::failed(format!(
        "{counted} checks hold, {} do not: {}; logs in {}",
        failed.len(),
        failed.join("; "),
        folder.display()
    )))
}

/// The name of a check.
fn name(line: &str) -> &str {
    line.split('\t').next().unwrap_or(line)
}

/// A line of the machine as people read it.
fn table(line: &str) -> String {
    match line.split('\t').collect::<Vec<_>>().as_slice() {
        [verdict, name, seconds, words] => format!("    {verdict:<8} {name:<55} {seconds:>6} s  {words}"),
        _ => line.to_owned(),
    }
}

/// The disk with what is tried.
fn payload(project: &Project, folder: &Path, only: &str) -> Result<PathBuf, String> {
    let tree = folder.join("payload");
    let say = |error: std::io::Error| format!("{}: {error}", tree.display());
    if tree.exists() {
        fs::remove_dir_all(&tree).map_err(say)?;
    }
    fs::create_dir_all(tree.join("guides")).map_err(say)?;
    fs::write(tree.join("only"), only).map_err(say)?;
    for guide in GUIDES {
        let file = format!("{guide}.md");
        fs::copy(project.root.join("docs/guides").join(&file), tree.join("guides").join(&file)).map_err(say)?;
    }
    fs::copy(CONSUL.find(project)?.path, tree.join("consul")).map_err(say)?;
    for program in ["helium", "helium-machine"] {
        // Without what only a debugger reads, it is half as large.
        let (built, stripped) = (project.target.join("debug").join(program), tree.join(program));
        virtual_machine::quietly(Command::new("strip").arg("--strip-debug").arg("-o").arg(stripped).arg(built))?;
    }
    let disk = folder.join("payload.ext4");
    image::disk(&disk, &tree, "payload", "512M")?;
    fs::remove_dir_all(&tree).map_err(say)?;
    Ok(disk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_machine_is_a_row_and_other_lines_stay_as_they_are() {
        let row = table("ok\tit runs\t1.5\twell");
        assert!(row.contains("it runs") && row.ends_with("1.5 s  well"), "{row}");
        assert_eq!(table("    a line of the journal"), "    a line of the journal");
        assert_eq!(name("it runs\t1.5\twell"), "it runs");
    }
}
