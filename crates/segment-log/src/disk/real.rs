//! The file system of the machine.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rustix::fs::{FallocateFlags, OFlags};
use rustix::io::Errno;

use super::{Disk, DiskFile, DiskSpace, OpenFile, write_all_at};
use crate::map::SegmentMap;

/// The file system of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

#[derive(Debug)]
struct RealFile(File);

impl Disk for RealDisk {
    fn open(&self, path: &Path, how: OpenFile) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true);
        match how {
            OpenFile::Read => &mut options,
            OpenFile::Write => options.write(true),
            OpenFile::CreateNew => options.write(true).create_new(true),
            OpenFile::Replace => options.write(true).create(true).truncate(true),
        };
        Ok(Box::new(RealFile(open_quietly(&options, path)?)))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        open_quietly(OpenOptions::new().read(true), path)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            names.extend(entry?.file_name().into_string().ok());
        }
        Ok(names)
    }

    fn file_bytes(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path)?.len())
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        match fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            result => result,
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        Ok(rustix::fs::fsync(File::open(path)?)?)
    }

    fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        let volume = rustix::fs::statvfs(path)?;
        Ok(DiskSpace {
            total_bytes: volume.f_blocks.saturating_mul(volume.f_frsize),
            usable_bytes: volume.f_bavail.saturating_mul(volume.f_frsize),
        })
    }
}

impl DiskFile for RealFile {
    fn write_at(&self, parts: &[IoSlice<'_>], at: u64) -> io::Result<usize> {
        loop {
            match rustix::io::pwritev(&self.0, parts, at) {
                Err(Errno::INTR) => {}
                result => return Ok(result?),
            }
        }
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        loop {
            match self.0.read_at(into, at) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    fn allocate(&self, from: u64, to: u64) -> io::Result<()> {
        if to <= from {
            return Ok(());
        }
        loop {
            match rustix::fs::fallocate(&self.0, FallocateFlags::empty(), from, to - from) {
                Err(Errno::INTR) => {}
                // Some file systems cannot: writing zeros comes to the same, slowly.
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => return write_zeros(self, from, to),
                result => return Ok(result?),
            }
        }
    }

    fn set_bytes(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        // Interrupted is the one answer that says nothing was decided yet.
        loop {
            match rustix::fs::fdatasync(&self.0) {
                Err(Errno::INTR) => {}
                result => return Ok(result?),
            }
        }
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn map(&self, bytes: u64, frontier: Arc<AtomicU64>) -> io::Result<SegmentMap> {
        SegmentMap::new(&self.0, bytes, frontier)
    }
}

/// Opens a file so that reading it does not note the time of access: on a busy disk that note can
/// wait for the journal, and a start after a crash reads thousands of files.
fn open_quietly(options: &OpenOptions, path: &Path) -> io::Result<File> {
    let quiet = i32::try_from(OFlags::NOATIME.bits()).unwrap_or(0);
    match options.clone().custom_flags(quiet).open(path) {
        // Only a file's owner may.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => options.open(path),
        result => result,
    }
}

fn write_zeros(file: &RealFile, from: u64, to: u64) -> io::Result<()> {
    static ZEROS: [u8; 65_536] = [0; 65_536];
    let mut at = from;
    while at < to {
        let step = usize::try_from(to - at).map_or(ZEROS.len(), |left| left.min(ZEROS.len()));
        write_all_at(file, ZEROS.get(..step).unwrap_or_default(), at)?;
        at += step as u64;
    }
    Ok(())
}
