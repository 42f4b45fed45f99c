//! Files as a port: replays a capture into the appliance, records what leaves it. Classic pcap, Ethernet link type. What it records is
//! one slice: it cannot send external memory.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use pcap_file::DataLink;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapReader, PcapWriter};

use super::Port;
use super::trace::{Direction, Sink};
use crate::frame::{Burst, Frame, FrameSource};

/// Longest frame that is recorded whole.
const SNAP_BYTES: u32 = 65_535;

/// A capture file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Opening or creating it.
    #[error("capture {path}: {source}")]
    File {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Reading it.
    #[error("capture {path}: not a pcap file: {reason}")]
    Format {
        /// Its path.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Frames of another kind.
    #[error("capture {path}: link type {link_type:?}, only Ethernet can be replayed")]
    LinkType {
        /// Its path.
        path: PathBuf,
        /// What it holds.
        link_type: DataLink,
    },
}

/// Replays one file and records into another; either may be absent.
pub struct PcapPort<S> {
    source: S,
    reader: Option<PcapReader<BufReader<File>>>,
    recorder: Option<Recorder>,
    read_error: Option<String>,
    /// Read, but there was no buffer for it yet.
    pending: Option<Vec<u8>>,
    skipped: u64,
}

impl<S: FrameSource> PcapPort<S> {
    /// Opens `read` for replay, as fast as it is polled, and creates `write` for what is sent.
    pub fn open(source: S, read: Option<&Path>, write: Option<&Path>) -> Result<Self, Error> {
        let reader = read.map(open_reader).transpose()?;
        let recorder = write.map(Recorder::create).transpose()?;
        Ok(Self { source, reader, recorder, read_error: None, pending: None, skipped: 0 })
    }

    /// What ended the replay early, if anything did.
    #[must_use]
    pub fn read_error(&self) -> Option<&str> {
        self.read_error.as_deref()
    }

    /// Frames of the file that no buffer could hold.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped
    }
}

impl<S> PcapPort<S> {
    /// The next frame of the file; `None` at its end or if the rest cannot be read.
    fn read(&mut self) -> Option<Vec<u8>> {
        match self.reader.as_mut()?.next_packet() {
            Some(Ok(packet)) => return Some(packet.data.into_owned()),
            Some(Err(error)) => self.read_error = Some(error.to_string()),
            None => {}
        }
        self.reader = None;
        None
    }
}

/// All frames of a file.
pub fn frames(path: &Path) -> Result<Vec<Vec<u8>>, Error> {
    let mut reader = open_reader(path)?;
    let wrong = |error: pcap_file::PcapError| Error::Format { path: path.into(), reason: error.to_string() };
    let mut frames = Vec::new();
    while let Some(packet) = reader.next_packet() {
        frames.push(packet.map_err(wrong)?.data.into_owned());
    }
    Ok(frames)
}

fn open_reader(path: &Path) -> Result<PcapReader<BufReader<File>>, Error> {
    let file = File::open(path).map_err(|source| Error::File { path: path.into(), source })?;
    let reader = PcapReader::new(BufReader::new(file))
        .map_err(|error| Error::Format { path: path.into(), reason: error.to_string() })?;
    match reader.header().datalink {
        DataLink::ETHERNET => Ok(reader),
        link_type => Err(Error::LinkType { path: path.into(), link_type }),
    }
}

impl<S: FrameSource> Port<S::Frame> for PcapPort<S> {
    fn rx(&mut self, burst: &mut Burst<S::Frame>) -> usize {
        let first = burst.len();
        while !burst.is_full() {
            let Some(bytes) = self.pending.take().or_else(|| self.read()) else { break };
            match self.source.frame(&bytes) {
                Some(frame) => burst.push(frame),
                None if bytes.len() > self.source.capacity() => self.skipped += 1,
                None => {
                    // The pool is empty: later.
                    self.pending = Some(bytes);
                    break;
                }
            }
        }
        burst.len() - first
    }

