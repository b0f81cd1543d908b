//! The stories.

use std::{fs, time::Duration};

use helium_nix::{
    Hail, Options, Outcome,
    options::Error,
    people::{self, Granted},
    record::{Record, Way, Why},
    status::About,
};
use helium_processes::ProcessIdentity;
use helium_runtime::{ports::Ports, shutdown::Shutdown};

use crate::{
    hydra::{Build, Server},
    nix::{Nix, is_there},
};

mod service;

async fn once(options: Options) -> Outcome {
    Hail::open(options, Ports::real()).unwrap().once().await.unwrap()
}

/// Whether a process of this number runs; one that has ended and that nobody has asked about does not.
fn is_alive(pid: &str) -> bool {
    ProcessIdentity::of(pid.parse().unwrap()).is_some()
}

/// Waits for what another task brings about.
async fn until(mut holds: impl FnMut() -> bool) {
    let looked = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), looked).await.expect("it has not come about within 30 s");
}

#[tokio::test]
async fn a_new_build_is_switched_to_and_activated_and_the_same_one_does_nothing() {
    let (nix, hydra) = (Nix::new(), Server::start().await);
    let options = nix.options(&hydra.job());
    hydra.builds(&nix.web("one"));
    assert_eq!(once(options.clone()).await, Outcome::Updated);
    assert_eq!(once(options.clone()).await, Outcome::UpToDate);
    assert_eq!((nix.said(), nix.generations()), (vec!["one".to_owned()], vec![1]));
    hydra.builds(&nix.web("two"));
    assert_eq!(once(options.clone()).await, Outcome::Updated);
    assert_eq!((nix.said().len(), nix.generations()), (2, vec![1, 2]));
    let status = nix.status();
    assert_eq!((status.build, status.generation.unwrap().number), (Some(2), 2));
    assert!([About::Fetched, About::Active, About::Newest].iter().all(|about| status.conditions[about].holds));
    assert!(hydra.heard.lock().unwrap()[0].to_lowercase().contains("accept: application/json"));
}

#[tokio::test]
async fn an_answer_that_has_not_changed_is_not_sent_again() {
    let (nix, hydra) = (Nix::new(), Server::start().await);
    hydra.builds(&nix.web("one"));
    let mut hail = Hail::open(nix.options(&hydra.job()), Ports::real()).unwrap();
    assert_eq!(hail.once().await.unwrap(), Outcome::Updated);
    assert_eq!(hail.once().await.unwrap(), Outcome::UpToDate);
    let heard = hydra.heard.lock().unwrap().clone();
    assert!(heard.last().unwrap().to_lowercase().contains("if-none-match: \"build-1\""), "{heard:?}");
}

#[tokio::test]
async fn an_activation_that_fails_is_tried_again_and_then_taken_back_for_good() {
    let (nix, hydra) = (Nix::new(), Server::start().await);
    let options = nix.options(&hydra.job());
    let (one, two) = (nix.web("one"), nix.broken("two"));
    hydra.builds(&one);
    once(options.clone()).await;
    hydra.builds(&two);
    assert_eq!(once(options.clone()).await, Outcome::RolledBack);
    assert_eq!(nix.said(), ["one", "two", "two", "two", "one"]);
    assert_eq!((nix.at(), nix.generations()), (one, vec![1, 2]), "it goes back to the generation that there is");
    assert_eq!(once(options.clone()).await, Outcome::RolledBack, "whoever looks is told again");
    assert_eq!(nix.said().len(), 5);
    let status = nix.status();
    assert_eq!((status.refused[0].target.path.as_str(), status.refused[0].why), (two.as_str(), Why::Failed));
    assert!(status.refused[0].words.contains("no two"), "{:?}", status.refused);
    assert_eq!(status.last_error.unwrap().name, "ActivationFailed");
    let log = fs::read_to_string(options.state().with_extension("json.log")).unwrap();
    assert_eq!(log.matches("no two").count(), 3);
    let three = nix.web("three");
    hydra.builds(&three);
    assert_eq!(once(options).await, Outcome::Updated);
    assert_eq!(nix.at(), three);
}

