//! The file that HAProxy starts from: one `backend` for each service, with the present servers in their slots. Pure.
//!
//! It is also what is remembered: a [`Keeper`](crate::Keeper) that has just started knows from it what it wrote last.

use std::{fmt::Write as _, net::SocketAddr};

use crate::{
    haproxy::slot_name,
    seats::{NOWHERE, Seats},
    server::{Backend, Server, Who},
};

/// What the backends carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Requests of HTTP, which may be tried again elsewhere.
    #[default]
    Http,
    /// Connections.
    Tcp,
}

const HEAD: &str = "\
# Written by `helium haproxy`, which keeps it in step with Consul: what is changed here is lost.
# HAProxy reads it behind its own configuration: haproxy -f haproxy.cfg -f <this file>
";

/// What a request may be spared when its server is gone before HAProxy knows. A connection that was refused carried nothing, so it goes to another
/// server, each time. A server that closed without an answer may have begun its work: only what changes nothing is asked again.
const HTTP: &str = "    mode http
    balance roundrobin
    retries 3
    option redispatch 1
    retry-on conn-failure empty-response
    http-request disable-l7-retry unless METH_GET
";
const TCP: &str = "    mode tcp
    balance roundrobin
    retries 3
    option redispatch 1
";

/// The whole file.
pub fn render<'a>(backends: impl IntoIterator<Item = (&'a Backend, &'a Seats)>, mode: Mode) -> String {
    let mut text = HEAD.to_owned();
    for (backend, seats) in backends {
        let (taken, all) = (seats.0.iter().flatten().count(), seats.0.len());
        let service = match backend.who {
            Who::Serving => shown(&backend.service),
            Who::Previews => format!("previews of {}", shown(&backend.service)),
        };
        let options = if mode == Mode::Http { HTTP } else { TCP };
        // Writing into a string does not fail.
        let _ = write!(text, "\n# {service}: {taken} of {all} slots\nbackend {}\n{options}", backend.name);
        for (index, seat) in seats.0.iter().enumerate() {
            let name = slot_name(index);
            let _ = match seat {
                Some(server) => {
                    let Server { name: instance, at, weight } = server;
                    writeln!(text, "    server {name} {at} weight {weight} # {}", shown(instance))
                }
                None => writeln!(text, "    server {name} {NOWHERE} weight 1 disabled"),
            };
        }
    }
    text
}

/// The seats that a file gives to a backend; none if it has no such backend.
pub fn read_back(text: &str, backend: &str) -> Option<Seats> {
    let mut lines = text.lines().map(str::trim);
    lines.find(|line| line.split_whitespace().eq(["backend", backend]))?;
    let own = lines.take_while(|line| !line.starts_with("backend "));
    let seats = own.filter(|line| line.starts_with("server ")).map(seat);
    Some(Seats(seats.collect()))
}

/// The server of one line: `server slot-1 10.0.0.7:8080 weight 1 # web-1`.
fn seat(line: &str) -> Option<Server> {
    let (line, name) = line.split_once('#').unwrap_or((line, ""));
    let mut words = line.split_whitespace().skip(2);
    let at: SocketAddr = words.next()?.parse().ok()?;
    let rest: Vec<&str> = words.collect();
    if rest.contains(&"disabled") {
        return None;
    }
    let weight = rest.iter().skip_while(|word| **word != "weight").nth(1)?.parse().ok()?;
    Some(Server { name: name.trim().to_owned(), at, weight })
}

/// A name of Consul, where any character may be, within a comment.
fn shown(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(name: &str) -> Backend {
        Backend { service: format!("{name}-service"), name: name.to_owned(), who: Who::Serving }
    }

    fn server(name: &str, at: &str) -> Server {
        Server { name: name.to_owned(), at: at.parse().unwrap(), weight: 7 }
    }

    #[test]
    fn a_file_says_who_is_where_and_is_understood_again() {
        let web = Seats(vec![Some(server("web-1", "10.0.0.7:8080")), None, Some(server("web 2\nuser x", "[::1]:80"))]);
        let api = Seats(vec![None]);
        let text = render([(&backend("web"), &web), (&backend("api"), &api)], Mode::Http);
        for line in [
            "backend web",
            "# web-service: 2 of 3 slots",
            "    server slot-1 10.0.0.7:8080 weight 7 # web-1",
            "    server slot-2 127.0.0.1:1 weight 1 disabled",
            "    server slot-3 [::1]:80 weight 7 # web 2?user x",
            "    retry-on conn-failure empty-response",
        ] {
            assert!(text.lines().any(|one| one == line), "{line} is not in\n{text}");
        }
        let understood = read_back(&text, "web").unwrap();
        assert_eq!(understood.0[0], web.0[0]);
        assert_eq!(understood.0[1], None);
        assert_eq!(understood.0[2], Some(server("web 2?user x", "[::1]:80")));
        assert_eq!(read_back(&text, "api"), Some(api));
        assert_eq!(read_back(&text, "we"), None);
    }

    #[test]
    fn connections_are_not_asked_again_as_requests() {
        let text = render([(&backend("db"), &Seats(vec![None]))], Mode::Tcp);
        assert!(text.contains("mode tcp") && !text.contains("retry-on"));
    }

    #[test]
    fn a_line_that_somebody_has_broken_is_a_slot_without_a_server() {
        let text = "backend web\n  server slot-1 here weight 1\n  server slot-2\n  server slot-3 10.0.0.7:1\n";
        assert_eq!(read_back(text, "web"), Some(Seats(vec![None; 3])));
    }
}
