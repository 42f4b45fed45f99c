//! Does a module have variables that outlive a run? Judged by what the linker left in it; what cannot be known counts as yes.
//!
//! A name is only a claim. A module that calls its variables constants harms itself alone: NPUs then have a copy each.

use wasmparser::{ConstExpr, DataKind, KnownCustom, Name, Operator, Payload};

/// Data segments of constants are named so by the compiler, or by the SDK: `IMEM_CONST` and its like.
const READ_ONLY: [&str; 5] = [".rodata", ".local.const", ".ctm.const", ".imem.const", ".emem.const"];

/// What was seen of a module.
#[derive(Default)]
pub(super) struct Variables {
    globals: Vec<(bool, Option<u32>)>,
    segments: Vec<Segment>,
    /// A segment's index, and whether its name is a constant's.
    names: Vec<(u32, bool)>,
}

/// A data segment.
struct Segment {
    /// First byte behind it; `None` if its place is not a constant.
    end: Option<u64>,
}

impl Variables {
    /// Takes note of one section of a module that is valid.
    pub(super) fn see(&mut self, payload: &Payload<'_>) -> wasmparser::Result<()> {
        match payload {
            Payload::GlobalSection(section) => {
                for global in section.clone() {
                    let global = global?;
                    self.globals.push((global.ty.mutable, constant(&global.init_expr)));
                }
            }
            Payload::DataSection(section) => {
                for segment in section.clone() {
                    let segment = segment?;
                    let bytes = segment.data.len() as u64;
                    let end = match &segment.kind {
                        DataKind::Active { memory_index: 0, offset_expr } => {
                            constant(offset_expr).map(|start| u64::from(start) + bytes)
                        }
                        _ => None,
                    };
                    self.segments.push(Segment { end });
                }
            }
            Payload::CustomSection(section) => {
                if let KnownCustom::Name(names) = section.as_known() {
                    // Nobody has validated these: what does not parse names nothing.
                    for name in names.into_iter().map_while(Result::ok) {
                        if let Name::Data(segments) = name {
                            let named = segments.into_iter().map_while(Result::ok);
                            self.names.extend(named.map(|s| (s.index, is_constant(s.name))));
                        }
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The constant that a global of the module begins with.
    fn value(&self, global: u32) -> Option<u32> {
        self.globals.get(global as usize)?.1
    }

    /// True unless the module is known to have none. `stack_pointer` and `data_end` are the indices of those globals.
    pub(super) fn writable(&self, stack_pointer: u32, data_end: Option<u32>) -> bool {
        let other_global = (0u32..).zip(&self.globals).any(|(at, global)| global.0 && at != stack_pointer);
        let (Some(stack_top), Some(data_end)) =
            (self.value(stack_pointer), data_end.and_then(|global| self.value(global)))
        else {
            return true;
        };
        other_global || self.has_variables() || self.has_bss(stack_top, data_end)
    }

    /// Is there a segment that is not known to hold constants?
    fn has_variables(&self) -> bool {
        (0u32..).zip(&self.segments).any(|(at, segment)| {
            let mut names = self.names.iter().filter(|name| name.0 == at).peekable();
            segment.end.is_none() || names.peek().is_none() || names.any(|name| !name.1)
        })
    }

    /// Zeroed variables have no segment. They lie between the last one and `__data_end`.
    fn has_bss(&self, stack_top: u32, data_end: u32) -> bool {
        // Data begins behind the stack, if that comes first; else it is not known where.
        let first = if stack_top <= data_end { u64::from(stack_top) } else { 0 };
        let end = self.segments.iter().filter_map(|segment| segment.end).max().unwrap_or(0);
        u64::from(data_end) > end.max(first)
    }
}

/// Does the name say that nobody writes the segment?
fn is_constant(segment: &str) -> bool {
    READ_ONLY.iter().any(|constant| {
        segment.strip_prefix(constant).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

/// The value of an expression that is one `i32.const`.
fn constant(expression: &ConstExpr<'_>) -> Option<u32> {
    let mut operators = expression.get_operators_reader();
    match (operators.read().ok()?, operators.read().ok()?) {
        (Operator::I32Const { value }, Operator::End) => Some(value.cast_unsigned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::lambda::{Limits, verify};

    /// Of a module with a 4 KiB stack at `stack_top`, whose data ends at `data_end`.
    fn writable(stack_top: u32, data_end: &str, rest: &str) -> bool {
        let wat = format!(
            r#"(module
                (memory (export "memory") 1 1)
                (global (export "__stack_pointer") (mut i32) (i32.const {stack_top}))
                (global (export "__heap_base") i32 (i32.const 8192))
                {data_end}
                (func (export "lnic_abi_1"))
                {rest}
                (func (export "entry") (param i32 i32) (result i32) (i32.const 0)))"#
        );
        verify(&wat::parse_str(wat).unwrap(), "entry", &Limits::default()).unwrap().writable_globals
    }

    fn ends_at(address: u32) -> String {
        format!(r#"(global (export "__data_end") i32 (i32.const {address}))"#)
    }

    #[test]
    fn constants_are_known_by_their_name_and_zeroed_variables_by_the_gap_that_they_leave() {
        let text = r#"(data $.rodata (i32.const 4096) "constants")"#;
        assert!(!writable(4096, &ends_at(4096), ""));
        assert!(!writable(4096, &ends_at(4105), text));
        assert!(!writable(4096, &ends_at(4105), &text.replace(".rodata", ".rodata.cst8")));
        assert!(!writable(4096, &ends_at(4105), &text.replace(".rodata", ".imem.const")));
        for variables in [".imem", ".imem.constant", ".local", ".const", ".data.const"] {
            assert!(writable(4096, &ends_at(4105), &text.replace(".rodata", variables)), "{variables}");
        }
        // One byte of zeroed variables.
        assert!(writable(4096, &ends_at(4106), text));
        assert!(writable(4096, &ends_at(4097), ""));
        // Initialised variables beside constants.
        assert!(writable(4096, &ends_at(4116), &format!(r#"{text} (data $.data (i32.const 4112) "vars")"#)));
    }

    #[test]
    fn what_cannot_be_known_counts_as_writable() {
        let text = r#"(data $.rodata (i32.const 4096) "constants")"#;
        // No end of the data, or one that is no constant global.
        assert!(writable(4096, "", text));
        assert!(writable(4096, r#"(func (export "__data_end"))"#, text));
        // No name, no place.
        assert!(writable(4096, &ends_at(4105), &text.replace("$.rodata", "")));
        assert!(writable(4096, &ends_at(4105), &text.replace("(i32.const 4096)", "")));
        // Data before the stack, all of it zeroed.
        assert!(writable(8192, &ends_at(1028), ""));
        // A global that is not the stack's pointer.
        assert!(writable(4096, &ends_at(4096), "(global (mut i32) (i32.const 0))"));
    }
}
