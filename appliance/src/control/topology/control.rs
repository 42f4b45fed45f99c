//! Judges `[control]` and `[gateway]`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use toml::Spanned;

use super::system::resolve;
use crate::control::config::Problems;
use crate::control::config::raw::{self, Value};

/// Mode bits of the control socket if nothing else is said: owner and group.
const SOCKET_MODE: u32 = 0o660;
/// Where the registry is in etcd if nothing else is said.
const ETCD_PREFIX: &str = "/lnic";

/// The control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// Folder in which everything that was deployed is kept; `None` keeps it for this life only.
    pub state: Option<PathBuf>,
    /// Lambdas that there is room for, those that are being replaced included.
    pub lambdas: u32,
    /// Namespaces that there is room for.
    pub namespaces: u32,
    /// Generations of each lambda that one can go back to.
    pub generations: u32,
    /// Permissions of the control socket.
    pub socket_mode: u32,
    /// Where the API also listens, over TLS.
    pub listen: Option<Listen>,
    /// etcd that several appliances share as their registry.
    pub etcd: Option<Etcd>,
    /// Most MiB that compiling a module may take.
    pub compile_mib: u32,
    /// Most seconds of CPU time that it may take.
    pub compile_s: u32,
    /// Lines of each lambda's log that are kept.
    pub log_lines: u32,
    /// An lcore that has not taken a breath for so long is stuck.
    pub stuck_ms: u32,
    /// Gives up what is not needed once the appliance has started.
    pub confine: bool,
}

/// A TCP address of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Where.
    pub address: SocketAddr,
    /// PEM file with the certificate and those that vouch for it.
    pub tls_certificate: PathBuf,
    /// PEM file with its private key.
    pub tls_key: PathBuf,
    /// TOML file that says who may do what.
    pub users: PathBuf,
}

/// A registry in etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Etcd {
    /// URLs of its members.
    pub endpoints: Vec<String>,
    /// What all keys begin with.
    pub prefix: String,
    /// Seconds after which an appliance that says nothing is gone.
    pub lease_s: u32,
}

/// Lambdas over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// There is one.
    pub enabled: bool,
    /// Longest time of a request.
    pub timeout_ms: u32,
    /// Largest body of a request.
    pub body_bytes: u32,
    /// Requests on their way at a time.
    pub in_flight: u32,
    /// Requests that may wait to be done later.
    pub async_requests: u32,
    /// Bytes that their bodies may have together.
    pub async_bytes: u64,
    /// How many of them are done at a time.
    pub async_in_flight: u32,
    /// Hosts that results may be sent to: names, addresses, or `*`.
    pub callbacks: Vec<String>,
}

/// Judges `[control]`.
pub(super) fn control(raw: &raw::Control, folder: &Path, problems: &mut Problems<'_>) -> Control {
    Control {
        state: path("state", &raw.state, folder, problems),
        lambdas: problems.integer("[control] lambdas", &raw.lambdas, 1..=65_536, 4096),
        namespaces: problems.integer("[control] namespaces", &raw.namespaces, 1..=1024, 64),
        generations: problems.integer("[control] generations", &raw.generations, 1..=100, 10),
        socket_mode: socket_mode(&raw.socket_mode, problems),
        listen: listen(raw, folder, problems),
        etcd: etcd(raw, problems),
        compile_mib: problems.integer("[control] compile_mib", &raw.compile_mib, 128..=65_536, 1024),
        compile_s: problems.integer("[control] compile_s", &raw.compile_s, 1..=600, 10),
        log_lines: problems.integer("[control] log_lines", &raw.log_lines, 0..=100_000, 256),
        stuck_ms: problems.integer("[control] stuck_ms", &raw.stuck_ms, 100..=60_000, 1_000),
        confine: raw.confine.as_ref().is_none_or(|value| *value.get_ref()),
    }
}

