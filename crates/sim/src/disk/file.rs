//! An open file of a simulated disk.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use plimsoll_segment_log::disk::DiskFile;
use plimsoll_segment_log::map::SegmentMap;

use super::crash::Change;
use super::{Inode, SimDisk};

pub(super) struct SimFile {
    disk: SimDisk,
    inode: Inode,
    content: Arc<File>,
}

impl SimFile {
    pub(super) fn new(disk: SimDisk, inode: Inode, content: Arc<File>) -> Self {
        Self {
            disk,
            inode,
            content,
        }
    }
}

impl std::fmt::Debug for SimFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SimFile({})", self.inode)
    }
}

impl DiskFile for SimFile {
    fn write_at(&self, parts: &[IoSlice<'_>], at: u64) -> io::Result<usize> {
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let mut state = self.disk.0.lock();
        let end = at + bytes.len() as u64;
        if end > self.bytes()? {
            state.ask_for_room()?;
        }
        self.content.write_all_at(&bytes, at)?;
        let written = bytes.len();
        state.changed(self.inode, Change::Write { at, bytes });
        Ok(written)
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        self.content.read_at(into, at)
    }

    fn allocate(&self, from: u64, to: u64) -> io::Result<()> {
        if to <= from || to <= self.bytes()? {
            return Ok(());
        }
        let mut state = self.disk.0.lock();
        state.ask_for_room()?;
        self.content.set_len(to)?;
        state.changed(self.inode, Change::Extend(to));
        Ok(())
    }

    fn set_bytes(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        if bytes > self.bytes()? {
            state.ask_for_room()?;
        }
        self.content.set_len(bytes)?;
        state.changed(self.inode, Change::SetBytes(bytes));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.0.lock().synced(self.inode)
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.content.metadata()?.len())
    }

    fn map(&self, bytes: u64, frontier: Arc<AtomicU64>) -> io::Result<SegmentMap> {
        SegmentMap::new(&self.content, bytes, frontier)
    }
}
