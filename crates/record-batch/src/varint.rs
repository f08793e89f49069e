//! Zigzag variable-length integers, and a reader over the bytes of records.

use crate::RecordProblem;

/// What is left to read. Never panics, never reads past the end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn take(&mut self, bytes: usize) -> Result<&'a [u8], RecordProblem> {
        let split = self.rest.split_at_checked(bytes);
        let (taken, rest) = split.ok_or(RecordProblem::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// A 32-bit number of at most five bytes. Bits beyond the 32nd are dropped, as Java does.
    pub(crate) fn varint(&mut self) -> Result<i32, RecordProblem> {
        let raw = self.unsigned(5)?;
        let [_, _, _, _, a, b, c, d] = raw.to_be_bytes();
        let raw = u32::from_be_bytes([a, b, c, d]);
        Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    /// A 64-bit number of at most ten bytes.
    pub(crate) fn varlong(&mut self) -> Result<i64, RecordProblem> {
        let raw = self.unsigned(10)?;
        Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    /// A length that must be there.
    pub(crate) fn length(&mut self, what: &'static str) -> Result<usize, RecordProblem> {
        let value = self.varint()?;
        usize::try_from(value).map_err(|_| RecordProblem::Negative { what, value })
    }

    /// Bytes after their length; a negative length means there are none.
    pub(crate) fn nullable(&mut self) -> Result<Option<&'a [u8]>, RecordProblem> {
        match usize::try_from(self.varint()?) {
            Ok(bytes) => self.take(bytes).map(Some),
            Err(_) => Ok(None),
        }
    }

    fn unsigned(&mut self, max_bytes: u32) -> Result<u64, RecordProblem> {
        let mut value = 0;
        for at in 0..max_bytes {
            let (byte, rest) = self.rest.split_first().ok_or(RecordProblem::Truncated)?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << (at * 7);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(RecordProblem::Varint)
    }
}

/// Appends `value`.
pub(crate) fn put_varint(out: &mut Vec<u8>, value: i32) {
    put_unsigned(out, u64::from(zigzag(value)));
}

/// Appends `value`.
pub(crate) fn put_varlong(out: &mut Vec<u8>, value: i64) {
    put_unsigned(out, zigzag_long(value));
}

/// How many bytes `value` takes.
pub(crate) fn varint_bytes(value: i32) -> usize {
    unsigned_bytes(u64::from(zigzag(value)))
}

/// How many bytes `value` takes.
pub(crate) fn varlong_bytes(value: i64) -> usize {
    unsigned_bytes(zigzag_long(value))
}

fn zigzag(value: i32) -> u32 {
    ((value << 1) ^ (value >> 31)).cast_unsigned()
}

fn zigzag_long(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn unsigned_bytes(value: u64) -> usize {
    match value {
        0..0x80 => 1,
        _ => (u64::BITS - value.leading_zeros()).div_ceil(7) as usize,
    }
}

fn put_unsigned(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        let [.., low] = value.to_be_bytes();
        out.push(low | 0x80);
        value >>= 7;
    }
    let [.., low] = value.to_be_bytes();
    out.push(low);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_both_widths_round_trip_in_the_bytes_foretold() {
        for value in [0, -1, 1, 63, -64, 64, i32::MAX, i32::MIN] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out.len(), varint_bytes(value), "{value}");
            assert_eq!(Fields::new(&out).varint(), Ok(value));
        }
        for value in [0, -1, 1 << 40, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            put_varlong(&mut out, value);
            assert_eq!(out.len(), varlong_bytes(value), "{value}");
            assert_eq!(Fields::new(&out).varlong(), Ok(value));
        }
    }

    #[test]
    fn numbers_longer_than_their_type_are_refused() {
        let endless = [0x80; 11];
        let mut fields = Fields::new(&endless);
        assert_eq!(fields.varint(), Err(RecordProblem::Varint));
        assert_eq!(Fields::new(&endless).varlong(), Err(RecordProblem::Varint));
        let mut cut = Fields::new(&[0x80]);
        assert_eq!(cut.varint(), Err(RecordProblem::Truncated));
    }
}