#[tokio::test]
async fn the_way_back_leads_to_what_was_good_and_not_to_the_number_before() {
    let (nix, hydra) = (Nix::new(), Server::start().await);
    let options = nix.options(&hydra.job());
    let one = nix.web("one");
    for path in [&one, &nix.broken("two"), &nix.broken("three")] {
        hydra.builds(path);
        once(options.clone()).await;
    }
    assert_eq!((nix.at(), nix.generations()), (one, vec![1, 2, 3]));
}

#[tokio::test]
async fn a_first_build_that_fails_has_no_way_back_until_a_person_asks_again() {
    let (nix, hydra) = (Nix::new(), Server::start().await);
    let options = nix.options(&hydra.job());
    let fails_without = format!("test -e {}", nix.file("leave").display());
    hydra.builds(&nix.path("one", &[("activate", &fails_without)]));
    assert_eq!(once(options.clone()).await, Outcome::NoWayBack);
    fs::write(nix.file("leave"), "").unwrap();
    assert_eq!(once(options.clone()).await, Outcome::NoWayBack);
    let granted = people::retry(options.clone(), Ports::real()).await.unwrap();
    assert_eq!(granted, Granted::Now(Outcome::Updated));
}

#[tokio::test]
async fn an_activation_that_hangs_is_killed_with_all_it_started_at_its_limit() {
    let (nix, hydra) = (Nix::new(), Server::start().await);
    let options = Options { activate_limit: Duration::from_millis(300), tries: 1, ..nix.options(&hydra.job()) };
    let one = nix.web("one");
    hydra.builds(&one);
    once(options.clone()).await;
    hydra.builds(&nix.path("two", &[("activate", "sleep 600 & echo $! > $SAID.pid; wait")]));
    assert_eq!(once(options).await, Outcome::RolledBack);
    assert_eq!(nix.at(), one);
    let child = fs::read_to_string(nix.file("said.pid")).unwrap();
    until(|| !is_alive(child.trim())).await;
    let words = nix.status().last_error.unwrap().words;
    assert!(words.contains("was ended after 0.3 s"), "{words}");
}

#[tokio::test]
async fn a_kill_between_set_and_activate_is_made_good_by_the_next_start() {
    let (nix, hydra) = (Nix::new(), Server::start().await);
    let options = nix.options(&hydra.job());
    let go = nix.file("go").display().to_string();
    let waits = format!("echo begun >> $SAID; test -e {go} || sleep 600; echo done >> $SAID");
    let two = nix.path("two", &[("activate", &waits)]);
    hydra.builds(&nix.web("one"));
    once(options.clone()).await;
    hydra.builds(&two);
    let mut hail = Hail::open(options.clone(), Ports::real()).unwrap();
    tokio::select! {
        biased;
        _ = hail.once() => panic!("it does not end by itself"),
        () = until(|| nix.said().contains(&"begun".to_owned())) => {}
    }
    drop(hail);
    let attempt = Record::load(&options.state()).unwrap().attempt.unwrap();
    assert_eq!((attempt.way, attempt.target.path.as_str(), nix.at()), (Way::Forward, two.as_str(), two.clone()));
    fs::write(&go, "").unwrap();
    // Hydra is away, and that is no reason not to go on.
    hydra.set(|has| has.builds.clear());
    assert_eq!(once(options.clone()).await, Outcome::FetchFailed);
    assert_eq!(nix.said(), ["one", "begun", "begun", "done"]);
    assert_eq!(nix.generations(), [1, 2]);
    assert!(Record::load(&options.state()).unwrap().settled.unwrap().well);
}

/// The program that is killed is this one again, in another process.
#[tokio::test]
async fn what_a_killed_program_has_left_running_is_ended_before_it_is_run_again() {
    let (nix, hydra) = (Nix::new(), Server::start().await);
    let options = nix.options(&hydra.job());
    let go = nix.file("go");
    let waits = format!("echo $$ >> $SAID; test -e {} || sleep 600; echo done >> $SAID", go.display());
    let one = nix.path("one", &[("activate", &waits)]);
    hydra.builds(&one);
    let mut again = tokio::process::Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "real_nix::inside", "--ignored"]).env_clear().envs(&options.env);
    again.envs([("JOB", hydra.job()), ("NIX_ENV", options.nix_env.clone())]).env("PROFILE", nix.profile());
    let mut program = again.kill_on_drop(true).stdout(std::process::Stdio::null()).spawn().unwrap();
    until(|| nix.said().len() == 1).await;
    program.kill().await.unwrap();
    let left = nix.said().remove(0);
    assert!(is_alive(&left), "the activation outlives the program");
    fs::write(&go, "").unwrap();
    assert_eq!(once(options).await, Outcome::Updated);
    let said = nix.said();
    assert_eq!((said.len(), said[2].as_str(), nix.at()), (3, "done", one));
    until(|| !is_alive(&left)).await;
}

