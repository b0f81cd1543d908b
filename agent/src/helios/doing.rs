//! What the [machine](super::machine) decided, done for one service. Each of these may be done twice.

use std::{path::PathBuf, sync::Arc, time::Duration};

use consul_client::{CheckStatus, Read};
use helium_election::{
    Keys,
    upgrade::{Gate, Limits},
};
use helium_processes::{Command, Signal, gate};
use tokio::time::timeout;

use super::{
    agent::Place,
    config::HeliosConfig,
    leader::{Leader, Stand},
    machine::{Checks, Green, Maintenance, Step},
    record::{Event, Found, Target},
    registration::{self, REASON, check_id},
    rendering::Package,
    service::{CALL_LIMIT, Service},
    upgrade::{self, Upgrade},
    watching::Seen,
    wish,
};
use crate::{
    checks::Around,
    hooks::{Hook, HookRun},
    package::{packages::Wanted, preparation::limit_of},
};

/// How often the catalog is looked at.
const CATALOG_LOOK: Duration = Duration::from_millis(100);

impl Service {
    /// Does a step.
    pub(super) async fn perform(&mut self, step: Step, seen: &Seen) {
        match step {
            Step::Rest(_) | Step::Forget | Step::Leave => {}
            Step::Fetch(target) => self.fetch(&target, seen),
            Step::AskLock(what) => self.ask_lock(what),
            Step::ReleaseLock => {
                if let Some(lock) = self.lock.take() {
                    lock.release().await;
                }
            }
            Step::Begin { target, live } => self.begin(target, live, seen).await,
            Step::Drain => self.drain().await,
            Step::Undrain => {
                self.maintain(false).await;
                self.await_catalog().await;
            }
            Step::Stop => self.stop().await,
            Step::Install(target) => self.install(&target).await,
            Step::Switch(target) => match self.common.packages.make_current(&self.name, &target.version).await {
                Ok(()) => self.note(Event::Switched).await,
                Err(words) => self.note(Event::Failed(words)).await,
            },
            Step::Render(target) => self.render(&target).await,
            Step::Start => self.start().await,
            Step::NoteEnd(exit) => {
                self.common.showing.telemetry.metrics().restarts.inc();
                self.process = None;
                self.scripts.end();
                self.note(Event::Ended(exit)).await;
            }
            Step::Register(checks) => self.register(checks).await,
            Step::NoteProven => {
                self.note(Event::Proven).await;
                tracing::info!(service = self.name, good = ?self.record.good, "it serves");
            }
            Step::Fail(reason) => self.note(Event::Failed(reason)).await,
            Step::MarkBad => self.mark_bad().await,
            Step::Deregister => {
                let id = self.name.clone();
                let client = self.common.client.clone();
                self.call(client.agent_deregister_service(&id)).await;
            }
        }
    }

    /// One call to Consul; true if it was done.
    async fn call<T>(&mut self, call: impl Future<Output = Result<T, consul_client::Error>>) -> bool {
        let failed = match timeout(CALL_LIMIT, call).await {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("no answer".to_owned()),
        };
        self.look_soon();
        match failed {
            None => true,
            Some(words) => {
                self.consul_failed(&words);
                false
            }
        }
    }

    /// Begins to fetch a version; one that nobody wants any more is given up.
    fn fetch(&mut self, target: &Target, seen: &Seen) {
        let version = target.version.clone();
        if let Some((_, other)) = self.fetching.take() {
            other.abort();
        }
        let sha256 = seen.wish.sha256.get(&version).cloned();
        let (common, name, artifacts) = (Arc::clone(&self.common), self.name.clone(), Arc::clone(&self.artifacts));
        let fetched = version.clone();
        let task = tokio::spawn(async move {
            artifacts.fetch(&common.config, &common.ports, &name, &fetched, sha256.as_deref()).await
        });
        self.fetching = Some((version, task));
    }

    /// Takes up what has come of a fetch.
    pub(super) async fn look_at_fetch(&mut self) {
        let Some((_, task)) = self.fetching.take_if(|(_, task)| task.is_finished()) else { return };
        match task.await.unwrap_or_else(|error| Err(format!("it broke off: {error}"))) {
            Ok(()) => {
                self.fetch = <_>::default();
                self.refresh_here();
            }
            Err(words) => self.fetch_failed(words),
        }
    }

