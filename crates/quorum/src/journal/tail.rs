//! The log file that is being written, and the room that is kept behind its end.
//!
//! Not here: what is written, and what becomes of those who asked for it.
//!
//! Always: what the file holds up to its end was written in full; what a full disk left behind the
//! end is cut, and the cut is durable, before anything else happens; room that is kept is the
//! file's own, so nobody else's data can take it, and does not show in the file's length.

use crate::journal::disk::{Disk, DiskFile, is_full};
use crate::journal::format;
use std::io;
use std::path::Path;

/// How much more than is needed is asked for at a time, so that few groups have to ask.
const STEP_BYTES: u64 = 64 << 10;

/// The log file that is being written.
#[derive(Debug)]
pub(crate) struct Tail {
    file: Box<dyn DiskFile>,
    /// Where the next frame goes.
    end: u64,
    /// Up to where the file is known to have room; may have more.
    kept: u64,
}

/// Why bytes were not appended.
#[derive(Debug)]
pub(crate) enum AppendError {
    /// There is no room for them, and nothing of them is left.
    Full(io::Error),
    /// The disk is broken: what the file holds behind its end is unknown.
    Broken(io::Error),
}

impl Tail {
    /// Makes the log file of `first_index` with room for `reserve_bytes`. It is not durable, and
    /// no log file to a later open, before [`Tail::sync`].
    pub(crate) fn begin(
        disk: &dyn Disk,
        dir: &Path,
        first_index: u64,
        reserve_bytes: u64,
    ) -> io::Result<Self> {
        let file = disk.open(&format::log_path(dir, first_index))?;
        let header = format::encode_log_header(first_index);
        let end = header.len() as u64;
        file.reserve(0, end + reserve_bytes)?;
        file.write_at(&header, 0)?;
        Ok(Self {
            file,
            end,
            kept: end + reserve_bytes,
        })
    }

    /// Goes on with a file that ends at `end`. On a full disk it does with the room it has.
    pub(crate) fn resume(
        file: Box<dyn DiskFile>,
        end: u64,
        reserve_bytes: u64,
    ) -> io::Result<Self> {
        let kept = match file.reserve(end, end + reserve_bytes) {
            Ok(()) => end + reserve_bytes,
            Err(error) if is_full(&error) => end,
            Err(error) => return Err(error),
        };
        Ok(Self { file, end, kept })
    }

    /// Where the next frame goes.
    pub(crate) const fn end(&self) -> u64 {
        self.end
    }

    /// Keeps room for `bytes` and for `reserve_bytes` behind them.
    pub(crate) fn make_room(&mut self, bytes: u64, reserve_bytes: u64) -> io::Result<()> {
        let wanted = self.end + bytes + reserve_bytes;
        if wanted <= self.kept {
            return Ok(());
        }
        let ahead = wanted + STEP_BYTES;
        self.kept = match self.file.reserve(self.end, ahead) {
            Ok(()) => ahead,
            Err(error) if is_full(&error) => {
                self.file.reserve(self.end, wanted)?;
                wanted
            }
            Err(error) => return Err(error),
        };
        Ok(())
    }

    /// Writes `bytes` at the end, or nothing.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), AppendError> {
        match self.file.write_at(bytes, self.end) {
            Ok(()) => {
                self.end += bytes.len() as u64;
                Ok(())
            }
            Err(error) if is_full(&error) => {
                self.cut().map_err(AppendError::Broken)?;
                Err(AppendError::Full(error))
            }
            Err(error) => Err(AppendError::Broken(error)),
        }
    }

    /// Takes away what a refused write left behind the end. Synced: it must not come back after a
    /// crash, for its proposers are told that it never will.
    fn cut(&mut self) -> io::Result<()> {
        self.file.set_len(self.end)?;
        self.file.sync()?;
        // The cut gave the kept room back; smaller entries may still need it.
        if self.file.reserve(self.end, self.kept).is_err() {
            self.kept = self.end;
        }
        Ok(())
    }

    /// Makes what was appended durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    /// Ends the file: another one follows it.
    pub(crate) fn finish(self) {
        // Only room is lost when this fails, until a snapshot covers the file.
        drop(self.file.set_len(self.end));
    }
}
