//! Programs out of Debian packages, unpacked into a private folder: nothing is installed, and no source is added to the system.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The keys that Debian signs its releases with, as every Debian has them.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Fetches `packages` of the Debian release `suite` and unpacks them into one folder below `folder`; the error says plainly what is missing.
///
/// The mirror is the one that this machine's own apt uses. apt gets its own lists, state and cache, so it needs no root.
pub(crate) fn unpack(packages: &[&str], suite: &str, folder: &Path) -> Result<PathBuf, String> {
    let mirror = own_mirror()?;
    if !Path::new(KEYRING).is_file() {
        return Err(format!("no keys to check Debian's signature with ({KEYRING})"));
    }
    let work = folder.join("apt");
    prepare(&work, &mirror, suite).map_err(|error| format!("{}: {error}", work.display()))?;
    apt(&work, &["update"])?;
    apt(&work, &[&["download"], packages].concat())?;
    let unpacked = folder.join("unpacked");
    for package in packages {
        let archive =
            find(&work, &format!("{package}_")).ok_or_else(|| format!("apt downloaded no package {package}"))?;
        let mut dpkg = Command::new("dpkg");
        dpkg.arg("-x").arg(&archive).arg(&unpacked);
        quietly(&mut dpkg)?;
    }
    Ok(unpacked)
}

/// The Debian mirror that this machine's own apt uses.
pub(crate) fn own_mirror() -> Result<String, String> {
    let sources = read_sources(Path::new("/etc/apt"));
    let found = sources.iter().find_map(|text| mirror(text));
    found.ok_or_else(|| "no Debian mirror among the sources of this machine's apt".to_owned())
}

/// All source lists of this machine, the main one first.
fn read_sources(etc: &Path) -> Vec<String> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(etc.join("sources.list.d")).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    files.insert(0, etc.join("sources.list"));
    let is_list = |path: &PathBuf| path.extension().is_some_and(|end| end == "list" || end == "sources");
    files.iter().filter(|path| is_list(path)).filter_map(|path| fs::read_to_string(path).ok()).collect()
}

/// The first Debian archive in one source list, in either of apt's two forms: its path ends in `/debian`, or it is a list of mirrors of that name.
fn mirror(text: &str) -> Option<String> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let mut candidates = lines.flat_map(|line| {
        let is_source = line.starts_with("deb ") || line.to_ascii_lowercase().starts_with("uris:");
        line.split_whitespace().filter(move |_| is_source)
    });
    let is_archive = |uri: &str| {
        let last = uri.trim_end_matches('/').rsplit('/').next();
        uri.contains(":/") && matches!(last, Some("debian" | "debian.list"))
    };
    candidates.find(|word| is_archive(word)).map(str::to_owned)
}

fn prepare(work: &Path, mirror: &str, suite: &str) -> io::Result<()> {
    if work.exists() {
        fs::remove_dir_all(work)?;
    }
    for folder in ["state/lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(work.join(folder))?;
    }
    fs::write(work.join("status"), "")?;
    fs::write(work.join("sources.list"), format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n"))?;
    fs::write(work.join("apt.conf"), configuration(work))
}

/// Everything that apt would read or write of the system points into `work`; hooks of the system's apt are not run.
fn configuration(work: &Path) -> String {
    let work = work.display();
    format!(
        "#clear APT::Update::Post-Invoke;\n#clear APT::Update::Post-Invoke-Success;\n#clear DPkg::Post-Invoke;\n\
         Dir::Etc::SourceList \"{work}/sources.list\";\nDir::Etc::SourceParts \"/dev/null\";\n\
         Dir::Etc::Preferences \"/dev/null\";\nDir::Etc::PreferencesParts \"/dev/null\";\n\
         Dir::State \"{work}/state\";\nDir::State::Lists \"{work}/state/lists\";\nDir::State::Status \"{work}/status\";\n\
         Dir::Cache \"{work}/cache\";\nAPT::Sandbox::User \"root\";\nAcquire::Languages \"none\";\nAcquire::Retries \"3\";\n"
    )
}

fn apt(work: &Path, arguments: &[&str]) -> Result<(), String> {
    let mut apt = Command::new("apt-get");
    apt.arg("-q").arg("-c").arg(work.join("apt.conf")).args(arguments).current_dir(work);
    quietly(&mut apt)
}

/// Runs a command and keeps what it says for the error.
fn quietly(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "{program} failed: {}",
        words.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it does not say why")
    ))
}

/// The archive of a package: `consul_1.8.7+dfsg1-2_amd64.deb` begins with `consul_`.
fn find(folder: &Path, start: &str) -> Option<PathBuf> {
    let paths = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    let begins = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(start));
    paths.into_iter().find(|path| begins(path) && path.extension().is_some_and(|end| end == "deb"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_the_machines_own() {
        let deb822 =
            "Types: deb\n# URIs: http://old.example/debian\nURIs: http://mirror.example/debian\nSuites: bookworm\n";
        assert_eq!(mirror(deb822).as_deref(), Some("http://mirror.example/debian"));
        let one_line = "deb [arch=amd64] https://mirror.example/debian/ bookworm main\n";
        assert_eq!(mirror(one_line).as_deref(), Some("https://mirror.example/debian/"));
        let mirrors = "URIs: mirror+file:/etc/apt/mirrors/debian.list\n";
        assert_eq!(mirror(mirrors).as_deref(), Some("mirror+file:/etc/apt/mirrors/debian.list"));
    }

    #[test]
    fn archives_of_others_are_no_debian_mirror() {
        for other in [
            "deb https://packages.example/apt cloud-sdk-bookworm main",
            "URIs: http://mirror.example/debian-security",
            "URIs: http://archive.example/ubuntu",
            "# deb http://mirror.example/debian bookworm main",
        ] {
            assert_eq!(mirror(other), None, "{other}");
        }
    }

    #[test]
    fn apt_is_given_folders_of_its_own_only() {
        let text = configuration(Path::new("/private"));
        for line in text.lines().filter(|line| line.starts_with("Dir::")) {
            assert!(line.contains("\"/private/") || line.contains("\"/dev/null\""), "{line}");
        }
    }
}
