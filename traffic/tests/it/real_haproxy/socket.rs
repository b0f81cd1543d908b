//! The runtime API as a real HAProxy speaks it.

use std::fs;

use helium_e2e::HaProxy;
use helium_traffic::{
    Server, Socket, SocketError,
    file::{self, Mode},
    haproxy::{Change, Command, SlotState},
    seats::Seats,
};

/// A HAProxy whose backend `web` has these ports in its first slots, and one slot more.
fn haproxy(ports: &[u16]) -> HaProxy {
    let mut haproxy = HaProxy::prepare("web");
    let server = |port: &u16| Server { name: format!("web-{port}"), at: ([127, 0, 0, 1], *port).into(), weight: 1 };
    let seats = Seats(ports.iter().map(|port| Some(server(port))).chain([None]).collect());
    fs::write(haproxy.file(), file::render([(&"web".parse().unwrap(), &seats)], Mode::Http)).unwrap();
    haproxy.start();
    haproxy
}

fn socket(haproxy: &HaProxy) -> Socket {
    haproxy.socket().parse().unwrap()
}

#[tokio::test]
async fn haproxy_takes_a_rendered_file_and_its_table_says_what_the_file_says() {
    let haproxy = haproxy(&[7001, 7002]);
    assert!(haproxy.takes_its_files());
    let text = fs::read_to_string(haproxy.file()).unwrap();
    let expected = file::read_back(&text, "web").unwrap().as_table();
    assert_eq!(socket(&haproxy).table().await.unwrap()["web"], expected);
}

#[tokio::test]
async fn what_is_said_is_done() {
    let haproxy = haproxy(&[7001]);
    let socket = socket(&haproxy);
    let at = "[::1]:7009".parse().unwrap();
    for (slot, change) in [
        (1, Change::Move(at)),
        (1, Change::Weigh(256)),
        (1, Change::Enter(SlotState::Ready)),
        (0, Change::Enter(SlotState::Drain)),
        // What is so already is done as well.
        (1, Change::Move(at)),
    ] {
        socket.tell("web", &Command { slot, change }).await.unwrap();
    }
    let slots = &socket.table().await.unwrap()["web"];
    assert_eq!((slots[1].at, slots[1].weight, slots[1].state), (at, 256, SlotState::Ready));
    assert_eq!(slots[0].state, SlotState::Drain);
    socket.tell("web", &Command { slot: 0, change: Change::Enter(SlotState::Maint) }).await.unwrap();
    assert!(socket.table().await.unwrap()["web"][0].is_free());
}

#[tokio::test]
async fn what_haproxy_does_not_do_is_told_in_its_words() {
    let haproxy = haproxy(&[7001]);
    let command = Command { slot: 6, change: Change::Weigh(1) };
    let error = socket(&haproxy).tell("web", &command).await.unwrap_err();
    assert!(matches!(error, SocketError::Refused { .. }));
    assert_eq!(error.to_string(), "HAProxy refuses `set server web/slot-7 weight 1`: No such server.");
}

#[tokio::test]
async fn a_socket_without_the_right_to_change_is_told_with_the_level_it_needs() {
    let mut haproxy = HaProxy::prepare("web");
    let own = fs::read_to_string(haproxy.own_file()).unwrap();
    fs::write(haproxy.own_file(), own.replace("level admin", "level operator")).unwrap();
    fs::write(haproxy.file(), file::render([(&"web".parse().unwrap(), &Seats(vec![None]))], Mode::Http)).unwrap();
    haproxy.start();
    let command = Command { slot: 0, change: Change::Enter(SlotState::Ready) };
    let error = socket(&haproxy).tell("web", &command).await.unwrap_err();
    assert!(matches!(error, SocketError::Denied { .. }) && error.to_string().contains("`level admin`"), "{error}");
}
