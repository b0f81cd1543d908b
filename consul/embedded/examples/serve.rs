//! Serves a Consul API that forgets everything at its end: `cargo run -p consul-embedded --example serve --features http -- 127.0.0.1:8500`

use consul_embedded::{Config, Server};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8500".to_owned());
    let listener = tokio::net::TcpListener::bind(&address).await?;
    let server = Server::in_memory(&Config::default());
    server.serve_http(listener).await
}
