//! Record batches as a message carries them: bytes in chunks, never looked into.
//!
//! Not here: what a batch is; that is the crate `record-batch`. What always holds: no chunk is
//! copied, in reading or in writing.

use std::fmt;

use bytes::Bytes;

use super::Encoded;

/// The bytes of zero or more record batches, in one chunk as read off a frame, or in as many as
/// the log hands out.
#[derive(Clone, Default)]
pub struct Records(Chunks);

#[derive(Clone)]
enum Chunks {
    /// Most common: no allocation beside the bytes.
    One(Bytes),
    Many(Vec<Bytes>),
}

impl Default for Chunks {
    fn default() -> Self {
        Self::One(Bytes::new())
    }
}

impl Records {
    /// The chunks in order; some may be empty.
    #[must_use]
    pub fn chunks(&self) -> &[Bytes] {
        match &self.0 {
            Chunks::One(chunk) => std::slice::from_ref(chunk),
            Chunks::Many(chunks) => chunks,
        }
    }

    /// How many bytes all chunks hold.
    #[must_use]
    pub fn len(&self) -> usize {
        self.chunks().iter().map(Bytes::len).sum()
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chunks().iter().all(Bytes::is_empty)
    }

    /// The whole in one piece; copies only if there are several chunks.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        match &self.0 {
            Chunks::One(chunk) => chunk.clone(),
            Chunks::Many(chunks) => Encoded {
                chunks: chunks.clone(),
                bytes: self.len(),
            }
            .concat(),
        }
    }
}

impl From<Bytes> for Records {
    fn from(chunk: Bytes) -> Self {
        Self(Chunks::One(chunk))
    }
}

impl From<Vec<Bytes>> for Records {
    fn from(chunks: Vec<Bytes>) -> Self {
        Self(Chunks::Many(chunks))
    }
}

/// Equal bytes, however they are cut.
impl PartialEq for Records {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Chunks::One(a), Chunks::One(b)) => a == b,
            _ => self.len() == other.len() && self.to_bytes() == other.to_bytes(),
        }
    }
}

impl Eq for Records {}

/// Their size alone: records are the clients' own.
impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Records({} bytes)", self.len())
    }
}
