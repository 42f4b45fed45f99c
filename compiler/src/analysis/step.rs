//! Operators, reduced to what the analysis follows.

use wasmparser::{BlockType, ContType, FrameKind, FuncType, MemArg, ModuleArity, Operator, RefType, SubType};

use super::interval::Interval;

/// A number of the code, or the address of an object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Immediate {
    Number(i64),
    Address { object: u32, addend: i64 },
}

/// Operators with two operands whose results matter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Binary {
    Add,
    Subtract,
    Multiply,
    DivideUnsigned,
    RemainderUnsigned,
    And,
    Or,
    Xor,
    ShiftLeft,
    ShiftRightSigned,
    ShiftRightUnsigned,
}

/// Loads, stores, and what does both.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Access {
    pub(super) offset: Immediate,
    pub(super) bytes: u32,
    pub(super) atomic: bool,
}

/// What one operator does to the abstract state.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Constant(Immediate),
    LocalGet(u32),
    LocalSet(u32),
    LocalTee(u32),
    GlobalGet(u32),
    GlobalSet(u32),
    Drop,
    Select,
    Nothing,
    Block {
        parameters: u32,
        results: u32,
    },
    Loop {
        parameters: u32,
        results: u32,
    },
    If {
        parameters: u32,
        results: u32,
    },
    Else,
    End,
    Branch(u32),
    BranchIf(u32),
    BranchTable(Box<[u32]>),
    Return,
    Unreachable,
    Call(u32),
    CallIndirect(u32),
    ReturnCall(u32),
    ReturnCallIndirect(u32),
    /// Gives a number within these, or what memory holds.
    Load {
        access: Access,
        number: Interval,
    },
    /// A lane of a vector that is an operand.
    LoadLane(Access),
    Store(Access),
    /// Atomic: pops so many operands besides the address, the last of which may be stored; gives what was there.
    Exchange {
        access: Access,
        operands: u32,
        number: Interval,
    },
    /// Like a load, but gives a number: `wait`, `notify`.
    Touch {
        access: Access,
        operands: u32,
    },
    MemoryCopy,
    MemoryFill,
    MemoryInit,
    Binary {
        operator: Binary,
        bits: u32,
    },
    /// Pops so many and gives a number within these, of which no address can be made.
    Number {
        pops: u32,
        number: Interval,
    },
    /// Gives its operand, of which these many low bits count.
    Extend {
        bits: u32,
        signed: bool,
    },
    Wrap,
    /// Gives what one of its operands has, bit for bit.
    Carry {
        pops: u32,
    },
    /// Anything else.
    Other {
        pops: u32,
        pushes: u32,
    },
}

/// Arities that need no knowledge of the module.
struct Fixed;

impl ModuleArity for Fixed {
    fn sub_type_at(&self, _: u32) -> Option<&SubType> {
        None
    }
    fn tag_type_arity(&self, _: u32) -> Option<(u32, u32)> {
        None
    }
    fn type_index_of_function(&self, _: u32) -> Option<u32> {
        None
    }
    fn func_type_of_cont_type(&self, _: &ContType) -> Option<&FuncType> {
        None
    }
    fn sub_type_of_ref_type(&self, _: &RefType) -> Option<&SubType> {
        None
    }
    fn control_stack_height(&self) -> u32 {
        0
    }
    fn label_block(&self, _: u32) -> Option<(BlockType, FrameKind)> {
        None
    }
}

/// Operands and results of a block.
fn arity(block: BlockType, types: &[FuncType]) -> Option<(u32, u32)> {
    Some(match block {
        BlockType::Empty => (0, 0),
        BlockType::Type(_) => (0, 1),
        BlockType::FuncType(index) => {
            let signature = types.get(index as usize)?;
            (signature.params().len() as u32, signature.results().len() as u32)
        }
    })
}

