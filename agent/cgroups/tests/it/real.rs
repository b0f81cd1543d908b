//! What a group does to real processes. On a machine without the controllers, or for a user who may not make groups,
//! a variable leaves these tests out.

use std::{env, fmt::Debug, fs, path::Path, process::Stdio, time::Duration};

use helium_cgroups::{Controller, Group, Limits, Made, Root, hierarchies::Hierarchies};
use helium_processes::{Command, Exit, Gated, gate};

const SOON: Duration = Duration::from_secs(10);

/// Leaves tests out on a machine that cannot keep limits.
const WITHOUT: &str = "HELIUM_TESTS_WITHOUT_CGROUPS";

/// Leaves a test out for this reason, if that is allowed here.
fn leave_out(why: &dyn Debug) {
    assert!(
        env::var_os(WITHOUT).is_some_and(|set| set == "1"),
        "no control groups to test with: {why:?}; {WITHOUT}=1 leaves these tests out on a machine that has none"
    );
    println!("left out on this machine: {why:?}");
}

/// A group on this machine that is gone at the end of the test; none if a limit does not hold here, and tests may be left out.
struct Here(Made);

impl Here {
    fn made(name: &str, limits: &Limits) -> Option<Self> {
        let made = Here(Root::here().make(&format!("test-{name}-{}", std::process::id()), limits));
        if made.0.unheld.is_empty() {
            return Some(made);
        }
        leave_out(&made.0.unheld);
        None
    }

    fn group(&self) -> &Group {
        &self.0.group
    }

    fn read(&self, file: &str) -> String {
        let texts = self.group().folders.iter().filter_map(|folder| fs::read_to_string(folder.join(file)).ok());
        texts.collect::<String>().trim().to_owned()
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_time();
        let group = self.group().clone();
        let ended = std::thread::spawn(move || runtime.build().unwrap().block_on(group.end(SOON))).join();
        assert!(std::thread::panicking() || ended.unwrap().is_ok());
    }
}

