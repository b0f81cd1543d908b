//! A small real HTTP server that answers as Hydra does: by redirects, and with JSON.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

/// What it has: job `web` of jobset `main` of project `p`.
#[derive(Clone, Default)]
pub(crate) struct Has {
    /// The builds of the job, by their number; the last one that has succeeded is the latest.
    pub(crate) builds: Vec<Build>,
    /// The latest finished evaluation.
    pub(crate) evaluation: u64,
    /// The `Authorization` that it wants.
    pub(crate) wants: Option<String>,
    /// What it says instead of all that, to who has been redirected.
    pub(crate) says: Option<String>,
}

#[derive(Clone)]
pub(crate) struct Build {
    pub(crate) id: u64,
    pub(crate) job: &'static str,
    pub(crate) status: Option<i64>,
    pub(crate) outputs: BTreeMap<&'static str, String>,
}

impl Build {
    /// One that has succeeded.
    pub(crate) fn of(id: u64, path: &str) -> Self {
        Self { id, job: "web", status: Some(0), outputs: BTreeMap::from([("out", path.to_owned())]) }
    }

    fn json(&self) -> serde_json::Value {
        let outputs: BTreeMap<_, _> =
            self.outputs.iter().map(|(name, path)| (name, serde_json::json!({ "path": path }))).collect();
        serde_json::json!({
            "id": self.id, "project": "p", "jobset": "main", "job": self.job, "nixname": "web", "system": "x86_64-linux",
            "finished": i32::from(self.status.is_some()), "buildstatus": self.status, "buildoutputs": outputs,
            "buildproducts": {}, "jobsetevals": [3],
        })
    }
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) has: Arc<Mutex<Has>>,
    /// The header lines of each request.
    pub(crate) heard: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Serves until the test's runtime ends.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (has, heard) = (Arc::new(Mutex::new(Has::default())), Arc::new(Mutex::new(Vec::new())));
        let server = Self { address, has: Arc::clone(&has), heard: Arc::clone(&heard) };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (has, heard) = (Arc::clone(&has), Arc::clone(&heard));
                tokio::spawn(async move { drop(answer(stream, address, &has, &heard).await) });
            }
        });
        server
    }

    pub(crate) fn job(&self) -> String {
        format!("http://{}/job/p/main/web", self.address)
    }

    /// A further build of the job that has succeeded.
    pub(crate) fn builds(&self, path: &str) {
        let mut has = self.has.lock().unwrap();
        let id = has.builds.len() as u64 + 1;
        has.builds.push(Build::of(id, path));
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut Has)) {
        change(&mut self.has.lock().unwrap());
    }
}

async fn answer(
    stream: TcpStream,
    address: SocketAddr,
    has: &Mutex<Has>,
    heard: &Mutex<Vec<String>>,
) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut request = String::new();
    while stream.read_line(&mut request).await? > 2 {}
    heard.lock().unwrap().push(request.clone());
    let now = has.lock().unwrap().clone();
    let (status, headers, body) = says(&request, address, &now);
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n",
        body.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await
}

/// The status, headers and the body of an answer.
fn says(request: &str, address: SocketAddr, has: &Has) -> (&'static str, String, String) {
    let header = |name: &str| {
        let lines = request.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    };
    let nothing = || ("404 Not Found", String::new(), r#"{"error":"not found"}"#.to_owned());
    let to = |path: String| ("302 Found", format!("location: http://{address}{path}\r\n"), String::new());
    if has.wants.is_some() && header("authorization") != has.wants {
        return ("401 Unauthorized", "www-authenticate: Basic\r\n".to_owned(), String::new());
    }
    let path = request.split(' ').nth(1).unwrap_or_default();
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    match parts.as_slice() {
        ["job", "p", "main", "web", "latest"] => {
            let good = has.builds.iter().rev().find(|build| build.job == "web" && build.status == Some(0));
            good.map_or_else(nothing, |build| to(format!("/build/{}", build.id)))
        }
        ["jobset", "p", "main", "latest-eval"] => to(format!("/eval/{}", has.evaluation)),
        [_, _] if has.says.is_some() => ("200 OK", String::new(), has.says.clone().unwrap()),
        ["eval", id] => ("200 OK", String::new(), format!("{{\"id\":{id},\"builds\":[1,2],\"hasnewbuilds\":1}}")),
        ["eval", _, "builds"] => {
            let all: Vec<_> = has.builds.iter().map(Build::json).collect();
            ("200 OK", String::new(), serde_json::to_string(&all).unwrap())
        }
        ["build", id] => {
            let tag = format!("\"build-{id}\"");
            let build = has.builds.iter().find(|build| build.id.to_string() == *id);
            match build {
                Some(_) if header("if-none-match").as_ref() == Some(&tag) => {
                    ("304 Not Modified", format!("etag: {tag}\r\n"), String::new())
                }
                Some(build) => ("200 OK", format!("etag: {tag}\r\n"), build.json().to_string()),
                None => nothing(),
            }
        }
        _ => nothing(),
    }
}
