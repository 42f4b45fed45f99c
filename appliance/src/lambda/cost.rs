//! Fuel of each operator, so that a unit stands for about the same time everywhere: what one turn of an empty loop takes, about
//! 0.2 ns at 3.6 GHz.
//!
//! Measured in loops of one operator each, every one waiting for the one before. Code whose operators do not wait for each
//! other is up to five times as fast: its budget ends sooner than its time. Chains of loads take twice as long, and three times
//! if they miss the caches: as much as streams of loads, which are far more common, can be asked to pay.

use wasmtime::OperatorCost;

/// What leaves the sandbox for the host's code: at most 35 ns. Bytes and elements that it touches are charged besides, a unit
/// each.
const HOST_CALL: u8 = 200;

macro_rules! costs {
    ($($cost:expr => $($operator:ident)*;)*) => {
        OperatorCost { $($($operator: $cost,)*)* ..OperatorCost::new() }
    };
}

/// One unit for everything that is not named here; none for `block`, `loop`, `drop` and the like.
#[rustfmt::skip]
pub(super) const fn operators() -> OperatorCost {
    costs! {
        0 =>
            LocalGet LocalSet LocalTee I32Const I64Const F32Const F64Const;
        2 =>
            I32Store I64Store F32Store F64Store I32Store8 I32Store16 I64Store8 I64Store16
            I64Store32 V128Store I32AtomicStore I64AtomicStore I32AtomicStore8 I32AtomicStore16
            I64AtomicStore8 I64AtomicStore16 I64AtomicStore32 V128Store8Lane V128Store16Lane
            V128Store32Lane V128Store64Lane TableGet;
        3 =>
            Select TypedSelect I32Rotl I32Rotr I64Rotl I64Rotr F32Add F32Sub F64Add F64Sub
            F32Copysign F64Copysign I8x16Swizzle;
        4 =>
            I32Mul I64Mul I32Popcnt I64Popcnt I32Clz I64Clz I32Ctz I64Ctz F32Mul F64Mul BrTable
            I8x16Bitmask I16x8Bitmask I32x4Bitmask I64x2Bitmask I8x16Popcnt I8x16Shl I8x16ShrU;
        5 =>
            I32Load I64Load F32Load F64Load I32Load8S I32Load8U I32Load16S I32Load16U I64Load8S
            I64Load8U I64Load16S I64Load16U I64Load32S I64Load32U V128Load V128Load8x8S
            V128Load8x8U V128Load16x4S V128Load16x4U V128Load32x2S V128Load32x2U V128Load8Splat
            V128Load16Splat V128Load32Splat V128Load64Splat V128Load32Zero V128Load64Zero
            V128Load8Lane V128Load16Lane V128Load32Lane V128Load64Lane I32AtomicLoad
            I64AtomicLoad I32AtomicLoad8U I32AtomicLoad16U I64AtomicLoad8U I64AtomicLoad16U
            I64AtomicLoad32U;
        6 =>
            F32Min F32Max F64Min F64Max F32x4Mul F64x2Mul F32x4Add F32x4Sub F64x2Add F64x2Sub
            I32x4DotI16x8S F64x2PromoteLowF32x4 F32x4DemoteF64x2Zero F32x4ConvertI32x4S
            F32x4ConvertI32x4U F64x2ConvertLowI32x4S F64x2ConvertLowI32x4U I16x8Mul;
        8 =>
            If;
        11 =>
            Call ReturnCall I8x16ShrS I64x2ShrS I16x8Q15MulrSatS F32Ceil F32Floor F32Trunc
            F32Nearest F64Ceil F64Floor F64Trunc F64Nearest F32x4Ceil F32x4Floor F32x4Trunc
            F32x4Nearest F64x2Ceil F64x2Floor F64x2Trunc F64x2Nearest F32ConvertI32S
            F32ConvertI32U F32ConvertI64S F32ConvertI64U F64ConvertI32S F64ConvertI32U
            F64ConvertI64S F64ConvertI64U I32TruncF32S I32TruncF32U I32TruncF64S I32TruncF64U
            I32TruncSatF32S I32TruncSatF32U I32TruncSatF64S I32TruncSatF64U I64TruncF32S
            I64TruncF32U I64TruncF64S I64TruncF64U I64TruncSatF32S I64TruncSatF32U
            I64TruncSatF64S I64TruncSatF64U;
        15 =>
            I32DivS I32DivU I32x4Mul;
        20 =>
            I32RemS I32RemU F32Div F64Div F32Sqrt F64Sqrt F32x4Div F32x4Sqrt F64x2Div I64x2Mul
            F64x2Min F64x2Max I32x4TruncSatF32x4S I32x4TruncSatF32x4U I32x4TruncSatF64x2SZero
            I32x4TruncSatF64x2UZero I16x8ExtMulLowI8x16S I16x8ExtMulLowI8x16U
            I16x8ExtMulHighI8x16S I16x8ExtMulHighI8x16U I32x4ExtMulLowI16x8S
            I32x4ExtMulLowI16x8U I32x4ExtMulHighI16x8S I32x4ExtMulHighI16x8U
            I64x2ExtMulLowI32x4S I64x2ExtMulLowI32x4U I64x2ExtMulHighI32x4S
            I64x2ExtMulHighI32x4U;
        26 =>
            F64x2Sqrt F32x4Min F32x4Max I64DivS I64DivU I64RemS I64RemU CallIndirect
            ReturnCallIndirect I32AtomicRmwAdd I32AtomicRmwSub I32AtomicRmwAnd I32AtomicRmwOr
            I32AtomicRmwXor I32AtomicRmwXchg I32AtomicRmwCmpxchg I32AtomicRmw8AddU
            I32AtomicRmw8SubU I32AtomicRmw8AndU I32AtomicRmw8OrU I32AtomicRmw8XorU
            I32AtomicRmw8XchgU I32AtomicRmw8CmpxchgU I32AtomicRmw16AddU I32AtomicRmw16SubU
            I32AtomicRmw16AndU I32AtomicRmw16OrU I32AtomicRmw16XorU I32AtomicRmw16XchgU
            I32AtomicRmw16CmpxchgU I64AtomicRmwAdd I64AtomicRmwSub I64AtomicRmwAnd
            I64AtomicRmwOr I64AtomicRmwXor I64AtomicRmwXchg I64AtomicRmwCmpxchg
            I64AtomicRmw8AddU I64AtomicRmw8SubU I64AtomicRmw8AndU I64AtomicRmw8OrU
            I64AtomicRmw8XorU I64AtomicRmw8XchgU I64AtomicRmw8CmpxchgU I64AtomicRmw16AddU
            I64AtomicRmw16SubU I64AtomicRmw16AndU I64AtomicRmw16OrU I64AtomicRmw16XorU
            I64AtomicRmw16XchgU I64AtomicRmw16CmpxchgU I64AtomicRmw32AddU I64AtomicRmw32SubU
            I64AtomicRmw32AndU I64AtomicRmw32OrU I64AtomicRmw32XorU I64AtomicRmw32XchgU
            I64AtomicRmw32CmpxchgU;
        55 =>
            AtomicFence;
        HOST_CALL =>
            MemoryFill MemoryCopy MemoryInit DataDrop TableFill TableCopy TableInit TableSet
            ElemDrop RefFunc MemoryAtomicNotify MemoryAtomicWait32 MemoryAtomicWait64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loops_and_calls_cost_something() {
        // Whatever repeats does so by one of these; if one were free, a lambda could run forever.
        let cost = operators();
        for fuel in [
            cost.Br,
            cost.BrIf,
            cost.BrTable,
            cost.Call,
            cost.CallIndirect,
            cost.ReturnCall,
            cost.ReturnCallIndirect,
        ] {
            assert!(fuel > 0);
        }
    }

    #[test]
    fn slow_operators_cost_more() {
        let cost = operators();
        assert!(cost.I32Add < cost.I32Mul && cost.I32Mul < cost.I32DivU && cost.I32DivU < cost.I64RemS);
        assert!(cost.I64RemS < cost.AtomicFence && cost.AtomicFence < cost.MemoryCopy);
    }
}
