//! A server on sockets of its own, and a client that says exactly what it is told to.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lnic::control::http::listen::ControlSocket;
use lnic::control::http::{HttpState, Listeners, Network, ServeError, ServerHandle, Settings, serve};
use lnic::control::topology::Listen;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

use crate::plane::PlaneDouble;

/// How long a test waits for what has to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A server. Dropping it stops it.
pub(crate) struct Server {
    pub(crate) plane: PlaneDouble,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) address: Option<SocketAddr>,
    pub(crate) handle: Option<ServerHandle>,
    _control: ControlSocket,
}

impl Server {
    /// On a control socket.
    pub(crate) fn start(plane: PlaneDouble, settings: Settings) -> Self {
        Self::launch(plane, settings, tempfile::tempdir().unwrap(), false).unwrap()
    }

    /// On a control socket, and on the network with these users.
    pub(crate) fn start_network(plane: PlaneDouble, settings: Settings, users: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        make_certificate(folder.path(), 30);
        write_users(folder.path(), users);
        Self::launch(plane, settings, folder, true).unwrap()
    }

    /// With whatever is in the folder.
    pub(crate) fn launch(
        plane: PlaneDouble,
        settings: Settings,
        folder: tempfile::TempDir,
        network: bool,
    ) -> Result<Self, ServeError> {
        let (control, listener) = ControlSocket::bind(&folder.path().join("lnic.sock"), 0o600).unwrap();
        let network = match network {
            false => None,
            true => Some(Network::open(&Listen {
                address: "127.0.0.1:0".parse().unwrap(),
                tls_certificate: folder.path().join("tls.crt"),
                tls_key: folder.path().join("tls.key"),
                users: folder.path().join("users.toml"),
            })?),
        };
        let address = network.as_ref().map(Network::address);
        let state = HttpState::new(Arc::new(plane.clone()));
        let handle = serve(Listeners { control: Some(listener), network }, state, settings)?;
        Ok(Self { plane, folder, address, handle: Some(handle), _control: control })
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("lnic.sock")
    }

    /// A connection to the control socket.
    pub(crate) fn connect(&self) -> Client<UnixStream> {
        let stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Client::new(stream)
    }

    /// A TCP connection, without TLS yet.
    pub(crate) fn connect_tcp(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address.expect("a server on the network")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// A connection over the network, by a client that trusts the certificate in the server's folder.
    pub(crate) fn connect_tls(&self) -> Result<Client<TlsStream>, std::io::Error> {
        self.connect_trusting(&self.folder.path().join("tls.crt"))
    }

    /// The same, by a client that trusts some certificate.
    pub(crate) fn connect_trusting(&self, certificate: &Path) -> Result<Client<TlsStream>, std::io::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let mut tls = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut stream = self.connect_tcp();
        while tls.is_handshaking() {
            tls.complete_io(&mut stream)?;
        }
        Ok(Client::new(StreamOwned::new(tls, stream)))
    }

    /// One request over the control socket.
    pub(crate) fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.connect().ask(method, path, None, body)
    }

    /// It still answers.
    pub(crate) fn assert_well(&self) {
        let answer = self.ask("GET", "/healthz", None);
        assert_eq!((answer.status, answer.body.as_slice()), (200, b"ok\n".as_slice()));
        let answer = self.ask("GET", "/v1/lambdas", None);
        assert_eq!(answer.status, 200);
    }
}

pub(crate) type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The message of an error, which every error has.
    pub(crate) fn error(&self) -> String {
        assert!(self.status >= 400, "{self:?}");
        let body = self.json();
        assert_eq!(body.as_object().expect("an object").len(), 1, "{body}");
        body["error"].as_str().expect("a text").to_owned()
    }
}

/// A client's side of a connection.
pub(crate) struct Client<S> {
    pub(crate) stream: S,
    ahead: Vec<u8>,
}