#[tokio::test]
#[ignore = "runs in the process that the test above starts"]
async fn inside() {
    let Ok(job) = std::env::var("JOB") else { return };
    let env = |name: &str| std::env::var(name).unwrap();
    let options = Options {
        job_uri: Some(job),
        nix_env: env("NIX_ENV"),
        env: std::env::vars().collect(),
        ..Options::new(env("PROFILE"))
    };
    once(options).await;
}

#[tokio::test]
async fn a_profile_that_was_there_before_is_activated_at_the_start_and_once() {
    let (nix, hydra) = (Nix::new(), Server::start().await);
    let options = nix.options(&hydra.job());
    let profile = nix.profile().display().to_string();
    fs::create_dir_all(nix.profile().parent().unwrap()).unwrap();
    nix.run("nix-env", &["--profile", &profile, "--set", &nix.web("old")]);
    assert_eq!(once(options.clone()).await, Outcome::FetchFailed);
    assert_eq!(once(options.clone()).await, Outcome::FetchFailed);
    assert_eq!(nix.said(), ["old"]);
    once(Options { activate_always: true, ..options }).await;
    assert_eq!(nix.said(), ["old", "old"]);
}

#[tokio::test]
async fn a_login_that_is_wrong_is_told_and_one_that_is_right_is_sent() {
    let (nix, hydra) = (Nix::new(), Server::start().await);
    hydra.builds(&nix.web("one"));
    hydra.set(|has| has.wants = Some("Basic bWU6cmlnaHQ=".to_owned()));
    let netrc = nix.file("netrc");
    let options = Options { netrc_file: Some(netrc.clone()), ..nix.options(&hydra.job()) };
    let missing = Hail::open(options.clone(), Ports::real()).err().unwrap();
    assert!(missing.is_usage() && missing.to_string().contains("netrc"), "{missing}");
    fs::write(&netrc, "machine 127.0.0.1 login me password wrong").unwrap();
    let mut hail = Hail::open(options, Ports::real()).unwrap();
    let outcome = hail.once().await.unwrap();
    assert_eq!((outcome, outcome.code()), (Outcome::FetchFailed, 1));
    let error = nix.status().last_error.unwrap();
    assert_eq!(error.name, "Login");
    assert!(error.words.contains("401") && error.words.contains("netrc") && !error.words.contains("wrong,"));
    assert!(!is_there(&nix.profile()));
    fs::write(&netrc, "machine 127.0.0.1 login me password right").unwrap();
    assert_eq!(hail.once().await.unwrap(), Outcome::Updated, "the file is read again");
}

#[tokio::test]
async fn what_hydra_answers_otherwise_is_told_by_name_and_touches_nothing() {
    let (nix, hydra) = (Nix::new(), Server::start().await);
    let options = nix.options(&hydra.job());
    let told = async || {
        assert_eq!(once(options.clone()).await, Outcome::FetchFailed);
        nix.status().last_error.unwrap().name
    };
    assert_eq!(told().await, "Nothing");
    hydra.builds(&nix.web("one"));
    hydra.set(|has| has.builds[0].outputs = [("doc", "/x".to_owned())].into());
    assert_eq!(told().await, "NoOutput");
    hydra.set(|has| has.says = Some("<html>a page for people</html>".to_owned()));
    assert_eq!(told().await, "NotJson");
    assert!(!is_there(&nix.profile()));
    let (closed, gone) = (tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap(), nix.options(""));
    let job = format!("http://{}/job/p/main/web", closed.local_addr().unwrap());
    drop(closed);
    assert_eq!(once(Options { job_uri: Some(job), ..gone }).await, Outcome::FetchFailed);
    assert_eq!(nix.status().last_error.unwrap().name, "Lost");
}

