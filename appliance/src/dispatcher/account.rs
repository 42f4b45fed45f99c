//! What one lambda is owed or owes, in cycles.

/// How much of the difference to a measured cost moves the average: an eighth.
const AVERAGE_SHIFT: u32 = 3;
/// The most cycles that one item is believed to have used: a day's worth, so that sums stay far from their limits.
const ITEM_CYCLES: u64 = 1 << 48;

/// A deficit, and how far the rounds have been credited to it. Round numbers are those of the lambda's class.
#[derive(Clone, Copy, Debug)]
pub(super) struct Account {
    deficit: i64,
    credited: u64,
    credit: i64,
    charged: u64,
    average: u64,
    measured: bool,
}

impl Account {
    /// A new lambda's: nothing owed, and an unknown cost taken as one quantum.
    pub(super) const fn new(quantum_cycles: u64) -> Self {
        Self {
            deficit: 0,
            credited: 0,
            credit: quantum_cycles as i64,
            charged: 0,
            average: quantum_cycles,
            measured: false,
        }
    }

    /// Cycles in credit, negative in debt, as of the round that was credited last.
    #[inline]
    pub(super) const fn deficit(&self) -> i64 {
        self.deficit
    }

    /// Average cost of an item, at least 1.
    pub(super) const fn average(&self) -> u64 {
        self.average
    }

    pub(super) const fn set_credit(&mut self, cycles: u64) {
        self.credit = cycles as i64;
    }

    /// Enters a class: what is owed stays, the class's present round counts as credited.
    pub(super) const fn enter(&mut self, round: u64) {
        self.credited = round;
    }

    /// Credits the rounds that passed. They never lift it above the credit of one round.
    #[inline]
    pub(super) fn settle(&mut self, round: u64) {
        let rounds = round.saturating_sub(self.credited);
        if rounds == 0 {
            return;
        }
        self.credited = round;
        if self.deficit < self.credit {
            let rounds = i64::try_from(rounds).unwrap_or(i64::MAX);
            self.deficit = self.deficit.saturating_add(self.credit.saturating_mul(rounds)).min(self.credit);
        }
    }

    /// Nothing waits any more: no more is kept than any round would give anew.
    #[inline]
    pub(super) fn rest(&mut self) {
        self.deficit = self.deficit.min(self.credit);
    }

    /// Rounds until the deficit is positive; 0 if it is.
    #[inline]
    pub(super) const fn rounds_in_debt(&self) -> u64 {
        let (debt, credit) = (self.deficit.unsigned_abs(), self.credit.unsigned_abs());
        if self.deficit > 0 {
            0
        } else if debt < credit {
            1
        } else {
            debt / credit + 1
        }
    }

    /// An item starts: it is taken to cost the average.
    #[inline]
    pub(super) const fn charge(&mut self) {
        self.deficit = self.deficit.saturating_sub(self.average as i64);
        self.charged = self.charged.saturating_add(self.average);
    }

    /// One of `in_flight` items is done: its estimate is replaced by `cycles`. Zero cycles: it never ran.
    ///
    /// What an estimate took too much is given back in full, up to `surplus` items' worth above a round's credit: else a
    /// lambda whose items differ would lose whenever it is overestimated and pay whenever it is underestimated. The bound is
    /// for one that was alone for a while, which was paid by rounds that cost nobody anything.
    #[inline]
    pub(super) fn correct(&mut self, in_flight: u32, cycles: u64, surplus: u32) {
        let cycles = cycles.min(ITEM_CYCLES);
        let estimate = self.release(in_flight, 1);
        if cycles != 0 {
            self.learn(cycles);
        }
        let most = self.credit.saturating_add(self.average.saturating_mul(surplus.into()) as i64);
        let deficit = self.deficit.saturating_add(estimate as i64).saturating_sub(cycles as i64);
        self.deficit = if estimate > cycles { deficit.min(most.max(self.deficit)) } else { deficit };
    }

    /// `items` of `in_flight` never complete. They keep what they were charged: it was an NPU's time.
    pub(super) fn write_off(&mut self, in_flight: u32, items: u32) {
        self.release(in_flight, items);
    }

    /// Takes `items` of `in_flight` estimates out of what is charged: an equal part, and all with the last.
    #[inline]
    fn release(&mut self, in_flight: u32, items: u32) -> u64 {
        let part = if items >= in_flight {
            self.charged
        } else {
            (self.charged / u64::from(in_flight)).saturating_mul(items.into())
        };
        self.charged -= part;
        part
    }

    #[inline]
    fn learn(&mut self, cycles: u64) {
        if self.measured {
            let difference = cycles as i64 - self.average as i64;
            self.average = self.average.saturating_add_signed(difference >> AVERAGE_SHIFT).max(1);
        } else {
            self.average = cycles;
            self.measured = true;
        }
    }
}
