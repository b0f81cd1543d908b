//! The root file system of a virtual machine: Debian's packages, made once, and a unit that runs what the second disk holds.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use super::virtual_machine::quietly;
use crate::{apt, project::Project, step};

/// What the machine needs beyond what every Debian has. Nix is for `helium hail`.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,udev,kmod,linux-image-cloud-amd64,nix-bin,ca-certificates,procps";
/// What is not read in there.
const LEFT_OUT: [&str; 3] = ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*"];
/// Another number has the images made anew.
const VERSION: u32 = 1;

/// The second disk.
const FSTAB: &str = "LABEL=payload /payload ext4 ro 0 0\n";
/// Runs what is on it; its words go out by the second serial line.
const UNIT: &str = "[Unit]
Description=What is tried in this machine
RequiresMountsFor=/payload
After=dbus.service

[Service]
Type=exec
ExecStart=/payload/helium-machine
StandardOutput=file:/dev/ttyS1
StandardError=journal+console

[Install]
WantedBy=multi-user.target
";
/// Units that only cost time here.
const MASKED: [&str; 6] = [
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "getty.target",
    "systemd-timesyncd.service",
];

/// A machine that can be started.
#[derive(Debug)]
pub(crate) struct Image {
    /// Its disk.
    pub(crate) disk: PathBuf,
    /// Linux.
    pub(crate) kernel: PathBuf,
    /// What it starts with.
    pub(crate) initrd: PathBuf,
}

/// The image of a release, made if it is not there yet.
pub(crate) fn find(project: &Project, suite: &str) -> Result<Image, String> {
    let kept = project.fetched.join(format!("machine-{suite}-{VERSION}"));
    let image = Image { disk: kept.join("root.ext4"), kernel: kept.join("vmlinuz"), initrd: kept.join("initrd") };
    if image.disk.is_file() {
        return Ok(image);
    }
    step::say(&format!("the image of {suite} is made, which takes some minutes"));
    let work = project.fetched.join(format!("machine-{suite}-{}", std::process::id()));
    let made = make(suite, &work)
        .and_then(|()| fs::rename(&work, &kept).map_err(|error| format!("{}: {error}", kept.display())));
    if made.is_err() && work.exists() {
        fs::remove_dir_all(&work).map_err(|error| format!("{}: {error}", work.display()))?;
    }
    made.map(|()| image)
}

/// Makes all files of an image in a folder.
fn make(suite: &str, work: &Path) -> Result<(), String> {
    let say = |error: std::io::Error| format!("{}: {error}", work.display());
    fs::create_dir_all(work).map_err(say)?;
    let tree = work.join("tree");
    let mut mmdebstrap = Command::new("mmdebstrap");
    mmdebstrap.args(["--variant=minbase", "--mode=root", "--aptopt=Acquire::Languages \"none\""]);
    mmdebstrap.arg(format!("--include={PACKAGES}"));
    mmdebstrap.args(LEFT_OUT.map(|path| format!("--dpkgopt=path-exclude={path}")));
    mmdebstrap.arg(suite).arg(&tree).arg(apt::own_mirror()?);
    quietly(&mut mmdebstrap).map_err(|why| {
        format!("{why}; as root, with `mmdebstrap`, `qemu-system-x86` and `e2fsprogs` of Debian, it can be made")
    })?;
    for (file, name) in [("vmlinuz", "vmlinuz"), ("initrd.img", "initrd")] {
        let link = fs::canonicalize(tree.join(file)).or_else(|_| found(&tree.join("boot"), file)).map_err(say)?;
        fs::copy(link, work.join(name)).map_err(say)?;
    }
    furnish(&tree).map_err(say)?;
    disk(&work.join("root.ext4"), &tree, "root", "4G")?;
    fs::remove_dir_all(&tree).map_err(say)
}

/// The file of a folder whose name begins so.
fn found(folder: &Path, start: &str) -> std::io::Result<PathBuf> {
    let mut files = fs::read_dir(folder)?.flatten().map(|entry| entry.path());
    let begins = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(start));
    files.find(begins).ok_or_else(|| std::io::ErrorKind::NotFound.into())
}

fn furnish(tree: &Path) -> std::io::Result<()> {
    fs::create_dir_all(tree.join("payload"))?;
    fs::write(tree.join("etc/hostname"), "machine\n")?;
    fs::write(tree.join("etc/fstab"), FSTAB)?;
    let units = tree.join("etc/systemd/system");
    fs::write(units.join("tried.service"), UNIT)?;
    fs::create_dir_all(units.join("multi-user.target.wants"))?;
    symlink("../tried.service", units.join("multi-user.target.wants/tried.service"))?;
    for unit in MASKED {
        symlink("/dev/null", units.join(unit))?;
    }
    Ok(())
}

/// A disk with a label that holds what is in a folder. It takes no more room than that. A machine that still runs with an old one keeps it.
pub(crate) fn disk(file: &Path, tree: &Path, label: &str, size: &str) -> Result<(), String> {
    if file.exists() {
        fs::remove_file(file).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    let mut mkfs = Command::new("mkfs.ext4");
    mkfs.args(["-q", "-F", "-L", label, "-d"]).arg(tree).arg(file).arg(size);
    quietly(&mut mkfs)
}
