//! What single steps do: arithmetic, loads, stores, calls of the host.

use std::rc::Rc;

use super::code::HostCall;
use super::context::Touch;
use super::engine::{Engine, Stop};
use super::execute::State;
use super::interval::Interval;
use super::step::{Access, Binary, Immediate, Step};
use super::value::{Pointer, Region, Value};

/// Lowest offset of the stack that is told from others.
const STACK_LOW: i64 = -(1 << 32);

impl Engine<'_> {
    /// A step without control.
    pub(super) fn apply(
        &mut self,
        context: usize,
        place: u32,
        step: &Step,
        now: &mut State,
    ) -> Result<(), Stop> {
        match step {
            Step::Constant(immediate) => {
                let value = self.immediate(*immediate);
                now.operands.push(value);
            }
            Step::LocalGet(local) => {
                let value = now.locals.get(*local as usize).cloned();
                now.operands.push(value.unwrap_or_else(Value::any_number));
            }
            Step::LocalSet(local) | Step::LocalTee(local) => {
                let value = now.pop();
                if matches!(step, Step::LocalTee(_)) {
                    now.operands.push(value.clone());
                }
                if let Some(own) = now.locals.get_mut(*local as usize) {
                    *own = value;
                }
            }
            Step::GlobalGet(global) if Some(*global) == self.code.stack_pointer => {
                now.operands.push(now.stack_pointer.clone());
            }
            Step::GlobalGet(global) => now.operands.push(self.contents.global(*global)),
            Step::GlobalSet(global) if Some(*global) == self.code.stack_pointer => {
                now.stack_pointer = now.pop();
                let taken = match now.stack_pointer.pointers.as_slice() {
                    [Pointer { region: Region::Stack, offset }] if now.stack_pointer.is_address() => {
                        offset.low.checked_neg()
                    }
                    _ => None,
                };
                let most = &mut self.contexts[context].stack_bytes;
                *most = most.zip(taken.map(|taken| taken.max(0).cast_unsigned())).map(|(a, b)| a.max(b));
            }
            Step::GlobalSet(global) => {
                let value = now.pop();
                self.contents.set_global(*global, &value);
            }
            Step::Drop => {
                now.pop();
            }
            Step::Select => {
                now.pop();
                let (right, left) = (now.pop(), now.pop());
                now.operands.push(left.join(&right));
            }
            Step::Load { access, number } => {
                let address = self.address(access, now);
                self.charge(self.cost(&address, now))?;
                let value = self.load(context, place, access, &address, *number, now);
                now.operands.push(value);
            }
            Step::LoadLane(access) => {
                let vector = now.pop();
                let address = self.address(access, now);
                let value = self.load(context, place, access, &address, Interval::FULL, now);
                now.operands.push(value.join(&vector).with_number(Interval::FULL));
            }
            Step::Store(access) => {
                let value = now.pop();
                let address = self.address(access, now);
                self.charge(self.cost(&address, now))?;
                self.touch(context, place, touch(access, false, true, &address));
                self.store(context, place, &address, access.bytes, value, now);
            }
            Step::Exchange { access, operands, number } => {
                let operands = now.pop_all(*operands);
                let address = self.address(access, now);
                self.charge(self.cost(&address, now))?;
                let old = self.load(context, place, access, &address, *number, now);
                self.touch(context, place, touch(access, true, true, &address));
                // What it stores was computed from the operand and what was there; of a comparison, nothing may be stored.
                let operand = operands.last().cloned().unwrap_or_else(Value::any_number);
                let value = operand.join(&old).with_number(Interval::FULL);
                self.store(context, place, &address, access.bytes, value, now);
                now.operands.push(old);
            }
            Step::Touch { access, operands } => {
                now.pop_all(*operands);
                let address = self.address(access, now);
                self.touch(context, place, touch(access, true, false, &address));
                now.operands.push(Value::any_number());
            }
            Step::MemoryCopy => {
                let (bytes, from, to) = (now.pop(), now.pop(), now.pop());
                self.charge(self.cost(&from, now) + self.cost(&to, now))?;
                let (from, to) = (self.run_from(&from, &bytes), self.run_from(&to, &bytes));
                self.copy(context, place, &to, &from, &bytes, now)?;
            }
            Step::MemoryFill | Step::MemoryInit => {
                let (bytes, _, to) = (now.pop(), now.pop(), now.pop());
                self.charge(self.cost(&to, now))?;
                let to = self.run_from(&to, &bytes);
                self.touch(context, place, run_of(&to, &bytes, true));
                self.store_run(context, place, &to, &bytes, &Value::any_number(), now);
            }
            Step::Binary { operator, bits } => {
                let (right, left) = (now.pop(), now.pop());
                let value = self.binary(*operator, *bits, &left, &right);
                now.operands.push(value);
            }
            Step::Number { pops, number } => {
                now.pop_all(*pops);
                now.operands.push(Value::number(*number));
            }
            Step::Extend { bits, signed } => {
                let value = now.pop();
                let range =
                    if *signed { Interval::sign_extended(*bits) } else { Interval::zero_extended(*bits) };
                let number = value.number.map(|number| if range.contains(number) { number } else { range });
                // Parts of an address are no addresses, but what they are made of.
                let value = if *bits < 32 { value.blurred() } else { value };
                now.operands.push(Value { number, ..value });
            }
            Step::Wrap => {
                let value = now.pop();
                let number = value.number.map(|number| {
                    let inside = -(1 << 31) <= number.low && number.high < 1 << 32;
                    if inside { number } else { Interval::FULL }
                });
                now.operands.push(Value { number, ..value });
            }
            Step::Carry { pops } => {
                let operands = now.pop_all(*pops);
                let all = operands.iter().fold(Value::any_number(), |all, it| all.join(it));
                now.operands.push(all);
            }
            Step::Other { pops, pushes } => {
                let operands = now.pop_all(*pops);
                let value = Value::combined(&operands);
                now.operands.extend(std::iter::repeat_n(value, *pushes as usize));
            }
            _ => {}
        }
        Ok(())
    }

    /// How much it is to look at, or to change, what an address points to.
    fn cost(&self, address: &Value, now: &State) -> usize {
        let regions = address.pointers.as_slice().iter();
        let each = regions.map(|it| match it.region {
            Region::Stack if it.offset.single().is_some() && Rc::strong_count(&now.stack) == 1 => 1,
            Region::Stack => 1 + now.stack.size(),
            region => 1 + self.contents.words(region),
        });
        each.sum()
    }

    fn immediate(&self, immediate: Immediate) -> Value {
        match immediate {
            Immediate::Number(number) => self.number(number),
            Immediate::Address { object, addend } => Value::pointer(Region::Object(object), addend),
        }
    }

    fn binary(&self, operator: Binary, bits: u32, left: &Value, right: &Value) -> Value {
        let number =
            |apply: fn(Interval, Interval, u32) -> Interval| left.arithmetic(right, |a, b| apply(a, b, bits));
        match operator {
            Binary::Add => left.plus(right),
            Binary::Subtract => left.minus(right),
            Binary::Multiply => number(|a, b, _| a.times(b)),
            Binary::DivideUnsigned => number(Interval::divide_unsigned),
            Binary::RemainderUnsigned => number(Interval::remainder_unsigned),
            Binary::And => {
                let mask =
                    |value: &Value| value.number.filter(|_| value.is_number()).and_then(Interval::single);
                match (mask(left), mask(right)) {
                    (_, Some(mask)) if mask < 0 && !left.is_number() => self.round_down(left, mask),
                    (Some(mask), _) if mask < 0 && !right.is_number() => self.round_down(right, mask),
                    _ => number(Interval::and),
                }
            }
            Binary::Or | Binary::Xor => number(Interval::or),
            // Half of a long that was loaded from two fields.
            Binary::ShiftLeft | Binary::ShiftRightUnsigned
                if bits == 64 && *right == Value::constant(32) && !left.is_number() =>
            {
                left.with_number(Interval::FULL)
            }
            Binary::ShiftLeft => number(Interval::shift_left),
            Binary::ShiftRightSigned => number(Interval::shift_right_signed),
            Binary::ShiftRightUnsigned => number(Interval::shift_right_unsigned),
        }
    }

    /// An address of the stack is rounded down exactly, as it is known where the stack begins.
    fn round_down(&self, value: &Value, mask: i64) -> Value {
        let top = self.code.stack_pointer.and_then(|global| *self.code.globals.get(global as usize)?);
        if let ([Pointer { region: Region::Stack, offset }], Some(top)) = (value.pointers.as_slice(), top)
            && value.is_address()
            && let Some(offset) = offset.single()
        {
            return Value::pointer(Region::Stack, ((top + offset) & mask) - top);
        }
        value.aligned(mask)
    }

    /// Pops an address and adds the operator's offset to it.
    fn address(&self, access: &Access, now: &mut State) -> Value {
        let base = now.pop();
        let address = match access.offset {
            Immediate::Number(0) => base,
            offset => base.plus(&self.immediate(offset)),
        };
        touch(access, true, true, &address).narrowed(|region| self.region_bytes(region)).address
    }

    /// The pointers of an address from which a run of bytes is possible.
    fn run_from(&self, address: &Value, bytes: &Value) -> Value {
        run_of(address, bytes, true).narrowed(|region| self.region_bytes(region)).address
    }

    /// Takes note of what a step touches.
    fn touch(&mut self, context: usize, place: u32, touch: Touch) {
        let touches = self.contexts[context].touches.entry(place).or_default();
        // A later pass through a loop knows more than one before; only a copy and a call touch in two ways.
        match touches.iter_mut().find(|it| it.writes == touch.writes || it.atomic) {
            Some(known) => *known = touch,
            None => touches.push(touch),
        }
    }

    fn is_lost(&self, context: usize, place: u32) -> bool {
        self.lost.contains(&(context, place))
    }

    fn load(
        &mut self,
        context: usize,
        place: u32,
        access: &Access,
        address: &Value,
        number: Interval,
        now: &State,
    ) -> Value {
        self.touch(context, place, touch(access, true, false, address));
        let found = self.read(context, place, address, Some(u64::from(access.bytes)), now);
        let found = if access.bytes < 4 { found.blurred() } else { found };
        // The extension of a part: in its range, whatever was stored.
        let number = found.number.filter(|found| number.contains(*found)).unwrap_or(number);
        // A word that holds an address for certain is no number.
        if found.is_address() && access.bytes == 4 { found } else { found.with_number(number) }
    }

    /// What so many bytes may hold.
    fn read(&self, context: usize, place: u32, address: &Value, bytes: Option<u64>, now: &State) -> Value {
        let mut all = Value::nothing();
        for pointer in address.pointers.as_slice() {
            let found = match (pointer.region, pointer.offset.single(), bytes) {
                (Region::Stack, Some(at), Some(bytes @ 0..=16)) => now.stack.load(at, bytes as u32),
                (Region::Stack, ..) => {
                    let (low, high) = stack_range(pointer.offset, bytes);
                    now.stack.load_somewhere(low, high)
                }
                (region, ..) => self.contents.load(region, pointer.offset, bytes.unwrap_or(0)),
            };
            all = all.join(&found);
        }
        if address.unknown || self.is_lost(context, place) {
            all = all.join(&self.contents.load_unknown());
        }
        if all == Value::nothing() {
            return Value::any_number();
        }
        if self.contents.anywhere().pointers.is_empty() && !self.contents.anywhere().unknown {
            return all;
        }
        all.join(self.contents.anywhere())
    }

    fn store(
        &mut self,
        context: usize,
        place: u32,
        address: &Value,
        bytes: u32,
        value: Value,
        now: &mut State,
    ) {
        let value = if bytes < 4 { value.blurred() } else { value };
        if let ([Pointer { region: Region::Stack, offset }], true) =
            (address.pointers.as_slice(), address.is_address())
            && let Some(at) = offset.single()
            && !self.is_lost(context, place)
        {
            self.contents.note_stored(&value);
            Rc::make_mut(&mut now.stack).store(at, bytes, value);
            return;
        }
        self.spread(context, place, address, Some(u64::from(bytes)), &value, now);
    }

    /// A store that may go to any of several places.
    fn spread(
        &mut self,
        context: usize,
        place: u32,
        address: &Value,
        bytes: Option<u64>,
        value: &Value,
        now: &mut State,
    ) {
        for pointer in address.pointers.as_slice() {
            if pointer.region == Region::Stack {
                let (low, high) = stack_range(pointer.offset, bytes);
                self.contents.note_stored(value);
                Rc::make_mut(&mut now.stack).store_somewhere(low, high, value);
            } else {
                let offset = if bytes.is_some() { pointer.offset } else { Interval::FULL };
                // What is wider than a word is in each of its words.
                let wide = bytes.filter(|bytes| (5..=16).contains(bytes)).unwrap_or(1) as i64;
                for at in (0..wide).step_by(4) {
                    self.contents.store(pointer.region, offset.plus(Interval::constant(at)), value);
                }
            }
        }
        if address.unknown || self.is_lost(context, place) {
            self.contents.store_anywhere(value);
            // A number there makes numbers of what is known of the stack.
            if now.stack.size() > 0 {
                Rc::make_mut(&mut now.stack).store_somewhere(STACK_LOW, 0, value);
            }
        }
    }

    /// `memory.copy`.
    fn copy(
        &mut self,
        context: usize,
        place: u32,
        to: &Value,
        from: &Value,
        bytes: &Value,
        now: &mut State,
    ) -> Result<(), Stop> {
        self.touch(context, place, run_of(from, bytes, false));
        self.touch(context, place, run_of(to, bytes, true));
        let exact = |value: &Value| match value.pointers.as_slice() {
            [Pointer { region: Region::Stack, offset }] if value.is_address() => offset.single(),
            _ => None,
        };
        let length = length(bytes);
        if let (Some(to), Some(from), (length, Some(most))) = (exact(to), exact(from), length)
            && length == most
            && !self.is_lost(context, place)
            && let Ok(most) = i64::try_from(most)
        {
            self.charge(most.min(512) as usize)?;
            Rc::make_mut(&mut now.stack).copy(to, from, most);
            return Ok(());
        }
        let value = self.read(context, place, from, length.1, now);
        // Pointers go over as they are; where they come to lie nobody follows.
        let value = value.with_number(Interval::FULL);
        self.charge(32)?;
        self.store_run(context, place, to, bytes, &value, now);
        Ok(())
    }

    /// A run of bytes is stored that may hold `value`.
    fn store_run(
        &mut self,
        context: usize,
        place: u32,
        to: &Value,
        bytes: &Value,
        value: &Value,
        now: &mut State,
    ) {
        let (least, most) = length(bytes);
        if let ([Pointer { region: Region::Stack, offset }], true) = (to.pointers.as_slice(), to.is_address())
            && let (Some(at), Some(most)) = (offset.single(), most)
            && least == most
            && !self.is_lost(context, place)
        {
            self.contents.note_stored(value);
            Rc::make_mut(&mut now.stack).fill(at, most.min(1 << 32) as i64, value);
            return;
        }
        // Over a range, each byte may be the payload's address.
        let to = if most.is_some_and(|most| most <= 4) { to.clone() } else { spread_over(to, most) };
        self.spread(context, place, &to, most, value, now);
    }

    /// The host reads and writes what it is told to.
    pub(super) fn host_call(
        &mut self,
        context: usize,
        place: u32,
        host: HostCall,
        arguments: &[Value],
        now: &mut State,
    ) {
        if !self.contexts[context].host_calls.contains(&(place, host)) {
            self.contexts[context].host_calls.push((place, host));
        }
        match (host, arguments) {
            (HostCall::Log | HostCall::Service, [text, bytes]) => {
                let text = self.run_from(text, bytes);
                self.touch(context, place, run_of(&text, bytes, false));
            }
            (HostCall::Call | HostCall::Request, [_, request, request_bytes, reply, reply_capacity, _]) => {
                let (request, reply) =
                    (&self.run_from(request, request_bytes), &self.run_from(reply, reply_capacity));
                self.touch(context, place, run_of(request, request_bytes, false));
                self.touch(context, place, run_of(reply, reply_capacity, true));
                // A reply may be shorter than its buffer.
                let (_, most) = length(reply_capacity);
                let reply = spread_over(reply, most);
                self.spread(context, place, &reply, most, &Value::any_number(), now);
            }
            (HostCall::Value, [name, name_bytes, out, out_bytes]) => {
                let (name, out) = (&self.run_from(name, name_bytes), &self.run_from(out, out_bytes));
                self.touch(context, place, run_of(name, name_bytes, false));
                self.touch(context, place, run_of(out, out_bytes, true));
                // A value may be shorter than its buffer.
                let (_, most) = length(out_bytes);
                let out = spread_over(out, most);
                self.spread(context, place, &out, most, &Value::any_number(), now);
            }
            _ => {}
        }
    }
}

