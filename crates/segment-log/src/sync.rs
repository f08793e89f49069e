//! Making a log durable, and remembering how far it is.
//!
//! [`LogSync::sync`] is the only way that the durable end moves up. It captures the log end first,
//! then syncs every file that was written since the last sync, then the names. How far that got is
//! noted twice, so that recovery can tell a damaged batch that somebody was promised from a torn one
//! that nobody was. In the `durable` file, unsynced: after a process kill that is exact. And by the
//! next sync in the front of the segment that it syncs: so after a power loss a note is there of the
//! sync before the last at least.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use plimsoll_types::Offset;

use crate::damage::{FailedStep, Poisoned};
use crate::disk::{DiskFile, write_all_at};
use crate::log::{Dirty, Shared};
use crate::noted::{Noted, Place};
use crate::segment::Handle;

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
        let mut noting = self.log.syncing.lock();
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
        if let Some(newest) = dirty.files.last() {
            noting.carry(&self.log, newest);
        }
        if let Err(error) = sync_all(&self.log, &dirty) {
            return Err(self.log.fail(FailedStep::Sync, &error));
        }
        self.log.durable_end.store(end.get(), Ordering::Release);
        noting.write(&self.log, place);
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

/// What is to be noted, and where.
#[derive(Debug, Default)]
pub(crate) struct Noting {
    /// The segment file that has the last note.
    file: Weak<Handle>,
    /// Which of its two comes next.
    next: usize,
    /// What the last sync came to.
    last: Option<Noted>,
}

impl Noting {
    /// Notes in `file`, which is about to be synced, how far the log is durable before that. A hint
    /// for recovery: failing to note it is no error, the older note stays true.
    fn carry(&mut self, log: &Shared, file: &Arc<Handle>) {
        if !file.takes_notes() {
            return;
        }
        if Weak::as_ptr(&self.file) != Arc::as_ptr(file) {
            self.file = Arc::downgrade(file);
            self.next = file.free_note();
        }
        let noted = self.last.unwrap_or_else(|| noted(log, None));
        if file.note(self.next, &noted).is_ok() {
            self.next += 1;
        }
    }

    /// Notes how far the log is durable now, for whoever opens it after a kill of the process.
    fn write(&mut self, log: &Shared, place: Option<Place>) {
        let noted = noted(log, place);
        self.last = Some(noted);
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
}

fn noted(log: &Shared, place: Option<Place>) -> Noted {
    Noted {
        generation: log.generation.load(Ordering::Acquire),
        durable_end: log.durable_end(),
        place,
    }
}
