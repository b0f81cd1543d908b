//! The figures of each part, as rows of its table.

use std::time::Duration;

use super::{
    bare::{Bare, Calls},
    desk::KEYS,
    files::{Files, Followed},
    node::Node,
    outage::{Fate, Outage, Pair},
    services::Services,
    small::Small,
    table::{Row, Table, ms},
    variables::{VARIABLES, Variables},
};

const MEGABYTES: &str = "MB";
const MILLIS: &str = "ms";
const SECONDS: &str = "s";

/// A figure that ours has come to, or the measuring would have ended.
fn there<T: Copy + Default>(figure: Option<T>) -> T {
    figure.unwrap_or_default()
}

pub(super) fn files(table: &mut Table, bare: &Bare, ours: &Files, peer: &Result<Files, String>) {
    let of = |figure: fn(&Files) -> Option<f64>| peer.as_ref().map(figure).map_err(String::clone);
    table.title(&format!("Files of {KEYS} keys: helium render, and consul-template"));
    table.add(
        &Row::new("first render, each key named, p50", MILLIS, 60.0, ms(there(ours.first)))
            .peer(of(|files| files.first.map(ms)))
            .beside("one read of the keys, and a file", ms(bare.once)),
    );
    table.add(
        &Row::new("first render, by prefix, p50", MILLIS, 60.0, ms(there(ours.first_by_prefix)))
            .peer(of(|files| files.first_by_prefix.map(ms)))
            .beside("sh -c exit", ms(bare.calls.shell)),
    );
    followed(table, "each key named", bare, ours.names.as_ref(), &peer.as_ref().map(|peer| peer.names.as_ref()));
    followed(table, "by prefix", bare, ours.prefix.as_ref(), &peer.as_ref().map(|peer| peer.prefix.as_ref()));
    table.title("  either way");
    table.add(
        &Row::new("renders of 200 writes, --wait 100ms", "", 2.0, there(ours.renders))
            .peer(of(|files| files.renders))
            .beside("writes", 200.0),
    );
    table.add(
        &Row::new("asked to end, ended, p50", MILLIS, 50.0, ms(there(ours.stop)))
            .peer(of(|files| files.stop.map(ms)))
            .beside("a shell that is", ms(bare.calls.stop)),
    );
    table.note(&format!(
        "a bare client writes a key in {:.1} ms; a file that is to outlive a loss of power is on this disk after {:.1} ms (p50)",
        ms(bare.write),
        ms(bare.disk)
    ));
}

fn followed(
    table: &mut Table,
    shape: &str,
    bare: &Bare,
    ours: Option<&Followed>,
    peer: &Result<Option<&Followed>, &String>,
) {
    let Some(ours) = ours else { return };
    let of = |figure: fn(&Followed) -> f64| match peer {
        Ok(peer) => Ok(peer.map(figure)),
        Err(why) => Err((*why).clone()),
    };
    let least = "a bare client that reads all keys and writes a plain file";
    table.title(&format!("  {shape}"));
    table.add(
        &Row::new("key written, file visible, p50", MILLIS, 2.0, ms(ours.seen.half))
            .peer(of(|followed| ms(followed.seen.half)))
            .beside(least, ms(bare.seen.half)),
    );
    table.add(
        &Row::new("key written, file visible, p99", MILLIS, 20.0, ms(ours.seen.most))
            .peer(of(|followed| ms(followed.seen.most)))
            .beside(least, ms(bare.seen.most)),
    );
    table.add(&Row::new("connections to Consul", "", 10.0, ours.sockets).peer(of(|followed| followed.sockets)));
    table.add(
        &Row::new("memory, resident", MEGABYTES, 8.0, ours.memory.resident)
            .peer(of(|followed| followed.memory.resident)),
    );
    table.note(&format!("of it {}", ours.memory));
}

pub(super) fn variables(table: &mut Table, ours: &Variables, peer: &Result<Variables, String>) {
    let of = |figure: fn(&Variables) -> Option<f64>| peer.as_ref().map(figure).map_err(String::clone);
    table.title(&format!("A child with {VARIABLES} variables: helium env, and envconsul"));
    table.add(
        &Row::new("started, its child runs, p50", MILLIS, 60.0, ms(there(ours.first)))
            .peer(of(|variables| variables.first.map(ms))),
    );
    table.add(
        &Row::new("key written, the next child runs, p50", MILLIS, 30.0, ms(there(ours.anew)))
            .peer(of(|variables| variables.anew.map(ms))),
    );
    table.add(
        &Row::new("memory, resident", MEGABYTES, 8.0, ours.memory.resident)
            .peer(of(|variables| Some(variables.memory.resident))),
    );
    table.note(&format!("of it {}", ours.memory));
}

