//! Writing what was not durable once more, with the same bytes.
//!
//! After a failed sync the system may hold pages for clean that never reached the disk, and serve
//! them until the power goes; the process that knew of it may be gone. What is above the durable
//! end is therefore written again before a sync may count it: from the bytes that were checked, not
//! from a second reading. As much is written as was scanned there. Not here: the sync.

use std::io;
use std::path::PathBuf;

use crate::disk::{Disk, OpenFile, write_all_at};
use crate::segment::Handle;

/// Written at once.
const CHUNK_BYTES: usize = 256 << 10;

/// What of one file is being written once more.
pub(super) struct Anew {
    path: PathBuf,
    file: Option<Handle>,
    pending: Vec<u8>,
    /// Where `pending` belongs.
    at: u64,
}

impl Anew {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            file: None,
            pending: Vec::new(),
            at: 0,
        }
    }

    /// Writes `bytes` at `at`, at the latest with [`Anew::finish`].
    pub(super) fn write(&mut self, disk: &dyn Disk, at: u64, bytes: &[u8]) -> io::Result<()> {
        let follows = self.at + self.pending.len() as u64 == at;
        if !follows || self.pending.len() + bytes.len() > CHUNK_BYTES {
            self.flush(disk)?;
        }
        if self.pending.is_empty() {
            self.at = at;
        }
        self.pending.extend_from_slice(bytes);
        Ok(())
    }

    /// Writes what is left; the file, if anything was written.
    pub(super) fn finish(mut self, disk: &dyn Disk) -> io::Result<Option<Handle>> {
        self.flush(disk)?;
        Ok(self.file)
    }

    fn flush(&mut self, disk: &dyn Disk) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let file = match self.file.take() {
            Some(file) => file,
            None => Handle::open(disk, &self.path, OpenFile::Write)?,
        };
        let written = write_all_at(&file, &self.pending, self.at);
        self.file = Some(file);
        self.pending.clear();
        written
    }
}
