//! The data section without zeros that cost bytes.

use std::ops::Range;

use wasmparser::{DataKind, DataSectionReader, Operator};

use super::{leb128, put_bytes, signed_leb128, unreadable};
use crate::control::build::BuildError;

/// An active segment of the first memory, and the instructions of its address.
const ACTIVE: u8 = 0;
const I32_CONST: u8 = 0x41;
const END: u8 = 0x0B;
/// Zeros between two symbols that are worth a new segment.
const SPLIT_BYTES: usize = 64;
/// Zeros stay in segments of constants: the verifier takes a gap behind them for zeroed variables.
const CONSTANTS: [&str; 2] = [".rodata", ".const"];

/// The new data section: segments of variables end with their last byte that is not zero, and begin anew behind long zeros. A
/// symbol lies in one segment, though that may be shorter.
pub(super) struct Data {
    /// The section.
    pub(super) content: Vec<u8>,
    /// In the old order; what was one segment is several in a row.
    pieces: Vec<Piece>,
    /// Segments in the old section; segments of zeros, which have no place in it, count on from here.
    old_segments: usize,
}

/// A segment of the new section.
struct Piece {
    /// The old segment, and where the piece begins in it.
    segment: usize,
    offset: usize,
    /// Where its bytes were in the old section, and where they are in the new one.
    old: Range<usize>,
    new: usize,
}

/// What a segment holds and must not be torn apart, by offsets in the data section or in the segment.
#[derive(Default)]
pub(super) struct Contents {
    /// Ends of addresses, by offset in the section, in order.
    pub(super) address_ends: Vec<usize>,
    /// Segment, offset and bytes of each symbol, in order.
    pub(super) symbols: Vec<(usize, usize, usize)>,
}

impl Data {
    pub(super) fn trim(
        section: DataSectionReader<'_>,
        names: &[String],
        contents: &Contents,
    ) -> Result<Self, BuildError> {
        let base = section.range().start;
        let mut pieces: Vec<Piece> = Vec::new();
        let mut list = Vec::new();
        let old_segments = section.count() as usize;
        for (at, segment) in section.into_iter().enumerate() {
            let segment = segment.map_err(unreadable)?;
            let bytes = segment.data;
            let first = segment.range.end - bytes.len() - base;
            let is_constant = names.get(at).is_none_or(|name| CONSTANTS.iter().any(|of| name.contains(of)));
            let address = match segment.kind {
                DataKind::Active { memory_index: 0, offset_expr } => address(&offset_expr),
                _ => None,
            };
            let Some(address) = address else {
                return Err(BuildError::Module(format!("data segment {at} has no constant address")));
            };
            let ranges = if is_constant {
                std::iter::once(0..bytes.len()).collect()
            } else {
                split(bytes, contents.atoms(at, bytes.len()), |range| contents.addresses_end(first, range))
            };
            for range in ranges {
                #[expect(clippy::cast_possible_truncation, reason = "segments lie below 4 GiB")]
                let address = address.wrapping_add(range.start as i32);
                list.extend([ACTIVE, I32_CONST]);
                list.extend(signed_leb128(address.into()));
                list.push(END);
                let old = first + range.start..first + range.end;
                put_bytes(&mut list, &bytes[range.clone()]);
                pieces.push(Piece { segment: at, offset: range.start, old, new: list.len() - range.len() });
            }
        }
        let mut content: Vec<u8> = leb128(pieces.len()).collect();
        for piece in &mut pieces {
            piece.new += content.len();
        }
        content.append(&mut list);
        Ok(Self { content, pieces, old_segments })
    }

    /// Where an offset into the section is now.
    pub(super) fn moved(&self, offset: usize) -> Option<usize> {
        let after = self.pieces.partition_point(|piece| piece.old.start <= offset);
        let piece = self.pieces.get(after.checked_sub(1)?)?;
        piece.old.contains(&offset).then(|| offset - piece.old.start + piece.new)
    }

    /// In which new segment a place in an old one is, and where in it.
    pub(super) fn place(&self, segment: usize, offset: usize) -> (usize, usize) {
        if segment >= self.old_segments {
            return (segment - self.old_segments + self.pieces.len(), offset);
        }
        let after = self.pieces.partition_point(|piece| (piece.segment, piece.offset) <= (segment, offset));
        let at = after.saturating_sub(1);
        (at, self.pieces.get(at).map_or(offset, |piece| offset - piece.offset))
    }

