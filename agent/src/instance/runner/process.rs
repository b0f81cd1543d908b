//! The process of an instance: its ports, its start at the gate, its signals.

use helium_crds::instance::Assignment;
use helium_processes::{Gated, Signal, gate};

use super::Runner;
use crate::{
    driver::{signal::system_signal, user},
    instance::{
        listening,
        machine::{Event, KILL_AGAIN},
        numbers,
        record::Record,
        system,
    },
    jobs::plan,
    leading::LEADER_FILE,
};

/// How often ports are chosen anew when another instance of this agent was faster.
const PORT_TRIES: usize = 8;

impl Runner {
    /// Chooses ports, starts the process at its gate, writes it down, and lets it through.
    pub(super) async fn launch(&mut self) {
        let gated = match self.prepare().await {
            Ok(gated) => gated,
            Err(words) => {
                tracing::warn!(instance = %self.id, words, "cannot be started");
                // In vain, it is tried again before the next start.
                let _ = self.end_group().await;
                self.note(Event::LaunchFailed(words)).await;
                return;
            }
        };
        let identity = system::note_of(gated.identity());
        let pid = identity.pid;
        if self.note(Event::Launched(identity)).await {
            self.process = Some(gated.open().await);
            self.standing.failing.clear();
            tracing::info!(instance = %self.id, pid, "started");
        }
    }

    async fn prepare(&mut self) -> Result<Gated, String> {
        self.dir.create().map_err(|error| format!("{}: {error}", self.dir.path().display()))?;
        self.choose_ports().await?;
        // A process that starts leads nothing yet, whatever the one before it was told.
        let _ = std::fs::remove_file(self.dir.work().join(LEADER_FILE));
        let resolved = self.resolve()?;
        let planned = plan::write(&self.shared.config, &self.record, &self.dir, &resolved)?;
        let command = planned.unwrap_or_else(|| resolved.command.clone());
        if let Some(ids) = resolved.command.user {
            user::give(&self.dir.work(), ids).map_err(|error| format!("{}: {error}", self.dir.work().display()))?;
        }
        let made = self.make_group().await?;
        let gated = gate::start(&command, &self.dir.log()).map_err(|error| error.to_string())?;
        self.limit(&gated, made);
        Ok(gated)
    }

    pub(super) async fn choose_ports(&mut self) -> Result<(), String> {
        for _ in 0..PORT_TRIES {
            let given = numbers::give(
                &self.record.assignment.template.ports,
                &self.record.ports,
                &self.shared.table.ports_of_others(&self.id),
                &self.shared.config.port_range,
                listening::is_free,
                || self.shared.ports.entropy.next_u64(),
            )
            .map_err(|error| error.to_string())?;
            if !self.shared.table.reserve(&self.id, &given) {
                continue;
            }
            if given != self.record.ports {
                let next = Record { ports: given, ..self.record.clone() };
                self.save(next).await.map_err(|error| format!("the local record cannot be written: {error}"))?;
            }
            return Ok(());
        }
        Err("the ports of this node are in heavy demand".to_owned())
    }

    /// Sends the stop signal, then notes it: an agent that is killed in between sends it again, which is better than never.
    pub(super) async fn signal(&mut self) {
        let Assignment { template, stop_signal, .. } = &self.record.assignment;
        // A supervisor knows the signal of its main process, and itself hears this one.
        let signal = if template.is_supervised() { Signal::TERM } else { system_signal(*stop_signal) };
        if let Some(process) = &self.record.process
            && let Err(error) = system::process(process).signal_group(signal)
        {
            tracing::error!(instance = %self.id, %error, "cannot be signalled");
        }
        self.note(Event::Signalled).await;
    }

    pub(super) async fn kill(&mut self) {
        tracing::warn!(instance = %self.id, "did not stop within its grace period; killed");
        if let Some(process) = &self.record.process
            && let Err(error) = system::process(process).signal_group(Signal::KILL)
        {
            tracing::error!(instance = %self.id, %error, "cannot be killed");
        }
        self.wait(Some(self.shared.now() + KILL_AGAIN)).await;
    }
}
