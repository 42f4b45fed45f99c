//! The control plane's HTTP server before a plane that only remembers: for tests and measurements of the API without ports or DPDK.
//!
//! `cargo run --release -p lnic --example api_double -- --socket /tmp/double.sock --listen 127.0.0.1:8443 --files FOLDER`
//! with `tls.crt`, `tls.key` and `users.toml` in FOLDER. It prints `ready` and the address, and ends when its standard input does.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser as _;
use lnic::control::http::listen::ControlSocket;
use lnic::control::http::{HttpState, Limits, Listeners, Network, Settings, serve};
use lnic::control::plane::LambdaKey;
use lnic::control::topology::Listen;

#[path = "../tests/support/plane.rs"]
mod plane;

#[derive(clap::Parser)]
struct Args {
    /// Control socket to make
    #[arg(long)]
    socket: Option<PathBuf>,
    /// Address to listen on, with TLS
    #[arg(long, requires = "files")]
    listen: Option<SocketAddr>,
    /// Folder of tls.crt, tls.key and users.toml
    #[arg(long)]
    files: Option<PathBuf>,
    /// Connections from one address
    #[arg(long, default_value_t = 1024)]
    connections_per_source: usize,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let plane = plane::PlaneDouble::new()
        .with_namespace("team-a")
        .with_lambda(LambdaKey::DEFAULT_NAMESPACE, "echo")
        .with_lambda("team-a", "count")
        .with_configured("fixed");
    plane.add_module(plane::WASM);
    plane.log(&LambdaKey::new(LambdaKey::DEFAULT_NAMESPACE, "echo"), "hello");
    let control = args.socket.as_deref().map(|socket| ControlSocket::bind(socket, 0o600)).transpose()?;
    let (_held, control) = control.unzip();
    let network = match (args.listen, args.files) {
        (Some(address), Some(files)) => Some(Network::open(&Listen {
            address,
            tls_certificate: files.join("tls.crt"),
            tls_key: files.join("tls.key"),
            users: files.join("users.toml"),
        })?),
        _ => None,
    };
    let address = network.as_ref().map(Network::address);
    let limits = Limits { connections_per_source: args.connections_per_source, ..Limits::default() };
    let settings = Settings { limits, refresh_time: Duration::from_secs(1), ..Settings::default() };
    let state = HttpState::new(Arc::new(plane));
    let server = serve(Listeners { control, network }, state, settings)?;
    let address = address.map(|address| address.to_string()).unwrap_or_default();
    writeln!(std::io::stdout(), "ready {address}")?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    server.stop();
    Ok(())
}
