//! Mapped segment files: the one place of this workspace with `unsafe`.
//!
//! Not here: which bytes are whole batches, or worth serving. Always holds: a slice handed out
//! lies below the published length of its segment, so its bytes never change and never vanish.
#![expect(
    unsafe_code,
    reason = "a mapping's bytes can only be reached through a raw pointer"
)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use memmap2::{MmapOptions, MmapRaw};

/// A read-only mapping of the front of one segment file.
///
/// # Contract
/// What makes handing out `&[u8]` sound, and who keeps it:
/// 1. *Bytes below the frontier never change.* The log's one writer writes only at or above the
///    frontier and raises it (release) after the bytes are in the file; nobody lowers it.
///    Truncation seals the file and begins another one instead of writing over it.
/// 2. *The file is never shorter than the frontier, nor than this mapping's part below it.* A file
///    is mapped no further than the length it had when it was mapped (checked here), files are
///    allocated before they are written, and trimming cuts only what was never published.
/// 3. *The mapping outlives its slices.* Each [`Bytes`] holds the map; the file's blocks live as
///    long as a mapping of them does, whether or not the file still has a name.
///
/// Somebody else shortening a file of a live data directory breaks 2, and a disk that cannot give
/// a page back ends the process all the same (`SIGBUS`). So only the segment that is written on is
/// mapped, and only what was written of late in this uptime is read through its map: those pages are in
/// memory, and the file's length is looked at before each read. What remains is a file that is cut
/// between that look and the reading, and a page of the last segment that the system dropped from
/// memory and the disk cannot give back. Slices that are on their way to a socket are read by the
/// kernel, which answers with an error.
#[derive(Debug)]
pub struct SegmentMap {
    raw: MmapRaw,
    /// Where byte 0 of the readers is in it.
    front: usize,
    /// End of what may be read; shared with the segment. Read with acquire, which pairs with the
    /// writer's release store after its write.
    frontier: Arc<AtomicU64>,
}

impl SegmentMap {
    /// Maps the first `bytes` bytes of `file`, of which those below `frontier` can be read.
    ///
    /// # Errors
    /// `InvalidInput` for a length of zero, `UnexpectedEof` when the file is shorter than `bytes`,
    /// else what the system says.
    pub fn new(file: &File, bytes: u64, frontier: Arc<AtomicU64>) -> io::Result<Self> {
        if file.metadata()?.len() < bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let len = usize::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
        if len == 0 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let raw = MmapOptions::new().len(len).map_raw_read_only(file)?;
        let front = 0;
        Ok(Self {
            raw,
            front,
            frontier,
        })
    }

    /// Without its first `front` bytes: what was behind them is at 0, and the frontier counts from
    /// there.
    #[must_use]
    pub(crate) fn behind(mut self, front: u64) -> Self {
        let front = usize::try_from(front).unwrap_or(usize::MAX);
        self.front = self.front.saturating_add(front).min(self.raw.len());
        self
    }

    /// Bytes mapped.
    #[must_use]
    pub fn mapped_bytes(&self) -> u64 {
        (self.raw.len() - self.front) as u64
    }

    /// The bytes in `range`; `None` when they are not all mapped and published.
    #[must_use]
    pub fn get(&self, range: Range<u64>) -> Option<&[u8]> {
        let readable = self
            .frontier
            .load(Ordering::Acquire)
            .min(self.mapped_bytes());
        if range.start > range.end || range.end > readable {
            return None;
        }
        let start = usize::try_from(range.start).ok()?;
        let len = usize::try_from(range.end - range.start).ok()?;
        // SAFETY: `front + start + len` is at most the mapped length, so this stays in the mapping.
        let first = unsafe { self.raw.as_ptr().add(self.front + start) };
        // SAFETY: the bytes are mapped for as long as `self` lives and, being below the frontier,
        // are never written again (points 1 and 2 of the contract).
        Some(unsafe { std::slice::from_raw_parts(first, len) })
    }

    /// The bytes in `range`, holding the mapping alive; `None` as in [`SegmentMap::get`].
    #[must_use]
    pub fn share(self: &Arc<Self>, range: Range<u64>) -> Option<Bytes> {
        self.get(range.clone())?;
        Some(Bytes::from_owner(Shared {
            map: Arc::clone(self),
            range,
        }))
    }
}

/// A slice of a mapping that keeps it alive.
struct Shared {
    map: Arc<SegmentMap>,
    range: Range<u64>,
}

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        self.map
            .get(self.range.clone())
            .expect("checked when it was shared, and the frontier only grows")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn map_of(content: &[u8], frontier: u64) -> Arc<SegmentMap> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        let frontier = Arc::new(AtomicU64::new(frontier));
        Arc::new(SegmentMap::new(&file, content.len() as u64, frontier).unwrap())
    }

    #[test]
    fn bytes_at_or_above_the_frontier_cannot_be_reached() {
        let map = map_of(b"published|not", 10);
        assert_eq!(map.get(0..9), Some(&b"published"[..]));
        assert_eq!(map.get(0..11), None);
        assert!(map.share(9..11).is_none());
    }

    #[test]
    fn a_shared_slice_outlives_the_map_and_the_file() {
        let map = map_of(b"abcdef", 6);
        let slice = map.share(1..3).unwrap();
        drop(map);
        assert_eq!(&slice[..], b"bc");
    }

    #[test]
    fn a_frontier_beyond_the_mapping_gives_nothing_more() {
        let map = map_of(b"abc", 100);
        assert_eq!(map.get(0..4), None);
        assert_eq!(map.get(0..3), Some(&b"abc"[..]));
    }

    #[test]
    fn a_file_shorter_than_asked_is_refused() {
        let file = tempfile::tempfile().unwrap();
        let refused = SegmentMap::new(&file, 4096, Arc::default());
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