fn gated(script: &str) -> Gated {
    let command = Command {
        argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
        env: [("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned())].into(),
        cwd: "/".into(),
        user: None,
    };
    gate::start_with(&command, Stdio::piped(), Stdio::null()).unwrap()
}

async fn printed(mut gated: Gated) -> (String, Exit) {
    use tokio::io::AsyncReadExt as _;
    let stdout = gated.outputs().0;
    let exit = gated.open().await.ended().await;
    let mut text = String::new();
    stdout.unwrap().read_to_string(&mut text).await.unwrap();
    (text, exit)
}

/// A shell that holds more and more: a doubling text of 40 MiB in the end.
const HOG: &str = "x=0123456789; i=0; while [ $i -lt 22 ]; do x=$x$x; i=$((i+1)); done; echo done";

#[tokio::test]
async fn who_needs_more_memory_than_the_group_has_is_killed_and_counted() {
    let limits = Limits { memory: Some(8 << 20), ..Limits::default() };
    let Some(mut here) = Here::made("hog", &limits) else { return };
    assert_eq!(here.group().memory_kills(), 0);
    let gated = gated(HOG);
    here.0.take(gated.identity().pid);
    assert_eq!(here.0.unheld, [].into());
    assert_eq!(printed(gated).await, (String::new(), Exit::Signal(9)));
    assert_eq!(here.group().memory_kills(), 1);
    here.group().end(SOON).await.unwrap();
    assert!(here.group().folders.iter().all(|folder| !folder.exists()));
}

#[tokio::test]
async fn a_child_is_in_the_group_of_its_parent_and_is_the_one_that_is_killed() {
    let limits = Limits { memory: Some(8 << 20), ..Limits::default() };
    let Some(mut here) = Here::made("child", &limits) else { return };
    let gated = gated(&format!("sh -c '{HOG}'; echo $?"));
    here.0.take(gated.identity().pid);
    assert_eq!(printed(gated).await, ("137\n".to_owned(), Exit::Status(0)));
    assert_eq!(here.group().memory_kills(), 1);
}

#[tokio::test]
async fn a_share_of_processors_is_set_and_slows_down_who_wants_more() {
    let limits = Limits { cpu: Some(100), ..Limits::default() };
    let Some(mut here) = Here::made("cpu", &limits) else { return };
    let set = [here.read("cpu.cfs_quota_us"), here.read("cpu.max")].concat();
    assert!(["10000", "10000 100000"].contains(&set.as_str()), "{set}");
    let gated = gated("i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done");
    here.0.take(gated.identity().pid);
    let (_, exit) = printed(gated).await;
    assert_eq!(exit, Exit::Status(0));
    let stat = here.read("cpu.stat");
    let throttled = stat.lines().find_map(|line| line.strip_prefix("nr_throttled ")).unwrap();
    assert_ne!(throttled, "0", "{stat}");
}

#[tokio::test]
async fn no_more_processes_are_started_than_the_group_may_have() {
    let limits = Limits { processes: Some(3), ..Limits::default() };
    let Some(mut here) = Here::made("pids", &limits) else { return };
    let gated = gated("for i in 1 2 3 4 5; do sleep 600 >/dev/null & done; echo all");
    here.0.take(gated.identity().pid);
    let (text, exit) = printed(gated).await;
    assert!(text.is_empty() && exit != Exit::Status(0), "{text:?} {exit}");
    assert_eq!(here.group().processes().unwrap().len(), 2);
    here.group().end(SOON).await.unwrap();
}

#[tokio::test]
async fn the_end_of_a_group_takes_those_along_who_have_left_every_other_group() {
    let limits = Limits { processes: Some(100), ..Limits::default() };
    let Some(mut here) = Here::made("end", &limits) else { return };
    let gated = gated("setsid sh -c 'sleep 600' >/dev/null & sleep 0; setsid sleep 600 > /dev/null & echo $!");
    here.0.take(gated.identity().pid);
    printed(gated).await;
    assert!(!here.group().processes().unwrap().is_empty());
    here.group().end(SOON).await.unwrap();
    assert!(here.group().folders.iter().all(|folder| !folder.exists()));
    here.group().end(SOON).await.unwrap();
}

#[tokio::test]
async fn a_group_of_the_name_that_is_there_already_is_not_taken() {
    let limits = Limits { processes: Some(100), ..Limits::default() };
    let Some(here) = Here::made("twice", &limits) else { return };
    let again = Root::here().make(&format!("test-twice-{}", std::process::id()), &limits);
    assert_eq!(again.group, Group::default());
    let why = &again.unheld[&Controller::Pids];
    assert!(why.contains("File exists"), "{why}");
    assert_eq!(here.read("pids.max"), "100");
}

/// The hierarchy of v2 may be there without the controllers: membership and end are the same all the same.
#[tokio::test]
async fn a_group_of_v2_takes_a_process_in_and_ends_with_it() {
    let here = hierarchies();
    let Some(own) = here.v2 else {
        // A machine of v1 alone lacks nothing.
        if !Controller::ALL.iter().all(|one| here.v1.contains_key(one)) {
            leave_out(&"neither v1 nor v2");
        }
        return;
    };
    let folder = own.join(format!("helium-test-{}", std::process::id()));
    if let Err(error) = fs::create_dir(&folder) {
        return leave_out(&format!("{}: {error}", folder.display()));
    }
    let group = Group { folders: vec![folder.clone()] };
    let gated = gated("sleep 600 & wait");
    let pid = gated.identity().pid;
    fs::write(folder.join("cgroup.procs"), pid.to_string()).unwrap();
    let mut process = gated.open().await;
    assert!(group.processes().unwrap().contains(&pid));
    group.end(SOON).await.unwrap();
    assert_eq!(process.ended().await, Exit::Signal(9));
    assert!(!folder.exists());
}

fn hierarchies() -> Hierarchies {
    let read = |file: &str| fs::read_to_string(Path::new("/proc/self").join(file)).unwrap_or_default();
    Hierarchies::read(&read("mountinfo"), &read("cgroup"))
}

#[test]
fn what_can_be_limited_here_is_what_a_group_takes_and_trying_it_leaves_no_group() {
    let root = Root::here();
    let usable = root.usable();
    let limits = Limits { memory: Some(64 << 20), cpu: Some(1000), processes: Some(1) };
    let tried = root.plan(&format!("looked-at-by-{}", std::process::id()), &limits);
    assert!(tried.folders.iter().all(|folder| !folder.exists()), "{tried:?}");
    let made = root.make(&format!("test-usable-{}", std::process::id()), &limits);
    let here = Here(made);
    for controller in Controller::ALL {
        assert_ne!(usable.contains_key(&controller), here.0.unheld.contains_key(&controller), "{:?}", here.0.unheld);
    }
    assert_eq!(Root::at(Hierarchies::default()).usable(), [].into());
}