impl<S: Read + Write> Client<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, ahead: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// A request with a body of JSON, and its answer.
    pub(crate) fn ask(
        &mut self,
        method: &str,
        path: &str,
        authorization: Option<&str>,
        body: Option<&Value>,
    ) -> Answer {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: lnic\r\n");
        if let Some(authorization) = authorization {
            request += &format!("Authorization: {authorization}\r\n");
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        if !body.is_empty() {
            request += "Content-Type: application/json\r\n";
        }
        request += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
        self.send(request.as_bytes()).unwrap();
        self.answer().expect("an answer")
    }

    /// The next answer; `None` if the server closes the connection, or is silent for too long.
    pub(crate) fn answer(&mut self) -> Option<Answer> {
        let head = loop {
            if let Some(end) = find(&self.ahead, b"\r\n\r\n") {
                break self.ahead.drain(..end + 4).collect::<Vec<_>>();
            }
            self.more()?;
        };
        let head = String::from_utf8(head).expect("headers are ASCII");
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers: Vec<_> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(key, value)| (key.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let mut answer = Answer { status, headers, body: Vec::new() };
        if answer.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk().filter(|chunk| !chunk.is_empty()) {
                answer.body.extend(chunk);
            }
        } else {
            let length: usize = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
            while self.ahead.len() < length {
                self.more()?;
            }
            answer.body = self.ahead.drain(..length).collect();
        }
        Some(answer)
    }

    /// The head of an answer, whose chunks are then read one by one.
    pub(crate) fn head(&mut self) -> String {
        loop {
            if let Some(end) = find(&self.ahead, b"\r\n\r\n") {
                return String::from_utf8(self.ahead.drain(..end + 4).collect()).unwrap();
            }
            self.more().expect("a head");
        }
    }

    /// The next chunk of a body: empty at its end, `None` if the connection ends before.
    pub(crate) fn chunk(&mut self) -> Option<Vec<u8>> {
        let length = loop {
            if let Some(end) = find(&self.ahead, b"\r\n") {
                let line: Vec<u8> = self.ahead.drain(..end + 2).collect();
                break usize::from_str_radix(std::str::from_utf8(&line).ok()?.trim(), 16).ok()?;
            }
            self.more()?;
        };
        while self.ahead.len() < length + 2 {
            self.more()?;
        }
        let chunk = self.ahead.drain(..length).collect();
        self.ahead.drain(..2);
        Some(chunk)
    }

    /// Until the server closes the connection: how long that took. `None` if it does not in time.
    pub(crate) fn closed(&mut self) -> Option<Duration> {
        let start = Instant::now();
        loop {
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes) {
                Ok(0) => return Some(start.elapsed()),
                Ok(count) => self.ahead.extend(&bytes[..count]),
                Err(error) if is_patience(&error) => return None,
                Err(_) => return Some(start.elapsed()),
            }
            if start.elapsed() > PATIENCE {
                return None;
            }
        }
    }

    fn more(&mut self) -> Option<()> {
        let mut bytes = [0; 16 << 10];
        match self.stream.read(&mut bytes) {
            Ok(0) | Err(_) => None,
            Ok(count) => {
                self.ahead.extend(&bytes[..count]);
                Some(())
            }
        }
    }
}

fn is_patience(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// Waits until something is so.
pub(crate) fn wait_until(what: &str, mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Makes `tls.crt` and `tls.key` for localhost in a folder; with 0 days, the certificate expires at once.
pub(crate) fn make_certificate(folder: &Path, days: u32) {
    let openssl = |arguments: &[&str]| {
        let run = Command::new("openssl").args(arguments).current_dir(folder).output().expect("openssl");
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    };
    openssl(&[
        "req",
        "-new",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-keyout",
        "tls.key",
        "-out",
        "tls.csr",
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost,IP:127.0.0.1",
    ]);
    openssl(&[
        "x509",
        "-req",
        "-in",
        "tls.csr",
        "-signkey",
        "tls.key",
        "-days",
        &days.to_string(),
        "-copy_extensions",
        "copy",
        "-out",
        "tls.crt",
    ]);
}

/// Writes `users.toml`, for its owner only.
pub(crate) fn write_users(folder: &Path, text: &str) {
    write_secret(&folder.join("users.toml"), text);
}

/// Writes a file for its owner only.
pub(crate) fn write_secret(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::rename(&new, path).unwrap();
}

/// A user of a users file with the token `NAME-token`.
pub(crate) fn user(name: &str, rights: &str) -> String {
    let digest = lnic_registry::Digest::of(format!("{name}-token").as_bytes()).hex();
    format!("[[users]]\nname = \"{name}\"\ntoken_sha256 = \"{digest}\"\nrights = {{ {rights} }}\n")
}

/// The Authorization header of that user.
pub(crate) fn bearer(name: &str) -> String {
    format!("Bearer {name}-token")
}
