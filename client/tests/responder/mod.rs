//! A λ-RPC responder on loopback that answers as it is told, badly if so.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use lnic_wire::rpc::{Header, Kind, Status};

/// A thread that answers until it is dropped.
pub(crate) struct Responder {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Responder {
    /// Answers each datagram with what `answer` returns: each in order, as it is. Requests count from 0.
    pub(crate) fn start(
        bind: &str,
        mut answer: impl FnMut(usize, &Header, &[u8]) -> Vec<Vec<u8>> + Send + 'static,
    ) -> Self {
        let socket = UdpSocket::bind(bind).expect("a loopback socket");
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout");
        let address = socket.local_addr().expect("an address");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            let mut count = 0;
            while !stopped.load(Ordering::Relaxed) {
                let Ok((bytes, from)) = socket.recv_from(&mut buffer) else { continue };
                let request = Header::parse(&buffer[..bytes]).expect("a request");
                if request.kind == Kind::Cancel {
                    continue;
                }
                assert_eq!(request.kind, Kind::Request);
                let payload = request.payload(&buffer[..bytes]);
                assert!(request.accepts(payload.len()), "{request:?}");
                for datagram in answer(count, &request, payload) {
                    let _ = socket.send_to(&datagram, from);
                }
                count += 1;
            }
        });
        Self { address, stop, thread: Some(thread) }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let joined = self.thread.take().map(JoinHandle::join);
        if let (Some(Err(panic)), false) = (joined, std::thread::panicking()) {
            std::panic::resume_unwind(panic);
        }
    }
}

/// A datagram with this header and payload, with CRC.
pub(crate) fn sealed(header: &Header, payload: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0; header.header_bytes];
    datagram.extend_from_slice(payload);
    header.emit_with_crc(&mut datagram);
    datagram
}

/// The request's payload in upper case, OK, 42 µs.
pub(crate) fn upper(request: &Header, payload: &[u8]) -> Vec<u8> {
    reply(request, Status::Ok, &payload.to_ascii_uppercase())
}

/// A reply with this status.
pub(crate) fn reply(request: &Header, status: Status, payload: &[u8]) -> Vec<u8> {
    sealed(&request.reply(status, 8, 42, payload.len() as u32), payload)
}
