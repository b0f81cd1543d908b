//! Requests one after another through a balancer: who answered them, and which failed.

use std::{
    collections::BTreeMap,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::{Http, eventually};

/// How many people ask at the same time.
const PEOPLE: usize = 4;
/// The longest that one of them waits.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Who answered, and what failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// How many requests each version answered, by the last word of its answer.
    pub by_version: BTreeMap<String, usize>,
    /// What went wrong, in words.
    pub failed: Vec<String>,
}

impl Answers {
    /// How many requests there were.
    pub fn total(&self) -> usize {
        self.by_version.values().sum::<usize>() + self.failed.len()
    }

    /// Panics unless `version` answered its share of all, within three standard deviations of what chance alone would make of it.
    ///
    /// Example: of 5,000 requests a quarter is 1,250, and sigma is `sqrt(5000 * 0.25 * 0.75)`, 30.6; so 1,159 to 1,341 pass.
    #[track_caller]
    pub fn expect_share(&self, version: &str, canary: usize, of: usize) {
        let float = |number: usize| f64::from(u32::try_from(number).unwrap());
        let (total, share) = (float(self.total()), float(canary) / float(of));
        let got = float(self.by_version.get(version).copied().unwrap_or(0));
        let sigma = (total * share * (1.0 - share)).sqrt();
        let off = (got - total * share).abs();
        assert!(off <= 3.0 * sigma, "{version} answered {got} of {total}, which is not {canary} of {of}: {self:?}");
    }

    fn add(&mut self, answer: Result<String, String>) {
        match answer {
            Ok(version) => *self.by_version.entry(version).or_default() += 1,
            Err(words) => self.failed.push(words),
        }
    }

    /// What came after another look.
    fn since(&self, before: &Self) -> Self {
        let count = |(version, count): (&String, &usize)| {
            (version.clone(), count - before.by_version.get(version).copied().unwrap_or(0))
        };
        let by_version = self.by_version.iter().map(count).filter(|(_, count)| *count > 0).collect();
        Self { by_version, failed: self.failed[before.failed.len()..].to_vec() }
    }
}

/// Somebody who asks: over one connection as long as it lasts, or over one for each request. Nobody asks twice: a connection that is closed without an
/// answer has failed.
struct Person {
    server: SocketAddr,
    keeps: bool,
    method: &'static str,
    path: &'static str,
    connection: Option<BufReader<TcpStream>>,
}

impl Person {
    /// One request: the version that answered, or what went wrong.
    fn ask(&mut self) -> Result<String, String> {
        let answer = self.exchange();
        if answer.is_err() || !self.keeps {
            self.connection = None;
        }
        match answer {
            Ok((status, text)) if status.contains(" 200 ") => {
                text.split_whitespace().last().map(str::to_owned).ok_or_else(|| "an empty answer".to_owned())
            }
            Ok((status, text)) => Err(format!("{} {}", status.trim(), text.trim())),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The status line and the body.
    fn exchange(&mut self) -> io::Result<(String, String)> {
        if self.connection.is_none() {
            let stream = TcpStream::connect_timeout(&self.server, TIMEOUT)?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            stream.set_nodelay(true)?;
            self.connection = Some(BufReader::new(stream));
        }
        let connection = self.connection.as_mut().unwrap();
        let close = if self.keeps { "" } else { "Connection: close\r\n" };
        let (method, path) = (self.method, self.path);
        let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n{close}\r\n");
        connection.get_mut().write_all(request.as_bytes())?;
        let (mut status, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if connection.read_line(&mut line)? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed without an answer"));
            }
            if line == "\r\n" {
                break;
            }
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
            if status.is_empty() {
                status = line;
            }
        }
        let mut body = vec![0; length];
        connection.read_exact(&mut body)?;
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }
}

/// A load that goes on beside a story until it is ended.
#[derive(Debug)]
pub struct Load {
    done: Arc<AtomicBool>,
    answers: Arc<Mutex<Answers>>,
    people: Vec<JoinHandle<()>>,
}

impl Load {
    /// Begins to ask; every second person keeps their connection.
    pub fn on(http: &Http) -> Self {
        Self::of("GET", "/", |number| number.is_multiple_of(2), http)
    }

    /// The same at another path, each request over a connection of its own: a server that takes over new settings closes those that rest, and whoever
    /// asks over one at that very moment has to ask again.
    pub fn at(path: &'static str, http: &Http) -> Self {
        Self::of("GET", path, |_| false, http)
    }

    /// The same with requests that nobody may ask twice.
    pub fn of_posts_on(http: &Http) -> Self {
        Self::of("POST", "/", |number| number.is_multiple_of(2), http)
    }

    fn of(method: &'static str, path: &'static str, keeps: fn(usize) -> bool, http: &Http) -> Self {
        let (done, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Answers::default())));
        let person = |number: usize| {
            let keeps = keeps(number);
            let mut person = Person { server: http.address(), keeps, method, path, connection: None };
            let (done, answers) = (Arc::clone(&done), Arc::clone(&answers));
            thread::spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let answer = person.ask();
                    answers.lock().unwrap().add(answer);
                }
            })
        };
        let people = (0..PEOPLE).map(person).collect();
        Self { done, answers, people }
    }

    /// What came of it so far.
    pub fn so_far(&self) -> Answers {
        self.answers.lock().unwrap().clone()
    }

    /// What comes of the next requests, of so many at least.
    #[track_caller]
    pub fn next(&self, requests: usize) -> Answers {
        let before = self.so_far();
        eventually("the load goes on", Duration::from_mins(1), || {
            let now = self.so_far();
            (now.total() >= before.total() + requests).then(|| now.since(&before))
        })
    }

    /// Ends it.
    #[track_caller]
    pub fn end(mut self) -> Answers {
        self.done.store(true, Ordering::Relaxed);
        self.people.drain(..).for_each(|person| person.join().unwrap());
        self.so_far()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(one: usize, two: usize) -> Answers {
        let by_version = BTreeMap::from([("1".to_owned(), one), ("2".to_owned(), two)]);
        Answers { by_version, failed: Vec::new() }
    }

    #[test]
    fn a_share_within_three_sigma_passes_as_in_the_worked_example() {
        for (two, passes) in [(1250, true), (1159, true), (1341, true), (1158, false), (1342, false), (0, false)] {
            let answers = answers(5000 - two, two);
            let checked = std::panic::catch_unwind(|| answers.expect_share("2", 1, 4));
            assert_eq!(checked.is_ok(), passes, "{two}");
        }
    }
}
