//! As much of Hydra as `helium hail` asks: the latest build of each job, by a file with its number and its path.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
};

use crate::tool::{read, run, write};

/// Where it listens.
pub(crate) const ADDRESS: &str = "127.0.0.1:7700";
/// What it begins the jobs of the guides with.
pub(crate) const JOBS: &str = "/job/shop/main/";
/// A file for each job.
const FOLDER: &str = "/var/lib/hydra";

/// Notes the latest build of a job.
pub(crate) fn built(job: &str, number: u32, path: &str) -> Result<(), String> {
    write(&format!("{FOLDER}/{job}"), &format!("{number} {path}"))
}

/// Puts a folder into the store that was made by `make`; its path there.
pub(crate) fn stored(name: &str, make: impl FnOnce(&str) -> Result<(), String>) -> Result<String, String> {
    let folder = format!("/run/sources/{name}");
    make(&folder)?;
    run("chmod", &["-R", "a+rx", &folder])?;
    run("nix-store", &["--add", &folder])
}

/// Answers for ever.
pub(crate) fn serve() -> io::Result<()> {
    let listener = TcpListener::bind(ADDRESS)?;
    for stream in listener.incoming() {
        // Who goes away without its answer does not want it.
        let _gone = answer(stream?);
    }
    Ok(())
}

fn answer(stream: TcpStream) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut request = String::new();
    while stream.read_line(&mut request)? > 2 {}
    let path = request.split(' ').nth(1).unwrap_or_default();
    let (status, header, body) = says(path);
    let length = body.len();
    write!(
        stream.get_mut(),
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\n{header}content-length: {length}\r\n\r\n{body}"
    )
}

/// A job's latest build is somewhere else, as Hydra has it.
fn says(path: &str) -> (&'static str, String, String) {
    let build = |job: &str| {
        let text = read(&format!("{FOLDER}/{job}")).ok()?;
        text.split_once(' ').map(|(number, path)| (number.to_owned(), path.to_owned()))
    };
    if let Some((job, (number, _))) =
        path.strip_prefix(JOBS).and_then(|rest| rest.strip_suffix("/latest")).and_then(|job| Some((job, build(job)?)))
    {
        return ("302 Found", format!("location: http://{ADDRESS}/build/{job}/{number}\r\n"), String::new());
    }
    let parts: Vec<&str> = path.split('/').collect();
    if let ["", "build", job, number] = parts[..]
        && let Some((latest, out)) = build(job)
        && latest == number
    {
        let outputs = format!(r#"{{"out":{{"path":"{out}"}}}}"#);
        let body = format!(r#"{{"id":{number},"job":"{job}","finished":1,"buildstatus":0,"buildoutputs":{outputs}}}"#);
        return ("200 OK", String::new(), body);
    }
    ("404 Not Found", String::new(), r#"{"error":"not found"}"#.to_owned())
}
