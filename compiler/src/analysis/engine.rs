//! Runs contexts until nothing changes any more.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::code::Code;
use super::contents::Contents;
use super::context::{Context, Input};
use super::stack::Stack;
use super::value::{Region, Value};
use super::{AnalysisError, Incomplete, Options};
use crate::header_use::HEADER_BYTES;
use crate::module::Module;

/// Changes of an input after which what still changes is any.
const GROWTH: u32 = 3;
/// Contexts of one function that are looked at for one with the same input.
const SIMILAR: usize = 16;

/// Why work stops.
pub(super) enum Stop {
    Incomplete(Incomplete),
    Error(AnalysisError),
}

impl From<AnalysisError> for Stop {
    fn from(error: AnalysisError) -> Self {
        Self::Error(error)
    }
}

/// All that is known so far.
pub(super) struct Engine<'a> {
    pub(super) module: &'a Module<'a>,
    pub(super) code: Code<'a>,
    pub(super) contents: Contents,
    pub(super) contexts: Vec<Context>,
    options: Options,
    work: u64,
    /// Changes of contexts, besides those of contents.
    changes: u64,
    /// Touches of which nobody knows where they are, by context and step.
    pub(super) lost: HashSet<(usize, u32)>,
    by_call: HashMap<(usize, u32, u32), usize>,
    by_function: HashMap<u32, Vec<usize>>,
    merged: HashMap<u32, usize>,
    deferred: Vec<usize>,
    /// First byte that is an object, and the first behind all of them.
    objects: (i64, i64),
}

impl<'a> Engine<'a> {
    pub(super) fn new(module: &'a Module<'a>, code: Code<'a>, options: Options) -> Self {
        let first = module.objects().first().map_or(0, |object| i64::from(object.address));
        let last = module.objects().iter().map(|object| i64::from(object.range().end)).max();
        Self {
            contents: Contents::new(module, &code.globals),
            module,
            code,
            contexts: Vec::new(),
            options,
            work: 0,
            changes: 0,
            lost: HashSet::new(),
            by_call: HashMap::new(),
            by_function: HashMap::new(),
            merged: HashMap::new(),
            deferred: Vec::new(),
            objects: (first, last.unwrap_or(0)),
        }
    }

    /// Counts work.
    pub(super) fn charge(&mut self, work: usize) -> Result<(), Stop> {
        self.work += work as u64;
        if self.work > self.options.work {
            Err(Stop::Incomplete(Incomplete::Work(self.options.work)))
        } else {
            Ok(())
        }
    }

    pub(super) fn work(&self) -> u64 {
        self.work
    }

    /// Changes whenever something is learnt.
    fn version(&self) -> u64 {
        self.contents.changes + self.changes
    }

    /// Runs functions from the outside, with these arguments, until nothing changes; gives the context of each.
    pub(super) fn run(&mut self, roots: &[(u32, Vec<Value>)]) -> Result<Vec<usize>, Stop> {
        let contexts: Vec<usize> = roots
            .iter()
            .map(|(function, arguments)| {
                let input = Input {
                    arguments: arguments.clone(),
                    stack_pointer: Value::pointer(Region::Stack, 0),
                    stack: Rc::new(Stack::default()),
                };
                self.add(*function, 0, input)
            })
            .collect();
        for _ in 0..self.options.rounds {
            let before = self.version();
            for &context in &contexts {
                self.visit(context)?;
            }
            while let Some(context) = self.deferred.pop() {
                self.contexts[context].deferred = false;
                self.visit(context)?;
            }
            if self.version() == before && !self.find_lost(&contexts) {
                return Ok(contexts);
            }
        }
        Err(Stop::Incomplete(Incomplete::Rounds(self.options.rounds)))
    }

    /// Contexts that can be reached from these.
    pub(super) fn reachable(&self, roots: &[usize]) -> Vec<usize> {
        let mut seen = vec![false; self.contexts.len()];
        let mut open = roots.to_vec();
        let mut found = Vec::new();
        while let Some(context) = open.pop() {
            if !std::mem::replace(&mut seen[context], true) {
                found.push(context);
                open.extend(self.contexts[context].calls.iter().map(|call| call.1));
            }
        }
        found
    }

    /// Takes note of touches that are lost, now that all is known that there is to know about their addresses. True if there are
    /// new ones: from now on they have effects. Not sooner: a pointer that begins as null is one once the loop is understood.
    fn find_lost(&mut self, roots: &[usize]) -> bool {
        let before = self.lost.len();
        for context in self.reachable(roots) {
            for (&step, touches) in &self.contexts[context].touches {
                if touches.iter().any(|touch| touch.lost(|region| self.region_bytes(region)).is_some()) {
                    self.lost.insert((context, step));
                }
            }
        }
        self.changes += (self.lost.len() - before) as u64;
        self.lost.len() > before
    }

