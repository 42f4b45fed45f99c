//! One function's body: structured control, without recursion of our own.

use std::collections::HashMap;
use std::rc::Rc;

use super::code::HostCall;
use super::context::Input;
use super::engine::{Engine, Stop};
use super::stack::Stack;
use super::step::Step;
use super::value::Value;

/// Passes through a loop after which what still changes is any.
const PASSES: u32 = 3;

/// What is known at one step.
#[derive(Clone)]
pub(super) struct State {
    pub(super) locals: Vec<Value>,
    pub(super) operands: Vec<Value>,
    pub(super) stack_pointer: Value,
    pub(super) stack: Rc<Stack>,
}

impl State {
    pub(super) fn pop(&mut self) -> Value {
        // Validation has proven that there is one.
        self.operands.pop().unwrap_or_else(Value::any_number)
    }

    pub(super) fn pop_all(&mut self, count: u32) -> Vec<Value> {
        let at = self.operands.len().saturating_sub(count as usize);
        self.operands.split_off(at)
    }

    /// How much it is to copy.
    fn size(&self) -> usize {
        self.locals.len() + self.operands.len() + self.stack.size()
    }

    /// Takes in another way to the same step; true if that changed it.
    fn absorb(&mut self, other: &Self, widen: bool) -> bool {
        let mut changed = self.stack_pointer.absorb(&other.stack_pointer, widen);
        for (own, other) in self.locals.iter_mut().zip(&other.locals) {
            changed |= own.absorb(other, widen);
        }
        for (own, other) in self.operands.iter_mut().zip(&other.operands) {
            changed |= own.absorb(other, widen);
        }
        if !Rc::ptr_eq(&self.stack, &other.stack) && self.stack != other.stack {
            changed |= Rc::make_mut(&mut self.stack).absorb(&other.stack, widen);
        }
        changed
    }
}

/// A state where a loop begins.
struct Head {
    state: State,
    changes: u32,
}

/// An open block.
struct Label {
    /// First step of a loop.
    head: Option<usize>,
    /// Operands below it.
    height: usize,
    /// Operands that a branch to it brings.
    arity: usize,
    /// Joined from all branches to its end.
    exit: Option<State>,
    /// Where an `if` goes on that is not taken.
    otherwise: Option<State>,
    /// A branch changed the loop's head.
    again: bool,
    /// Nothing leads into it.
    dead: bool,
}

/// A body that runs.
struct Run {
    labels: Vec<Label>,
    /// Heads of loops by step; they only grow, so that inner loops do not start anew for each pass of an outer one.
    heads: HashMap<usize, Head>,
}

impl Run {
    fn push(&mut self, head: Option<usize>, state: Option<&State>, parameters: u32, results: u32) {
        let arity = if head.is_some() { parameters } else { results } as usize;
        self.labels.push(Label {
            head,
            height: state.map_or(0, |state| state.operands.len().saturating_sub(parameters as usize)),
            arity,
            exit: None,
            otherwise: None,
            again: false,
            dead: state.is_none(),
        });
    }

    /// A branch to the label at this depth; gives what it cost.
    fn branch(&mut self, depth: u32, state: &State) -> usize {
        let at = self.labels.len().saturating_sub(1 + depth as usize);
        let Some(label) = self.labels.get_mut(at) else { return 0 };
        let mut there = state.clone();
        let top = there.operands.split_off(there.operands.len().saturating_sub(label.arity));
        there.operands.truncate(label.height);
        there.operands.extend(top);
        let cost = there.size();
        match label.head {
            Some(step) => {
                if let Some(head) = self.heads.get_mut(&step)
                    && head.state.absorb(&there, head.changes >= PASSES)
                {
                    head.changes += 1;
                    label.again = true;
                }
            }
            None => match &mut label.exit {
                Some(exit) => {
                    exit.absorb(&there, false);
                }
                None => label.exit = Some(there),
            },
        }
        cost
    }
}

