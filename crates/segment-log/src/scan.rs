//! Walking a segment file batch by batch, with plain reads.
//!
//! For recovery and rebuilding, where an I/O error must be a value and the file may be cut
//! afterwards, so no map is wanted. Not here: what a batch's offset or epoch should be.

use std::io;

use plimsoll_record_batch::{Batch, BatchHeader, HEADER_BYTES, STAMP_BYTES};

use crate::damage::DamageKind;
use crate::disk::{DiskFile, read_full_at};

/// How closely to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// At headers only.
    Headers,
    /// At every byte: checksums are taken.
    Checksums,
}

/// A batch that was met.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walked {
    /// Where it begins.
    pub(crate) position: u64,
    pub(crate) header: BatchHeader,
    /// Its first bytes as they are in the file.
    pub(crate) stamp: [u8; STAMP_BYTES],
}

impl Walked {
    /// Where the next one begins.
    pub(crate) fn after(&self) -> u64 {
        self.position + u64::from(self.header.batch_bytes)
    }
}

/// What is at the position reached.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Found {
    /// A batch; the position moves behind it.
    Batch(Walked),
    /// The limit, or zeros that were allocated and never written.
    End,
    /// Something else.
    Bad(DamageKind),
}

/// A walk over one file, up to a limit.
#[derive(Debug)]
pub(crate) struct Scan<'a> {
    file: &'a dyn DiskFile,
    look: Look,
    position: u64,
    limit: u64,
    buffer: Vec<u8>,
    /// Position of the buffer's first byte.
    buffer_at: u64,
    /// How much to read at least when something is missing.
    ahead: usize,
    /// Bytes taken in.
    pub(crate) scanned_bytes: u64,
}

const AHEAD_BYTES: usize = 256 << 10;
const AHEAD_BYTES_SPARSE: usize = 4 << 10;

impl<'a> Scan<'a> {
    /// From `position` to `limit`, or the end of the file.
    pub(crate) fn new(
        file: &'a dyn DiskFile,
        look: Look,
        position: u64,
        limit: u64,
    ) -> io::Result<Self> {
        Ok(Self {
            file,
            look,
            position,
            limit: limit.min(file.bytes()?),
            buffer: Vec::new(),
            buffer_at: position,
            ahead: AHEAD_BYTES,
            scanned_bytes: 0,
        })
    }

    /// Where it is.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Goes on elsewhere.
    pub(crate) fn seek(&mut self, position: u64) {
        self.position = position;
    }

    /// What is at the position.
    pub(crate) fn next(&mut self) -> io::Result<Found> {
        let left = self.limit.saturating_sub(self.position);
        let front = self.bytes(left.min(HEADER_BYTES as u64))?;
        let length_is_zero = front.iter().skip(8).take(4).all(|byte| *byte == 0);
        if length_is_zero && front.iter().take(8).all(|byte| *byte == 0) {
            return Ok(Found::End);
        }
        let Ok(header) = BatchHeader::decode(front) else {
            return Ok(Found::Bad(DamageKind::Batch));
        };
        let Some(stamp) = front.first_chunk().copied() else {
            return Ok(Found::Bad(DamageKind::Batch));
        };
        let bytes = u64::from(header.batch_bytes);
        if bytes > left {
            return Ok(Found::Bad(DamageKind::Short));
        }
        if self.look == Look::Checksums && Batch::parse(self.bytes(bytes)?).is_err() {
            return Ok(Found::Bad(DamageKind::Batch));
        }
        let walked = Walked {
            position: self.position,
            header,
            stamp,
        };
        self.position = walked.after();
        self.scanned_bytes += bytes;
        let sparse = self.look == Look::Headers && bytes > AHEAD_BYTES_SPARSE as u64 * 4;
        self.ahead = if sparse {
            AHEAD_BYTES_SPARSE
        } else {
            AHEAD_BYTES
        };
        Ok(Found::Batch(walked))
    }

    /// The bytes of the batch that was met last, as they were checked: with [`Look::Checksums`] only.
    pub(crate) fn passed(&self, batch: &Walked) -> io::Result<&[u8]> {
        let at = batch.position.checked_sub(self.buffer_at);
        let at = at.and_then(|at| usize::try_from(at).ok());
        let whole = at.and_then(|at| self.buffer.get(at..at + batch.header.batch_bytes as usize));
        whole.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// The next `count` bytes; fewer only where the file has fewer.
    fn bytes(&mut self, count: u64) -> io::Result<&[u8]> {
        let count = usize::try_from(count).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let have = self
            .offset_in_buffer()
            .and_then(|at| self.buffer.get(at..at + count));
        if have.is_none() {
            let left = self.limit.saturating_sub(self.position);
            let most = usize::try_from(left).unwrap_or(usize::MAX);
            self.buffer.resize(count.max(self.ahead).min(most), 0);
            let read = read_full_at(self.file, &mut self.buffer, self.position)?;
            self.buffer.truncate(read);
            self.buffer_at = self.position;
        }
        let at = self.offset_in_buffer().unwrap_or_default();
        let end = (at + count).min(self.buffer.len());
        Ok(self.buffer.get(at..end).unwrap_or_default())
    }

    fn offset_in_buffer(&self) -> Option<usize> {
        usize::try_from(self.position.checked_sub(self.buffer_at)?).ok()
    }
}