    /// How large a region is, if its bounds are known.
    pub(super) fn region_bytes(&self, region: Region) -> Option<u64> {
        match region {
            Region::Object(object) => {
                self.module.objects().get(object as usize).map(|it| u64::from(it.bytes))
            }
            Region::Headers => Some(HEADER_BYTES as u64),
            Region::MatchData => Some(size_of::<lnic_abi::MatchData>() as u64),
            Region::AnyObject | Region::Payload | Region::Stack => None,
        }
    }

    /// What a number of the code is: without relocations it may be an object's address.
    pub(super) fn number(&self, number: i64) -> Value {
        let value = Value::constant(number);
        if !self.module.is_movable() && (self.objects.0..=self.objects.1).contains(&number) && number != 0 {
            return value.join(&Value::pointer(Region::AnyObject, 0)).blurred();
        }
        value
    }

    fn add(&mut self, function: u32, depth: usize, input: Input) -> usize {
        self.contexts.push(Context { function, depth, input: Some(input), ..Context::default() });
        let context = self.contexts.len() - 1;
        self.by_function.entry(function).or_default().push(context);
        context
    }

    /// A call at a step of a context; gives what the function leaves, or `None` if it was not seen to return.
    pub(super) fn call(
        &mut self,
        caller: usize,
        step: u32,
        function: u32,
        input: Input,
    ) -> Result<Option<Input>, Stop> {
        self.charge(4 + input.stack.size())?;
        let (context, defer) = self.context_for(caller, step, function, input)?;
        if !self.contexts[caller].calls.contains(&(step, context)) {
            self.contexts[caller].calls.push((step, context));
        }
        if self.contexts[context].active {
            self.contexts[context].recursive = true;
        } else if defer {
            if !std::mem::replace(&mut self.contexts[context].deferred, true) {
                self.deferred.push(context);
            }
        } else {
            self.visit(context)?;
        }
        Ok(self.contexts[context].output.clone())
    }

    /// The context for a call, with its input taken in; and whether it cannot be run at once.
    fn context_for(
        &mut self,
        caller: usize,
        step: u32,
        function: u32,
        input: Input,
    ) -> Result<(usize, bool), Stop> {
        let key = (caller, step, function);
        if let Some(&context) = self.by_call.get(&key) {
            let defer = self.merged.get(&function) == Some(&context);
            self.take(context, &input)?;
            return Ok((context, defer));
        }
        let active = self
            .by_function
            .get(&function)
            .and_then(|all| all.iter().copied().find(|&it| self.contexts[it].active));
        let similar = self.by_function.get(&function).and_then(|all| {
            all.iter().take(SIMILAR).copied().find(|&it| self.contexts[it].input.as_ref() == Some(&input))
        });
        self.charge(input.stack.size() + input.arguments.len())?;
        let depth = self.contexts[caller].depth + 1;
        let (context, defer) = if let Some(context) = active.or(similar) {
            (context, self.merged.get(&function) == Some(&context))
        } else if self.contexts.len() >= self.options.contexts || depth >= self.options.call_depth {
            // One for all callers, run from the outside: neither contexts nor our own stack grow without bounds.
            let context = match self.merged.get(&function) {
                Some(&context) => context,
                None => {
                    let context = self.add(function, 0, input.clone());
                    self.changes += 1;
                    self.merged.insert(function, context);
                    context
                }
            };
            (context, true)
        } else {
            (self.add(function, depth, input.clone()), false)
        };
        self.by_call.insert(key, context);
        self.take(context, &input)?;
        Ok((context, defer))
    }

    /// A context is called with this.
    fn take(&mut self, context: usize, input: &Input) -> Result<(), Stop> {
        self.charge(input.stack.size())?;
        let context = &mut self.contexts[context];
        let widen = context.growth >= GROWTH;
        let changed = match &mut context.input {
            Some(known) => known.absorb(input, widen),
            None => {
                context.input = Some(input.clone());
                true
            }
        };
        if changed {
            context.growth += 1;
            context.version = None;
            self.changes += 1;
        }
        Ok(())
    }

    /// Runs a context, unless nothing was learnt since it last ran.
    fn visit(&mut self, context: usize) -> Result<(), Stop> {
        let version = self.version();
        if self.contexts[context].active || self.contexts[context].version == Some(version) {
            return Ok(());
        }
        let Some(input) = self.contexts[context].input.clone() else { return Ok(()) };
        let state = &mut self.contexts[context];
        state.active = true;
        state.touches.clear();
        state.calls.clear();
        state.host_calls.clear();
        state.stack_bytes = Some(0);
        state.table_calls.clear();
        let result = self.execute(context, input);
        self.contexts[context].active = false;
        let output = result?;
        let state = &mut self.contexts[context];
        if let Some(output) = output {
            let widen = state.output_growth >= GROWTH;
            let changed = match &mut state.output {
                Some(known) => known.absorb(&output, widen),
                None => {
                    state.output = Some(output);
                    true
                }
            };
            if changed {
                state.output_growth += 1;
                self.changes += 1;
            }
        }
        // What it learnt itself may matter to what it did before: only a run that learns nothing is the last.
        self.contexts[context].version = Some(version);
        Ok(())
    }
}
