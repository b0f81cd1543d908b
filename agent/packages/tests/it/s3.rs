//! S3, by the server of moto, which is a program of its own: `MOTO_BIN` names it. The credentials come through AWS's own chain.

use std::{
    env,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use helium_packages::{
    fetch::{Config, Fetcher},
    source::Source,
};
use helium_runtime::ports::Ports;
use tempfile::TempDir;

struct Moto {
    child: Child,
    address: String,
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Moto {
    /// Starts it on a port that it chooses, and waits for the line that says which.
    fn start(program: &PathBuf) -> Self {
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", "0"]).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        let address = loop {
            let mut line = String::new();
            assert!(lines.read_line(&mut line).unwrap() > 0, "moto_server has ended: {said}");
            said.push_str(&line);
            if let Some((_, rest)) = line.split_once("Running on http://") {
                break rest.trim().to_owned();
            }
        };
        // Whatever else it says must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        Self { child, address }
    }

    /// Moto's own answers need no signature.
    fn put(&self, path: &str, body: &[u8]) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let head = format!(
            "PUT /{path} HTTP/1.1\r\nhost: {}\r\nauthorization: AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/s3/aws4_request\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n",
            self.address,
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

/// The environment is a process's own, so the test that needs another one runs itself again in it.
#[test]
fn an_object_comes_by_the_chain_of_aws() {
    let Some(program) = env::var_os("MOTO_BIN").map(PathBuf::from) else {
        eprintln!("skipped: MOTO_BIN names no moto_server (pip install 'moto[server]')");
        return;
    };
    let (moto, scratch) = (Moto::start(&program), TempDir::new().unwrap());
    moto.put("releases", b"");
    moto.put("releases/web/a%20b.tar.gz", &vec![7; 100_000]);
    let profile = scratch.path().join("credentials");
    std::fs::write(&profile, "[helium]\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = hunter2\n").unwrap();
    let endpoint = format!("http://{}", moto.address);
    let keys = [
        ("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "hunter2"),
        ("AWS_ENDPOINT_URL_S3", &endpoint),
    ];
    let file = profile.to_str().unwrap();
    let shared = [("AWS_SHARED_CREDENTIALS_FILE", file), ("AWS_PROFILE", "helium"), ("AWS_ENDPOINT_URL", &endpoint)];
    let nobody = [("AWS_ENDPOINT_URL", endpoint.as_str()), ("AWS_EC2_METADATA_DISABLED", "true"), ("NOBODY", "1")];
    for more in [keys, shared, nobody] {
        let mut again = Command::new(env::current_exe().unwrap());
        again.args(["--exact", "s3::inside", "--ignored", "--nocapture"]).env_clear().envs(more);
        let output = again
            .env("AWS_REGION", "eu-central-1")
            .env("HELIUM_INSIDE", "1")
            .env("HOME", scratch.path())
            .output()
            .unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && said.contains("1 passed"), "{more:?}: {said}");
    }
}

#[tokio::test]
#[ignore = "runs in the environment that the test above makes"]
async fn inside() {
    if env::var_os("HELIUM_INSIDE").is_none() {
        return;
    }
    let scratch = TempDir::new().unwrap();
    let fetcher = Fetcher::new(Config { retries: 0, ..Config::default() }, Ports::real());
    let to = scratch.path().join("p");
    let source: Source = "s3://releases/web/a b.tar.gz".parse().unwrap();
    let outcome = fetcher.fetch(source.place(), &to).await;
    if env::var_os("NOBODY").is_some() {
        assert!(outcome.unwrap_err().to_string().contains("no credentials of AWS"));
        return;
    }
    outcome.unwrap();
    assert_eq!(std::fs::read(&to).unwrap(), vec![7; 100_000]);
    let none: Source = "s3://releases/none.tar.gz".parse().unwrap();
    let error = fetcher.fetch(none.place(), &to).await.unwrap_err();
    assert!(error.to_string().contains("404") && !format!("{error:?}").contains("hunter2"), "{error}");
}
