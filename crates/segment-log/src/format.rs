//! The frame around each small file of ours, and reading and writing fields.
//!
//! ```text
//! 0   "PLIM"      4 kind, 4 letters    8 version u32    12 body length u64
//! 20  body        20 + length: CRC-32 (IEEE) u32 of everything before it
//! ```
//! All numbers are big-endian, as in the batches. Not here: what the bodies mean.

use plimsoll_types::Offset;

const MAGIC: &[u8; 4] = b"PLIM";
const HEADER_BYTES: usize = 20;

/// Why a file of ours cannot be used. The log does not need it: it is rebuilt, or its owner says
/// what that means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// Shorter than its frame says.
    #[error("it ends too early")]
    Short,
    /// It does not begin as such a file does.
    #[error("it is not such a file")]
    Magic,
    /// Of a version this build does not know.
    #[error("its version {version} is not known to this build")]
    Version {
        /// What it says.
        version: u32,
    },
    /// The checksum does not match.
    #[error("its checksum does not match")]
    Checksum,
    /// The frame holds, but a field does not make sense.
    #[error("a field is out of range")]
    Field,
}

/// Puts `body` into a frame.
pub(crate) fn frame(kind: [u8; 4], version: u32, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES + body.len() + 4);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&kind);
    out.extend_from_slice(&version.to_be_bytes());
    out.extend_from_slice(&(body.len() as u64).to_be_bytes());
    out.extend_from_slice(body);
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_be_bytes());
    out
}

/// Takes the body out of a frame. Bytes after the frame are an error too.
pub(crate) fn unframe(kind: [u8; 4], version: u32, bytes: &[u8]) -> Result<Fields<'_>, Unreadable> {
    let mut fields = Fields(bytes);
    if fields.take(4)? != MAGIC || fields.take(4)? != kind {
        return Err(Unreadable::Magic);
    }
    let found = fields.u32()?;
    let body_bytes = usize::try_from(fields.u64()?).map_err(|_| Unreadable::Short)?;
    let body = fields.take(body_bytes)?;
    let crc = fields.u32()?;
    if !fields.0.is_empty() {
        return Err(Unreadable::Field);
    }
    let checked = bytes.get(..bytes.len() - 4).unwrap_or_default();
    if crc != crc32fast::hash(checked) {
        return Err(Unreadable::Checksum);
    }
    // After the checksum: a version that a flipped bit made must not send anybody to a newer build.
    if found != version {
        return Err(Unreadable::Version { version: found });
    }
    Ok(Fields(body))
}

/// What of a body has not been read yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn take(&mut self, bytes: usize) -> Result<&'a [u8], Unreadable> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or(Unreadable::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Unreadable::Short)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Unreadable> {
        self.array().map(u8::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Unreadable> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn i16(&mut self) -> Result<i16, Unreadable> {
        self.array().map(i16::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, Unreadable> {
        self.array().map(i32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Unreadable> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, Unreadable> {
        self.array().map(i64::from_be_bytes)
    }

    pub(crate) fn id(&mut self) -> Result<[u8; 16], Unreadable> {
        self.array()
    }

    pub(crate) fn offset(&mut self) -> Result<Offset, Unreadable> {
        Offset::from_wire(self.i64()?).ok_or(Unreadable::Field)
    }

    /// A list's length, which cannot be more than the bytes that are left allow.
    pub(crate) fn count(&mut self, item_bytes: usize) -> Result<usize, Unreadable> {
        let count = usize::try_from(self.u32()?).map_err(|_| Unreadable::Field)?;
        if count > self.0.len() / item_bytes.max(1) {
            return Err(Unreadable::Short);
        }
        Ok(count)
    }

    /// That nothing is left.
    pub(crate) fn end(self) -> Result<(), Unreadable> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Unreadable::Field)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: [u8; 4] = *b"TEST";

    #[test]
    fn a_frame_gives_its_body_back() {
        let bytes = frame(KIND, 1, b"body");
        assert_eq!(unframe(KIND, 1, &bytes).unwrap().0, b"body");
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let bytes = frame(KIND, 1, b"some body");
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(unframe(KIND, 1, &flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn every_cut_and_every_appendix_is_noticed() {
        let mut bytes = frame(KIND, 1, b"some body");
        for cut in 0..bytes.len() {
            assert!(unframe(KIND, 1, &bytes[..cut]).is_err(), "{cut} bytes");
        }
        bytes.push(0);
        assert!(unframe(KIND, 1, &bytes).is_err());
    }

    #[test]
    fn a_newer_version_is_named() {
        let newer = frame(KIND, 7, b"");
        assert_eq!(
            unframe(KIND, 1, &newer).unwrap_err(),
            Unreadable::Version { version: 7 }
        );
    }
}