    fn tx(&mut self, burst: &mut Burst<S::Frame>) -> usize {
        let count = burst.len();
        for frame in burst.drain(..) {
            if let Some(recorder) = &mut self.recorder {
                recorder.record(frame.bytes());
            }
        }
        count
    }

    fn exhausted(&self) -> bool {
        self.reader.is_none() && self.pending.is_none()
    }
}

/// Writes frames to a pcap file; as a [`Sink`] it records both directions of a traced port.
pub struct Recorder {
    writer: PcapWriter<BufWriter<File>>,
    failed: bool,
}

impl Recorder {
    /// Creates or overwrites the file.
    pub fn create(path: &Path) -> Result<Self, Error> {
        let file = File::create(path).map_err(|source| Error::File { path: path.into(), source })?;
        let header =
            PcapHeader { snaplen: SNAP_BYTES, datalink: DataLink::ETHERNET, ..PcapHeader::default() };
        let writer = PcapWriter::with_header(BufWriter::new(file), header)
            .map_err(|error| Error::Format { path: path.into(), reason: error.to_string() })?;
        Ok(Self { writer, failed: false })
    }

    /// Records one frame, now. After a write error (disk full) the rest is not recorded.
    pub fn record(&mut self, bytes: &[u8]) {
        if self.failed {
            return;
        }
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let kept = &bytes[..bytes.len().min(SNAP_BYTES as usize)];
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.failed = self.writer.write_packet(&PcapPacket::new(time, length, kept)).is_err();
    }

    /// True once a write has failed.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.failed
    }
}

impl Sink for Recorder {
    fn see(&mut self, _direction: Direction, bytes: &[u8]) {
        self.record(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::sim::SimPool;

    fn port(read: &Path) -> Result<PcapPort<SimPool>, Error> {
        PcapPort::open(SimPool::new(64, 256), Some(read), None)
    }

    fn record(path: &Path, frames: &[&[u8]]) {
        let mut recorder = Recorder::create(path).unwrap();
        for frame in frames {
            recorder.record(frame);
        }
        assert!(!recorder.failed());
    }

    #[test]
    fn what_was_recorded_is_replayed_in_order_and_then_it_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pcap");
        record(&path, &[b"first", b"second", &[7; 300], b"last"]);
        let mut port = port(&path).unwrap();
        let mut burst = Burst::new();
        assert!(!port.exhausted());
        assert_eq!(port.rx(&mut burst), 3);
        let bytes: Vec<_> = burst.iter().map(|frame| frame.bytes().to_vec()).collect();
        assert_eq!(bytes, [&b"first"[..], b"second", b"last"]);
        // One was larger than the buffers.
        assert_eq!((port.skipped(), port.exhausted(), port.read_error()), (1, true, None));
    }

    #[test]
    fn a_file_that_ends_in_the_middle_gives_what_is_whole_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cut.pcap");
        record(&path, &[b"whole", b"cut off"]);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
        let mut port = port(&path).unwrap();
        let mut burst = Burst::new();
        port.rx(&mut burst);
        assert_eq!(burst.len(), 1);
        assert!(port.exhausted() && port.read_error().is_some());
    }

    #[test]
    fn files_that_cannot_be_replayed_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing.pcap");
        let text = port(&missing).err().unwrap().to_string();
        assert!(text.contains("missing.pcap: No such file"), "{text}");
        let noise = folder.path().join("noise.pcap");
        std::fs::write(&noise, [0xAB; 64]).unwrap();
        let text = port(&noise).err().unwrap().to_string();
        assert!(text.contains("noise.pcap: not a pcap file"), "{text}");
        let raw_ip = folder.path().join("raw.pcap");
        let header = PcapHeader { datalink: DataLink::RAW, ..PcapHeader::default() };
        drop(PcapWriter::with_header(File::create(&raw_ip).unwrap(), header).unwrap());
        let text = port(&raw_ip).err().unwrap().to_string();
        assert!(text.contains("only Ethernet can be replayed"), "{text}");
    }
}
