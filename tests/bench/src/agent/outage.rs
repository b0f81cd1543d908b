//! Consul goes away for a while and comes back.

use std::{fs, time::Duration};

use helium_e2e::wait::pause;

use super::{
    Outcome,
    desk::{Desk, FOLDER, KEYS, key},
    program::{Program, Shape},
};

/// What it did to what runs.
pub(super) struct Outage {
    /// How many processes ended or were started anew.
    pub(super) ended: f64,
    /// How many files changed while it was away, and when it came back as it had been.
    pub(super) changed: f64,
    /// From the answer of Consul to the file that shows a later change.
    pub(super) heard: Duration,
}

/// Measures.
pub(super) fn measure(desk: &mut Desk, away: Duration) -> Outcome<Outage> {
    let helium = Program::Helium;
    let template = desk.helium.write("outage.tera", &helium.template(Shape::Names, (0..KEYS).map(key), FOLDER));
    let (file, pids) = (desk.path("outage"), desk.path("outage-pids"));
    desk.write("before")?;
    // The child notes each start, and is restarted by any change of the file.
    let script = format!("echo $$ >> {}; exec sleep 3600", pids.display());
    let wish = format!("{template}:{}", file.display());
    let mut daemon = desk.helium.start("outage", &["render", "-t", &wish, "--", "sh", "-c", &script]);
    desk.shows(&file, "before")?;
    desk.until("the child runs", super::desk::LIMIT, || {
        fs::read_to_string(&pids).ok().filter(|pids| pids.ends_with('\n'))
    })?;
    let looked = || fs::metadata(&file).and_then(|found| found.modified());
    let before = looked()?;
    desk.consul.kill();
    pause(away);
    desk.consul.start_again();
    let back = desk.now();
    let starts = fs::read_to_string(&pids)?.lines().count();
    let ended = usize::from(!daemon.is_running()) + starts.saturating_sub(1);
    let changed = looked()? != before;
    desk.write("after")?;
    desk.shows(&file, "after")?;
    #[allow(clippy::cast_precision_loss, reason = "a small number")]
    Ok(Outage { ended: ended as f64, changed: f64::from(u8::from(changed)), heard: desk.since(back) })
}
