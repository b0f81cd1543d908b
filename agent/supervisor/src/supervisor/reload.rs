//! Another set of jobs: those that are the same run on, others are stopped and started, added or removed.

use std::sync::Arc;

use super::{
    Supervisor,
    slot::{Afterwards, Stage},
    stop::Phase,
};
use crate::{job::Job, set::JobSet};

impl Supervisor {
    pub(super) fn reload(&mut self, set: JobSet) {
        if self.phase != Phase::Running {
            return;
        }
        self.settings = set.settings;
        let mut rest: Vec<usize> = (0..self.slots.len()).collect();
        let mut order = Vec::new();
        let mut fresh = Vec::new();
        for job in set.jobs {
            let job = Arc::new(job);
            let same = rest.iter().position(|at| self.slots[*at].spec.name == job.name);
            let at = if let Some(same) = same {
                let at = rest.remove(same);
                self.keep_or_replace(at, job);
                at
            } else {
                let at = self.add(job);
                fresh.push(at);
                at
            };
            order.push(self.slots[at].id);
        }
        for at in &rest {
            self.slots[*at].afterwards = Afterwards::Vanish;
        }
        self.leave_all();
        if self.begun {
            for at in fresh {
                self.arm(at);
            }
        }
        let place = |id| order.iter().position(|known| *known == id).unwrap_or(usize::MAX);
        self.slots.sort_by_key(|slot| place(slot.id));
    }

    fn keep_or_replace(&mut self, at: usize, job: Arc<Job>) {
        let slot = &mut self.slots[at];
        if slot.is_leaving() || slot.spec != job {
            slot.afterwards = Afterwards::Become(job);
        }
    }

    /// Stops all that leave and are not on their way. Of those that only wait, the last word is spoken when nobody on whom they act leaves.
    fn leave_all(&mut self) {
        for at in 0..self.slots.len() {
            if !self.slots[at].is_leaving() {
                continue;
            }
            if self.slots[at].is_underway() {
                self.begin_stopping(at);
            } else if self.slots[at].stage == Stage::Done {
                self.retire(at);
            }
        }
    }
}
