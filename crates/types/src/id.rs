//! Identities of nodes, topics and producers.

use std::fmt;
use std::str::FromStr;

/// A node's number in the cluster, zero or more; chosen by the operator, never re-used for another machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

impl NodeId {
    /// The node `value`, if it fits the protocol's signed 32 bits.
    #[must_use]
    pub const fn new(value: u32) -> Option<Self> {
        if value > i32::MAX as u32 {
            None
        } else {
            Some(Self(value))
        }
    }

    /// The node in its wire form; `None` when negative ("no node").
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
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A topic's identity for life (KIP-516): 16 bytes, never re-used, so that a topic deleted and
/// created again under its old name is another topic. All zeros means "absent" on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TopicId([u8; 16]);

impl TopicId {
    /// The wire's "no topic id".
    pub const ABSENT: Self = Self([0; 16]);

    /// The id made of these 16 bytes, as the wire carries them.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes, as the wire carries them.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// Whether this is the wire's "no topic id".
    #[must_use]
    pub fn is_absent(self) -> bool {
        self == Self::ABSENT
    }
}

/// Hyphenated lower-case hexadecimal, as a UUID is written.
impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not 32 hexadecimal digits, hyphenated as a UUID or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a topic id is 32 hexadecimal digits, hyphenated like a UUID or not")]
pub struct InvalidTopicId;

impl FromStr for TopicId {
    type Err = InvalidTopicId;

    fn from_str(text: &str) -> Result<Self, InvalidTopicId> {
        let mut bytes = [0; 16];
        let mut digits = 0;
        for (at, c) in text.char_indices() {
            if c == '-' && matches!(at, 8 | 13 | 18 | 23) {
                continue;
            }
            let digit = c.to_digit(16).ok_or(InvalidTopicId)?;
            let byte: &mut u8 = bytes.get_mut(digits / 2).ok_or(InvalidTopicId)?;
            *byte = (*byte << 4) | u8::try_from(digit).map_err(|_| InvalidTopicId)?;
            digits += 1;
        }
        if digits == 32 {
            Ok(Self(bytes))
        } else {
            Err(InvalidTopicId)
        }
    }
}

/// The broker-given identity of an idempotent producer; zero or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerId(u64);

impl ProducerId {
    /// The producer `value`, if it fits the protocol's signed 64 bits.
    #[must_use]
    pub const fn new(value: u64) -> Option<Self> {
        if value > i64::MAX as u64 {
            None
        } else {
            Some(Self(value))
        }
    }

    /// The producer in its wire form; `None` when negative ("not idempotent").
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
}

impl fmt::Display for ProducerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A life of a producer id: a producer with a lower one is fenced. -1 on the wire means none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerEpoch(pub i16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_id_text_round_trips() {
        let id = TopicId::from_bytes(*b"0123456789abcdef");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.to_string().replace('-', "").parse(), Ok(id));
    }

    #[test]
    fn topic_id_refuses_other_text() {
        for text in ["", "xyz", "0123", &"0".repeat(33), &"é".repeat(16)] {
            assert_eq!(text.parse::<TopicId>(), Err(InvalidTopicId), "{text}");
        }
    }

    #[test]
    fn ids_below_zero_are_absent() {
        assert_eq!(NodeId::from_wire(-1), None);
        assert_eq!(ProducerId::from_wire(-1), None);
        assert_eq!(NodeId::new(u32::MAX), None);
    }
}