/// Reduces an operator. `address` is the object that its immediate is the address of, if the linker says so. `None` for operators that
/// no lambda may have.
pub(super) fn step(operator: &Operator<'_>, address: Option<(u32, i64)>, types: &[FuncType]) -> Option<Step> {
    let immediate = |number: i64| match address {
        Some((object, addend)) => Immediate::Address { object, addend },
        None => Immediate::Number(number),
    };
    let access = |memarg: &MemArg, bytes: u32, atomic: bool| Access {
        offset: immediate(memarg.offset.cast_signed()),
        bytes,
        atomic,
    };
    let binary = |operator, bits| Step::Binary { operator, bits };
    let any = Interval::FULL;
    macro_rules! loads {
        ($($name:ident $bytes:literal $number:expr,)*) => {
            match operator {
                $(Operator::$name { memarg } => {
                    let (access, number) = (access(memarg, $bytes, stringify!($name).contains("Atomic")), $number);
                    return Some(Step::Load { access, number });
                })*
                _ => {}
            }
        };
    }
    macro_rules! stores {
        ($($name:ident $bytes:literal,)*) => {
            match operator {
                $(Operator::$name { memarg, .. } => {
                    return Some(Step::Store(access(memarg, $bytes, stringify!($name).contains("Atomic"))));
                })*
                _ => {}
            }
        };
    }
    macro_rules! exchanges {
        ($operands:literal: $($word:ident $long:ident $byte:ident $half:ident $byte64:ident $half64:ident $word64:ident,)*) => {
            match operator {
                $(
                    Operator::$word { memarg } => return Some(exchange(access(memarg, 4, true), $operands)),
                    Operator::$word64 { memarg } => return Some(exchange(access(memarg, 4, true), $operands)),
                    Operator::$long { memarg } => return Some(exchange(access(memarg, 8, true), $operands)),
                    Operator::$byte { memarg } | Operator::$byte64 { memarg } => {
                        return Some(exchange(access(memarg, 1, true), $operands))
                    }
                    Operator::$half { memarg } | Operator::$half64 { memarg } => {
                        return Some(exchange(access(memarg, 2, true), $operands))
                    }
                )*
                _ => {}
            }
        };
    }
    let zeros = Interval::zero_extended;
    let signs = Interval::sign_extended;
    loads! {
        I32Load 4 any, I64Load 8 any, F32Load 4 any, F64Load 8 any, V128Load 16 any,
        I32Load8U 1 zeros(8), I32Load16U 2 zeros(16), I64Load8U 1 zeros(8), I64Load16U 2 zeros(16), I64Load32U 4 zeros(32),
        I32Load8S 1 signs(8), I32Load16S 2 signs(16), I64Load8S 1 signs(8), I64Load16S 2 signs(16), I64Load32S 4 signs(32),
        I32AtomicLoad 4 any, I64AtomicLoad 8 any, I32AtomicLoad8U 1 zeros(8), I32AtomicLoad16U 2 zeros(16),
        I64AtomicLoad8U 1 zeros(8), I64AtomicLoad16U 2 zeros(16), I64AtomicLoad32U 4 zeros(32),
        V128Load8x8S 8 any, V128Load8x8U 8 any, V128Load16x4S 8 any, V128Load16x4U 8 any, V128Load32x2S 8 any,
        V128Load32x2U 8 any, V128Load8Splat 1 any, V128Load16Splat 2 any, V128Load32Splat 4 any, V128Load64Splat 8 any,
        V128Load32Zero 4 any, V128Load64Zero 8 any,
    }
    stores! {
        I32Store 4, I64Store 8, F32Store 4, F64Store 8, V128Store 16, I32Store8 1, I32Store16 2, I64Store8 1, I64Store16 2,
        I64Store32 4, I32AtomicStore 4, I64AtomicStore 8, I32AtomicStore8 1, I32AtomicStore16 2, I64AtomicStore8 1,
        I64AtomicStore16 2, I64AtomicStore32 4, V128Store8Lane 1, V128Store16Lane 2, V128Store32Lane 4, V128Store64Lane 8,
    }
    exchanges! { 1:
        I32AtomicRmwAdd I64AtomicRmwAdd I32AtomicRmw8AddU I32AtomicRmw16AddU I64AtomicRmw8AddU I64AtomicRmw16AddU I64AtomicRmw32AddU,
        I32AtomicRmwSub I64AtomicRmwSub I32AtomicRmw8SubU I32AtomicRmw16SubU I64AtomicRmw8SubU I64AtomicRmw16SubU I64AtomicRmw32SubU,
        I32AtomicRmwAnd I64AtomicRmwAnd I32AtomicRmw8AndU I32AtomicRmw16AndU I64AtomicRmw8AndU I64AtomicRmw16AndU I64AtomicRmw32AndU,
        I32AtomicRmwOr I64AtomicRmwOr I32AtomicRmw8OrU I32AtomicRmw16OrU I64AtomicRmw8OrU I64AtomicRmw16OrU I64AtomicRmw32OrU,
        I32AtomicRmwXor I64AtomicRmwXor I32AtomicRmw8XorU I32AtomicRmw16XorU I64AtomicRmw8XorU I64AtomicRmw16XorU I64AtomicRmw32XorU,
        I32AtomicRmwXchg I64AtomicRmwXchg I32AtomicRmw8XchgU I32AtomicRmw16XchgU I64AtomicRmw8XchgU I64AtomicRmw16XchgU I64AtomicRmw32XchgU,
    }
    exchanges! { 2:
        I32AtomicRmwCmpxchg I64AtomicRmwCmpxchg I32AtomicRmw8CmpxchgU I32AtomicRmw16CmpxchgU I64AtomicRmw8CmpxchgU
        I64AtomicRmw16CmpxchgU I64AtomicRmw32CmpxchgU,
    }
    if let Some(step) = comparison(operator) {
        return Some(step);
    }
    use Operator as O;
    Some(match operator {
        O::I32Const { value } => Step::Constant(immediate(i64::from(*value))),
        O::I64Const { value } => Step::Constant(immediate(*value)),
        O::LocalGet { local_index } => Step::LocalGet(*local_index),
        O::LocalSet { local_index } => Step::LocalSet(*local_index),
        O::LocalTee { local_index } => Step::LocalTee(*local_index),
        O::GlobalGet { global_index } => Step::GlobalGet(*global_index),
        O::GlobalSet { global_index } => Step::GlobalSet(*global_index),
        O::Drop => Step::Drop,
        O::Select | O::TypedSelect { .. } => Step::Select,
        O::Nop | O::AtomicFence => Step::Nothing,
        O::Block { blockty } => {
            let (parameters, results) = arity(*blockty, types)?;
            Step::Block { parameters, results }
        }
        O::Loop { blockty } => {
            let (parameters, results) = arity(*blockty, types)?;
            Step::Loop { parameters, results }
        }
        O::If { blockty } => {
            let (parameters, results) = arity(*blockty, types)?;
            Step::If { parameters, results }
        }
        O::Else => Step::Else,
        O::End => Step::End,
        O::Br { relative_depth } => Step::Branch(*relative_depth),
        O::BrIf { relative_depth } => Step::BranchIf(*relative_depth),
        O::BrTable { targets } => {
            let mut depths: Vec<u32> = targets.targets().map_while(Result::ok).collect();
            depths.push(targets.default());
            depths.sort_unstable();
            depths.dedup();
            Step::BranchTable(depths.into())
        }
        O::Return => Step::Return,
        O::Unreachable => Step::Unreachable,
        O::Call { function_index } => Step::Call(*function_index),
        O::CallIndirect { type_index, .. } => Step::CallIndirect(*type_index),
        O::ReturnCall { function_index } => Step::ReturnCall(*function_index),
        O::ReturnCallIndirect { type_index, .. } => Step::ReturnCallIndirect(*type_index),
        O::V128Load8Lane { memarg, .. } => Step::LoadLane(access(memarg, 1, false)),
        O::V128Load16Lane { memarg, .. } => Step::LoadLane(access(memarg, 2, false)),
        O::V128Load32Lane { memarg, .. } => Step::LoadLane(access(memarg, 4, false)),
        O::V128Load64Lane { memarg, .. } => Step::LoadLane(access(memarg, 8, false)),
        O::MemoryAtomicNotify { memarg } => Step::Touch { access: access(memarg, 4, true), operands: 1 },
        O::MemoryAtomicWait32 { memarg } => Step::Touch { access: access(memarg, 4, true), operands: 2 },
        O::MemoryAtomicWait64 { memarg } => Step::Touch { access: access(memarg, 8, true), operands: 2 },
        O::MemoryCopy { .. } => Step::MemoryCopy,
        O::MemoryFill { .. } => Step::MemoryFill,
        O::MemoryInit { .. } => Step::MemoryInit,
        O::MemorySize { .. } => Step::Number { pops: 0, number: zeros(16) },
        O::I32Add => binary(Binary::Add, 32),
        O::I64Add => binary(Binary::Add, 64),
        O::I32Sub => binary(Binary::Subtract, 32),
        O::I64Sub => binary(Binary::Subtract, 64),
        O::I32Mul => binary(Binary::Multiply, 32),
        O::I64Mul => binary(Binary::Multiply, 64),
        O::I32DivU => binary(Binary::DivideUnsigned, 32),
        O::I64DivU => binary(Binary::DivideUnsigned, 64),
        O::I32RemU => binary(Binary::RemainderUnsigned, 32),
        O::I64RemU => binary(Binary::RemainderUnsigned, 64),
        O::I32And => binary(Binary::And, 32),
        O::I64And => binary(Binary::And, 64),
        O::I32Or => binary(Binary::Or, 32),
        O::I64Or => binary(Binary::Or, 64),
        O::I32Xor => binary(Binary::Xor, 32),
        O::I64Xor => binary(Binary::Xor, 64),
        O::I32Shl => binary(Binary::ShiftLeft, 32),
        O::I64Shl => binary(Binary::ShiftLeft, 64),
        O::I32ShrS => binary(Binary::ShiftRightSigned, 32),
        O::I64ShrS => binary(Binary::ShiftRightSigned, 64),
        O::I32ShrU => binary(Binary::ShiftRightUnsigned, 32),
        O::I64ShrU => binary(Binary::ShiftRightUnsigned, 64),
        O::I32WrapI64 => Step::Wrap,
        O::I64ExtendI32U => Step::Extend { bits: 32, signed: false },
        O::I64ExtendI32S | O::I64Extend32S => Step::Extend { bits: 32, signed: true },
        O::I32Extend8S | O::I64Extend8S => Step::Extend { bits: 8, signed: true },
        O::I32Extend16S | O::I64Extend16S => Step::Extend { bits: 16, signed: true },
        O::I32ReinterpretF32
        | O::I64ReinterpretF64
        | O::F32ReinterpretI32
        | O::F64ReinterpretI64
        | O::I32x4Splat
        | O::I64x2Splat
        | O::F32x4Splat
        | O::F64x2Splat
        | O::I32x4ExtractLane { .. }
        | O::I64x2ExtractLane { .. }
        | O::F32x4ExtractLane { .. }
        | O::F64x2ExtractLane { .. } => Step::Carry { pops: 1 },
        O::I32x4ReplaceLane { .. }
        | O::I64x2ReplaceLane { .. }
        | O::F32x4ReplaceLane { .. }
        | O::F64x2ReplaceLane { .. }
        | O::I8x16Shuffle { .. } => Step::Carry { pops: 2 },
        O::V128Const { .. } => Step::Number { pops: 0, number: any },
        // Table slots are no memory; which functions a table may hold is known from the segments.
        O::TableGet { .. } | O::RefIsNull => Step::Number { pops: 1, number: any },
        O::RefNull { .. } | O::RefFunc { .. } | O::TableSize { .. } => Step::Number { pops: 0, number: any },
        O::DataDrop { .. } | O::ElemDrop { .. } => Step::Nothing,
        other => {
            let (pops, pushes) = other.operator_arity(&Fixed)?;
            Step::Other { pops, pushes }
        }
    })
}

