//! Making a log durable, and remembering how far it is.
//!
//! [`LogSync::sync`] is the only way that the durable end moves up. It captures the log end first,
//! then syncs every file that was written since the last sync, then the names. How far that got is
//! noted in the `durable` file, unsynced: after a process kill it is exact, so that recovery can
//! tell a damaged batch that somebody was promised from a torn one that nobody was; after a power
//! loss it may be older, which only makes recovery milder.
//!
//! ```text
//! durable  0 "PLIM"  4 "MARK"  8 generation u64  16 durable end u64  24 segment base u64
//!         32 position u64  40 CRC-32 of 0..40
//! ```

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use plimsoll_types::Offset;

use crate::damage::{FailedStep, Poisoned};
use crate::disk::{Disk, write_all_at};
use crate::format::Fields;
use crate::layout;
use crate::log::{Dirty, Shared};

/// Makes what a log holds durable. Clones are the same log's; syncs take turns.
#[derive(Clone, Debug)]
pub struct LogSync {
    pub(crate) log: Arc<Shared>,
}

impl LogSync {
    /// Makes everything that is in the log now durable; returns the durable end, which later
    /// appends may already have passed.
    ///
    /// # Errors
    /// The log is or becomes poisoned. A failed sync is never tried again: the system may have
    /// dropped the very pages it failed to write.
    pub fn sync(&self) -> Result<Offset, Poisoned> {
        let _turn = self.log.syncing.lock();
        self.log.poison.check()?;
        // L4: captured before the sync, so that what is appended meanwhile is not promised. The
        // acquire in `log_end` makes the writer's entry in `dirty` for each byte below visible.
        let end = self.log.log_end();
        let place = place_of(&self.log, end);
        let dirty = std::mem::take(&mut *self.log.dirty.lock());
        if dirty.is_clean() && end == self.log.durable_end() {
            return Ok(end);
        }
        // With nothing left to sync, the sync before this one had it all: it took the entry of an
        // append whose end was published after.
        if let Err(error) = sync_all(&self.log, &dirty) {
            return Err(self.log.fail(FailedStep::Sync, &error));
        }
        self.log.durable_end.store(end.get(), Ordering::Release);
        note(&self.log, end, place);
        Ok(end)
    }

    /// End of what is durable.
    #[must_use]
    pub fn durable_end(&self) -> Offset {
        self.log.durable_end()
    }

    /// What poisoned the log, if anything has.
    #[must_use]
    pub fn poisoned(&self) -> Option<Poisoned> {
        self.log.poison.get()
    }
}

/// Files before names: a name that is durable names durable bytes.
fn sync_all(log: &Shared, dirty: &Dirty) -> io::Result<()> {
    for file in &dirty.files {
        file.sync()?;
    }
    if dirty.dir {
        log.disk().sync_dir(&log.dir)?;
    }
    match log.dir.parent() {
        Some(parent) if dirty.parent => log.disk().sync_dir(parent),
        _ => Ok(()),
    }
}

/// Where in which segment `end` is, if that is known without reading.
fn place_of(log: &Shared, end: Offset) -> Option<Place> {
    let segments = log.segments.load();
    let tail = segments.tail()?;
    // Bytes before end, so that a publish in between makes the two differ and no place is noted.
    let position = tail.bytes();
    (tail.end() == end).then_some(Place {
        segment: tail.base,
        position,
    })
}

/// A position in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: Offset,
    pub(crate) position: u64,
}

/// What the `durable` file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Noted {
    pub(crate) generation: u64,
    pub(crate) durable_end: Offset,
    /// Where that is, if it was known.
    pub(crate) place: Option<Place>,
}

const MARK_BYTES: usize = 44;
const NO_SEGMENT: u64 = u64::MAX;

impl Noted {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(MARK_BYTES);
        bytes.extend_from_slice(b"PLIMMARK");
        bytes.extend_from_slice(&self.generation.to_be_bytes());
        bytes.extend_from_slice(&self.durable_end.get().to_be_bytes());
        let (segment, position) = self.place.map_or((NO_SEGMENT, 0), |place| {
            (place.segment.get(), place.position)
        });
        bytes.extend_from_slice(&segment.to_be_bytes());
        bytes.extend_from_slice(&position.to_be_bytes());
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let checked = bytes.get(..MARK_BYTES - 4)?;
        if fields.take(8).ok()? != b"PLIMMARK" {
            return None;
        }
        let generation = fields.u64().ok()?;
        let durable_end = fields.offset().ok()?;
        let segment = fields.u64().ok()?;
        let position = fields.u64().ok()?;
        if fields.u32().ok()? != crc32fast::hash(checked) {
            return None;
        }
        let segment = Offset::from_wire(segment.cast_signed());
        Some(Self {
            generation,
            durable_end,
            place: segment.map(|segment| Place { segment, position }),
        })
    }

    /// What the file in `dir` says, if it can be believed.
    pub(crate) fn read(disk: &dyn Disk, dir: &std::path::Path) -> io::Result<Option<Self>> {
        match disk.read(&dir.join(layout::DURABLE)) {
            Ok(bytes) => Ok(Self::decode(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Notes how far the log is durable. A hint for recovery: failing to note it is no error, the old
/// note stays true.
fn note(log: &Shared, durable_end: Offset, place: Option<Place>) {
    let noted = Noted {
        generation: log.generation.load(Ordering::Acquire),
        durable_end,
        place,
    };
    let segments = log.segments.load();
    let Some(last) = segments.all().last() else {
        return;
    };
    // Held open beside the segment that is written, so that both are closed when it is idle.
    if let Ok(file) = last.note_file(log.disk(), &log.dir)
        && write_all_at(&**file, &noted.encode(), 0).is_err()
    {
        last.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_round_trips_and_every_flipped_bit_is_noticed() {
        let noted = Noted {
            generation: 3,
            durable_end: Offset::new(77),
            place: Some(Place {
                segment: Offset::new(50),
                position: 4096,
            }),
        };
        let bytes = noted.encode();
        assert_eq!(bytes.len(), MARK_BYTES);
        assert_eq!(Noted::decode(&bytes), Some(noted));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Noted::decode(&flipped), None, "bit {bit}");
        }
    }

    #[test]
    fn a_note_without_a_place_round_trips() {
        let noted = Noted {
            generation: 0,
            durable_end: Offset::ZERO,
            place: None,
        };
        assert_eq!(Noted::decode(&noted.encode()), Some(noted));
    }
}
