//! A bound on the bytes a second of catch-up traffic, with a floor.
//!
//! Whoever is let through may send one frame of any size and owes the rest, so the bound holds on
//! average and no batch is too large. Only replicas out of the ISR are throttled.

use std::time::Duration;

use plimsoll_types::Monotonic;

/// No quota, not even zero, goes below this: progress is certain.
pub const FLOOR_BYTES_PER_SECOND: u64 = 1 << 20;

/// A token bucket that may go into debt.
#[derive(Clone, Debug)]
pub struct Throttle {
    bytes_per_second: u64,
    /// Tokens the bucket holds at most: what one second brings.
    tokens: i128,
    filled_at: Monotonic,
}

impl Throttle {
    /// A full bucket.
    #[must_use]
    pub fn new(bytes_per_second: u64, now: Monotonic) -> Self {
        let bytes_per_second = bytes_per_second.max(FLOOR_BYTES_PER_SECOND);
        Self {
            bytes_per_second,
            tokens: i128::from(bytes_per_second),
            filled_at: now,
        }
    }

    /// Changes the rate; debts stay.
    pub fn set_rate(&mut self, bytes_per_second: u64, now: Monotonic) {
        self.fill(now);
        self.bytes_per_second = bytes_per_second.max(FLOOR_BYTES_PER_SECOND);
        self.tokens = self.tokens.min(i128::from(self.bytes_per_second));
    }

    /// `None`: send now. Otherwise: when to ask again.
    pub fn wait(&mut self, now: Monotonic) -> Option<Monotonic> {
        self.fill(now);
        if self.tokens > 0 {
            return None;
        }
        let missing = u64::try_from(1 - self.tokens).unwrap_or(u64::MAX);
        let micros = missing.saturating_mul(1_000_000) / self.bytes_per_second;
        Some(now + Duration::from_micros(micros + 1))
    }

    /// These bytes were sent.
    pub fn spent(&mut self, bytes: u64) {
        self.tokens -= i128::from(bytes);
    }

    fn fill(&mut self, now: Monotonic) {
        let micros = i128::try_from(now.since(self.filled_at).as_micros()).unwrap_or(i128::MAX);
        let rate = i128::from(self.bytes_per_second);
        let brought = micros.saturating_mul(rate) / 1_000_000;
        if brought > 0 {
            self.tokens = self.tokens.saturating_add(brought).min(rate);
            self.filled_at = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_of_zero_is_the_floor() {
        let start = Monotonic::default();
        let mut throttle = Throttle::new(0, start);
        let (mut now, mut sent) = (start, 0_u64);
        while now.since(start) < Duration::from_secs(20) {
            match throttle.wait(now) {
                None => {
                    throttle.spent(300_000);
                    sent += 300_000;
                }
                Some(until) => {
                    assert!(until > now, "no hot loop");
                    now = until;
                }
            }
        }
        let rate = sent / 20;
        assert!(
            (FLOOR_BYTES_PER_SECOND..FLOOR_BYTES_PER_SECOND * 12 / 10).contains(&rate),
            "{rate}"
        );
    }

    #[test]
    fn a_batch_larger_than_the_bucket_passes_and_is_paid_off() {
        let start = Monotonic::default();
        let mut throttle = Throttle::new(1 << 20, start);
        assert_eq!(throttle.wait(start), None);
        throttle.spent(90 << 20);
        let until = throttle.wait(start).expect("in debt");
        let pause = until.since(start);
        assert!(pause > Duration::from_secs(88) && pause < Duration::from_secs(90));
        assert_eq!(throttle.wait(until), None);
    }
}
