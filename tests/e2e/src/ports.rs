//! Free ports on the loopback interface.

use std::{
    net::{TcpListener, UdpSocket},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

/// The first port that is handed out, and how many there are. Agents give their instances ports from 20000, and Linux gives outgoing
/// connections ports from 32768: neither can take a port between our look and its use.
const FIRST: u32 = 12_000;
const COUNT: u32 = 8_000;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A port that nobody listens on now, and that this process hands out only once in a round of 8,000.
///
/// Two test processes begin at different places of the range, by their pid.
pub fn free() -> u16 {
    for _ in 0..COUNT {
        let turn = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (process::id().wrapping_mul(97).wrapping_add(turn)) % COUNT;
        let Ok(port) = u16::try_from(port) else { continue };
        if TcpListener::bind(("127.0.0.1", port)).is_ok() && UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + COUNT);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn no_port_is_handed_out_twice() {
        let ports: BTreeSet<u16> = (0..200).map(|_| super::free()).collect();
        assert_eq!(ports.len(), 200);
    }
}
