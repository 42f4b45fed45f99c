//! A child can do nothing but compile.

use std::fs::{self, File};
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::process::Command;

use memmap2::MmapMut;
use nix::sys::signal::kill;
use nix::unistd::getppid;

use super::*;

/// What compiling does not need, by name, and whether it works.
fn escapes() -> Vec<(&'static str, bool)> {
    let worked = |result: io::Result<()>| result.is_ok();
    vec![
        ("read a file", worked(File::open("/etc/passwd").map(drop))),
        ("list a folder", worked(fs::read_dir("/").map(drop))),
        ("make a file", worked(tempfile::tempfile().map(drop))),
        ("make a TCP socket", worked(TcpListener::bind("127.0.0.1:0").map(drop))),
        ("make a UDP socket", worked(UdpSocket::bind("127.0.0.1:0").map(drop))),
        ("make a Unix socket", worked(UnixStream::pair().map(drop))),
        ("make a pipe", worked(io::pipe().map(drop))),
        ("copy a descriptor", worked(io::stdin().as_fd().try_clone_to_owned().map(drop))),
        ("run a program", worked(Command::new("/bin/true").status().map(drop))),
        ("signal its parent", worked(kill(getppid(), None).map_err(io::Error::from))),
        ("make code", worked(MmapMut::map_anon(4096).and_then(MmapMut::make_exec).map(drop))),
        ("make a thread", worked(std::thread::Builder::new().spawn(|| ()).map(drop))),
        ("be dumped", worked(nix::sys::prctl::set_dumpable(true).map_err(io::Error::from))),
    ]
}

/// The child's part: bytes of its answer.
pub(in crate::control::compile) fn probe(probe: Probe) -> Vec<u8> {
    let mut answer = vec![job::MADE];
    match probe {
        Probe::Escape => {
            for (name, _) in escapes().into_iter().filter(|(_, worked)| *worked) {
                answer.extend_from_slice(name.as_bytes());
                answer.push(b'\n');
            }
        }
        Probe::Allocate => {
            let mut taken: Vec<Vec<u8>> = Vec::new();
            loop {
                taken.push(vec![1; 1 << 20]);
                std::hint::black_box(&taken);
            }
        }
        Probe::Spin => loop {
            std::hint::spin_loop();
        },
        Probe::Park => loop {
            std::thread::park();
        },
        Probe::Panic => panic!("as it was asked to"),
        Probe::Recurse => answer.push(deeper(0)),
        Probe::Abort => std::process::abort(),
    }
    answer
}

#[expect(unconditional_recursion, reason = "that is the point")]
fn deeper(depth: u8) -> u8 {
    let frame = std::hint::black_box([depth; 4096]);
    deeper(depth.wrapping_add(frame[7])).wrapping_add(std::hint::black_box(frame)[9])
}

#[test]
fn a_child_cannot_open_run_or_signal_anything() {
    // All of it works where nothing forbids it, so that this test can fail.
    assert_eq!(escapes().into_iter().filter(|(_, worked)| !worked).collect::<Vec<_>>(), []);
    let bench = Bench::new(&settings(None));
    let worked = String::from_utf8(bench.probe(Probe::Escape).unwrap()).unwrap();
    assert_eq!(worked, "");
    bench.works(1);
}

#[test]
fn the_server_has_no_privileges_and_one_socket() {
    let bench = Bench::new(&settings(None));
    // Once it has done a job it has started.
    bench.works(1);
    let server = bench.server();
    let status = |task: &str| fs::read_to_string(format!("/proc/{server}/task/{task}/status")).unwrap();
    let tasks = fs::read_dir(format!("/proc/{server}/task")).unwrap();
    let confined = tasks
        .map(|task| status(task.unwrap().file_name().to_str().unwrap()))
        .find(|status| status.contains("Seccomp:\t2\n"))
        .expect("a thread that serves");
    for line in ["CapPrm", "CapEff", "CapInh", "CapAmb"] {
        assert!(confined.contains(&format!("{line}:\t0000000000000000\n")), "{line}: {confined}");
    }
    assert!(confined.contains("NoNewPrivs:\t1\n"), "{confined}");
}