    /// Notes the values of a target, so that there is a way back to them, and that it begins.
    async fn begin(&mut self, target: Target, live: bool, seen: &Seen) {
        let wanted = seen.wish.target().as_ref() == Some(&target);
        if wanted && let Err(error) = wish::save(&self.values_of(&target), &seen.wish.config) {
            tracing::error!(service = self.name, %error, "the values cannot be noted; trying again");
            tokio::time::sleep(Duration::from_secs(1)).await;
            return;
        }
        tracing::info!(service = self.name, version = target.version, live, "a change begins");
        self.note(Event::Begun { target, live }).await;
    }

    fn values_of(&self, target: &Target) -> PathBuf {
        self.dir.join("state").join(format!("config-{}.json", target.config))
    }

    async fn drain(&mut self) {
        self.maintain(true).await;
        tokio::time::sleep(self.common.config.drain).await;
    }

    async fn maintain(&mut self, on: bool) {
        let (client, id) = (self.common.client.clone(), self.name.clone());
        self.call(client.agent_service_maintenance(&id, on, REASON)).await;
    }

    /// Waits a while until everybody is told that the service passes: the next node drains as soon as the lock is free.
    async fn await_catalog(&self) {
        let client = &self.common.client;
        let looking = async {
            let node = client.agent_self().await?.node_name;
            loop {
                let checks = client.health_node(&node, &Read::default()).await?.value;
                let mut own = checks.iter().filter(|check| check.service_id == self.name);
                if own.all(|check| check.status == CheckStatus::Passing) {
                    return Ok::<(), consul_client::Error>(());
                }
                tokio::time::sleep(CATALOG_LOOK).await;
            }
        };
        let _ = timeout(CALL_LIMIT, looking).await;
    }

    /// The package of what is rendered.
    fn hook(&self, hook: Hook) -> Option<HookRun> {
        let version = &self.record.current.as_ref()?.version;
        let folder = self.common.packages.folder(&self.name, version).ok()?;
        let state = self.dir.join("state");
        Some(HookRun {
            hook,
            limit: limit_of(hook, &folder),
            package: folder,
            env: self.env(version),
            log: state.join(format!("hook-{hook}.log")),
            note: state.join(format!("hook-{hook}.running")),
            counted: Some(self.common.showing.telemetry.clone()),
        })
    }

    async fn run_hook(&self, hook: Hook) -> Result<(), String> {
        match self.hook(hook) {
            Some(run) => run.to_success().await.map(drop),
            None => Ok(()),
        }
    }

    /// A hook whose failure keeps nothing from going on.
    async fn try_hook(&self, hook: Hook) {
        if let Err(words) = self.run_hook(hook).await {
            tracing::warn!(service = self.name, words, "it goes on all the same");
        }
    }

    async fn stop(&mut self) {
        self.scripts.end();
        if let Some(leader) = self.leader.take() {
            leader.release().await;
        }
        if self.record.up {
            self.try_hook(Hook::PreStop).await;
        }
        if let (Some(identity), Some(process)) = (self.record.process.clone(), self.process.as_mut()) {
            let _ = identity.signal_group(Signal::TERM);
            if timeout(self.common.config.stop_grace, process.ended()).await.is_err() {
                let _ = identity.signal_group(Signal::KILL);
                process.ended().await;
            }
            identity.sweep_group();
        }
        self.process = None;
        if self.record.up {
            self.try_hook(Hook::PostStop).await;
        }
        self.note(Event::Stopped).await;
    }

    async fn install(&mut self, target: &Target) {
        let package = self.artifacts.package(&target.version);
        let wanted = Wanted {
            service: &self.name,
            version: &target.version,
            package: &package,
            current: false,
            in_use: self.record.good.iter().map(|good| good.version.clone()).collect(),
        };
        let state = self.dir.join("state");
        let env = self.env(&target.version);
        let counted = Some(self.common.showing.telemetry.clone());
        let gate = move |staged: PathBuf| async move {
            let limit = limit_of(Hook::Install, &staged);
            let log = state.join("hook-install.log");
            let note = state.join("hook-install.running");
            let run = HookRun { hook: Hook::Install, package: staged, env, log, note, limit, counted };
            run.to_success().await.map(drop)
        };
        let installed = self.common.packages.install(&wanted, gate).await;
        match installed {
            Ok(_) => {
                self.artifacts.forget(&target.version);
                self.note(Event::Installed).await;
            }
            Err(trouble) => self.note(Event::Failed(trouble.words)).await,
        }
        self.refresh_here();
    }

