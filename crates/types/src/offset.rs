//! Positions in a partition's log.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};

/// A record's position in a partition: 0-based, dense per batch, at most `i64::MAX`.
///
/// Every *end* (`log_end`, `durable_end`, `high_watermark`) is exclusive: the next offset after
/// the last one that counts. The top bit of the `u64` is therefore always free, which is what the
/// sealed high watermark of `plimsoll-watermark` rests on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(u64);

impl Offset {
    /// The first offset of a new log.
    pub const ZERO: Self = Self(0);
    /// The greatest offset there can be.
    pub const MAX: Self = Self(i64::MAX as u64);

    /// The offset `value`.
    ///
    /// # Panics
    /// If `value` is above `i64::MAX`. Values from a peer or a disk go through
    /// [`Offset::from_wire`], which is total.
    #[must_use]
    pub const fn new(value: u64) -> Self {
        assert!(value <= Self::MAX.0, "an offset fits an i64");
        Self(value)
    }

    /// The offset that the signed wire form carries; `None` when negative (Kafka's "none" or a
    /// special value such as -1 latest, -2 earliest).
    #[must_use]
    pub const fn from_wire(value: i64) -> Option<Self> {
        if value < 0 {
            None
        } else {
            Some(Self(value.cast_unsigned()))
        }
    }

    /// The signed wire form.
    #[must_use]
    pub const fn to_wire(self) -> i64 {
        self.0.cast_signed()
    }

    /// The plain number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// `self + records`, or `None` past [`Offset::MAX`].
    #[must_use]
    pub const fn checked_add(self, records: u64) -> Option<Self> {
        match self.0.checked_add(records) {
            Some(sum) if sum <= Self::MAX.0 => Some(Self(sum)),
            _ => None,
        }
    }

    /// `self - records`, no lower than zero.
    #[must_use]
    pub const fn saturating_sub(self, records: u64) -> Self {
        Self(self.0.saturating_sub(records))
    }

    /// How many records lie from `earlier` to `self`; zero when `earlier` is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<u64> for Offset {
    type Output = Self;

    /// # Panics
    /// Past [`Offset::MAX`]: a log that long is a bug, and going on would lose data.
    fn add(self, records: u64) -> Self {
        self.checked_add(records).expect("an offset fits an i64")
    }
}

impl AddAssign<u64> for Offset {
    fn add_assign(&mut self, records: u64) {
        *self = *self + records;
    }
}

impl Sub for Offset {
    type Output = u64;

    /// # Panics
    /// When `earlier` is after `self`, in debug and release: the difference would be nonsense.
    fn sub(self, earlier: Self) -> u64 {
        self.0
            .checked_sub(earlier.0)
            .expect("the subtrahend is the earlier offset")
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negative_wire_offsets_are_none() {
        assert_eq!(Offset::from_wire(-1), None);
        assert_eq!(Offset::from_wire(i64::MIN), None);
    }

    #[test]
    fn wire_form_round_trips_at_both_ends() {
        for offset in [Offset::ZERO, Offset::MAX] {
            assert_eq!(Offset::from_wire(offset.to_wire()), Some(offset));
        }
    }

    #[test]
    fn checked_add_stops_at_the_greatest_offset() {
        assert_eq!(Offset::MAX.checked_add(1), None);
        assert_eq!(Offset::MAX.checked_add(0), Some(Offset::MAX));
        assert_eq!(Offset::ZERO.checked_add(u64::MAX), None);
    }

    #[test]
    fn since_is_zero_when_the_other_is_later() {
        assert_eq!(Offset::new(3).since(Offset::new(5)), 0);
        assert_eq!(Offset::new(5).since(Offset::new(3)), 2);
    }
}
