//! Functions by the way they are called.

use std::collections::HashMap;
use std::rc::Rc;

use super::Lost;
use super::code::HostCall;
use super::stack::Stack;
use super::value::{Pointer, Region, Value};

/// What a function begins with.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Input {
    pub(super) arguments: Vec<Value>,
    pub(super) stack_pointer: Value,
    pub(super) stack: Rc<Stack>,
}

impl Input {
    /// Takes in another; true if that changed it.
    pub(super) fn absorb(&mut self, other: &Self, widen: bool) -> bool {
        let mut changed = self.stack_pointer.absorb(&other.stack_pointer, widen);
        for (own, other) in self.arguments.iter_mut().zip(&other.arguments) {
            changed |= own.absorb(other, widen);
        }
        if !Rc::ptr_eq(&self.stack, &other.stack) && self.stack != other.stack {
            changed |= Rc::make_mut(&mut self.stack).absorb(&other.stack, widen);
        }
        changed
    }
}

/// Memory that one step touches.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Touch {
    pub(super) reads: bool,
    pub(super) writes: bool,
    pub(super) atomic: bool,
    /// Where, the operator's own offset included.
    pub(super) address: Value,
    /// Bytes, at most; `None` if that is not known.
    pub(super) bytes: Option<u64>,
    /// It may touch none at all.
    pub(super) optional: bool,
}

impl Touch {
    /// Why nobody knows where it is, if so. `bytes_of` says how large a region is.
    pub(super) fn lost(&self, bytes_of: impl Fn(Region) -> Option<u64>) -> Option<Lost> {
        if self.address.unknown {
            return Some(Lost::Unknown);
        }
        if self.address.pointers.is_empty() {
            return Some(Lost::Number);
        }
        let outside = self.address.pointers.as_slice().iter().all(|it| self.misses(it, &bytes_of));
        outside.then_some(Lost::Outside)
    }

    /// Is this pointer none that C lets a program use here? It would lead out of what it points into.
    fn misses(&self, pointer: &Pointer, bytes_of: impl Fn(Region) -> Option<u64>) -> bool {
        if pointer.offset.is_full() {
            return false;
        }
        let needed = if self.optional { 0 } else { self.bytes.unwrap_or(1) };
        let first_end = pointer.offset.low.saturating_add(i64::try_from(needed).unwrap_or(i64::MAX));
        match pointer.region {
            Region::Stack => first_end > 0,
            Region::Payload => pointer.offset.high < 0,
            region => {
                bytes_of(region).is_some_and(|bytes| pointer.offset.high < 0 || first_end > bytes as i64)
            }
        }
    }

    /// Leaves out pointers that lead out of what they point into, unless all do: what memory may hold is known of whole objects,
    /// not of their fields, so that a pointer may seem to be one that belongs into another field.
    pub(super) fn narrowed(mut self, bytes_of: impl Fn(Region) -> Option<u64>) -> Self {
        let pointers = self.address.pointers.as_slice();
        let misses = pointers.iter().filter(|it| self.misses(it, &bytes_of)).count();
        if (1..pointers.len()).contains(&misses) {
            self.address.pointers = self.address.pointers.retain(|it| !self.misses(it, &bytes_of));
        }
        self
    }
}

/// A function, called in one way: by the chain of calls that leads to it.
#[derive(Default)]
pub(super) struct Context {
    pub(super) function: u32,
    pub(super) depth: usize,
    pub(super) input: Option<Input>,
    /// How often the input changed.
    pub(super) growth: u32,
    /// What it leaves: results instead of arguments. `None` if it was not seen to return.
    pub(super) output: Option<Input>,
    pub(super) output_growth: u32,
    /// All knowledge that it was last run with.
    pub(super) version: Option<u64>,
    /// It runs now.
    pub(super) active: bool,
    /// It waits to be run.
    pub(super) deferred: bool,
    /// It was called by itself, if by a detour.
    pub(super) recursive: bool,
    /// By step.
    pub(super) touches: HashMap<u32, Vec<Touch>>,
    /// Contexts that it calls, by step.
    pub(super) calls: Vec<(u32, usize)>,
    /// Steps that call the host.
    pub(super) host_calls: Vec<(u32, HostCall)>,
    /// Most bytes of stack that are taken when it runs, from the entry on; `None` if there is no bound.
    pub(super) stack_bytes: Option<u64>,
    /// Steps that call through a table.
    pub(super) table_calls: Vec<u32>,
}
