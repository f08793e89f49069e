//! The seam between the log and its files.
//!
//! Everything the log does to a directory goes through [`Disk`] and [`DiskFile`], so that tests
//! can record it, cut it off at any point, or make any step of it fail. Not here: formats, order,
//! decisions. [`RealDisk`] is what everybody else uses.

mod faulty;
mod real;

use std::fmt;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

pub use faulty::{Faults, FaultyDisk};
pub use real::RealDisk;

use crate::map::SegmentMap;

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenFile {
    /// For reading; it must exist.
    Read,
    /// For reading and writing; it must exist.
    Write,
    /// For reading and writing; created, and it must not exist.
    CreateNew,
    /// For reading and writing; created or emptied.
    Replace,
}

/// How large a volume is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// All of it.
    pub total_bytes: u64,
    /// What this process may still fill.
    pub usable_bytes: u64,
}

/// A file system, as far as the log needs one. Paths are absolute or relative to the process.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Opens a file.
    ///
    /// # Errors
    /// What the system says.
    fn open(&self, path: &Path, how: OpenFile) -> io::Result<Box<dyn DiskFile>>;

    /// The whole of a small file.
    ///
    /// # Errors
    /// What the system says.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// The names in a directory, in no order; names that are not UTF-8 are left out.
    ///
    /// # Errors
    /// What the system says.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// The length of a file.
    ///
    /// # Errors
    /// What the system says.
    fn file_bytes(&self, path: &Path) -> io::Result<u64>;

    /// Makes a directory; one that exists is fine.
    ///
    /// # Errors
    /// What the system says.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Renames a file or directory over whatever file is there.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Takes a file's name away; a file that does not exist is fine.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// What the system says.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// How large the volume is that `path` is on, and how much of it is left.
    ///
    /// # Errors
    /// What the system says; `Unsupported` where there is no telling.
    fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        let _ = path;
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// An open file.
pub trait DiskFile: fmt::Debug + Send + Sync {
    /// Writes the parts one after another at `at`; how many bytes it wrote, perhaps not all.
    ///
    /// # Errors
    /// What the system says.
    fn write_at(&self, parts: &[IoSlice<'_>], at: u64) -> io::Result<usize>;

    /// Reads at `at`; how many bytes it read, zero at the end of the file.
    ///
    /// # Errors
    /// What the system says.
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize>;

    /// Makes the file `to` bytes long with blocks behind every byte from `from` on, which read as
    /// zeros; so a later write there cannot meet a full disk.
    ///
    /// # Errors
    /// `StorageFull` when there is no room; else what the system says.
    fn allocate(&self, from: u64, to: u64) -> io::Result<()>;

    /// Cuts or extends the file.
    ///
    /// # Errors
    /// What the system says.
    fn set_bytes(&self, bytes: u64) -> io::Result<()>;

    /// Makes content and length durable.
    ///
    /// # Errors
    /// What the system says. After an error, what is durable is unknown for good.
    fn sync(&self) -> io::Result<()>;

    /// The file's length.
    ///
    /// # Errors
    /// What the system says.
    fn bytes(&self) -> io::Result<u64>;

    /// Maps the first `bytes` bytes; see [`SegmentMap::new`].
    ///
    /// # Errors
    /// As [`SegmentMap::new`].
    fn map(&self, bytes: u64, frontier: Arc<AtomicU64>) -> io::Result<SegmentMap>;
}

/// Writes all of `bytes` at `at`.
pub(crate) fn write_all_at(file: &dyn DiskFile, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = file.write_at(&[IoSlice::new(bytes)], at)?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = bytes.get(written..).unwrap_or_default();
        at += written as u64;
    }
    Ok(())
}

/// Fills as much of `into` from `at` as the file has; how much that was.
pub(crate) fn read_full_at(file: &dyn DiskFile, into: &mut [u8], at: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at + done as u64)? {
            0 => break,
            read => done += read,
        }
    }
    Ok(done)
}

/// Replaces `path` by `bytes` so that a crash leaves the old content or the new: written beside
/// it, synced, renamed. The name is durable once `dir` is synced, which is the caller's to do.
pub(crate) fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(crate::layout::TEMPORARY);
    let beside = Path::new(&beside);
    let file = disk.open(beside, OpenFile::Replace)?;
    write_all_at(&*file, bytes, 0)?;
    file.sync()?;
    disk.rename(beside, path)
}
