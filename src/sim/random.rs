//! The one source of chance in a world: the same seed gives the same run.

use std::time::Duration;

/// SplitMix64 (Steele, Lea and Flood, 2014): one word of state, good enough to schedule faults, and seedable with any number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Random(u64);

impl Random {
    /// A source that gives the same numbers for the same seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`; 0 when `limit` is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        // The bias of the remainder is below 2^-32 for the small limits used here.
        if limit == 0 { 0 } else { self.bits() % limit }
    }

    /// An index into a list of this length.
    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(u64::try_from(length).unwrap_or(u64::MAX))).unwrap_or(0)
    }

    /// True with this probability, in parts per million.
    pub fn chance(&mut self, ppm: u32) -> bool {
        ppm > 0 && self.below(1_000_000) < u64::from(ppm)
    }

    /// A duration of at least `low` and below `high`.
    pub fn between(&mut self, low: Duration, high: Duration) -> Duration {
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let width = nanos(high).saturating_sub(nanos(low));
        low + Duration::from_nanos(self.below(width))
    }

    /// A duration below `limit`.
    pub fn up_to(&mut self, limit: Duration) -> Duration {
        self.between(Duration::ZERO, limit)
    }
}
