//! Topic names and topic partitions.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::id::TopicId;

/// A legal topic name: 1 to 249 of `A-Z a-z 0-9 . _ -`, neither `.` nor `..`. Cheap to clone.
///
/// Legal names are safe as parts of file names, which is Kafka's reason for the rule and ours.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

impl TopicName {
    /// The longest legal name, in bytes.
    pub const MAX_BYTES: usize = 249;

    /// Checks and takes a name.
    ///
    /// # Errors
    /// What is wrong with it, in the words to tell a client.
    pub fn new(name: &str) -> Result<Self, InvalidTopicName> {
        if name.is_empty() {
            return Err(InvalidTopicName::Empty);
        }
        if name.len() > Self::MAX_BYTES {
            return Err(InvalidTopicName::TooLong { bytes: name.len() });
        }
        if name == "." || name == ".." {
            return Err(InvalidTopicName::Dots);
        }
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        match name.chars().find(|c| !legal(*c)) {
            Some(character) => Err(InvalidTopicName::Character { character }),
            None => Ok(Self(name.into())),
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for TopicName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromStr for TopicName {
    type Err = InvalidTopicName;

    fn from_str(name: &str) -> Result<Self, InvalidTopicName> {
        Self::new(name)
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// Why a topic name is not legal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidTopicName {
    /// It has no characters.
    #[error("a topic name cannot be empty")]
    Empty,
    /// It is longer than [`TopicName::MAX_BYTES`].
    #[error("a topic name has at most 249 characters, this one has {bytes}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// It is `.` or `..`.
    #[error("a topic name cannot be \".\" or \"..\"")]
    Dots,
    /// It holds a character that is not allowed.
    #[error("a topic name holds only letters, digits, '.', '_' and '-', not {character:?}")]
    Character {
        /// The first such character.
        character: char,
    },
}

/// One partition of one topic, by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: TopicName,
    /// The partition's index in it, from 0.
    pub partition: u32,
}

/// `topic/partition`, the form that the command line takes and prints.
impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// One partition, by its topic's identity for life: what nodes call it among themselves, so that a
/// topic deleted and created again under one name is never mistaken for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionKey {
    /// The topic's identity.
    pub topic: TopicId,
    /// The partition's index in it, from 0.
    pub index: u32,
}

impl fmt::Display for PartitionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legal_names_are_taken() {
        for name in [
            "a",
            "orders.v1",
            "__consumer_offsets",
            "A-Z_0.9",
            &"x".repeat(249),
        ] {
            assert_eq!(TopicName::new(name).expect("legal").as_str(), name);
        }
    }

    #[test]
    fn names_that_could_leave_a_directory_are_refused() {
        for name in [
            "",
            ".",
            "..",
            "../etc",
            "a/b",
            "a\0",
            "ü",
            "a b",
            &"x".repeat(250),
        ] {
            assert!(TopicName::new(name).is_err(), "{name:?}");
        }
    }
}
