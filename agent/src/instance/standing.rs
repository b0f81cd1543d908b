//! How an instance stands at the local Consul agent, as far as its task knows: from what the observer saw, and from what the task
//! did itself, whichever is newer.

use std::{collections::BTreeMap, time::Duration};

use consul_client::{AgentCheck, CheckDefinition, CheckStatus, Error, ServiceDefinition};
use helium_crds::instance::{check_id, nobody_listens, service_id};
use helium_runtime::backoff::wait_after;
use jiff::{SignedDuration, Timestamp};

use super::{
    machine::{Checks, Registered},
    record::Record,
    table::Seen,
};
use crate::{
    failing::failing,
    maintenance,
    registration::{self, Known},
    shared::Shared,
};

/// How long one call to the local Consul agent may take.
const CALL_LIMIT: Duration = Duration::from_secs(3);
/// The wait after the first failed call, at most, and after many.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

/// How an instance stands at the local Consul agent.
pub(crate) struct Standing {
    known: Known,
    /// What was seen in this round or before is older than what was done here.
    since: u64,
    /// True once anything was known.
    asked: bool,
    failures: u32,
    /// The last call failed; the next is not to be made before this instant.
    pub(crate) after: Option<Timestamp>,
    /// Why Consul refuses the registration.
    pub(crate) refusal: Option<String>,
    /// The address it is registered under.
    pub(crate) address: Option<String>,
    /// Failing checks.
    pub(crate) failing: BTreeMap<String, String>,
    /// Whether all checks of the template and of the package pass; none while that is not known of the process that runs.
    pub(crate) passes: Option<bool>,
    /// Whether they have passed for that process; of one that was adopted it may be so.
    has_passed: bool,
    /// How many checks do not pass, those that have not run yet included.
    pub(crate) unpassing: usize,
}

impl Standing {
    /// Of an instance that was never registered, or of one of which nothing is known.
    pub(crate) fn new(is_new: bool) -> Self {
        Self {
            known: if is_new { Known::Absent } else { Known::Unknown },
            since: 0,
            asked: is_new,
            failures: 0,
            after: None,
            refusal: None,
            address: None,
            failing: BTreeMap::new(),
            passes: None,
            has_passed: !is_new,
            unpassing: 0,
        }
    }

    /// True once Consul was asked, so that a report can be whole.
    pub(crate) fn asked(&self) -> bool {
        self.asked
    }

    /// True while the service is in Consul, as far as anybody knows.
    pub(crate) fn is_known(&self) -> bool {
        matches!(self.known, Known::Present(..))
    }

    /// Whether the service is in Consul; none while nobody knows.
    pub(crate) fn is_registered(&self) -> Option<bool> {
        match self.known {
            Known::Present(..) => Some(true),
            Known::Absent => Some(false),
            Known::Unknown => None,
        }
    }

    /// Compared with what should be.
    pub(crate) fn registered(&self, shared: &Shared, record: &Record) -> Registered {
        registration::compare(&registration::wanted(&shared.config, record), &self.known)
    }

    /// Takes over what the observer has seen, unless it is older.
    pub(crate) fn see(&mut self, seen: &Seen, record: &Record) {
        if seen.round <= self.since {
            return;
        }
        let mark = maintenance::mark_id(&record.assignment.id);
        let checks = registration::Checks {
            ids: seen.checks.keys().filter(|id| **id != mark).cloned().collect(),
            mark: seen.checks.get(&mark).map(|check| check.notes.clone()),
        };
        let own = seen.checks.values().filter(|check| check.check_id != mark);
        self.unpassing = own.filter(|check| check.status != CheckStatus::Passing).count();
        self.know(match &seen.service {
            None => Known::Absent,
            Some(service) => Known::Present(Box::new(service.clone()), checks),
        });
        self.failing = failing(record, &seen.checks);
        self.passes = seen.service.as_ref().and_then(|_| self.judge(record, &seen.checks));
        self.has_passed |= self.passes == Some(true);
    }

    /// Whether all checks pass that look at the instance itself. Each begins critical and without a word, and so says nothing before it has run, nor after
    /// it was registered anew. Consul tells the very first look at once, which may come before the process listens: as everywhere, that nobody
    /// listens yet says nothing of one that has never been well.
    fn judge(&self, record: &Record, checks: &BTreeMap<String, AgentCheck>) -> Option<bool> {
        let Record { assignment, checks: packaged, .. } = record;
        let own = assignment.template.checks.iter().map(|check| &check.name);
        let mut all = own.chain(packaged.iter().map(|check| &check.name));
        let passes = |check: Option<&AgentCheck>| check.is_some_and(|check| check.status == CheckStatus::Passing);
        if all.all(|name| passes(checks.get(&check_id(&assignment.id, name)))) {
            return Some(true);
        }
        self.failing.values().any(|said| self.has_passed || !nobody_listens(said)).then_some(false)
    }