#[tokio::test]
async fn a_path_that_cannot_be_had_leaves_the_profile_where_it_is() {
    let (nix, hydra) = (Nix::new(), Server::start().await);
    let options = nix.options(&hydra.job());
    let one = nix.web("one");
    hydra.builds(&one);
    once(options.clone()).await;
    hydra.builds(&one.replace("-one", "-two"));
    let outcome = once(options.clone()).await;
    assert_eq!((outcome, outcome.code(), nix.at()), (Outcome::SwitchFailed, 3, one));
    assert!(Record::load(&options.state()).unwrap().refused.is_empty(), "it may come yet");
    let nowhere = Options { nix_env: "/no/nix-env".to_owned(), ..options };
    assert_eq!(once(nowhere).await, Outcome::SwitchFailed);
    assert!(nix.status().last_error.unwrap().words.contains("cannot be started: no program `/no/nix-env`"));
}

#[tokio::test]
async fn the_whole_jobset_is_waited_for() {
    let (nix, hydra) = (Nix::new(), Server::start().await);
    let options = Options { whole_jobset: true, ..nix.options(&hydra.job()) };
    hydra.builds(&nix.web("one"));
    let other = |status| Build { id: 2, job: "tests", status, outputs: [].into() };
    hydra.set(|has| {
        has.evaluation = 9;
        has.builds.push(other(None));
    });
    for status in [None, Some(1)] {
        hydra.set(|has| has.builds[1] = other(status));
        assert_eq!(once(options.clone()).await, Outcome::FetchFailed);
        let error = nix.status().last_error.unwrap();
        assert!(error.name == "NotWhole" && error.words.contains("evaluation 9"), "{error:?}");
        assert!(!is_there(&nix.profile()));
    }
    hydra.set(|has| has.builds[1] = other(Some(0)));
    assert_eq!(once(options).await, Outcome::Updated);
    let wanted = nix.status().wanted.unwrap();
    assert_eq!((wanted.build, wanted.evaluation), (Some(1), Some(9)));
}

#[tokio::test]
async fn a_person_goes_back_and_hydra_s_build_is_left_alone_until_there_is_another() {
    let (nix, hydra) = (Nix::new(), Server::start().await);
    let options = nix.options(&hydra.job());
    let (one, two, three) = (nix.web("one"), nix.web("two"), nix.web("three"));
    hydra.builds(&one);
    once(options.clone()).await;
    let nothing = people::roll_back(options.clone(), Ports::real()).await.unwrap_err();
    assert!(matches!(nothing, Error::NothingGood));
    hydra.builds(&two);
    once(options.clone()).await;
    let to = people::roll_back(Options { job_uri: None, ..options.clone() }, Ports::real()).await.unwrap();
    assert_eq!((to, nix.at()), (Granted::Now(Outcome::Updated), one.clone()));
    assert_eq!(once(options.clone()).await, Outcome::UpToDate);
    assert_eq!(nix.at(), one);
    hydra.builds(&three);
    once(options.clone()).await;
    assert_eq!(nix.at(), three);
}

#[tokio::test]
async fn the_way_back_outlives_a_garbage_collection_that_deletes_old_generations() {
    let (nix, hydra) = (Nix::new(), Server::start().await);
    let options = nix.options(&hydra.job());
    let paths = ["one", "two", "three"].map(|name| nix.web(name));
    for path in &paths {
        hydra.builds(path);
        once(options.clone()).await;
    }
    nix.run("nix-env", &["--profile", &nix.profile().display().to_string(), "--delete-generations", "old"]);
    nix.run("nix-store", &["--gc"]);
    let there = paths.clone().map(|path| is_there(path.as_ref()));
    assert_eq!((there, nix.generations()), ([false, true, true], vec![3]));
    let to = people::roll_back(options.clone(), Ports::real()).await.unwrap();
    assert_eq!((to, nix.at(), nix.generations()), (Granted::Now(Outcome::Updated), paths[1].clone(), vec![3, 4]));
    // What is behind that has gone for good.
    hydra.builds(&nix.broken("four"));
    assert_eq!(once(options).await, Outcome::RolledBack);
    assert_eq!(nix.at(), paths[1]);
}

