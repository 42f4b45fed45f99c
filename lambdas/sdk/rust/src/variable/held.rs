//! Which variables a run has borrowed: so that a mutable reference is the only one.
//!
//! A run that traps, or whose budget ends, releases nothing. So a borrow is no flag in the variable, which would stay set, but a record on
//! the stack of the run, in a list whose head each run begins anew. It may: while a run waits for a reply, and others go on, it has none.

#[cfg(target_arch = "wasm32")]
pub(crate) use wasm::{after_waiting, before_waiting, release_all};
#[cfg(target_arch = "wasm32")]
pub(super) use wasm::{hold, Owner};

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use native::{after_waiting, before_waiting};
#[cfg(not(target_arch = "wasm32"))]
pub(super) use native::{hold, Owner};

/// What is wrong with a second reference.
const TWICE: &str = "a Pinned is used inside of its own `with`";
/// What is wrong with waiting.
const WAITS: &str = "a lambda that waits inside of Pinned::with would hold the variable while others run";

#[cfg(target_arch = "wasm32")]
mod wasm {
    use core::cell::Cell;
    use core::ptr;

    /// Records are found through the head of their list.
    pub(in crate::variable) struct Owner;

    impl Owner {
        pub(in crate::variable) const fn new() -> Self {
            Self
        }
    }

    /// A borrow, on the stack of who borrowed.
    struct Record {
        object: *const Owner,
        outer: *const Record,
    }

    struct Head(Cell<*const Record>);

    // SAFETY: an NPU runs one lambda at a time, and each has a head of its own.
    unsafe impl Sync for Head {}

    crate::local! {
        static HEAD: Head = Head(Cell::new(ptr::null()));
    }

    /// A run begins: what runs before it held is nobody's.
    #[inline(always)]
    pub(crate) fn release_all() {
        HEAD.0.set(ptr::null());
    }

    /// A run is about to wait.
    #[inline(always)]
    pub(crate) fn before_waiting() {
        assert!(HEAD.0.get().is_null(), "{}", super::WAITS);
    }

    /// It goes on; whoever ran meanwhile holds nothing any more.
    #[inline(always)]
    pub(crate) fn after_waiting() {
        release_all();
    }

    /// Runs `use_it` while nobody else can hold the variable. A `brief` use runs no code of others, and need not be noted.
    #[inline(always)]
    pub(in crate::variable) fn hold<R>(owner: &Owner, brief: bool, use_it: impl FnOnce() -> R) -> R {
        let object: *const Owner = owner;
        let outer = HEAD.0.get();
        let mut at = outer;
        while !at.is_null() {
            // SAFETY: records lie on the stack of this run, in functions that have not returned.
            let record = unsafe { &*at };
            assert!(!ptr::eq(record.object, object), "{}", super::TWICE);
            at = record.outer;
        }
        if brief {
            return use_it();
        }
        let record = Record { object, outer };
        HEAD.0.set(&record);
        let result = use_it();
        HEAD.0.set(outer);
        result
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use std::cell::Cell;
    use std::sync::{Mutex, PoisonError};
    use std::thread::{self, ThreadId};

    /// The thread that holds the variable: tests run in several.
    pub(in crate::variable) struct Owner(Mutex<Option<ThreadId>>);

    impl Owner {
        pub(in crate::variable) const fn new() -> Self {
            Self(Mutex::new(None))
        }

        fn set(&self, thread: Option<ThreadId>) -> Option<ThreadId> {
            let mut owner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match *owner {
                Some(holder) if thread.is_some() => Some(holder),
                _ => {
                    *owner = thread;
                    None
                }
            }
        }
    }

    std::thread_local! {
        static HELD: Cell<usize> = const { Cell::new(0) };
    }

    /// Releases also if the test panics.
    struct Guard<'a>(&'a Owner);

    impl Drop for Guard<'_> {
        fn drop(&mut self) {
            HELD.with(|held| held.set(held.get() - 1));
            self.0.set(None);
        }
    }

    pub(crate) fn before_waiting() {
        assert!(HELD.with(Cell::get) == 0, "{}", super::WAITS);
    }

    pub(crate) fn after_waiting() {}

    pub(in crate::variable) fn hold<R>(owner: &Owner, _brief: bool, use_it: impl FnOnce() -> R) -> R {
        let this = thread::current().id();
        while let Some(holder) = owner.set(Some(this)) {
            assert!(holder != this, "{}", super::TWICE);
            thread::yield_now();
        }
        HELD.with(|held| held.set(held.get() + 1));
        let _guard = Guard(owner);
        use_it()
    }
}