    /// Nothing is to be done about it. If that was seen, and no call is waited for, the last call has arrived after all or is needed no more.
    pub(crate) fn rests(&mut self, shared: &Shared, record: &Record) {
        if self.failures > 0 && is_well(self.registered(shared, record), self.after, shared.now()) {
            (self.failures, self.after, self.refusal) = (0, None, None);
            shared.telemetry.stands_well(&record.assignment.id);
        }
    }

    fn know(&mut self, known: Known) {
        self.asked = true;
        self.address = match &known {
            Known::Present(service, _) => Some(service.address.clone()),
            Known::Absent => None,
            Known::Unknown => self.address.take(),
        };
        if !matches!(known, Known::Present(..)) {
            self.passes = None;
        }
        self.known = known;
    }

    /// A call failed.
    fn know_nothing(&mut self) {
        self.known = Known::Unknown;
        self.passes = None;
    }

    /// The process has ended: what was seen of its checks, in this round or before, says nothing of the next one.
    pub(crate) fn process_ended(&mut self, round: u64) {
        (self.passes, self.has_passed) = (None, false);
        self.since = round;
    }

    /// Registers the service.
    pub(crate) async fn register(&mut self, shared: &Shared, record: &Record, checks: Checks) {
        let whole = registration::wanted(&shared.config, record);
        let definition = match checks {
            Checks::Inline => registration::keeping_marks(whole, &self.known),
            Checks::Kept => ServiceDefinition { checks: None, ..whole },
        };
        let call = shared.client.agent_register_service(&definition, checks == Checks::Inline);
        let outcome = tokio::time::timeout(CALL_LIMIT, call).await;
        if self.was_done(shared, record, outcome) {
            self.know(registration::after(&definition, &self.known));
            if let Some(checks) = &definition.checks {
                self.passes = None;
                // Each begins critical; whether it passes is seen later.
                let mark = maintenance::mark_id(&record.assignment.id);
                self.unpassing = checks.iter().filter(|check| check.id != mark).count();
            }
            shared.look.notify_one();
        }
    }

    /// Puts the service on standby, or lets it serve.
    pub(crate) async fn stand_by(&mut self, shared: &Shared, record: &Record, standby: bool) {
        let id = &record.assignment.id;
        let check = CheckDefinition { service_id: service_id(id), ..registration::standby_check(id) };
        let call = async {
            if standby {
                shared.client.agent_register_check(&check).await
            } else {
                shared.client.agent_deregister_check(&check.id).await
            }
        };
        let outcome = tokio::time::timeout(CALL_LIMIT, call).await;
        if self.was_done(shared, record, outcome) {
            self.know(registration::after_standby(id, standby, &self.known));
        }
    }

    /// Puts the service into maintenance, or takes it out.
    pub(crate) async fn maintain(&mut self, shared: &Shared, record: &Record, maintained: bool) {
        let id = &record.assignment.id;
        let (service, reason) = (service_id(id), record.maintenance.as_deref().unwrap_or_default());
        let notes = maintenance::words(reason);
        let renews = matches!(&self.known, Known::Present(_, checks) if checks.mark.is_some());
        let call = async {
            if maintained && renews {
                // Consul leaves a mark that is there as it is; registered as a check, it gets its other note with no instant without it.
                let mark = CheckDefinition { service_id: service.clone(), ..maintenance::mark(id, reason) };
                shared.client.agent_register_check(&mark).await
            } else {
                shared.client.agent_service_maintenance(&service, maintained, &notes).await
            }
        };
        let outcome = tokio::time::timeout(CALL_LIMIT, call).await;
        if self.was_done(shared, record, outcome) {
            self.know(registration::after_maintenance(maintained.then_some(notes), &self.known));
        }
    }

    /// Takes the service out of Consul.
    pub(crate) async fn deregister(&mut self, shared: &Shared, record: &Record) {
        let id = service_id(&record.assignment.id);
        let outcome = tokio::time::timeout(CALL_LIMIT, shared.client.agent_deregister_service(&id)).await;
        if self.was_done(shared, record, outcome) {
            self.know(Known::Absent);
            self.failing.clear();
        }
    }

    /// Notes the outcome of a call; true if it was done. After a failure nothing is known: a call may have arrived all the same,
    /// and what the observer saw may have been what a token without rights sees.
    fn was_done(
        &mut self,
        shared: &Shared,
        record: &Record,
        outcome: Result<Result<(), Error>, tokio::time::error::Elapsed>,
    ) -> bool {
        let heard = match &outcome {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {CALL_LIMIT:?}")),
        };
        shared.telemetry.heard_of_registration(&record.assignment.id, heard);
        self.since = shared.round();
        let words = match outcome {
            Ok(Ok(())) => {
                (self.failures, self.after, self.refusal) = (0, None, None);
                return true;
            }
            Ok(Err(error)) => {
                self.refusal = (!error.is_unreachable()).then(|| error.to_string());
                error.to_string()
            }
            Err(_) => format!("no answer within {CALL_LIMIT:?}"),
        };
        self.know_nothing();
        self.failures = self.failures.saturating_add(1);
        if self.failures == 1 {
            tracing::warn!(instance = %record.assignment.id, words, "the local Consul agent took no registration");
        }
        let wait = RETRY.0 + wait_after(self.failures, RETRY.0, RETRY.1, &shared.ports);
        self.after = Some(shared.now() + SignedDuration::try_from(wait).unwrap_or(SignedDuration::ZERO));
        false
    }
}

