//! Whoever manages a server of Helium, systemd or its like, is told how it stands with it.

use std::{pin::Pin, time::Duration};

use helium_agent::AgentHandle;
use helium_runtime::{
    notify::{Notifier, Watchdog},
    shutdown::Shutdown,
};
use tokio::{signal::unix::Signal, sync::watch, task::JoinSet};

/// How often the words are looked at; they are told only when they differ.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Begins to tell of an agent: how it stands, that it looks at everything again where SIGHUP asks for that, and that it ends.
pub(super) fn agent(beside: &mut JoinSet<()>, handle: &AgentHandle, hangups: Signal, shutdown: &Shutdown) {
    let (notifier, ending) = (Notifier::of_process(), shutdown.clone());
    beside.spawn(tell_of_agent(handle.clone(), notifier.clone()));
    beside.spawn(look_again(handle.clone(), notifier.clone(), hangups));
    beside.spawn(async move {
        ending.cancelled().await;
        notifier.stopping();
    });
}

/// Has everything looked at again at each SIGHUP. Before the agent is ready for the first time there is nothing that could begin anew.
async fn look_again(handle: AgentHandle, notifier: Notifier, mut hangups: Signal) {
    while hangups.recv().await.is_some() {
        tracing::info!("SIGHUP: everything is looked at again");
        let is_ready = handle.is_ready();
        if is_ready {
            notifier.reloading();
        }
        handle.look_again();
        if is_ready {
            notifier.ready();
        }
    }
}

/// Tells of an agent for ever: that it is ready, what it does, and that its main loop turns.
async fn tell_of_agent(handle: AgentHandle, notifier: Notifier) {
    if !notifier.is_heard() {
        return std::future::pending().await;
    }
    let ready = async {
        handle.ready().await;
        notifier.ready();
        tell_words(&notifier, || handle.words()).await;
    };
    let alive = async {
        match Watchdog::of_process() {
            Some(watchdog) => watchdog.keep(&notifier, handle.pulse()).await,
            None => std::future::pending().await,
        }
    };
    let (mut ready, mut alive) = (std::pin::pin!(ready), std::pin::pin!(alive));
    join(ready.as_mut(), alive.as_mut()).await;
}

/// Tells of an agent over the keys of Helios: that what was noted is taken up, and that it ends. It follows all that it follows by itself,
/// so that a SIGHUP has nothing to do and ends nothing.
pub(super) async fn helios(mut ready: watch::Receiver<bool>, mut hangups: Signal, shutdown: Shutdown) {
    let notifier = Notifier::of_process();
    let _ = ready.wait_for(|ready| *ready).await;
    notifier.ready();
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            heard = hangups.recv() => {
                if heard.is_none() {
                    break;
                }
                notifier.reloading();
                notifier.ready();
            }
        }
    }
    notifier.stopping();
}

/// Tells for ever how it stands, in words, whenever these have changed.
pub(super) async fn tell_words(notifier: &Notifier, words: impl Fn() -> String) {
    let mut told = String::new();
    loop {
        let now = words();
        if now != told {
            notifier.status(&now);
            told = now;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Runs two futures that never end.
async fn join(one: Pin<&mut impl Future>, other: Pin<&mut impl Future>) {
    tokio::select! {
        biased;
        _ = one => {}
        _ = other => {}
    }
}
