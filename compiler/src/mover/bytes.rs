//! What a memory begins with: runs of bytes between zeros.

use super::{Places, Window};
use crate::module::{Kind, Module};

/// Zeros within an object that are worth a new run.
const SPLIT_BYTES: usize = 64;
/// Zeros between two objects that are not.
const JOIN_BYTES: u64 = 16;

/// Bytes that begin and end with one that is not zero, unless they are constants of the dense layout.
pub(super) struct Run {
    /// First address.
    pub(super) address: u32,
    /// The bytes.
    pub(super) bytes: Vec<u8>,
    /// Are they all constants?
    pub(super) constant: bool,
}

/// Runs by address.
pub(super) struct Runs {
    pub(super) list: Vec<Run>,
}

impl Runs {
    /// Of the patched file. With `whole_constants` those are not cut short at zeros: the verifier tells zeroed variables by the
    /// gap behind the last segment.
    pub(super) fn of(module: &Module<'_>, patched: &[u8], places: &Places, whole_constants: bool) -> Self {
        let objects = module.objects();
        let mut order: Vec<usize> = (0..objects.len()).collect();
        order.sort_by_key(|&object| places.addresses[object]);
        let mut runs = Self { list: Vec::new() };
        let mut windows = places.windows.iter();
        let mut window_end = windows.next().map_or(0, |window| window.bytes);
        // Runs do not join across windows.
        let mut window_first = 0;
        let mut has_variables = false;
        for object in order {
            let address = places.addresses[object];
            while u64::from(address) >= window_end {
                let Some(Window { bytes, .. }) = windows.next() else { break };
                window_end += bytes;
                window_first = runs.list.len();
            }
            let object = &objects[object];
            let segment = &module.segments()[object.segment];
            let start = segment.file.start + (object.address - segment.address) as usize;
            let end = (start + object.bytes as usize).min(segment.file.end);
            let bytes = patched.get(start..end).unwrap_or_default();
            let constant = object.kind == Kind::Constant;
            has_variables |= !constant && object.bytes > 0;
            if constant && whole_constants {
                runs.push(address, bytes, constant, window_first);
            } else {
                for (offset, piece) in pieces(bytes) {
                    #[expect(clippy::cast_possible_truncation, reason = "it lies within the object")]
                    runs.push(address + offset as u32, piece, constant, window_first);
                }
            }
        }
        // Zeroed variables before the last constant leave no gap: an empty segment of variables says that there are some.
        if whole_constants && has_variables && runs.list.iter().all(|run| run.constant) {
            runs.list.push(Run { address: places.data_end, bytes: Vec::new(), constant: false });
        }
        runs
    }

    fn push(&mut self, address: u32, bytes: &[u8], constant: bool, first: usize) {
        if bytes.is_empty() {
            return;
        }
        if let Some(last) = self.list[first..].last_mut() {
            let end = u64::from(last.address) + last.bytes.len() as u64;
            let gap = u64::from(address) - end;
            if gap <= JOIN_BYTES {
                last.bytes.resize(last.bytes.len() + gap as usize, 0);
                last.bytes.extend_from_slice(bytes);
                last.constant &= constant;
                return;
            }
        }
        self.list.push(Run { address, bytes: bytes.to_vec(), constant });
    }
}

/// What lies between long runs of zeros, with its offset.
fn pieces(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + bytes.get(at..)?.iter().position(|byte| *byte != 0)?;
        let mut end = start;
        at = start;
        while at < bytes.len() && at - end < SPLIT_BYTES {
            if bytes[at] != 0 {
                end = at + 1;
            }
            at += 1;
        }
        Some((start, &bytes[start..end]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_zeros_separate_pieces_and_short_ones_do_not() {
        let found = |bytes: &[u8]| pieces(bytes).map(|(at, piece)| (at, piece.len())).collect::<Vec<_>>();
        assert_eq!(found(&[]), []);
        assert_eq!(found(&[0; 1000]), []);
        assert_eq!(found(&[0, 1, 0, 2, 0]), [(1, 3)]);
        let mut bytes = vec![0; 300];
        (bytes[0], bytes[64], bytes[299]) = (1, 1, 1);
        assert_eq!(found(&bytes), [(0, 65), (299, 1)]);
        (bytes[0], bytes[64], bytes[65]) = (1, 0, 1);
        assert_eq!(found(&bytes), [(0, 1), (65, 1), (299, 1)]);
    }
}
