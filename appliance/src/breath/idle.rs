//! When an idle lcore stops spinning. Pure: driven by what each breath found.

/// What to do before the next breath.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Frames came: poll again at once.
    Poll,
    /// Nothing came: tell the core that this is a spin, and poll again.
    Pause,
    /// Nothing came for a while: offer the CPU to whoever waits for it, and poll again.
    Yield,
    /// Nothing came for long: sleep until something does.
    Sleep,
}

/// Counts empty polls in a row.
#[derive(Clone, Copy, Debug)]
pub struct Idle {
    spin_polls: Option<u32>,
    yield_polls: u32,
    empty: u32,
    until_yield: u32,
}

impl Idle {
    /// Sleeps after `spin_polls` empty polls in a row, `None` never; yields after every `yield_polls` of them, 0 never.
    #[must_use]
    pub fn new(spin_polls: Option<u32>, yield_polls: u32) -> Self {
        Self { spin_polls, yield_polls, empty: 0, until_yield: yield_polls }
    }

    /// Decides after a breath. After a sleep the spin starts anew only if frames came: an lcore that wakes for nothing goes
    /// back to sleep after one poll.
    #[inline]
    pub fn after(&mut self, busy: bool) -> Step {
        if busy {
            self.empty = 0;
            self.until_yield = self.yield_polls;
            return Step::Poll;
        }
        if self.spin_polls.is_some_and(|limit| self.empty >= limit) {
            return Step::Sleep;
        }
        self.empty = self.empty.saturating_add(1);
        if self.yield_polls == 0 {
            return Step::Pause;
        }
        self.until_yield -= 1;
        if self.until_yield > 0 {
            return Step::Pause;
        }
        self.until_yield = self.yield_polls;
        Step::Yield
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeps_after_the_spin_and_spins_anew_after_frames() {
        let mut idle = Idle::new(Some(3), 0);
        let steps: Vec<_> = (0..5).map(|_| idle.after(false)).collect();
        assert_eq!(steps, [Step::Pause, Step::Pause, Step::Pause, Step::Sleep, Step::Sleep]);
        assert_eq!(idle.after(true), Step::Poll);
        assert_eq!(idle.after(false), Step::Pause);
    }

    #[test]
    fn yields_in_between() {
        let mut idle = Idle::new(Some(5), 2);
        let steps: Vec<_> = (0..6).map(|_| idle.after(false)).collect();
        assert_eq!(steps, [Step::Pause, Step::Yield, Step::Pause, Step::Yield, Step::Pause, Step::Sleep]);
        assert_eq!(idle.after(true), Step::Poll);
        assert_eq!([idle.after(false), idle.after(false)], [Step::Pause, Step::Yield]);
    }

    #[test]
    fn never_sleeps_if_told_so() {
        let mut idle = Idle::new(None, 0);
        assert!((0..1_000_000).all(|_| idle.after(false) == Step::Pause));
    }
}
