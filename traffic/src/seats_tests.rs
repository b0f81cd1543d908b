use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const SLOTS: usize = 4;

fn server(port: u16) -> Server {
    Server { name: format!("web-{port}"), at: ([127, 0, 0, 1], port).into(), weight: 1 }
}

fn servers(ports: &[u16]) -> Vec<Server> {
    ports.iter().copied().map(server).collect()
}

fn slot(port: u16, state: SlotState, sessions: u64) -> Slot {
    Slot { at: server(port).at, state, weight: 1, sessions }
}

fn ports(seats: &Seats) -> Vec<u16> {
    seats.0.iter().map(|seat| seat.as_ref().map_or(0, |server| server.at.port())).collect()
}

/// What HAProxy does at a command.
fn obey(table: &mut [Slot], command: &Command) {
    let slot = &mut table[command.slot];
    match command.change {
        Change::Move(at) => slot.at = at,
        Change::Weigh(weight) => slot.weight = weight,
        Change::Enter(state) => slot.state = state,
    }
}

fn lines(seats: &Seats, table: &[Slot]) -> Vec<String> {
    let line = |command: &Command| command.line("web").replace("set server web/", "");
    seats.commands(table).iter().map(line).collect()
}

#[test]
fn a_server_keeps_its_slot_and_a_new_one_takes_the_first_that_is_free() {
    let table = [slot(1, SlotState::Maint, 0), slot(12, SlotState::Ready, 3), slot(1, SlotState::Maint, 0)];
    let seats = Seats::of(&servers(&[11, 12]), &table, SLOTS);
    assert_eq!(ports(&seats), [11, 12, 0, 0]);
    assert_eq!(lines(&seats, &table), ["slot-1 addr 127.0.0.1 port 11", "slot-1 state ready"]);
}

#[test]
fn a_server_that_leaves_drains_and_is_out_when_its_last_session_has_ended() {
    let mut table = vec![slot(11, SlotState::Ready, 2), slot(12, SlotState::Ready, 0)];
    let seats = Seats::of(&servers(&[12]), &table, 2);
    assert_eq!(lines(&seats, &table), ["slot-1 state drain"]);
    table[0].state = SlotState::Drain;
    assert_eq!(lines(&seats, &table), [""; 0], "it still has sessions");
    table[0].sessions = 0;
    assert_eq!(lines(&seats, &table), ["slot-1 state maint"]);
    table[0].state = SlotState::Maint;
    assert_eq!(lines(&seats, &table), [""; 0]);
}

#[test]
fn a_server_that_returns_while_it_drains_is_back_in_its_slot() {
    let table = [slot(1, SlotState::Maint, 0), slot(12, SlotState::Drain, 2)];
    let seats = Seats::of(&servers(&[12]), &table, 2);
    assert_eq!(lines(&seats, &table), ["slot-2 state ready"]);
}

#[test]
fn who_comes_is_let_in_before_who_goes_is_let_out() {
    let table = [slot(11, SlotState::Ready, 0), slot(1, SlotState::Maint, 0)];
    let seats = Seats::of(&servers(&[12]), &table, 2);
    let all = ["slot-2 addr 127.0.0.1 port 12", "slot-2 state ready", "slot-1 state drain"];
    assert_eq!(lines(&seats, &table), all);
}

#[test]
fn when_no_slot_is_free_more_are_laid_out_and_the_rest_is_done_meanwhile() {
    let table = [slot(11, SlotState::Drain, 1), slot(12, SlotState::Ready, 0)];
    let seats = Seats::of(&servers(&[13, 14, 15]), &table, 2);
    assert_eq!(ports(&seats), [0, 0, 13, 14, 15, 0]);
    assert_eq!(seats.beyond(&table).count(), 3);
    assert_eq!(lines(&seats, &table), ["slot-2 state drain"]);
}

#[test]
fn a_weight_is_set_where_it_differs() {
    let table = [slot(11, SlotState::Ready, 0)];
    let seats = Seats::of(&[Server { weight: 7, ..server(11) }], &table, 1);
    assert_eq!(lines(&seats, &table), ["slot-1 weight 7"]);
}

fn any_slot() -> impl Strategy<Value = Slot> {
    let state = prop_oneof![Just(SlotState::Ready), Just(SlotState::Drain), Just(SlotState::Maint)];
    (1_u16..12, state, 1_u16..4, 0_u64..3)
        .prop_map(|(port, state, weight, sessions)| Slot { weight, ..slot(port, state, sessions) })
}

fn any_servers() -> impl Strategy<Value = Vec<Server>> {
    prop::collection::btree_map(1_u16..12, 1_u16..4, 0..9)
        .prop_map(|all| all.into_iter().map(|(port, weight)| Server { weight, ..server(port) }).collect())
}

proptest! {
    #[test]
    fn what_is_said_makes_haproxy_have_what_is_wanted(
        mut table in prop::collection::vec(any_slot(), 0..8), servers in any_servers(), slots in 0_usize..6,
    ) {
        let seats = Seats::of(&servers, &table, slots);
        let places: BTreeSet<SocketAddr> = seats.servers().iter().map(|server| server.at).collect();
        prop_assert_eq!(places.len(), servers.len(), "each server has one seat");
        for command in seats.commands(&table) {
            obey(&mut table, &command);
        }
        let beyond: Vec<Server> = seats.beyond(&table).cloned().collect();
        let mut live: Vec<(SocketAddr, u16)> = live(&table).map(|slot| (slot.at, slot.weight)).collect();
        live.extend(beyond.iter().map(|server| (server.at, server.weight)));
        live.sort_unstable();
        let wanted: Vec<(SocketAddr, u16)> = servers.iter().map(|server| (server.at, server.weight)).collect();
        prop_assert_eq!(live, wanted, "exactly these get requests, each from one slot");
        for slot in &mut table {
            slot.sessions = 0;
        }
        let later = Seats::of(&servers, &table, slots).commands(&table);
        let ends_draining = |command: &Command| command.change == Change::Enter(SlotState::Maint);
        prop_assert!(!beyond.is_empty() || later.iter().all(ends_draining), "{later:?}");
        for _ in 0..2 {
            for command in Seats::of(&servers, &table, slots).commands(&table) {
                obey(&mut table, &command);
            }
        }
        prop_assert_eq!(Seats::of(&servers, &table, slots).commands(&table), []);
    }

    #[test]
    fn no_slot_is_given_on_while_it_gets_requests_or_has_sessions(
        mut table in prop::collection::vec(any_slot(), 0..8), servers in any_servers(),
    ) {
        for command in Seats::of(&servers, &table, SLOTS).commands(&table) {
            if matches!(command.change, Change::Move(_)) {
                prop_assert!(table[command.slot].is_free());
            }
            obey(&mut table, &command);
        }
    }

    #[test]
    fn there_is_no_instant_without_a_server_where_one_is_there_before_and_after(
        mut table in prop::collection::vec(any_slot(), 1..8), servers in any_servers(),
    ) {
        let seats = Seats::of(&servers, &table, SLOTS);
        let served = live(&table).count() > 0 && seats.beyond(&table).count() < servers.len();
        for command in seats.commands(&table) {
            obey(&mut table, &command);
            prop_assert!(!served || live(&table).count() > 0);
        }
    }
}
