//! A cursor over one frame that cannot be made to panic, over-read or over-allocate.
//!
//! Not here: the layout of any value. What always holds: `rest` is a suffix of what the frame (or
//! the tagged field being read) still has, and every list is charged to the budget before memory
//! is taken for it.

use bytes::Bytes;

use super::{Context, Records, Str, Value};

/// Lists may take this many bytes of memory for each byte of the frame, and
pub const BUDGET_FACTOR: usize = 4;
/// this many beyond, so that small frames of small elements pass.
pub const BUDGET_FLOOR_BYTES: usize = 64 * 1024;

/// Kafka's longest string; lengths above it are refused in every version.
const MAX_STRING_BYTES: usize = i16::MAX as usize;

/// Bytes that are not the message they should be: where, in which field, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("field {field} at byte {at}: {reason}")]
pub struct Malformed {
    /// The field being read, in Kafka's spelling in snake case.
    pub field: &'static str,
    /// How many bytes into the frame.
    pub at: usize,
    /// What is wrong there.
    pub reason: Reason,
}

/// What is wrong with malformed bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// The frame ends inside the field.
    #[error("needs {needs} bytes, {remain} remain")]
    Short {
        /// Bytes the field needs.
        needs: usize,
        /// Bytes there are.
        remain: usize,
    },
    /// A length or count is negative and does not mean null.
    #[error("length {length} is negative")]
    NegativeLength {
        /// The length read.
        length: i64,
    },
    /// A string is longer than Kafka's strings can be.
    #[error("a string of {bytes} bytes is longer than 32767")]
    LongString {
        /// Its length.
        bytes: usize,
    },
    /// A list counts more elements than its bytes can hold.
    #[error("{count} elements cannot lie in the {remain} bytes that remain")]
    Count {
        /// The count read.
        count: usize,
        /// Bytes there are.
        remain: usize,
    },
    /// The lists of this message would take more memory than a message of its size may.
    #[error("{count} more elements exceed the memory for a frame of this size")]
    Budget {
        /// The count read.
        count: usize,
    },
    /// Null where the version does not allow it.
    #[error("is null, which this version does not allow")]
    Null,
    /// A string is not UTF-8.
    #[error("is not UTF-8")]
    NotUtf8,
    /// The version is not one of the message's.
    #[error("version {version} is not known")]
    Version {
        /// The version read.
        version: i16,
    },
    /// A number that stands for one of several choices stands for none.
    #[error("{number} is none of the choices there are")]
    Choice {
        /// The number read.
        number: u8,
    },
    /// A number is outside of what its type can hold.
    #[error("{value} is out of range")]
    OutOfRange {
        /// The number read.
        value: i64,
    },
    /// A variable-length integer goes past 32 bits.
    #[error("a variable-length integer exceeds 32 bits")]
    Varint,
    /// Bytes follow what should have been the end of the message.
    #[error("{bytes} bytes follow the end")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// A tagged field is larger than what it holds.
    #[error("{bytes} bytes follow the value within its tagged field")]
    TagTrailing {
        /// How many.
        bytes: usize,
    },
}

/// The cursor. Made for one frame and used up by it.
pub struct Input<'a> {
    frame: &'a Bytes,
    /// What is still to be read; a tagged field narrows it to its own bytes.
    rest: &'a [u8],
    /// Where `rest` ends in the frame.
    end: usize,
    /// Memory that lists may still take.
    budget: usize,
    /// The field being read, for the error.
    field: &'static str,
}

impl<'a> Input<'a> {
    pub(crate) fn new(frame: &'a Bytes) -> Self {
        Self {
            frame,
            rest: frame,
            end: frame.len(),
            budget: frame
                .len()
                .saturating_mul(BUDGET_FACTOR)
                .saturating_add(BUDGET_FLOOR_BYTES),
            field: "",
        }
    }

    /// Names the field that is read next.
    pub(crate) fn at_field(&mut self, field: &'static str) {
        self.field = field;
    }

    /// Reads one field of a struct.
    pub(crate) fn field<T: Value>(
        &mut self,
        name: &'static str,
        context: Context,
        nullable: bool,
    ) -> Result<T, Malformed> {
        self.field = name;
        T::read(self, context, nullable)
    }

    pub(crate) fn malformed(&self, reason: Reason) -> Malformed {
        Malformed {
            field: self.field,
            at: self.position(),
            reason,
        }
    }

    pub(crate) fn position(&self) -> usize {
        self.end - self.rest.len()
    }

