//! What of a segment is open for reading, and opening it.
//!
//! Not here: reading it (see `cursor`), and when it is closed again (see `host`).

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::disk::{Disk, DiskFile, OpenFile};
use crate::host::LogHost;
use crate::index::{Entry, Index};
use crate::map::SegmentMap;
use crate::verify::Verified;

use super::{Handle, Segment};

/// How much of the segment that is written on is taken to be in memory still. What was written
/// before that is read, and verified, as it is on the disk.
const RECENT_BYTES: u64 = 64 << 20;

/// What of a segment is open for reading.
///
/// Only what was appended of late in this uptime, in the segment that is written on, is read
/// through a map: it is in memory. All else is read from the file, where an error is a value;
/// through a map it would be the end of the process (`SIGBUS`), and a bit that flipped would be
/// served.
#[derive(Debug)]
pub(crate) struct Resident {
    /// `None` if nothing of it may be read through a map.
    pub(crate) map: Option<Arc<SegmentMap>>,
    /// `None` if all of it may be.
    pub(crate) file: Option<Handle>,
    /// Bytes from here on are in memory, and were verified on their way in.
    pub(crate) trusted_from: u64,
    pub(crate) index: Arc<Index>,
    pub(crate) verified: Arc<Verified>,
}

/// Why a segment cannot be read now.
#[derive(Debug)]
pub(crate) enum Unavailable {
    /// It left the log; the caller's list is old.
    Retired,
    /// The file is gone although it should be there.
    Missing,
    Io(io::Error),
}

impl From<io::Error> for Unavailable {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Segment {
    /// What is needed to read it, opened if it is not.
    pub(crate) fn resident(
        self: &Arc<Self>,
        host: &LogHost,
        dir: &Path,
        interval_bytes: u32,
    ) -> Result<Arc<Resident>, Unavailable> {
        // Relaxed: a hint to the host. Tested first so that readers do not fight for the line.
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
        let bytes = self.bytes();
        // Sealed or shortened in between: then what is open is not mapped at least.
        let is_mapped = !self.is_sealed() && !self.was_shortened(bytes)?;
        let before = self.resident.load_full();
        if let Some(resident) = &before
            && resident.serves(is_mapped, bytes)
        {
            return Ok(Arc::clone(resident));
        }
        let file = self.open_to_read(host.disk(), dir)?;
        let map = match file.bytes()? {
            there if is_mapped && there > 0 && there >= bytes => {
                Some(Arc::new(file.map(there, Arc::clone(&self.frontier))?))
            }
            _ => None,
        };
        let recent = bytes.saturating_sub(RECENT_BYTES);
        let recent = recent.max(self.trusted_from.load(Ordering::Relaxed));
        let trusted_from = map.as_ref().map_or(u64::MAX, |_| recent);
        let to_verify = |index: &Index| {
            let old = |entry: &Entry| u64::from(entry.position) < trusted_from;
            index.last_where(old) + 1
        };
        let (index, verified) = match before {
            // With a map once more: what was verified is still.
            Some(before) if is_mapped => {
                let index = Arc::clone(&before.index);
                let verified = before.verified.with(to_verify(&index));
                (index, Arc::new(verified))
            }
            _ => {
                let index = self.load_index(host.disk(), dir, &file, interval_bytes)?;
                // Its index file too may have become another's by now.
                self.check_in_log()?;
                let verified = Verified::new(to_verify(&index));
                (index, Arc::new(verified))
            }
        };
        let file = (map.is_none() || trusted_from > 0).then_some(file);
        let resident = Arc::new(Resident {
            map,
            file,
            trusted_from,
            index,
            verified,
        });
        self.resident.store(Some(Arc::clone(&resident)));
        host.admit(self);
        Ok(resident)
    }

    /// Whether the file of a segment that is written on lost bytes that were published, which only
    /// somebody else can have done. Looked at where it costs no opening.
    fn was_shortened(&self, bytes: u64) -> io::Result<bool> {
        match &*self.handle.load() {
            Some(file) => Ok(file.bytes()? < bytes),
            None => Ok(false),
        }
    }

    /// Opens the file under whatever name it has, making sure that it is this segment's.
    fn open_to_read(&self, disk: &dyn Disk, dir: &Path) -> Result<Handle, Unavailable> {
        loop {
            let stage = self.stage.load(Ordering::SeqCst);
            // A file that lost a name has the next: the stage is told after the rename.
            for name in (0..=stage).rev().map(|stage| self.name_at(stage)) {
                let opened = Handle::open(disk, &name.path(dir), OpenFile::Read);
                self.check_in_log()?;
                match opened {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    opened => return Ok(opened?),
                }
            }
            if self.stage.load(Ordering::SeqCst) == stage {
                return Err(Unavailable::Missing);
            }
        }
    }

    /// That what was opened by name before this is this segment's: the mark is set before a name
    /// goes to another file.
    fn check_in_log(&self) -> Result<(), Unavailable> {
        if self.is_retired() {
            Err(Unavailable::Retired)
        } else {
            Ok(())
        }
    }
}

impl Resident {
    /// Whether it is enough to read the first `bytes` of the segment, mapped or not.
    fn serves(&self, is_mapped: bool, bytes: u64) -> bool {
        match &self.map {
            Some(map) => is_mapped && map.mapped_bytes() >= bytes,
            None => !is_mapped || bytes == 0,
        }
    }
}
