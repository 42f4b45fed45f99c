//! A confined process: what still works, what is refused, and what ends it. What was given up does not come back, so each case is
//! a process of its own: this test, started again.

mod support;

use std::fs;
use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use lnic::control::config::Machine;
use lnic::control::confine;
use lnic::control::topology::Topology;
use socket2::{Domain, Socket, Type};
use support::arrangements::echo;
use support::frames::*;
use support::lab::Lab;

const CASE: &str = "LNIC_CONFINE_CASE";
const FOLDER: &str = "LNIC_CONFINE_FOLDER";
const SIGSYS: i32 = 31;

/// Runs a test of this file that is ignored otherwise.
fn case(name: &str) -> Output {
    let program = std::env::current_exe().unwrap();
    let arguments = ["--exact", "confined", "--ignored", "--nocapture", "--test-threads=1"];
    // Whoever is confined cannot remove it: it is in a folder that is not its own.
    let folder = tempfile::tempdir().unwrap();
    Command::new(program).args(arguments).env(CASE, name).env(FOLDER, folder.path()).output().unwrap()
}

#[track_caller]
fn passes(name: &str) {
    let output = case(name);
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{name}: {}\n{text}", output.status);
}

#[test]
fn an_appliance_can_do_what_it_does() {
    passes("work");
}

#[test]
fn what_it_does_not_need_is_refused() {
    passes("refused");
}

#[test]
fn cards_may_ask_the_kernel_and_others_may_not() {
    passes("cards");
}

#[test]
fn what_only_an_attacker_does_ends_the_process() {
    for name in ["exec", "chroot"] {
        let output = case(name);
        assert_eq!(output.status.signal(), Some(SIGSYS), "{name}: {}", output.status);
    }
}

#[test]
#[ignore = "confines its process: the other tests start it"]
fn confined() {
    let case = std::env::var(CASE).expect("the other tests name a case");
    let folder = std::env::var(FOLDER).expect("the other tests name a folder");
    let port = if case == "cards" { "0000:03:00.0" } else { "net_tap0,iface=lnic0" };
    let folder = Path::new(&folder);
    let text =
        format!("socket = {:?}\n[[ports]]\nname = \"p0\"\ndevargs = \"{port}\"\n", folder.join("lnic.sock"));
    let machine = Machine::read().unwrap();
    let (topology, _) = Topology::from_text(&text, &folder.join("test.toml"), &machine).unwrap();
    // What tests build with clang.
    let echo = echo();
    let mut helper =
        Command::new("/bin/sleep").arg("100").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let waiting = std::thread::spawn(|| {
        std::thread::park();
        fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).is_ok()
    });
    let kept = confine::apply(&confine::plan(&topology)).unwrap();
    let status = every_thread("NoNewPrivs:");
    assert!(status.len() >= 3 && status.iter().all(|value| value == "1"), "{status:?}");
    assert!(every_thread("Seccomp:").iter().all(|value| value == "2"));
    match case.as_str() {
        "work" => {
            works(folder);
            // Code of a lambda, compiled and loaded by a process that is confined already.
            let mut lab = Lab::new(vec![echo], false);
            assert_eq!(reply(&lab.exchange(&rpc4(1, b"confined"))[0]).payload, b"confined");
        }
        "refused" => {
            assert_eq!(kept.capabilities, []);
            assert!(every_thread("CapEff:").iter().all(|bits| bits.trim_start_matches('0').is_empty()));
            refused(folder);
            foreign_files(kept.files);
        }
        "cards" => {
            Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW, None).unwrap();
            assert!(kept.to_string().contains("kept: any ioctl"), "{kept}");
        }
        "exec" => _ = Command::new("/bin/true").exec(),
        "chroot" => _ = std::os::unix::fs::chroot(folder),
        other => panic!("no case {other}"),
    }
    // A helper that was started before can be ended.
    helper.kill().unwrap();
    assert_eq!(helper.wait().unwrap().signal(), Some(9));
    waiting.thread().unpark();
    // Threads that were there before are restricted too.
    assert_eq!(waiting.join().unwrap(), kept.files == confine::Restricted::Cannot);
}

fn every_thread(name: &str) -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    let status = tasks.map(|task| fs::read_to_string(task.path().join("status")).unwrap());
    status
        .map(|text| text.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned())
        .collect()
}

fn works(folder: &Path) {
    // The state folder.
    fs::create_dir(folder.join("state")).unwrap();
    let (one, other) = (folder.join("state/one"), folder.join("state/other"));
    fs::write(&one, b"kept").unwrap();
    fs::File::open(&one).unwrap().sync_all().unwrap();
    fs::rename(&one, &other).unwrap();
    fs::copy(&other, &one).unwrap();
    fs::set_permissions(&one, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(fs::read_dir(folder.join("state")).unwrap().count(), 2);
    let mut named = tempfile::NamedTempFile::new_in(folder).unwrap();
    std::io::Write::write_all(&mut named, b"renamed when whole").unwrap();
    named.persist(&other).unwrap();
    fs::remove_dir_all(folder.join("state")).unwrap();
    // The API, clients of other servers, name service.
    let listener = UnixListener::bind(folder.join("lnic.sock")).unwrap();
    let _client = UnixStream::connect(folder.join("lnic.sock")).unwrap();
    listener.accept().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    listener.accept().unwrap();
    UdpSocket::bind("127.0.0.1:0").unwrap();
    assert!("localhost:80".to_socket_addrs().unwrap().count() > 0);
    // Threads that come later, named and with a runtime of their own.
    let runtime = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            tokio::task::spawn_blocking(|| std::thread::sleep(std::time::Duration::from_millis(1)))
                .await
                .unwrap();
            drop(tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).unwrap());
        });
    };
    std::thread::Builder::new().name("later".into()).spawn(runtime).unwrap().join().unwrap();
    assert!(std::panic::catch_unwind(|| panic!("unwinds")).is_err());
}

fn refused(folder: &Path) {
    let denied = |what: &str, result: std::io::Result<()>| {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::PermissionDenied, "{what}");
    };
    denied("starting a program", Command::new("/bin/true").spawn().map(drop));
    for (name, family) in
        [("packet", libc::AF_PACKET), ("netlink", libc::AF_NETLINK), ("vsock", libc::AF_VSOCK)]
    {
        denied(name, Socket::new(Domain::from(family), Type::DGRAM, None).map(drop));
    }
    denied("raw", Socket::new(Domain::IPV4, Type::RAW, None).map(drop));
    denied("symlink", std::os::unix::fs::symlink("/", folder.join("link")));
    denied("owner", std::os::unix::fs::chown(folder, Some(1), None));
}

/// What is neither its state nor the system's, whoever it belongs to; in all threads, those that were there before too.
fn foreign_files(restricted: confine::Restricted) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    if restricted == confine::Restricted::Cannot {
        assert!(fs::read(&file).is_ok());
        return;
    }
    let denied = |what: &str, result: std::io::Result<()>| {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::PermissionDenied, "{what}");
    };
    denied("reading", fs::read(&file).map(drop));
    denied("listing", fs::read_dir("/").map(drop));
    let append = |path: &Path| fs::OpenOptions::new().append(true).open(path).map(drop);
    denied("writing what can be read", append(Path::new("/etc/hosts")));
    denied("writing", append(&file));
    fs::read("/etc/hosts").unwrap();
}
