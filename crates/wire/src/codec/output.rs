//! Where a message is written: one growing head, and the record bytes beside it.
//!
//! Not here: the layout of any value. What always holds: record bytes are referred to and never
//! copied; everything else lies in one buffer that is cut where records belong.

use bytes::{BufMut, Bytes, BytesMut};

use super::Records;

/// A message ready to be written: its chunks, in order, make up the frame.
///
/// Chunks are never empty. Those that hold records share memory with whoever gave the records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    /// The bytes, in pieces for one vectored write.
    pub chunks: Vec<Bytes>,
    /// How many bytes the chunks hold together.
    pub bytes: usize,
}

impl Encoded {
    /// The whole in one piece; copies unless it is one already. For tests, logs and small messages.
    #[must_use]
    pub fn concat(&self) -> Bytes {
        match self.chunks.as_slice() {
            [] => Bytes::new(),
            [one] => one.clone(),
            many => {
                let mut whole = BytesMut::with_capacity(self.bytes);
                for chunk in many {
                    whole.extend_from_slice(chunk);
                }
                whole.freeze()
            }
        }
    }
}

/// Most messages fit this; those that do not double it.
const HEAD_BYTES: usize = 256;

/// The buffer under construction.
pub struct Output {
    head: BytesMut,
    /// Record chunks, each with the position in `head` at which it belongs.
    cuts: Vec<(usize, Bytes)>,
    /// Bytes in `cuts`.
    record_bytes: usize,
}

impl Output {
    pub(crate) fn new() -> Self {
        Self {
            head: BytesMut::with_capacity(HEAD_BYTES),
            cuts: Vec::new(),
            record_bytes: 0,
        }
    }

    /// A message with a size prefix, which [`Output::finish_frame`] fills in.
    pub(crate) fn frame() -> Self {
        let mut out = Self::new();
        out.head.put_i32(0);
        out
    }

    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.head.extend_from_slice(bytes);
    }

    pub(crate) fn i16(&mut self, value: i16) {
        self.head.put_i16(value);
    }

    pub(crate) fn i32(&mut self, value: i32) {
        self.head.put_i32(value);
    }

    pub(crate) fn uvarint(&mut self, mut value: u32) {
        loop {
            let [low, ..] = value.to_le_bytes();
            value >>= 7;
            if value == 0 {
                self.head.put_u8(low & 0x7f);
                return;
            }
            self.head.put_u8(low | 0x80);
        }
    }

    /// The length of bytes, records or a list; `None` is null.
    ///
    /// No message comes near 2³¹: a length past it would be a fault of ours, and is written as the
    /// greatest there is, which the peer refuses.
    pub(crate) fn length(&mut self, length: Option<usize>, flexible: bool) {
        let length = length.map(|length| i32::try_from(length).unwrap_or(i32::MAX));
        debug_assert_ne!(length, Some(i32::MAX), "a list or byte string of 2^31");
        if flexible {
            self.uvarint(length.map_or(0, |length| length.cast_unsigned().saturating_add(1)));
        } else {
            self.i32(length.unwrap_or(-1));
        }
    }

    pub(crate) fn string(&mut self, text: Option<&str>, flexible: bool) {
        if flexible {
            self.length(text.map(str::len), true);
        } else {
            // A `Str` is never longer than an i16 counts.
            self.i16(text.map_or(-1, |text| i16::try_from(text.len()).unwrap_or(i16::MAX)));
        }
        self.put(text.unwrap_or_default().as_bytes());
    }

    pub(crate) fn records(&mut self, records: Option<&Records>, flexible: bool) {
        self.length(records.map(Records::len), flexible);
        for chunk in records.into_iter().flat_map(Records::chunks) {
            if !chunk.is_empty() {
                self.cuts.push((self.head.len(), chunk.clone()));
                self.record_bytes += chunk.len();
            }
        }
    }

    /// How many tagged fields follow: as many as `present` says.
    pub(crate) fn tag_count(&mut self, present: &[bool]) {
        self.uvarint(present.iter().map(|present| u32::from(*present)).sum());
    }

    /// One tagged field. Its size goes before its bytes, so the two change places once both are
    /// written; tagged fields are small and few.
    pub(crate) fn tagged(&mut self, tag: u32, write: impl FnOnce(&mut Self)) {
        self.uvarint(tag);
        let start = self.head.len();
        write(self);
        let bytes = self.head.len() - start;
        self.uvarint(u32::try_from(bytes).unwrap_or(u32::MAX));
        let size_bytes = self.head.len() - start - bytes;
        if let Some(field) = self.head.get_mut(start..) {
            field.rotate_right(size_bytes);
        }
    }

    /// The message without prefix.
    pub(crate) fn finish(self) -> Encoded {
        let bytes = self.head.len() + self.record_bytes;
        let mut head = self.head.freeze();
        let mut chunks = Vec::with_capacity(2 * self.cuts.len() + 1);
        let mut written = 0;
        for (at, chunk) in self.cuts {
            if at > written {
                chunks.push(head.split_to(at - written));
                written = at;
            }
            chunks.push(chunk);
        }
        if !head.is_empty() {
            chunks.push(head);
        }
        Encoded { chunks, bytes }
    }

    /// The message with its size before it.
    pub(crate) fn finish_frame(mut self) -> Encoded {
        let bytes = (self.head.len() + self.record_bytes).saturating_sub(size_of::<i32>());
        let size = i32::try_from(bytes).unwrap_or(i32::MAX);
        debug_assert_ne!(size, i32::MAX, "a frame of 2^31");
        if let Some(prefix) = self.head.first_chunk_mut() {
            *prefix = size.to_be_bytes();
        }
        self.finish()
    }
}