    async fn render(&mut self, target: &Target) {
        match self.rendered(target).await {
            Ok(found) => {
                // A session hangs on the checks that it was made with.
                if found.checks != self.record.found.checks
                    && let Some(leader) = self.leader.take()
                {
                    leader.release().await;
                }
                self.common.tell_roles(&self.name, &found.roles);
                self.note(Event::Rendered(Box::new(found))).await;
                self.shown = registration::UNSEEN;
                self.look_soon();
            }
            Err(words) => self.note(Event::Failed(words)).await,
        }
    }

    async fn rendered(&self, target: &Target) -> Result<Found, String> {
        let folder = self.common.packages.folder(&self.name, &target.version).map_err(|trouble| trouble.words)?;
        let noted = wish::load(&self.values_of(target)).map_err(|error| format!("the values: {error}"))?;
        let overrides = noted.ok_or("the values of this version are not noted any more")?;
        let package = Package {
            config: &self.common.config,
            lookups: &self.common.lookups,
            telemetry: &self.common.showing.telemetry,
            service: &self.name,
            folder: &folder,
            state: self.dir.join("state"),
            env: self.env(&target.version),
        };
        package.render(&overrides).await
    }

    /// Starts the service: its process behind a gate, which opens once the record names the process.
    async fn start(&mut self) {
        let run = self.record.found.run.clone();
        let Some(version) = self.record.current.as_ref().map(|current| current.version.clone()) else { return };
        if let Err(words) = self.run_hook(Hook::PreStart).await {
            return self.note(Event::StartFailed(words)).await;
        }
        if run.is_empty() {
            self.note(Event::Started(None)).await;
        } else {
            let cwd = self.common.packages.folder(&self.name, &version).unwrap_or_default();
            let command = Command { argv: run, env: self.env(&version), cwd, user: None };
            match gate::start(&command, &self.dir.join("log")) {
                Ok(gated) => {
                    self.note(Event::Started(Some(gated.identity().clone()))).await;
                    self.process = Some(gated.open().await);
                }
                Err(error) => return self.note(Event::StartFailed(format!("it cannot be started: {error}"))).await,
            }
        }
        self.try_hook(Hook::PostStart).await;
        self.look_soon();
    }

    async fn register(&mut self, checks: Checks) {
        let mut wanted = registration::wanted(&self.common.config.node, &self.name, &self.record, self.common.once);
        if checks == Checks::Kept {
            wanted.checks = None;
        }
        let client = self.common.client.clone();
        self.scripts.end();
        self.call(client.agent_register_service(&wanted, false)).await;
    }

    /// Tells the others what failed, before this node goes back and gives its place to the next. Only once it is seen in Consul too it is done: what is not marked would be tried again.
    async fn mark_bad(&mut self) {
        let Some(failed) = self.record.failed.clone() else { return };
        let what = failed.mark();
        tracing::error!(service = self.name, what, reason = failed.reason, "it is marked bad");
        let (gate, keys) = (self.gate(), Arc::clone(&self.keys));
        let marking = async {
            gate.mark(&what, &failed.reason).await?;
            keys.read().await
        };
        if !self.call(marking).await {
            return;
        }
        if self.keys.seen.borrow().wish.bad.contains(&what) {
            self.note(Event::Marked).await;
        } else {
            // The keys of the service are not to be believed at the moment.
            self.consul_failed("a mark that was made is not seen");
        }
    }

    /// Forgets the service; its logs stay for whoever wants to know.
    pub(super) async fn forget(&mut self) -> bool {
        self.try_hook(Hook::Uninstall).await;
        self.common.tell_roles(&self.name, &[]);
        let removed = std::fs::remove_file(self.dir.join("record.json"));
        let gone = match removed {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => std::fs::remove_dir_all(self.dir.join("state")),
        };
        if let Err(error) = gone {
            tracing::error!(service = self.name, %error, "what is noted of it cannot be removed");
            tokio::time::sleep(Duration::from_secs(1)).await;
            return false;
        }
        tracing::info!(service = self.name, "it is not of this node any more");
        true
    }

    /// Where a place in the upgrade lock is noted.
    pub(super) fn upgrade_note(&self) -> PathBuf {
        self.dir.join("upgrade.for")
    }