/// Judges `[gateway]`.
pub(super) fn gateway(raw: &raw::Gateway, problems: &mut Problems<'_>) -> Gateway {
    let text = |value: &Spanned<String>| value.get_ref().clone();
    Gateway {
        enabled: raw.enabled.as_ref().is_none_or(|value| *value.get_ref()),
        timeout_ms: problems.integer("[gateway] timeout_ms", &raw.timeout_ms, 1..=600_000, 10_000),
        body_bytes: problems.integer("[gateway] body_kib", &raw.body_kib, 1..=16_384, 1024) << 10,
        in_flight: problems.integer("[gateway] in_flight", &raw.in_flight, 1..=65_536, 256),
        async_requests: problems.integer(
            "[gateway] async_requests",
            &raw.async_requests,
            0..=1_000_000,
            1024,
        ),
        async_bytes: u64::from(problems.integer("[gateway] async_mib", &raw.async_mib, 1..=65_536_u32, 64))
            << 20,
        async_in_flight: problems.integer("[gateway] async_in_flight", &raw.async_in_flight, 1..=1024, 8),
        callbacks: raw.callbacks.iter().map(text).collect(),
    }
}

fn path(key: &str, value: &Value<String>, folder: &Path, problems: &mut Problems<'_>) -> Option<PathBuf> {
    let value = value.as_ref()?;
    if value.get_ref().is_empty() {
        problems.wrong(Some(value.span()), format!("[control] {key}: is empty"));
    }
    Some(resolve(folder, value.get_ref()))
}

fn socket_mode(value: &Value<String>, problems: &mut Problems<'_>) -> u32 {
    let Some(value) = value else { return SOCKET_MODE };
    match u32::from_str_radix(value.get_ref(), 8) {
        // Whoever may write to it may do everything: never the whole machine.
        Ok(mode) if mode <= 0o777 && mode & 0o007 == 0 => mode,
        _ => {
            let text = format!(
                "[control] socket_mode: \"{}\": allowed are octal permissions of owner and group, such as \"0660\"",
                value.get_ref()
            );
            problems.wrong(Some(value.span()), text);
            SOCKET_MODE
        }
    }
}

/// TCP needs all of it: there is no way to listen without TLS, or without users.
fn listen(raw: &raw::Control, folder: &Path, problems: &mut Problems<'_>) -> Option<Listen> {
    let certificate = path("tls_certificate", &raw.tls_certificate, folder, problems);
    let key = path("tls_key", &raw.tls_key, folder, problems);
    let users = path("users", &raw.users, folder, problems);
    let value = raw.listen.as_ref()?;
    let Ok(address) = value.get_ref().parse() else {
        let text = format!(
            "[control] listen: \"{}\": expected an address and a port, such as \"192.0.2.1:8443\" or \"[::]:8443\"",
            value.get_ref()
        );
        problems.wrong(Some(value.span()), text);
        return None;
    };
    for (name, given) in [("tls_certificate", &certificate), ("tls_key", &key), ("users", &users)] {
        match given {
            None => {
                problems.wrong(Some(value.span()), format!("[control] listen: needs {name} too"));
            }
            Some(file) if !file.is_file() => problems.absent(
                Some(value.span()),
                format!("[control] {name}: no file {}", file.display()),
                "see \"Access over the network\" in README.md".to_owned(),
            ),
            Some(_) => {}
        }
    }
    Some(Listen { address, tls_certificate: certificate?, tls_key: key?, users: users? })
}

fn etcd(raw: &raw::Control, problems: &mut Problems<'_>) -> Option<Etcd> {
    for endpoint in &raw.etcd {
        if !endpoint.get_ref().starts_with("http://") {
            let text = format!("[control] etcd: \"{}\": expected http://HOST:PORT", endpoint.get_ref());
            problems.wrong(Some(endpoint.span()), text);
        }
    }
    let prefix = match &raw.etcd_prefix {
        None => ETCD_PREFIX.to_owned(),
        Some(value) => {
            let prefix = value.get_ref();
            if !prefix.starts_with('/') || prefix.ends_with('/') {
                let text =
                    format!("[control] etcd_prefix: \"{prefix}\": begins with / and does not end with it");
                problems.wrong(Some(value.span()), text);
            }
            prefix.clone()
        }
    };
    let lease_s = problems.integer("[control] etcd_lease_s", &raw.etcd_lease_s, 2..=600, 10);
    let endpoints: Vec<String> = raw.etcd.iter().map(|endpoint| endpoint.get_ref().clone()).collect();
    (!endpoints.is_empty()).then_some(Etcd { endpoints, prefix, lease_s })
}