    /// How many segments an old one is now.
    pub(super) fn count(&self, segment: usize) -> usize {
        if segment >= self.old_segments {
            return 1;
        }
        self.pieces.iter().filter(|piece| piece.segment == segment).count()
    }
}

impl Contents {
    /// Puts everything in order.
    pub(super) fn sort(&mut self) {
        self.address_ends.sort_unstable();
        self.symbols.sort_unstable();
    }

    /// Where a segment may begin anew: at symbols into which no other one reaches.
    fn atoms(&self, segment: usize, bytes: usize) -> Vec<usize> {
        let first = self.symbols.partition_point(|symbol| symbol.0 < segment);
        let own = self.symbols[first..].iter().take_while(|symbol| symbol.0 == segment);
        let mut starts = vec![0];
        let mut end = 0;
        for &(_, offset, length) in own {
            if offset >= end && offset < bytes && Some(&offset) != starts.last() {
                starts.push(offset);
            }
            end = end.max(offset.saturating_add(length));
        }
        starts
    }

    /// End of the last address in a range of a segment whose bytes begin at `first`; the range's start if there is none.
    fn addresses_end(&self, first: usize, range: &Range<usize>) -> usize {
        let before = self.address_ends.partition_point(|end| *end <= first + range.end);
        let last = before.checked_sub(1).map_or(0, |at| self.address_ends[at]);
        last.saturating_sub(first).max(range.start)
    }
}

/// Ranges of bytes without the zeros behind them; the first one begins at 0. Addresses are kept, even if they are 0.
fn split(
    bytes: &[u8],
    starts: Vec<usize>,
    addresses_end: impl Fn(&Range<usize>) -> usize,
) -> Vec<Range<usize>> {
    let ends = starts.iter().copied().skip(1).chain([bytes.len()]).collect::<Vec<_>>();
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for (start, end) in starts.into_iter().zip(ends) {
        let zeros = bytes[start..end].iter().rev().take_while(|byte| **byte == 0).count();
        let said = (end - zeros).max(addresses_end(&(start..end)));
        match ranges.last_mut() {
            Some(last) if said == start || start - last.end < SPLIT_BYTES => {
                if said > start {
                    last.end = said;
                }
            }
            _ => ranges.push(start..said),
        }
    }
    ranges
}

/// The constant that an address is.
fn address(expression: &wasmparser::ConstExpr<'_>) -> Option<i32> {
    match expression.get_operators_reader().read() {
        Ok(Operator::I32Const { value }) => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_begin_anew_at_symbols_behind_long_zeros() {
        let mut bytes = vec![0; 1000];
        (bytes[0], bytes[500], bytes[999]) = (1, 1, 1);
        let pairs = |ranges: Vec<Range<usize>>| {
            ranges.iter().map(|range| (range.start, range.end)).collect::<Vec<_>>()
        };
        let found =
            |bytes: &[u8], starts: &[usize]| pairs(split(bytes, starts.to_vec(), |range| range.start));
        assert_eq!(found(&bytes, &[0]), [(0, 1000)]);
        assert_eq!(found(&bytes, &[0, 4, 500, 501, 990]), [(0, 1), (500, 501), (990, 1000)]);
        // A symbol whose own zeros come first keeps them.
        assert_eq!(found(&bytes, &[0, 100, 600]), [(0, 1), (100, 501), (600, 1000)]);
        // Short zeros are not worth it.
        assert_eq!(found(&bytes[450..520], &[0, 10, 20]), [(0, 51)]);
        assert_eq!(found(&bytes[490..510], &[0, 10]), [(0, 11)]);
        assert_eq!(found(&[0; 100], &[0, 50]), [(0, 0)]);
        assert_eq!(found(&[], &[0]), [(0, 0)]);
        // An address that is 0 stays.
        let with_address = split(&[0; 100], vec![0, 80], |range| if range.end == 100 { 88 } else { 0 });
        assert_eq!(pairs(with_address), [(0, 0), (80, 88)]);
    }

    #[test]
    fn symbols_that_overlap_are_not_torn_apart() {
        let contents = Contents {
            address_ends: vec![],
            symbols: vec![
                (0, 0, 4),
                (1, 0, 8),
                (1, 8, 100),
                (1, 20, 4),
                (1, 100, 50),
                (1, 150, 0),
                (2, 0, 4),
            ],
        };
        assert_eq!(contents.atoms(1, 400), [0, 8, 150]);
        assert_eq!(contents.atoms(1, 150), [0, 8]);
        assert_eq!(contents.atoms(7, 150), [0]);
    }
}