    pub(crate) fn remain(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn starts_with(&self, bytes: &[u8]) -> bool {
        self.rest.starts_with(bytes)
    }

    /// Nothing may follow a message.
    pub(crate) fn finish(&self) -> Result<(), Malformed> {
        match self.rest.len() {
            0 => Ok(()),
            bytes => Err(self.malformed(Reason::Trailing { bytes })),
        }
    }

    pub(crate) fn take(&mut self, needs: usize) -> Result<&'a [u8], Malformed> {
        match self.rest.split_at_checked(needs) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(self.malformed(Reason::Short {
                needs,
                remain: self.rest.len(),
            })),
        }
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        match self.rest.split_first_chunk() {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(*taken)
            }
            None => Err(self.malformed(Reason::Short {
                needs: N,
                remain: self.rest.len(),
            })),
        }
    }

    pub(crate) fn i16(&mut self) -> Result<i16, Malformed> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    pub(crate) fn i32(&mut self) -> Result<i32, Malformed> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub(crate) fn uvarint(&mut self) -> Result<u32, Malformed> {
        let mut value = 0_u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            let bits = u32::from(byte & 0x7f);
            if shift == 28 && bits > 0x0f {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.malformed(Reason::Varint))
    }

    /// A length in a flexible version: one more than it is, zero for null.
    fn compact_length(&mut self) -> Result<Option<usize>, Malformed> {
        match self.uvarint()?.checked_sub(1) {
            // A `usize` has at least 32 bits wherever a broker runs; elsewhere the take fails.
            Some(length) => Ok(Some(usize::try_from(length).unwrap_or(usize::MAX))),
            None => Ok(None),
        }
    }

    /// A signed length: -1 for null, nothing else below zero.
    fn signed_length(&self, length: i64) -> Result<Option<usize>, Malformed> {
        match length {
            -1 => Ok(None),
            _ => match usize::try_from(length) {
                Ok(length) => Ok(Some(length)),
                Err(_) => Err(self.malformed(Reason::NegativeLength { length })),
            },
        }
    }

    /// The length of bytes, records or a list, `None` for null.
    pub(crate) fn length(&mut self, flexible: bool) -> Result<Option<usize>, Malformed> {
        if flexible {
            return self.compact_length();
        }
        let length = self.i32()?;
        self.signed_length(i64::from(length))
    }

    pub(crate) fn string(&mut self, flexible: bool) -> Result<Option<Str>, Malformed> {
        let length = if flexible {
            self.compact_length()?
        } else {
            let length = self.i16()?;
            self.signed_length(i64::from(length))?
        };
        let Some(bytes) = length else { return Ok(None) };
        if bytes > MAX_STRING_BYTES {
            return Err(self.malformed(Reason::LongString { bytes }));
        }
        let taken = self.slice(bytes)?;
        match Str::from_utf8(taken) {
            Some(text) => Ok(Some(text)),
            None => Err(self.malformed(Reason::NotUtf8)),
        }
    }

    /// The next `bytes` bytes as a part of the frame, not a copy.
    fn slice(&mut self, bytes: usize) -> Result<Bytes, Malformed> {
        let taken = self.take(bytes)?;
        Ok(self.frame.slice_ref(taken))
    }

    pub(crate) fn bytes(&mut self, flexible: bool) -> Result<Option<Bytes>, Malformed> {
        match self.length(flexible)? {
            Some(bytes) => self.slice(bytes).map(Some),
            None => Ok(None),
        }
    }

    pub(crate) fn records(&mut self, flexible: bool) -> Result<Option<Records>, Malformed> {
        Ok(self.bytes(flexible)?.map(Records::from))
    }

    /// A list of `T`; `None` for null. Memory is taken once, for a count that has been shown to
    /// fit both the bytes that remain and the budget.
    pub(crate) fn list<T: Value>(&mut self, context: Context) -> Result<Option<Vec<T>>, Malformed> {
        let Some(count) = self.length(context.flexible)? else {
            return Ok(None);
        };
        let least = T::KIND.min_bytes(context.version, context.flexible).max(1);
        let remain = self.remain();
        if count > remain / least {
            return Err(self.malformed(Reason::Count { count, remain }));
        }
        match self
            .budget
            .checked_sub(count.saturating_mul(size_of::<T>()))
        {
            Some(budget) => self.budget = budget,
            None => return Err(self.malformed(Reason::Budget { count })),
        }
        let field = self.field;
        let mut list = Vec::with_capacity(count);
        for _ in 0..count {
            self.field = field;
            list.push(T::read(self, context, false)?);
        }
        Ok(Some(list))
    }

    /// The number and size of the next tagged field.
    pub(crate) fn tag(&mut self) -> Result<(u32, usize), Malformed> {
        let tag = self.uvarint()?;
        let size = self.uvarint()?;
        Ok((tag, usize::try_from(size).unwrap_or(usize::MAX)))
    }

    /// Reads a tagged field, which must fill its `size` exactly.
    pub(crate) fn tagged<T: Value>(
        &mut self,
        size: usize,
        name: &'static str,
        context: Context,
        nullable: bool,
    ) -> Result<T, Malformed> {
        self.field = name;
        let outer_end = self.end;
        let own = self.take(size)?;
        let after = std::mem::replace(&mut self.rest, own);
        self.end = outer_end - after.len();
        let value = T::read(self, context, nullable)?;
        match self.rest.len() {
            0 => self.rest = after,
            bytes => return Err(self.malformed(Reason::TagTrailing { bytes })),
        }
        self.end = outer_end;
        Ok(value)
    }

    /// Passes over the tagged fields of a struct that knows none.
    pub(crate) fn skip_tags(&mut self) -> Result<(), Malformed> {
        self.field = "tagged_fields";
        for _ in 0..self.uvarint()? {
            let (_, size) = self.tag()?;
            self.take(size)?;
        }
        Ok(())
    }
}
