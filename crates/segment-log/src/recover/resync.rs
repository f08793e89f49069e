//! Finding the next batch that can be believed behind a damaged one.
//!
//! Needed only where bytes are broken below the durable end, so it may be slow; it must not be
//! fooled, as a record may hold bytes that look like a batch.

use std::io;

use plimsoll_record_batch::{BatchHeader, HEADER_BYTES};
use plimsoll_types::Offset;

use crate::disk::{DiskFile, read_full_at};
use crate::epochs::EpochVector;
use crate::scan::{Found, Look, Scan};

/// Where the log goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Resumed {
    pub(super) position: u64,
    pub(super) offset: Offset,
}

/// What a batch behind the damage must satisfy.
pub(super) struct Search<'a> {
    pub(super) file: &'a dyn DiskFile,
    /// Where the damage begins, and the offset that should be there.
    pub(super) position: u64,
    pub(super) expected: Offset,
    /// The batches from it on must reach this, without another gap.
    pub(super) durable_end: Offset,
    /// Known only if the file of it can be believed.
    pub(super) epochs: Option<&'a EpochVector>,
}

const WINDOW_BYTES: usize = 1 << 20;

impl Search<'_> {
    /// The first position from which valid batches lead up to the durable end.
    pub(super) fn run(&self) -> io::Result<Option<Resumed>> {
        let limit = self.file.bytes()?;
        let mut at = self.position + 1;
        let mut window = vec![0; WINDOW_BYTES];
        while at + HEADER_BYTES as u64 <= limit {
            let read = read_full_at(self.file, &mut window, at)?;
            let window = window.get(..read).unwrap_or_default();
            for (skipped, bytes) in (0u64..).zip(window.windows(HEADER_BYTES)) {
                if let Some(header) = self.candidate(bytes)
                    && self.leads_on(at + skipped, limit)?
                {
                    return Ok(Some(Resumed {
                        position: at + skipped,
                        offset: header.base,
                    }));
                }
            }
            at += (read.saturating_sub(HEADER_BYTES - 1)).max(1) as u64;
        }
        Ok(None)
    }

    fn candidate(&self, bytes: &[u8]) -> Option<BatchHeader> {
        // The magic first: it rules out all but one position in 256.
        if bytes.get(16) != Some(&2) {
            return None;
        }
        let header = BatchHeader::decode(bytes).ok()?;
        let epoch_fits = self
            .epochs
            .is_none_or(|v| v.epoch_at(header.base) == header.leader_epoch);
        let fits = header.base >= self.expected && header.base < self.durable_end && epoch_fits;
        fits.then_some(header)
    }

    /// Whether whole, continuous batches lead from `position` to the durable end.
    fn leads_on(&self, position: u64, limit: u64) -> io::Result<bool> {
        let mut scan = Scan::new(self.file, Look::Checksums, position, limit)?;
        let mut expected = None;
        loop {
            match scan.next()? {
                Found::Batch(batch) => {
                    let base = batch.header.base;
                    if expected.is_some_and(|expected| expected != base) {
                        return Ok(false);
                    }
                    if batch.header.end() >= self.durable_end {
                        return Ok(true);
                    }
                    expected = Some(batch.header.end());
                }
                Found::End | Found::Bad(_) => return Ok(false),
            }
        }
    }
}