/// Whether an instance of which nothing is to be done now stands in Consul as it should. While a call is waited for until `after`, it may be just
/// that call that is lacking.
fn is_well(registered: Registered, after: Option<Timestamp>, now: Timestamp) -> bool {
    match registered {
        Registered::Same => true,
        Registered::Absent => after.is_none_or(|after| after <= now),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn record() -> Record {
        let mut assignment = testing::assignment("hello-0");
        let other = helium_crds::template::Check { name: "deep".to_owned(), ..assignment.template.checks[0].clone() };
        assignment.template.checks.push(other);
        Record::admit(assignment, testing::instant(0))
    }

    fn seen(record: &Record, round: u64, checks: [(CheckStatus, &str); 2]) -> Seen {
        let named = ["up", "deep"].into_iter().zip(checks);
        let checks = named.map(|(name, (status, output))| {
            let check_id = check_id(&record.assignment.id, name);
            let check = AgentCheck { check_id: check_id.clone(), status, output: output.to_owned(), ..<_>::default() };
            (check_id, check)
        });
        Seen { round, service: Some(<_>::default()), checks: checks.collect() }
    }

    const NOT_RUN: (CheckStatus, &str) = (CheckStatus::Critical, "");
    const FAILED: (CheckStatus, &str) =
        (CheckStatus::Critical, "HTTP GET http://127.0.0.1:80/: 500 Internal Server Error Output: no");
    const NOT_THERE: (CheckStatus, &str) = (CheckStatus::Critical, "connection refused");
    const WELL: (CheckStatus, &str) = (CheckStatus::Passing, "ok");

    #[test]
    fn that_an_instance_is_not_well_is_only_known_once_a_check_has_run_and_failed() {
        let record = record();
        for (rounds, known) in [
            (vec![[NOT_RUN, NOT_RUN]], None),
            (vec![[NOT_RUN, WELL]], None),
            (vec![[NOT_RUN, FAILED]], Some(false)),
            (vec![[NOT_RUN, NOT_THERE]], None),
            (vec![[WELL, WELL], [NOT_THERE, WELL]], Some(false)),
            (vec![[WELL, WELL]], Some(true)),
            (vec![[WELL, WELL], [NOT_RUN, WELL]], None),
            (vec![[WELL, WELL], [FAILED, WELL]], Some(false)),
            (vec![[WELL, WELL], [FAILED, WELL], [WELL, WELL]], Some(true)),
        ] {
            let mut standing = Standing::new(true);
            for (round, checks) in (1..).zip(&rounds) {
                standing.see(&seen(&record, round, *checks), &record);
            }
            assert_eq!(standing.passes, known, "{rounds:?}");
        }
        let mut unchecked = record.clone();
        unchecked.assignment.template.checks.clear();
        let mut standing = Standing::new(true);
        standing.see(&seen(&record, 1, [NOT_RUN, NOT_RUN]), &unchecked);
        assert_eq!(standing.passes, Some(true), "nobody looks");
    }

    #[test]
    fn what_was_seen_of_a_process_says_nothing_of_the_next_one() {
        let record = record();
        let mut standing = Standing::new(true);
        standing.see(&seen(&record, 1, [WELL, WELL]), &record);
        standing.process_ended(1);
        assert_eq!(standing.passes, None);
        standing.see(&seen(&record, 1, [WELL, WELL]), &record);
        assert_eq!(standing.passes, None, "a look from before its end");
        for (round, checks) in [(2, [NOT_RUN, NOT_RUN]), (3, [NOT_THERE, NOT_RUN])] {
            standing.see(&seen(&record, round, checks), &record);
            assert_eq!(standing.passes, None, "nobody has looked at this one, or it is only starting");
        }
    }

    #[test]
    fn after_a_call_that_failed_nothing_is_known() {
        let record = record();
        let mut standing = Standing::new(true);
        standing.see(&seen(&record, 1, [WELL, WELL]), &record);
        standing.know_nothing();
        assert_eq!((standing.passes, standing.is_registered()), (None, None));
    }

    #[test]
    fn after_a_call_in_vain_it_stands_well_once_it_is_seen_as_it_should_be() {
        let (now, later) = (testing::instant(5), Some(testing::instant(9)));
        for (registered, after, well) in [
            (Registered::Same, later, true),
            (Registered::Same, None, true),
            (Registered::Absent, Some(testing::instant(5)), true),
            (Registered::Absent, later, false),
            (Registered::Unknown, None, false),
            (Registered::Anew, Some(testing::instant(5)), false),
            (Registered::Retag, None, false),
        ] {
            assert_eq!(is_well(registered, after, now), well, "{registered:?} {after:?}");
        }
    }
}
