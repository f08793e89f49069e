//! Pauses between attempts: doubling, bounded, jittered, and reset by success.
//!
//! The jitter comes from a seed, so that a run can be replayed. Not a timer: the caller compares.

use std::time::Duration;

use plimsoll_types::Monotonic;

/// A small generator of well mixed numbers (the splitmix64 sequence); not for secrets.
#[derive(Clone, Debug)]
pub(crate) struct Mixer(u64);

impl Mixer {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

/// The pause before the next attempt.
#[derive(Clone, Debug)]
pub struct BackOff {
    min: Duration,
    max: Duration,
    /// The next pause before jitter.
    next: Duration,
    mixer: Mixer,
}

impl BackOff {
    /// Pauses from `min`, doubling up to `max`; `seed` keeps the nodes of a cluster apart.
    #[must_use]
    pub fn new(min: Duration, max: Duration, seed: u64) -> Self {
        Self {
            min,
            max,
            next: min,
            mixer: Mixer::new(seed),
        }
    }

    /// After a failure: when to try again. Between half of the pause and all of it from `now`.
    pub fn failed(&mut self, now: Monotonic) -> Monotonic {
        let pause = self.next.min(self.max);
        self.next = (pause * 2).min(self.max);
        let half = pause / 2;
        let span = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX).max(1);
        now + half + Duration::from_nanos(self.mixer.next() % span)
    }

    /// After a success: the next failure begins with the shortest pause again.
    pub fn succeeded(&mut self) {
        self.next = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_a_bound_and_success_resets_them() {
        let (min, max) = (Duration::from_millis(50), Duration::from_secs(2));
        let mut back_off = BackOff::new(min, max, 7);
        let now = Monotonic::default();
        let pauses: Vec<_> = (0..9).map(|_| back_off.failed(now).since(now)).collect();
        for (n, pause) in pauses.iter().enumerate() {
            let full = (min * (1 << n)).min(max);
            assert!(*pause >= full / 2 && *pause <= full, "{n}: {pause:?}");
        }
        back_off.succeeded();
        assert!(back_off.failed(now).since(now) <= min);
    }

    #[test]
    fn two_seeds_pause_differently() {
        let (min, max) = (Duration::from_millis(50), Duration::from_secs(2));
        let now = Monotonic::default();
        let of = |seed| BackOff::new(min, max, seed).failed(now);
        assert_ne!(of(1), of(2));
    }
}