#[tokio::test]
async fn a_rollback_of_nix_itself_is_followed() {
    let (nix, hydra) = (Nix::new(), Server::start().await);
    let options = nix.options(&hydra.job());
    let one = nix.web("one");
    for path in [&one, &nix.web("two")] {
        hydra.builds(path);
        once(options.clone()).await;
    }
    nix.run("nix-env", &["--profile", &nix.profile().display().to_string(), "--rollback"]);
    once(options.clone()).await;
    assert_eq!((nix.at(), nix.said()), (one, ["one", "two", "one"].map(str::to_owned).to_vec()));
}

#[tokio::test]
async fn who_follows_obeys_a_person_and_takes_what_comes() {
    let (nix, hydra) = (Nix::new(), Server::start().await);
    let (socket, heard) = (nix.file("notify"), std::os::unix::net::UnixDatagram::bind(nix.file("notify")).unwrap());
    let options = Options {
        poll_period: Duration::from_millis(50),
        notify_socket: Some(socket.into_os_string()),
        ..nix.options(&hydra.job())
    };
    let listening = std::thread::spawn(move || hear(&heard));
    let (one, two) = (nix.web("one"), nix.web("two"));
    hydra.builds(&one);
    let (stop, shutdown) = Shutdown::new();
    let running = tokio::spawn(Hail::open(options.clone(), Ports::real()).unwrap().run(shutdown));
    until(|| nix.said() == ["one"]).await;
    assert!(matches!(Hail::open(options.clone(), Ports::real()), Err(Error::Locked { .. })));
    assert!(matches!(people::remove(&options).await, Err(Error::Locked { .. })));
    hydra.builds(&two);
    until(|| nix.said() == ["one", "two"]).await;
    until(|| Record::load(&options.state()).unwrap().settled.is_some_and(|settled| settled.generation.path == two))
        .await;
    let left = people::roll_back(options.clone(), Ports::real()).await.unwrap();
    assert_eq!(left, Granted::Left);
    until(|| nix.said() == ["one", "two", "one"]).await;
    stop.trigger();
    running.await.unwrap();
    let words = listening.join().unwrap();
    assert!(words.contains(&"READY=1".to_owned()) && words.contains(&"STATUS=updated".to_owned()), "{words:?}");
}

/// What systemd would hear, up to the end.
fn hear(socket: &std::os::unix::net::UnixDatagram) -> Vec<String> {
    let (mut words, mut bytes) = (Vec::new(), [0; 256]);
    while words.last().is_none_or(|last| last != "STOPPING=1") {
        let length = socket.recv(&mut bytes).unwrap();
        words.push(String::from_utf8_lossy(&bytes[..length]).into_owned());
    }
    words
}

#[tokio::test]
async fn a_profile_without_activation_is_set_and_that_is_all() {
    let (nix, hydra) = (Nix::new(), Server::start().await);
    let data = nix.path("data", &[]);
    hydra.builds(&data);
    assert_eq!(once(nix.options(&hydra.job())).await, Outcome::Updated);
    assert_eq!(nix.at(), data);
}

#[tokio::test]
async fn what_is_removed_is_deactivated_first_and_leaves_nothing_behind() {
    let (nix, hydra) = (Nix::new(), Server::start().await);
    let options = nix.options(&hydra.job());
    let allowed = nix.file("allowed").display().to_string();
    let deactivate = format!("test -e {allowed} && echo gone >> $SAID");
    for name in ["one", "two"] {
        hydra.builds(&nix.path(name, &[("activate", "echo here >> $SAID"), ("deactivate", &deactivate)]));
        once(options.clone()).await;
    }
    let refused = people::remove(&options).await.unwrap_err();
    assert!(matches!(refused, Error::Deactivation { .. }) && nix.generations() == [1, 2], "{refused}");
    once(options.clone()).await;
    assert_eq!(nix.said().len(), 3, "who follows it all the same does not take it for active");
    fs::write(&allowed, "").unwrap();
    people::remove(&options).await.unwrap();
    assert_eq!(nix.said(), ["here", "here", "here", "gone"]);
    let names = fs::read_dir(nix.profile().parent().unwrap()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name.starts_with("web")).collect::<Vec<_>>(), ["web.hail.json.lock"]);
    people::remove(&options).await.unwrap();
}
