//! Captures that an appliance replays and records.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use pcap_file::DataLink;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapReader, PcapWriter};

/// Writes frames to a capture.
pub fn write(path: &Path, frames: impl Iterator<Item = Vec<u8>>) {
    let header = PcapHeader { datalink: DataLink::ETHERNET, ..PcapHeader::default() };
    let mut writer = PcapWriter::with_header(File::create(path).unwrap(), header).unwrap();
    for frame in frames {
        let packet = PcapPacket::new(Duration::ZERO, u32::try_from(frame.len()).unwrap(), &frame);
        writer.write_packet(&packet).unwrap();
    }
}

/// The frames of a capture.
pub fn read(path: &Path) -> Vec<Vec<u8>> {
    let mut reader = PcapReader::new(File::open(path).unwrap()).unwrap();
    std::iter::from_fn(|| reader.next_packet().map(|packet| packet.unwrap().data.into_owned())).collect()
}
