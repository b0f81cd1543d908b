//! Whether anybody listens on a port of this machine.

use std::net::{Ipv4Addr, TcpListener};

/// True if nobody listens on this port of the machine.
pub(crate) fn is_free(number: u16) -> bool {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, number)).is_ok()
        && TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_with_a_listener_is_not_free() {
        for address in [Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED] {
            let listener = TcpListener::bind((address, 0)).unwrap();
            let number = listener.local_addr().unwrap().port();
            assert!(!is_free(number));
        }
    }
}
