//! The task of one service: has Consul know of it what it is to know.

use std::time::Duration;

use consul_client::{Client, Error};
use helium_runtime::{
    backoff::{Backoff as _, Exponential},
    ports::Ports,
};
use helium_supervisor::{CheckReport, Handle};
use tokio::sync::{
    broadcast::{Receiver, error::RecvError},
    watch,
};

use super::{
    Beat, Registration,
    wanted::{Life, Wanted, Word},
};

/// How often what Consul has is compared with what it is to have, a fifth more or less.
const LOOK_EVERY: Duration = Duration::from_secs(15);
const LOOK_SPREAD: u32 = 20;
/// The waits while Consul does not do what it is asked.
const RETRY: Duration = Duration::from_millis(500);
const RETRY_MOST: Duration = Duration::from_secs(5);

/// What the agent of Consul has, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Known {
    /// Nothing.
    Nothing,
    /// This registration, and this was the last word.
    Told(Registration, u64),
    /// Something, perhaps.
    Unsure,
}

/// The keeper of one service.
pub(super) struct Keeper {
    registration: Registration,
    wishes: watch::Receiver<Option<Registration>>,
    client: Client,
    handle: Handle,
    ports: Ports,
    wanted: Wanted,
    known: Known,
    /// Whether the last request failed.
    away: bool,
    next_look: Duration,
    next_beat: Option<Duration>,
    retry_at: Option<Duration>,
    backoff: Exponential,
}

/// What a keeper woke up for.
enum Woken {
    Life(Life),
    Ended,
    Check(CheckReport),
    Wish(Option<Registration>),
    Maintenance(bool),
    Timer,
}

impl Keeper {
    pub(super) fn new(
        registration: Registration,
        wishes: watch::Receiver<Option<Registration>>,
        client: Client,
        handle: Handle,
        ports: Ports,
    ) -> Self {
        let now = ports.monotonic();
        let mut wanted = Wanted::default();
        wanted.begin(&registration);
        Self {
            next_look: now + ports.jittered(LOOK_EVERY, LOOK_SPREAD),
            next_beat: registration.beat.interval().map(|interval| now + interval),
            retry_at: None,
            backoff: Exponential::new(RETRY, RETRY_MOST, ports.clone()).at_least(RETRY / 5),
            wanted,
            known: Known::Nothing,
            away: false,
            registration,
            wishes,
            client,
            handle,
            ports,
        }
    }

    /// Keeps the service until it is no longer wished for, or the supervisor has ended; then deregisters it.
    pub(super) async fn run(mut self, mut maintenance: watch::Receiver<bool>) {
        let Ok(mut checks) = self.handle.checks() else { return };
        let mut life = Life::of(&self.handle.jobs(), &self.registration.job);
        self.wanted.lives(life, &self.registration);
        let on = *maintenance.borrow_and_update();
        self.wanted.maintained(on, &self.registration);
        loop {
            self.act().await;
            match self.next(life, &mut checks, &mut maintenance).await {
                Woken::Life(now) => {
                    life = now;
                    self.wanted.lives(life, &self.registration);
                }
                Woken::Check(report) => {
                    if report.job == self.registration.job && self.registration.beat == Beat::Checks {
                        self.wanted.checked(report.passed, &report.output);
                    }
                }
                Woken::Maintenance(on) => self.wanted.maintained(on, &self.registration),
                Woken::Wish(Some(wish)) => {
                    self.next_beat = wish.beat.interval().map(|interval| self.ports.monotonic() + interval);
                    self.registration = wish;
                }
                Woken::Timer => self.beat(),
                Woken::Ended | Woken::Wish(None) => return self.end().await,
            }
        }
    }