fn touch(access: &Access, reads: bool, writes: bool, address: &Value) -> Touch {
    Touch {
        reads,
        writes,
        atomic: access.atomic,
        address: address.clone(),
        bytes: Some(u64::from(access.bytes)),
        optional: false,
    }
}

/// A run of bytes of a length that is a value.
fn run_of(address: &Value, bytes: &Value, writes: bool) -> Touch {
    let (least, most) = length(bytes);
    Touch {
        reads: !writes,
        writes,
        atomic: false,
        address: address.clone(),
        bytes: most,
        optional: Some(least) != most,
    }
}

/// Least and most bytes; `None` if there is no bound.
fn length(bytes: &Value) -> (u64, Option<u64>) {
    let (low, high) = bytes.as_number().unsigned(32);
    (low, (high < u64::from(u32::MAX)).then_some(high))
}

/// The same pointers, but to anywhere in the run that begins there.
fn spread_over(to: &Value, most: Option<u64>) -> Value {
    let run = most.map_or(Interval::FULL, |most| Interval::from_unsigned(0, most));
    to.plus(&Value::number(run))
}

/// Offsets of the stack that may be touched.
fn stack_range(offset: Interval, bytes: Option<u64>) -> (i64, i64) {
    if offset.is_full() {
        return (STACK_LOW, 0);
    }
    let bytes = bytes.and_then(|bytes| i64::try_from(bytes).ok()).unwrap_or(1 << 32);
    (offset.low.max(STACK_LOW), offset.high.saturating_add(bytes))
}
