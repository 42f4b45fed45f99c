//! When an idle lcore stops spinning. Pure: driven by what each breath found.

/// What to do before the next breath.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Frames came: poll again at once.
    Poll,
    /// Nothing came: tell the core that this is a spin, and poll again.
    Pause,
    /// Nothing came for long: sleep until something does.
    Sleep,
}

/// Counts empty polls in a row.
#[derive(Clone, Copy, Debug)]
pub struct Idle {
    spin_polls: Option<u32>,
    empty: u32,
}

impl Idle {
    /// Sleeps after `spin_polls` empty polls in a row; `None` never sleeps.
    #[must_use]
    pub fn new(spin_polls: Option<u32>) -> Self {
        Self { spin_polls, empty: 0 }
    }

    /// Decides after a breath. After a sleep the spin starts anew only if frames came: an lcore that wakes for nothing goes
    /// back to sleep after one poll.
    #[inline]
    pub fn after(&mut self, busy: bool) -> Step {
        if busy {
            self.empty = 0;
            return Step::Poll;
        }
        let Some(limit) = self.spin_polls else { return Step::Pause };
        if self.empty < limit {
            self.empty += 1;
            return Step::Pause;
        }
        Step::Sleep
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeps_after_the_spin_and_spins_anew_after_frames() {
        let mut idle = Idle::new(Some(3));
        let steps: Vec<_> = (0..5).map(|_| idle.after(false)).collect();
        assert_eq!(steps, [Step::Pause, Step::Pause, Step::Pause, Step::Sleep, Step::Sleep]);
        assert_eq!(idle.after(true), Step::Poll);
        assert_eq!(idle.after(false), Step::Pause);
    }

    #[test]
    fn never_sleeps_if_told_so() {
        let mut idle = Idle::new(None);
        assert!((0..1_000_000).all(|_| idle.after(false) == Step::Pause));
    }
}
