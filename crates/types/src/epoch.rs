//! Epochs: numbers that only grow and tell an old actor from the current one.

use std::fmt;

/// A term of office of a partition's leader; each record batch carries the one it was written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaderEpoch(u32);

impl LeaderEpoch {
    /// The epoch of a partition's first leader.
    pub const ZERO: Self = Self(0);

    /// The epoch `value`.
    ///
    /// # Panics
    /// If `value` is above `i32::MAX`; values from outside go through [`LeaderEpoch::from_wire`].
    #[must_use]
    pub const fn new(value: u32) -> Self {
        assert!(value <= i32::MAX as u32, "a leader epoch fits an i32");
        Self(value)
    }

    /// The epoch that the signed wire form carries; `None` when negative ("unknown").
    #[must_use]
    pub const fn from_wire(value: i32) -> Option<Self> {
        if value < 0 {
            None
        } else {
            Some(Self(value.cast_unsigned()))
        }
    }

    /// The signed wire form.
    #[must_use]
    pub const fn to_wire(self) -> i32 {
        self.0.cast_signed()
    }

    /// The plain number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The next term.
    #[must_use]
    pub const fn next(self) -> Self {
        Self::new(self.0 + 1)
    }
}

impl fmt::Display for LeaderEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A version of one partition's metadata (leader, ISR, replicas); grows with every change to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionEpoch(pub u32);

/// One uptime of one node, given by the controller at registration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BrokerEpoch(pub u64);
