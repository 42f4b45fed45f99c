//! Which symbols are one object.

use super::sections::Symbol;
use super::{Kind, ModuleError, Object, Segment, inconsistent};
use crate::Tier;

/// What follows a tier in the name of a section of constants: `.emem.const`.
const CONSTANTS: &str = "const";
/// Up to so many zeros that no symbol names are padding, if they are fewer than their segment's alignment.
const PADDING_BYTES: u32 = 16;

/// The objects of a module.
pub(super) struct Objects {
    /// By address.
    pub(super) list: Vec<Object>,
    /// For each symbol its object, and its offset in it.
    pub(super) of_symbol: Vec<Option<(usize, u32)>>,
}

/// A symbol in its segment.
struct Piece {
    address: u32,
    bytes: u32,
    symbol: usize,
}

impl Objects {
    /// Symbols that overlap are one object. What lies in no symbol is an object of its own, unless it is padding.
    pub(super) fn of(
        symbols: &[Option<Symbol>],
        segments: &[Segment],
        wasm: &[u8],
    ) -> Result<Self, ModuleError> {
        let mut pieces: Vec<Vec<Piece>> = Vec::new();
        pieces.resize_with(segments.len(), Vec::new);
        for (at, symbol) in symbols.iter().enumerate() {
            let Some(Symbol { place: Some(place), .. }) = symbol else { continue };
            // Segments are as long as their symbols ask for, and end below 4 GiB.
            let segment = place.index as usize;
            let address = segments[segment].address + place.offset;
            pieces[segment].push(Piece { address, bytes: place.size, symbol: at });
        }
        let mut list: Vec<Object> = Vec::new();
        let mut of_symbol = vec![None; symbols.len()];
        for (at, (segment, mut pieces)) in segments.iter().zip(pieces).enumerate() {
            pieces.sort_by_key(|piece| (piece.address, std::cmp::Reverse(piece.bytes)));
            let first = list.len();
            let mut end = segment.address;
            let mut largest = 0;
            for piece in &pieces {
                let name = symbols[piece.symbol].as_ref().map_or("", |symbol| &symbol.name);
                let found = alignment(segment, piece.address);
                match list[first..].last_mut() {
                    Some(last) if piece.address < end => {
                        if piece.bytes > largest {
                            (last.name, largest) = (name.to_owned(), piece.bytes);
                        }
                        end = end.max(piece.address + piece.bytes);
                        last.bytes = end - last.address;
                        last.alignment = last.alignment.max(found);
                    }
                    _ => {
                        list.extend(unnamed(segment, at, end, piece.address, wasm));
                        list.push(object(segment, at, name.to_owned(), piece.address, piece.bytes));
                        (end, largest) = (piece.address + piece.bytes, piece.bytes);
                    }
                }
                let object = list.len() - 1;
                of_symbol[piece.symbol] = Some((object, piece.address - list[object].address));
            }
            let behind = segment.address + segment.bytes;
            if pieces.is_empty() && behind > end {
                list.push(object(segment, at, unnamed_name(segment, end), end, behind - end));
            } else {
                list.extend(unnamed(segment, at, end, behind, wasm));
            }
        }
        let objects = Self { list, of_symbol }.sorted();
        let overlap = objects.list.windows(2).find_map(|pair| match pair {
            [first, second] if first.range().end > second.address => Some((&first.name, &second.name)),
            _ => None,
        });
        match overlap {
            Some((first, second)) => Err(inconsistent(format!("\"{first}\" and \"{second}\" overlap"))),
            None => Ok(objects),
        }
    }

    /// By address; symbols follow their objects.
    fn sorted(mut self) -> Self {
        let mut order: Vec<usize> = (0..self.list.len()).collect();
        order.sort_by_key(|&at| (self.list[at].address, self.list[at].bytes));
        let mut rank = vec![0; order.len()];
        for (new, &old) in order.iter().enumerate() {
            rank[old] = new;
        }
        for symbol in self.of_symbol.iter_mut().flatten() {
            symbol.0 = rank[symbol.0];
        }
        self.list.sort_by_key(|object| (object.address, object.bytes));
        self
    }
}

/// Bytes of a segment that no symbol names, if they are more than padding.
fn unnamed(segment: &Segment, at: usize, from: u32, to: u32, wasm: &[u8]) -> Option<Object> {
    let bytes = to.checked_sub(from)?;
    let start = segment.file.start + (from - segment.address) as usize;
    let end = (start + bytes as usize).min(segment.file.end);
    let says_something = wasm.get(start..end).is_some_and(|bytes| bytes.iter().any(|byte| *byte != 0));
    let is_object = says_something || bytes >= segment.alignment.max(PADDING_BYTES);
    is_object.then(|| object(segment, at, unnamed_name(segment, from), from, bytes))
}

fn unnamed_name(segment: &Segment, from: u32) -> String {
    let segment_name = if segment.name.is_empty() { "data" } else { &segment.name };
    format!("{segment_name}+{}", from - segment.address)
}

fn object(segment: &Segment, at: usize, name: String, address: u32, bytes: u32) -> Object {
    Object {
        name,
        segment: at,
        address,
        bytes,
        alignment: alignment(segment, address),
        kind: kind(&segment.name),
        wanted: wanted(&segment.name),
    }
}

/// What an address is a multiple of, up to its segment's alignment.
fn alignment(segment: &Segment, address: u32) -> u32 {
    segment.alignment.min(1u32.checked_shl(address.trailing_zeros()).unwrap_or(u32::MAX))
}

fn kind(segment: &str) -> Kind {
    let mut words = segment.split('.').skip(1);
    match (words.next(), words.next()) {
        (Some("rodata"), _) => Kind::Constant,
        (_, Some(CONSTANTS)) if wanted(segment).is_some() => Kind::Constant,
        _ => Kind::Variable,
    }
}

fn wanted(segment: &str) -> Option<Tier> {
    let first = segment.strip_prefix('.')?.split('.').next()?;
    Tier::ALL.into_iter().find(|tier| tier.name() == first)
}
