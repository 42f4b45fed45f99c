//! Variables that one NPU uses at a time.

use core::cell::UnsafeCell;
use core::fmt;

use super::held::{hold, Owner};

/// A variable that runs write as they like: the platform runs a lambda that has one on one NPU at a time, so nothing races. In
/// [`local!`](crate::local) each NPU has one, and the lambda runs on all.
///
/// ```
/// use lnic_lambda::prelude::*;
///
/// static SEEN: Pinned<u32> = Pinned::new(0);
///
/// lambda! {
///     fn count(headers: &mut Headers, message: &mut Message) -> Verdict {
///         SEEN.update(|seen| seen + 1);
///         message.reply_fmt(headers, Status::OK, format_args!("{}", SEEN.get()))
///     }
/// }
/// # use lnic_lambda::testing::Request;
/// Request::rpc(b"").run(count);
/// assert_eq!(Request::rpc(b"").run(count).payload, b"2");
/// ```
///
/// A run whose budget ends in the middle of a change leaves the value as far as it was changed. With `concurrency = "shared"` in the
/// manifest, its author promises that there is no `Pinned` outside of `local!`: it would race.
pub struct Pinned<T> {
    owner: Owner,
    value: UnsafeCell<T>,
}

// SAFETY: on the platform one run at a time uses it: the lambda is pinned, or each NPU has its own; on the host `hold` lets one thread in at a
// time. `hold` also sees to it that one run has one reference. Values pass from a thread or NPU to another, so they must be Send.
unsafe impl<T: Send> Sync for Pinned<T> {}

impl<T> Pinned<T> {
    /// A variable that begins with this value.
    ///
    /// ```
    /// use lnic_lambda::Pinned;
    /// static LIMIT: Pinned<u32> = Pinned::new(10);
    /// assert_eq!(LIMIT.get(), 10);
    /// ```
    pub const fn new(value: T) -> Self {
        Self { owner: Owner::new(), value: UnsafeCell::new(value) }
    }

    /// Uses it by reference. Panics if `use_it` asks for the same variable again, or waits for a reply.
    ///
    /// ```
    /// use lnic_lambda::Pinned;
    /// static NAMES: Pinned<[u8; 4]> = Pinned::new([0; 4]);
    /// NAMES.with(|names| names[2] = 7);
    /// assert_eq!(NAMES.with(|names| names[2]), 7);
    /// ```
    #[inline]
    pub fn with<R>(&self, use_it: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: `hold` runs this only while there is no other reference to the value.
        hold(&self.owner, false, || use_it(unsafe { &mut *self.value.get() }))
    }

    /// Puts another value in its place; returns the one that was there.
    ///
    /// ```
    /// use lnic_lambda::Pinned;
    /// static LAST: Pinned<Option<u32>> = Pinned::new(None);
    /// assert_eq!(LAST.replace(Some(5)), None);
    /// assert_eq!(LAST.replace(None), Some(5));
    /// ```
    #[inline]
    pub fn replace(&self, value: T) -> T {
        // SAFETY: as in `with`; moving runs no code of others.
        hold(&self.owner, true, || core::mem::replace(unsafe { &mut *self.value.get() }, value))
    }

    /// Sets it.
    ///
    /// ```
    /// use lnic_lambda::Pinned;
    /// static READY: Pinned<bool> = Pinned::new(false);
    /// READY.set(true);
    /// assert!(READY.get());
    /// ```
    #[inline]
    pub fn set(&self, value: T) {
        drop(self.replace(value));
    }
}

impl<T: Copy> Pinned<T> {
    /// What it is.
    ///
    /// ```
    /// assert_eq!(lnic_lambda::Pinned::new(3).get(), 3);
    /// ```
    #[inline]
    #[must_use]
    pub fn get(&self) -> T {
        // SAFETY: as in `with`; copying runs no code of others.
        hold(&self.owner, true, || unsafe { *self.value.get() })
    }

    /// Makes a new value of the old one, and returns it.
    ///
    /// ```
    /// let hits = lnic_lambda::Pinned::new(3);
    /// assert_eq!(hits.update(|hits| hits + 1), 4);
    /// ```
    #[inline]
    pub fn update(&self, change: impl FnOnce(T) -> T) -> T {
        let value = change(self.get());
        self.set(value);
        value
    }
}

impl<T> fmt::Debug for Pinned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pinned").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_take_turns() {
        static TOTAL: Pinned<u32> = Pinned::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| TOTAL.with(|total| *total += 1)));
            }
        });
        assert_eq!(TOTAL.get(), 4000);
    }

    #[test]
    #[should_panic(expected = "a Pinned is used inside of its own `with`")]
    fn a_variable_is_not_lent_twice() {
        static ONCE: Pinned<u32> = Pinned::new(0);
        ONCE.with(|_| ONCE.get());
    }

    #[test]
    fn two_variables_are_lent_at_once_and_a_panic_gives_them_back() {
        static FIRST: Pinned<u32> = Pinned::new(1);
        static SECOND: Pinned<u32> = Pinned::new(2);
        assert_eq!(FIRST.with(|first| SECOND.with(|second| *first + *second)), 3);
        let unwound = std::panic::catch_unwind(|| FIRST.with(|first| *first += u32::MAX));
        assert_eq!(unwound.is_err(), cfg!(debug_assertions));
        assert_ne!(FIRST.get(), 2);
    }
}