    fn consul_keys(&self) -> Keys {
        Keys::helios(&self.name, &self.common.config.node)
    }

    fn gate(&self) -> Gate {
        let HeliosConfig { node, max_upgrades, max_hold, session_ttl, .. } = &self.common.config;
        let limits = Limits {
            at_most: *max_upgrades,
            hold: *max_hold,
            ttl: *session_ttl,
            look_every: (*session_ttl / 3).min(Limits::default().look_every),
            ..Limits::default()
        };
        Gate::new(self.common.client.clone(), self.common.ports.clone(), self.consul_keys(), limits, node)
    }

    /// Lines up for the upgrade lock. A line that it stands in for something else is that for this from now on.
    pub(super) fn ask_lock(&mut self, what: String) {
        self.fresh = false;
        self.lock = Some(Upgrade::ask(self.gate(), what, self.upgrade_note()));
    }

    /// Takes up what has become of the lock. Once it is held the keys are read anew.
    pub(super) async fn look_at_lock(&mut self) {
        let Some((place, what)) = self.lock.as_ref().map(|lock| (lock.place(), lock.what().to_owned())) else { return };
        let keys = Arc::clone(&self.keys);
        match place {
            upgrade::Place::Asked => self.fresh = false,
            upgrade::Place::Held if self.fresh => {}
            upgrade::Place::Held => self.fresh = self.call(keys.read()).await,
            upgrade::Place::Passed => self.forget_lock(),
            upgrade::Place::Bad if self.consul_waits() || !self.call(keys.read()).await => {}
            upgrade::Place::Bad => {
                self.forget_lock();
                if !keys.seen.borrow().wish.bad.contains(&what) {
                    self.consul_failed("a mark that is there is not seen");
                }
            }
        }
    }

    fn forget_lock(&mut self) {
        if let Some(lock) = self.lock.take() {
            lock.forget();
        }
    }

    /// The service leads, or waits for that, while it serves well and nobody has put it or its node into maintenance; a role never does.
    pub(super) async fn look_after_leader(&mut self) {
        // What somebody has taken out of service leads nobody.
        let is_out = self.shown.maintenance == Maintenance::Theirs || self.common.showing.is_in_maintenance();
        let leads = self.record.up
            && !is_out
            && self.record.good.is_some()
            && !self.common.once
            && self.orders.borrow().place != Place::Role;
        let green = self.shown.green == Green::Yes && self.record.attempt.is_none();
        if self.leader.is_some() && !leads {
            if let Some(leader) = self.leader.take() {
                leader.release().await;
            }
        } else if self.leader.is_none() && leads && green {
            self.stand_for_lead();
        }
    }

    fn stand_for_lead(&mut self) {
        let HeliosConfig { node, address, session_ttl, .. } = &self.common.config;
        let stand = Stand {
            node: node.clone(),
            address: address.clone(),
            keys: self.consul_keys(),
            ttl: *session_ttl,
            checks: self.record.found.checks.iter().map(|check| check_id(&self.name, &check.name)).collect(),
            note: self.dir.join("leader.session"),
        };
        match Leader::stand(self.common.client.clone(), &self.common.ports, stand) {
            Ok(leader) => self.leader = Some(leader),
            Err(words) => {
                tracing::error!(service = self.name, words, "it cannot stand for the lead");
                self.consul_failed(&words);
            }
        }
    }

    /// The scripts among the checks run while the service does.
    pub(super) fn look_after_scripts(&mut self) {
        let alive = self.record.up && self.shown.registered == super::machine::Registered::Same;
        // Without a process any number will do that stays the same for one start.
        let mark = self.record.process.as_ref().map_or(0, |process| process.pid);
        if !alive || self.scripts.are_of(Some(mark), &self.record.found.checks) {
            return;
        }
        let Some(health) = self.hook(Hook::Health) else { return };
        let (name, told) = (self.name.clone(), Arc::clone(&self.common));
        let around = Around {
            client: self.common.client.clone(),
            view: health.package.clone(),
            state: self.dir.join("state"),
            env: health.env.clone(),
            health,
            id: Box::new(move |check| check_id(&name, check)),
            told: Box::new(move || told.told.notify_waiters()),
        };
        self.scripts.begin(mark, &self.record.found.checks, around);
    }
}
