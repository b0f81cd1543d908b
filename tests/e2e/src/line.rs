//! A line to Consul on which something happens just before one request goes through: how two people meet in one moment.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// What happens, once.
type Deed = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

/// The line. It lives as long as the test's process.
#[derive(Debug)]
pub struct Line {
    address: String,
}

impl Line {
    /// A line to the Consul API at `address`. When the first request passes that holds `text` in what is sent with its first line, it is
    /// held back until `deed` is done.
    #[track_caller]
    #[must_use]
    pub fn to(address: &str, text: &'static str, deed: impl FnOnce() + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let line = Self { address: listener.local_addr().unwrap().to_string() };
        let (address, deed): (String, Deed) = (address.to_owned(), Arc::new(Mutex::new(Some(Box::new(deed)))));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(&address) else { continue };
                let (back, forth) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let deed = Arc::clone(&deed);
                thread::spawn(move || carry(server, back, |_| ()));
                thread::spawn(move || carry(client, forth, |bytes| meet(bytes, text, &deed)));
            }
        });
        line
    }

    /// Where the line begins, as `CONSUL_HTTP_ADDR` takes it.
    pub fn address(&self) -> &str {
        &self.address
    }
}

/// Carries bytes until either end is gone.
fn carry(mut from: TcpStream, mut to: TcpStream, before: impl Fn(&[u8])) -> io::Result<()> {
    let mut bytes = [0; 16 * 1024];
    loop {
        let count = from.read(&mut bytes)?;
        if count == 0 {
            return to.shutdown(Shutdown::Write);
        }
        before(&bytes[..count]);
        to.write_all(&bytes[..count])?;
    }
}

fn meet(bytes: &[u8], text: &str, deed: &Deed) {
    if bytes.windows(text.len()).any(|part| part == text.as_bytes()) {
        let deed = deed.lock().unwrap().take();
        if let Some(deed) = deed {
            deed();
        }
    }
}