pub(super) fn services(table: &mut Table, bare: &Calls, ours: &Services, peer: &Result<Services, String>) {
    let of = |figure: fn(&Services) -> Option<f64>| peer.as_ref().map(figure).map_err(String::clone);
    table.title("One service: helium agent --containerpilot, and containerpilot");
    table.add(
        &Row::new("check failed, critical in Consul, worst", MILLIS, 100.0, ms(there(ours.critical)))
            .peer(of(|services| services.critical.map(ms)))
            .beside("one call that says so", ms(bare.critical)),
    );
    table.add(
        &Row::new("asked to end, app and all ended, p50", MILLIS, 50.0, ms(there(ours.stop)))
            .peer(of(|services| services.stop.map(ms)))
            .beside("a shell that is", ms(bare.stop)),
    );
    table.add(
        &Row::new("deregistered by hand, back, worst", SECONDS, 30.0, there(ours.back).as_secs_f64())
            .peer(of(|services| services.back.map(|back| back.as_secs_f64()))),
    );
    table.add(&Row::new("zombies that stay", "", 0.0, ours.zombies).peer(of(|services| Some(services.zombies))));
    table.add(
        &Row::new("memory, resident, all its processes", MEGABYTES, 8.0, ours.memory.resident)
            .peer(of(|services| Some(services.memory.resident))),
    );
    let peer = peer.as_ref().map(|peer| format!(", and the peer {}", peer.processes)).unwrap_or_default();
    table.note(&format!("of it {}; {} processes{peer}", ours.memory, ours.processes));
}

pub(super) fn node(table: &mut Table, ours: &Node) {
    table.title(&format!("One instance with {KEYS} keys in its template: helium agent"));
    table.add(&Row::new("memory, resident", MEGABYTES, 8.0, ours.memory.resident));
    table.note(&format!("of it {}", ours.memory));
    table.add(&Row::new("deregistered by hand, back, worst", SECONDS, 30.0, ours.back.as_secs_f64()));
    table.add(&Row::new("connections to Consul", "", 10.0, ours.sockets));
}

pub(super) fn small(table: &mut Table, ours: &Small) {
    table.title(&format!("The build of the agent alone, with the same {KEYS} keys and the same services"));
    for (what, memory) in [
        ("memory, resident, helium render", &ours.render),
        ("memory, resident, helium agent --containerpilot, both", &ours.pilot),
        ("memory, resident, helium agent", &ours.node),
    ] {
        table.add(&Row::new(what, MEGABYTES, 8.0, memory.resident));
        table.note(&format!("of it {memory}"));
    }
}

pub(super) fn outage(table: &mut Table, ours: &Outage, away: Duration) {
    table.title(&format!("Consul is away for {} s", away.as_secs()));
    fate(table, "helium render", "consul-template", &ours.files, "a change of then is in the file");
    fate(table, "helium env", "envconsul", &ours.variables, "a child has a change of then");
    fate(table, "helium agent --containerpilot", "containerpilot", &ours.services, "the check passes");
    table.title("  helium agent, and its instance");
    fate_into(table, &ours.node, None, "the check passes");
}

fn fate(table: &mut Table, ours: &str, peer: &str, (own, its): &Pair, sign: &'static str) {
    table.title(&format!("  {ours}, and {peer}"));
    let its = its.as_ref().ok_or_else(|| format!("{peer} is not on the PATH, or did not start"));
    fate_into(table, own, Some(&its), sign);
}

fn fate_into(table: &mut Table, own: &Fate, peer: Option<&Result<&Fate, String>>, sign: &'static str) {
    let mut add = |row: Row, figure: &dyn Fn(&Fate) -> Option<f64>| {
        let row = match peer {
            Some(Ok(fate)) => row.peer(Ok(figure(fate))),
            Some(Err(why)) => row.peer(Err(why.clone())),
            None => row,
        };
        table.add(&row);
    };
    add(Row::new("processes that ended or were started anew", "", 0.0, own.ended), &|fate| Some(fate.ended));
    if let Some(changed) = own.changed {
        add(Row::new("files that changed meanwhile", "", 0.0, changed), &|fate| fate.changed);
    }
    // What has not heard of it within the time is worse than any time.
    let heard = |fate: &Fate| fate.heard.map(|heard| heard.as_secs_f64());
    add(Row::new(sign, SECONDS, 30.0, heard(own).unwrap_or(f64::INFINITY)), &heard);
}
