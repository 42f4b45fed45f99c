//! An etcd of the test's own, and what tests deploy.
#![allow(dead_code, clippy::print_stderr, reason = "each test uses its part; skipped ones say so")]

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lnic_registry::{Backend, Digest, GenerationRecord, LambdaKey, LambdaRecord, Manifest, NamespaceRecord};
use tempfile::TempDir;

/// An etcd on ports of its own, killed when dropped.
pub(crate) struct EtcdServer {
    folder: TempDir,
    ports: [u16; 2],
    child: Option<Child>,
}

impl EtcdServer {
    /// None where etcd is not installed, which is a failure where CI says that it must be.
    pub(crate) fn start() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let mut server = Self { folder, ports: free_ports(), child: None };
        match server.spawn() {
            Ok(()) => Some(server),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                assert!(std::env::var("CI").is_err(), "etcd is not installed");
                eprintln!("SKIPPED: etcd is not installed");
                None
            }
            Err(error) => panic!("etcd: {error}"),
        }
    }

    fn spawn(&mut self) -> std::io::Result<()> {
        let [client, peer] = self.ports.map(|port| format!("http://127.0.0.1:{port}"));
        let child = Command::new("etcd")
            .arg("--data-dir")
            .arg(self.folder.path())
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        self.child = Some(child);
        let started = Instant::now();
        while !self.is_healthy() {
            assert!(started.elapsed() < Duration::from_secs(30), "etcd does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn is_healthy(&self) -> bool {
        let mut answer = String::new();
        TcpStream::connect(("127.0.0.1", self.ports[0]))
            .and_then(|mut stream| {
                stream.write_all(b"GET /health HTTP/1.0\r\n\r\n")?;
                stream.read_to_string(&mut answer)
            })
            .is_ok_and(|_| answer.contains("true"))
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().and_then(|()| child.wait()).expect("killed");
        }
    }

    /// Starts it again, with what it had.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.spawn().expect("etcd");
    }

    /// Starts it again, with nothing.
    pub(crate) fn replace(&mut self) {
        self.kill();
        self.folder = tempfile::tempdir().expect("a folder");
        self.spawn().expect("etcd");
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[0])
    }

    pub(crate) fn backend(&self, prefix: &str, appliance: &str, folder: Option<&TempDir>) -> Backend {
        Backend::Etcd {
            folder: folder.map(|folder| folder.path().to_owned()),
            endpoints: vec![self.endpoint()],
            prefix: prefix.to_owned(),
            lease_s: 2,
            appliance: appliance.to_owned(),
        }
    }
}

impl Drop for EtcdServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Both held until both are known, so that they differ.
fn free_ports() -> [u16; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind(("127.0.0.1", 0)).expect("a port"));
    listeners.map(|listener| listener.local_addr().expect("an address").port())
}

pub(crate) fn lambda(key: &LambdaKey, id: u32, generation: u64, module: Digest) -> LambdaRecord {
    let manifest = Manifest { name: key.name.clone(), ..Manifest::default() };
    let generation = GenerationRecord {
        number: generation,
        module,
        manifest,
        image: "echo:1".to_owned(),
        deployed_at_ms: 2,
    };
    let (key, current) = (key.clone(), generation.number);
    LambdaRecord { key, id, current, generations: vec![generation], replicas: None, created_at_ms: 1 }
}

pub(crate) fn namespace(name: &str) -> NamespaceRecord {
    NamespaceRecord { name: name.to_owned(), ..NamespaceRecord::default() }
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}
