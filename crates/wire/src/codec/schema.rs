//! What a message's statement says, as data: for bounds, tables, and tests that make messages.
//!
//! Not here: reading and writing, which the same statement yields as code.

use std::fmt::Debug;
use std::ops::RangeInclusive;

use super::Struct;

/// In which versions a field is there, and from which on it may be null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// First version that has the field.
    pub since: i16,
    /// Last version that has it.
    pub until: i16,
    /// First version in which it may be null, if its type can be at all.
    pub null_since: i16,
}

impl Rule {
    /// Whether `version` has the field.
    #[must_use]
    pub const fn covers(self, version: i16) -> bool {
        self.since <= version && version <= self.until
    }

    /// Whether the field may be null in `version`, if its type can be at all.
    #[must_use]
    pub const fn nullable(self, version: i16) -> bool {
        self.null_since <= version
    }
}

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// One byte, zero for false.
    Bool,
    /// One signed byte.
    Int8,
    /// Two bytes.
    Int16,
    /// Two bytes without a sign.
    Uint16,
    /// Four bytes.
    Int32,
    /// Eight bytes.
    Int64,
    /// Sixteen bytes.
    Uuid,
    /// UTF-8 with a length before it.
    Str,
    /// Bytes with a length before them.
    Bytes,
    /// Record batches with a length before them.
    Records,
    /// A count, then that many of the kind.
    List(&'static Kind),
    /// Fields, then in flexible versions tagged fields.
    Struct(&'static StructSchema),
    /// Any of these, or null.
    Nullable(&'static Kind),
}

impl Kind {
    /// The least bytes that a value of this kind takes.
    #[must_use]
    pub fn min_bytes(&self, version: i16, flexible: bool) -> usize {
        let length = |plain| if flexible { 1 } else { plain };
        match self {
            Self::Bool | Self::Int8 => 1,
            Self::Int16 | Self::Uint16 => 2,
            Self::Int32 => 4,
            Self::Int64 => 8,
            Self::Uuid => 16,
            Self::Str => length(2),
            Self::Bytes | Self::Records | Self::List(_) => length(4),
            Self::Struct(schema) => {
                let fields = schema
                    .fields
                    .iter()
                    .filter(|field| field.rule.covers(version));
                fields
                    .map(|field| field.kind.min_bytes(version, flexible))
                    .sum::<usize>()
                    + usize::from(flexible)
            }
            // A null struct is one byte; of the others null and empty are of one size.
            Self::Nullable(Self::Struct(_)) => 1,
            Self::Nullable(kind) => kind.min_bytes(version, flexible),
        }
    }
}

/// One field of a struct.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Field {
    /// Kafka's name, in snake case.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Its versions.
    pub rule: Rule,
}

/// A message, or a struct within one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StructSchema {
    /// Kafka's name.
    pub name: &'static str,
    /// The fields that are always written in the versions that have them, in order.
    pub fields: &'static [Field],
    /// The fields that are written with a tag when they differ from their default, by tag.
    pub tagged: &'static [(u32, Field)],
}

/// A whole message: what a header is followed by, or what a record of an internal topic holds.
pub trait Message: Struct + Default + Clone + Debug + PartialEq {
    /// The versions this crate reads and writes.
    const VERSIONS: RangeInclusive<i16>;
    /// The first flexible version, if any is.
    const FLEXIBLE_FROM: Option<i16>;
}