fn exchange(access: Access, operands: u32) -> Step {
    Step::Exchange { access, operands, number: Interval::zero_extended(access.bytes * 8) }
}

/// Operators that give truth values or other small numbers.
fn comparison(operator: &Operator<'_>) -> Option<Step> {
    use Operator as O;
    let (pops, number) = match operator {
        O::I32Eqz
        | O::I64Eqz
        | O::V128AnyTrue
        | O::I8x16AllTrue
        | O::I16x8AllTrue
        | O::I32x4AllTrue
        | O::I64x2AllTrue => (1, Interval::TRUTH),
        O::I32Eq
        | O::I32Ne
        | O::I32LtS
        | O::I32LtU
        | O::I32GtS
        | O::I32GtU
        | O::I32LeS
        | O::I32LeU
        | O::I32GeS
        | O::I32GeU
        | O::I64Eq
        | O::I64Ne
        | O::I64LtS
        | O::I64LtU
        | O::I64GtS
        | O::I64GtU
        | O::I64LeS
        | O::I64LeU
        | O::I64GeS
        | O::I64GeU
        | O::F32Eq
        | O::F32Ne
        | O::F32Lt
        | O::F32Gt
        | O::F32Le
        | O::F32Ge
        | O::F64Eq
        | O::F64Ne
        | O::F64Lt
        | O::F64Gt
        | O::F64Le
        | O::F64Ge => (2, Interval::TRUTH),
        O::I32Clz | O::I32Ctz | O::I32Popcnt | O::I64Clz | O::I64Ctz | O::I64Popcnt => {
            (1, Interval { low: 0, high: 64 })
        }
        O::I8x16Bitmask | O::I16x8Bitmask | O::I32x4Bitmask | O::I64x2Bitmask => {
            (1, Interval::zero_extended(16))
        }
        _ => return None,
    };
    Some(Step::Number { pops, number })
}