impl Engine<'_> {
    /// Runs a body on what it begins with; gives what it leaves, or `None` if it never returns.
    pub(super) fn execute(&mut self, context: usize, input: Input) -> Result<Option<Input>, Stop> {
        let function = self.contexts[context].function;
        let body = self.code.body(function)?;
        let (results, parameters) =
            self.code.signature(function).map_or((0, 0), |it| (it.results().len(), it.params().len()));
        let mut locals = input.arguments;
        self.charge(body.locals as usize + body.steps.len() / 8)?;
        locals.resize(parameters + body.locals as usize, Value::constant(0));
        let first =
            State { locals, operands: Vec::new(), stack_pointer: input.stack_pointer, stack: input.stack };
        let mut run = Run { labels: Vec::new(), heads: HashMap::new() };
        run.push(None, Some(&first), 0, results as u32);
        let mut state = Some(first);
        let mut at = 0;
        while let Some(step) = body.steps.get(at) {
            self.charge(1)?;
            let Some(now) = &mut state else {
                // Nothing leads here: only where blocks begin and end matters.
                (state, at) = self.skip(&mut run, step, at)?;
                continue;
            };
            let place = at as u32;
            at += 1;
            match step {
                Step::Block { parameters, results } => run.push(None, Some(now), *parameters, *results),
                Step::Loop { parameters, results } => {
                    run.push(Some(at - 1), Some(now), *parameters, *results);
                    let size = now.size();
                    let head =
                        run.heads.entry(at - 1).or_insert_with(|| Head { state: now.clone(), changes: 0 });
                    head.changes += u32::from(head.state.absorb(now, head.changes >= PASSES));
                    *now = head.state.clone();
                    self.charge(2 * size)?;
                }
                Step::If { parameters, results } => {
                    now.pop();
                    run.push(None, Some(now), *parameters, *results);
                    if let Some(label) = run.labels.last_mut() {
                        label.otherwise = Some(now.clone());
                    }
                    self.charge(now.size())?;
                }
                Step::Else | Step::End => (state, at) = self.close(&mut run, step, state.take(), at)?,
                Step::Branch(depth) => {
                    let cost = run.branch(*depth, now);
                    self.charge(cost)?;
                    state = None;
                }
                Step::BranchIf(depth) => {
                    now.pop();
                    let cost = run.branch(*depth, now);
                    self.charge(cost)?;
                }
                Step::BranchTable(depths) => {
                    now.pop();
                    for &depth in depths {
                        let cost = run.branch(depth, now);
                        self.charge(cost)?;
                    }
                    state = None;
                }
                Step::Return => {
                    let cost = run.branch(run.labels.len() as u32 - 1, now);
                    self.charge(cost)?;
                    state = None;
                }
                Step::Unreachable => state = None,
                Step::Call(callee) | Step::ReturnCall(callee) => {
                    let returned = self.call_one(context, place, *callee, now)?;
                    state = returned;
                }
                Step::CallIndirect(signature) | Step::ReturnCallIndirect(signature) => {
                    now.pop();
                    if !self.contexts[context].table_calls.contains(&place) {
                        self.contexts[context].table_calls.push(place);
                    }
                    let mut all: Option<State> = None;
                    self.charge(self.code.references())?;
                    for callee in self.code.candidates(*signature) {
                        self.charge(now.size())?;
                        let returned = self.call_one(context, place, callee, &mut now.clone())?;
                        match (&mut all, returned) {
                            (Some(all), Some(returned)) => {
                                all.absorb(&returned, false);
                            }
                            (None, returned) => all = returned,
                            (Some(_), None) => {}
                        }
                    }
                    state = all;
                }
                other => self.apply(context, place, other, now)?,
            }
            if let Step::ReturnCall(_) | Step::ReturnCallIndirect(_) = step
                && let Some(now) = state.take()
            {
                let cost = run.branch(run.labels.len() as u32 - 1, &now);
                self.charge(cost)?;
            }
        }
        Ok(state.map(|mut state| {
            let arguments = state.pop_all(results as u32);
            if let [one] = state.stack_pointer.pointers.as_slice()
                && let Some(low) = one.offset.single()
            {
                Rc::make_mut(&mut state.stack).drop_below(low);
            }
            Input { arguments, stack_pointer: state.stack_pointer, stack: state.stack }
        }))
    }

    /// A step that nothing leads to.
    fn skip(&mut self, run: &mut Run, step: &Step, at: usize) -> Result<(Option<State>, usize), Stop> {
        match step {
            Step::Block { .. } | Step::Loop { .. } | Step::If { .. } => run.push(None, None, 0, 0),
            Step::Else | Step::End => return self.close(run, step, None, at + 1),
            _ => {}
        }
        Ok((None, at + 1))
    }

    /// `else` or `end`; `next` is the step behind it.
    fn close(
        &mut self,
        run: &mut Run,
        step: &Step,
        state: Option<State>,
        next: usize,
    ) -> Result<(Option<State>, usize), Stop> {
        let Some(label) = run.labels.last_mut() else { return Ok((state, next)) };
        if label.dead {
            if *step == Step::End {
                run.labels.pop();
            }
            return Ok((None, next));
        }
        if let Some(head) = label.head {
            if std::mem::take(&mut label.again)
                && let Some(known) = run.heads.get(&head)
            {
                self.charge(known.state.size())?;
                return Ok((Some(known.state.clone()), head + 1));
            }
            run.labels.pop();
            return Ok((state, next));
        }
        if let Some(state) = state {
            self.charge(state.size())?;
            match &mut label.exit {
                Some(exit) => {
                    exit.absorb(&state, false);
                }
                None => label.exit = Some(state),
            }
        }
        let otherwise = label.otherwise.take();
        if *step == Step::Else {
            return Ok((otherwise, next));
        }
        let mut exit = label.exit.take();
        if let Some(otherwise) = otherwise {
            match &mut exit {
                Some(exit) => {
                    exit.absorb(&otherwise, false);
                }
                None => exit = Some(otherwise),
            }
        }
        run.labels.pop();
        Ok((exit, next))
    }

    /// Calls a function with operands of the state; gives the state behind it.
    fn call_one(
        &mut self,
        context: usize,
        place: u32,
        callee: u32,
        now: &mut State,
    ) -> Result<Option<State>, Stop> {
        let parameters = self.code.signature(callee).map_or(0, |it| it.params().len());
        let arguments = now.pop_all(parameters as u32);
        if let Some(&host) = self.code.imports.get(callee as usize) {
            self.host_call(context, place, host, &arguments, now);
            if host != HostCall::Log {
                now.operands.push(Value::any_number());
            }
            return Ok(Some(now.clone()));
        }
        let input =
            Input { arguments, stack_pointer: now.stack_pointer.clone(), stack: Rc::clone(&now.stack) };
        let Some(output) = self.call(context, place, callee, input)? else { return Ok(None) };
        self.charge(now.size())?;
        let mut after = State {
            locals: std::mem::take(&mut now.locals),
            operands: std::mem::take(&mut now.operands),
            stack_pointer: output.stack_pointer,
            stack: output.stack,
        };
        after.operands.extend(output.arguments);
        Ok(Some(after))
    }
}
