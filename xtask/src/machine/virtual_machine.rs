//! A virtual machine that runs until it says that it is done.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use super::image::Image;
use crate::step;

/// How long a machine may take, in looks: an hour, for one without KVM on a busy host.
const LOOKS: u32 = 3600 * LOOKS_A_SECOND;
/// How long Linux may take to say its first word where the processor does the work. There are machines that have `/dev/kvm` and on which it never does.
const FIRST_WORD: u32 = 30 * LOOKS_A_SECOND;
const LOOKS_A_SECOND: u32 = 5;
/// The variable by which one of [`ACCELERATORS`] is chosen.
const VARIABLE: &str = "HELIUM_MACHINE_ACCEL";
/// What does the work: the machine's own processor, or a program in its place, which is ten times slower.
const ACCELERATORS: [Accelerator; 2] = [
    Accelerator { name: "kvm", processor: "host", processors: "2" },
    // One processor alone: with two, Linux 6.12 has been seen to die here of an instruction that it had just written for the other one.
    Accelerator { name: "tcg", processor: "max", processors: "1" },
];

/// What does the work of a machine, and the processors that it is shown.
struct Accelerator {
    name: &'static str,
    processor: &'static str,
    processors: &'static str,
}

/// A machine to be run.
#[derive(Debug)]
pub(crate) struct VirtualMachine<'a> {
    /// What it starts from; nothing that it writes is kept.
    pub(crate) image: &'a Image,
    /// Its second disk.
    pub(crate) payload: &'a Path,
    /// What its console said is kept as this with `.console` behind it, its words as `.results`.
    pub(crate) logs: PathBuf,
}

/// A machine that runs; it does not outlive this.
struct Running {
    child: Child,
    console: PathBuf,
    results: PathBuf,
    heard: usize,
}

impl VirtualMachine<'_> {
    /// Runs it, hands on each line as it comes, and gives all of them.
    pub(crate) fn run(&self, mut each: impl FnMut(&str)) -> Result<Vec<String>, String> {
        let chosen = std::env::var(VARIABLE).ok();
        let has_kvm = Path::new("/dev/kvm").exists();
        for accelerator in &ACCELERATORS {
            let is_kvm = accelerator.name == "kvm";
            let wanted = chosen.as_deref().map_or(has_kvm || !is_kvm, |name| accelerator.name == name);
            if !wanted {
                continue;
            }
            let mut running = self.start(accelerator)?;
            if is_kvm && chosen.is_none() && !running.speaks() {
                step::say("Linux does not start under KVM here; it is tried without, which is slow");
                continue;
            }
            let lines = running.follow(&mut each)?;
            if lines.is_empty() {
                let why = fs::read_to_string(self.logs.with_extension("qemu")).unwrap_or_default();
                return Err(format!("the machine has said nothing: {}", why.trim()));
            }
            return Ok(lines);
        }
        Err(format!("{VARIABLE} names none of kvm, tcg"))
    }

    fn start(&self, accelerator: &Accelerator) -> Result<Running, String> {
        let file = |ending: &str| self.logs.with_extension(ending);
        let (console, results) = (file("console"), file("results"));
        for log in [&console, &results] {
            fs::write(log, "").map_err(|error| format!("{}: {error}", log.display()))?;
        }
        let drive = |path: &Path, more: &str| format!("file={},if=virtio,format=raw,{more}", path.display());
        let errors = fs::File::create(file("qemu")).map_err(|error| error.to_string())?;
        // However this script ends, its machine ends with it.
        let mut qemu = Command::new("setpriv");
        qemu.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]);
        let Accelerator { name, processor, processors } = accelerator;
        qemu.args(["-accel", name, "-cpu", processor, "-smp", processors, "-m", "1536", "-nodefaults", "-nographic"]);
        qemu.arg("-kernel").arg(&self.image.kernel).arg("-initrd").arg(&self.image.initrd);
        qemu.args(["-append", "root=LABEL=root rw console=ttyS0 earlyprintk=serial panic=-1 systemd.show_status=0"]);
        qemu.args(["-drive", &drive(&self.image.disk, "snapshot=on"), "-drive", &drive(self.payload, "readonly=on")]);
        qemu.arg("-serial").arg(format!("file:{}", console.display()));
        qemu.arg("-serial").arg(format!("file:{}", results.display()));
        let child = qemu.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors).spawn();
        let child = child.map_err(|error| format!("setpriv, which starts qemu-system-x86_64: {error}"))?;
        Ok(Running { child, console, results, heard: 0 })
    }
}

impl Running {
    /// Whether Linux has said anything within its time.
    fn speaks(&mut self) -> bool {
        for _ in 0..FIRST_WORD {
            let said = fs::read(&self.console).unwrap_or_default();
            if String::from_utf8_lossy(&said).contains("Linux version") {
                return true;
            }
            if !matches!(self.child.try_wait(), Ok(None)) {
                return false;
            }
            pause();
        }
        false
    }

    /// Hands on lines until the last one, or the end of the machine or of its time.
    fn follow(&mut self, each: &mut impl FnMut(&str)) -> Result<Vec<String>, String> {
        let mut lines: Vec<String> = Vec::new();
        for _ in 0..LOOKS {
            let ended = !matches!(self.child.try_wait(), Ok(None));
            for line in self.news().map_err(|error| format!("{}: {error}", self.results.display()))? {
                each(&line);
                lines.push(line);
            }
            if ended || lines.last().is_some_and(|line| line == "end") {
                break;
            }
            pause();
        }
        Ok(lines)
    }

    /// The whole lines that have come since the last look.
    fn news(&mut self) -> io::Result<Vec<String>> {
        let mut bytes = Vec::new();
        fs::File::open(&self.results)?.read_to_end(&mut bytes)?;
        let new = &bytes[self.heard.min(bytes.len())..];
        let whole = new.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        self.heard += whole;
        let text = String::from_utf8_lossy(&new[..whole]).into_owned();
        Ok(text.lines().map(|line| line.trim_end_matches('\r').to_owned()).collect())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.child.kill().and_then(|()| self.child.wait());
    }
}

#[allow(clippy::disallowed_methods, reason = "a script without a runtime")]
fn pause() {
    thread::sleep(Duration::from_millis(1000 / u64::from(LOOKS_A_SECOND)));
}

/// Runs a command and keeps what it says for the error.
pub(super) fn quietly(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let last = words.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it does not say why");
    Err(format!("{program} failed: {last}"))
}