    async fn next(
        &mut self,
        life: Life,
        checks: &mut Receiver<CheckReport>,
        maintenance: &mut watch::Receiver<bool>,
    ) -> Woken {
        // While Consul is left alone nothing is looked at either.
        let act = self.retry_at.unwrap_or(self.next_look);
        let soonest = self.next_beat.map_or(act, |beat| beat.min(act));
        let job = self.registration.job.clone();
        let changed = |jobs: &Vec<_>| Life::of(jobs, &job) != life;
        loop {
            tokio::select! {
                biased;
                changed = self.wishes.changed() => {
                    let wish = self.wishes.borrow_and_update().clone();
                    return Woken::Wish(wish.filter(|_| changed.is_ok()));
                }
                jobs = self.handle.until(changed) => {
                    return jobs.map_or(Woken::Ended, |jobs| Woken::Life(Life::of(&jobs, &self.registration.job)));
                }
                Ok(()) = maintenance.changed() => return Woken::Maintenance(*maintenance.borrow_and_update()),
                report = checks.recv() => match report {
                    Ok(report) => return Woken::Check(report),
                    // What is lost is said again by the next check.
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return Woken::Ended,
                },
                () = self.ports.sleep_until(soonest) => return Woken::Timer,
            }
        }
    }

    fn beat(&mut self) {
        let now = self.ports.monotonic();
        if self.next_beat.is_some_and(|at| at <= now) {
            self.next_beat = self.registration.beat.interval().map(|interval| now + interval);
            self.wanted.beat(&self.registration);
        }
    }

    /// Brings Consul one step nearer, unless it is to be left alone for a while.
    async fn act(&mut self) {
        let now = self.ports.monotonic();
        if self.retry_at.is_some_and(|at| at > now) {
            return;
        }
        let look = self.next_look <= now;
        if look {
            self.next_look = now + self.ports.jittered(LOOK_EVERY, LOOK_SPREAD);
        }
        let outcome = self.reconcile(look).await;
        self.retry_at = None;
        match outcome {
            Ok(()) if self.away => {
                self.away = false;
                self.backoff.reset();
                tracing::info!(service = %self.registration.name, "Consul knows of the service again");
            }
            Ok(()) => {}
            Err(error) => {
                if !std::mem::replace(&mut self.away, true) {
                    tracing::warn!(service = %self.registration.name, %error, "Consul cannot be told of the service; it is tried again");
                }
                self.retry_at = Some(self.ports.monotonic() + self.backoff.next());
            }
        }
    }

    async fn reconcile(&mut self, look: bool) -> Result<(), Error> {
        let Some(word) = self.wanted.word().cloned() else {
            if self.known != Known::Nothing {
                self.client.agent_deregister_service(&self.registration.id).await?;
                self.known = Known::Nothing;
            }
            return Ok(());
        };
        if look && self.known != Known::Nothing && !self.is_there().await? {
            tracing::warn!(service = %self.registration.name, "Consul's agent no longer has the service as it was registered; it is registered again");
            self.known = Known::Unsure;
        }
        match &self.known {
            Known::Told(registration, number) if *registration == self.registration => {
                if *number != word.number {
                    self.renew(&word).await?;
                }
            }
            _ => self.register(&word).await?,
        }
        Ok(())
    }

    async fn register(&mut self, word: &Word) -> Result<(), Error> {
        self.known = Known::Unsure;
        self.client.agent_register_service(&self.registration.definition(word.status), false).await?;
        self.tell(word).await
    }

    /// Renews the TTL; an agent that does not know it has lost the service and gets it again.
    async fn renew(&mut self, word: &Word) -> Result<(), Error> {
        match self.tell(word).await {
            Err(Error::NotFound { .. }) => {
                tracing::warn!(service = %self.registration.name, "Consul's agent has lost the service; it is registered again");
                self.register(word).await
            }
            outcome => outcome,
        }
    }

    async fn tell(&mut self, word: &Word) -> Result<(), Error> {
        self.client.agent_update_ttl(&self.registration.check_id(), word.status, &word.output).await?;
        self.known = Known::Told(self.registration.clone(), word.number);
        Ok(())
    }

    async fn is_there(&self) -> Result<bool, Error> {
        let wanted = &self.registration;
        let services = self.client.agent_services().await?;
        let same = services.get(&wanted.id).is_some_and(|service| {
            service.service == wanted.name
                && service.port == wanted.port
                && service.address == wanted.address.to_string()
                && (wanted.enable_tag_override || service.tags == wanted.tags)
        });
        Ok(same && self.client.agent_checks().await?.contains_key(&wanted.check_id()))
    }

    async fn end(&mut self) {
        if self.known == Known::Nothing {
            return;
        }
        if let Err(error) = self.client.agent_deregister_service(&self.registration.id).await {
            tracing::warn!(service = %self.registration.name, %error, "the service stays in Consul until its TTL is over");
        }
    }
}
