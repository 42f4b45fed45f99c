//! Reads a linked module: its data segments, and what the linker says of the objects in them (`--emit-relocs`).
//!
//! What is here is the author's claim. Whoever acts on it may harm that module, and nobody else.

use std::ops::Range;

use crate::Tier;

mod encoding;
mod objects;
mod sections;
#[cfg(test)]
mod tests;

pub(crate) use encoding::encode;
use sections::Sections;

/// Why the objects of a module are not known.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ModuleError {
    /// Not a module.
    #[error("not a valid module: {0}")]
    Invalid(String),
    /// Its linking sections contradict its contents.
    #[error("what the module says of its objects does not hold: {0}")]
    Inconsistent(String),
    /// It is valid, but its objects cannot be told apart.
    #[error("its objects cannot be told apart: {0}")]
    Unsupported(String),
}

/// A range of linear memory that the linker laid out as one piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its name, such as `.rodata`; empty if unknown.
    pub name: String,
    /// First address.
    pub address: u32,
    /// Where its bytes lie in the module's file; empty for zeros.
    pub file: Range<usize>,
    /// Bytes in memory: at least as many as in the file.
    pub bytes: u32,
    /// Alignment that the linker gave it, in bytes.
    pub alignment: u32,
}

/// What its section says of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `.rodata`, or a tier's `.const`: the compiler says that nobody writes it.
    Constant,
    /// Anything else.
    Variable,
}

/// A piece of memory that can be moved: a data symbol, or several that overlap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// The symbol's name; of several, that of the largest. Bytes that no symbol names are called by their segment's name and `+offset`.
    pub name: String,
    /// Its segment's place in [`Module::segments`].
    pub segment: usize,
    /// First address.
    pub address: u32,
    /// Its bytes.
    pub bytes: u32,
    /// Alignment in bytes that its symbols have, at most its segment's. Of several symbols the greatest: then the object's first
    /// address need not be a multiple of it, and keeps its remainder when the object moves.
    pub alignment: u32,
    /// What its section says.
    pub kind: Kind,
    /// The tier that its section asks for: `.local`, `.ctm`, `.imem`, `.emem`, or one of these followed by `.` and more.
    pub wanted: Option<Tier>,
}

impl Object {
    /// Its addresses.
    #[must_use]
    pub fn range(&self) -> Range<u32> {
        self.address..self.address.saturating_add(self.bytes)
    }
}

/// How a place in the file holds an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Five bytes of unsigned LEB128: the offset of a load or store.
    Leb,
    /// Five bytes of signed LEB128: an `i32.const`.
    Sleb,
    /// Four bytes, little-endian: a pointer in data.
    I32,
}

/// A place in the file that holds the address of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Where in the file.
    pub position: usize,
    /// How it is written.
    pub encoding: Encoding,
    /// The object's place in [`Module::objects`].
    pub object: usize,
    /// What is added to the object's address; may point before or behind it.
    pub addend: i64,
}

/// A place in the file that holds an address which belongs to no object, such as that of `__heap_base`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unplaced {
    /// Where in the file.
    pub position: usize,
    /// The linker's symbol.
    pub name: String,
}

/// A linked module and its objects.
#[derive(Clone, Debug)]
pub struct Module<'a> {
    wasm: &'a [u8],
    segments: Vec<Segment>,
    objects: Vec<Object>,
    references: Vec<Reference>,
    unplaced: Vec<Unplaced>,
    has_relocations: bool,
}

impl<'a> Module<'a> {
    /// Reads a module. One without relocations has an object for each data segment, and no references: its objects are known
    /// but cannot be moved.
    pub fn read(wasm: &'a [u8]) -> Result<Self, ModuleError> {
        Sections::read(wasm)?.resolve(wasm)
    }

    /// A module of nothing but objects.
    #[cfg(test)]
    pub(crate) fn of_objects(objects: Vec<Object>, is_movable: bool) -> Self {
        Self {
            wasm: &[],
            segments: Vec::new(),
            objects,
            references: Vec::new(),
            unplaced: Vec::new(),
            has_relocations: is_movable,
        }
    }

    /// Its bytes.
    #[must_use]
    pub fn wasm(&self) -> &'a [u8] {
        self.wasm
    }

    /// Its data segments and, last, its zeroed variables, in the linker's order.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Its objects by address; they do not overlap.
    #[must_use]
    pub fn objects(&self) -> &[Object] {
        &self.objects
    }

    /// Every place that holds an object's address, by position; complete only if the module has relocations.
    #[must_use]
    pub fn references(&self) -> &[Reference] {
        &self.references
    }

    /// Every place that holds an address which belongs to no object.
    #[must_use]
    pub fn unplaced(&self) -> &[Unplaced] {
        &self.unplaced
    }

    /// Were its relocations kept, so that its objects can be moved?
    #[must_use]
    pub fn is_movable(&self) -> bool {
        self.has_relocations
    }

    /// The segment that a byte of the file belongs to.
    fn segment_in_file(&self, position: usize) -> Option<&Segment> {
        // Segments lie in the file one behind another; those of zeros have no place in it and come last.
        let backed = self.segments.partition_point(|segment| segment.file.end > 0);
        let after = self.segments[..backed].partition_point(|segment| segment.file.start <= position);
        let segment = self.segments.get(after.checked_sub(1)?)?;
        segment.file.contains(&position).then_some(segment)
    }

    /// The object that holds an address.
    #[must_use]
    pub fn object_at(&self, address: u32) -> Option<usize> {
        let after = self.objects.partition_point(|object| object.address <= address);
        let at = after.checked_sub(1)?;
        self.objects[at].range().contains(&address).then_some(at)
    }
}

fn invalid(error: wasmparser::BinaryReaderError) -> ModuleError {
    ModuleError::Invalid(error.to_string())
}

fn inconsistent(what: String) -> ModuleError {
    ModuleError::Inconsistent(what)
}
