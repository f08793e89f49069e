//! The `epochs` file: the epoch vector, one entry after another, synced before anybody hears of an
//! epoch.
//!
//! ```text
//! header  0 "PLIM"  4 "EPOC"  8 version u32  12 CRC-32 of 0..12
//! entry   0 epoch u32   4 start u64   12 CRC-32 of 0..12
//! ```
//! A new epoch is appended and synced; anything else replaces the file. Once a sync of it failed,
//! and after each opening, as it may have failed before, the file is replaced before anything relies
//! on it: the system may hold an entry for written that never was. An entry that does not check ends
//! what is believed; the batches of the log then tell the rest.

use std::io;
use std::path::Path;

use plimsoll_types::LeaderEpoch;

use crate::disk::{Disk, OpenFile, replace, write_all_at};
use crate::epochs::{EpochEntry, EpochVector};
use crate::format::Fields;
use crate::layout;

const HEADER_BYTES: usize = 16;
const ENTRY_BYTES: usize = 16;
const VERSION: u32 = 1;

fn header() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES);
    bytes.extend_from_slice(b"PLIMEPOC");
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_be_bytes());
    bytes
}

fn encode(entry: EpochEntry, out: &mut Vec<u8>) {
    let from = out.len();
    out.extend_from_slice(&entry.epoch.get().to_be_bytes());
    out.extend_from_slice(&entry.start.get().to_be_bytes());
    let crc = crc32fast::hash(out.get(from..).unwrap_or_default());
    out.extend_from_slice(&crc.to_be_bytes());
}

fn decode(bytes: &[u8]) -> Option<EpochEntry> {
    let mut fields = Fields(bytes);
    let crc = crc32fast::hash(bytes.get(..ENTRY_BYTES - 4)?);
    let epoch = LeaderEpoch::from_wire(fields.i32().ok()?)?;
    let start = fields.offset().ok()?;
    (fields.u32().ok()? == crc).then_some(EpochEntry { epoch, start })
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) vector: EpochVector,
    /// Every byte of the file was believed. False too when there is none.
    pub(crate) intact: bool,
    pub(crate) exists: bool,
}

/// Reads the file of the log in `dir`.
pub(crate) fn load(disk: &dyn Disk, dir: &Path) -> io::Result<Loaded> {
    let bytes = match disk.read(&dir.join(layout::EPOCHS)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Loaded {
                vector: EpochVector::default(),
                intact: false,
                exists: false,
            });
        }
        Err(error) => return Err(error),
    };
    let mut vector = EpochVector::default();
    let Some(rest) = bytes.strip_prefix(header().as_slice()) else {
        return Ok(Loaded {
            vector,
            intact: false,
            exists: true,
        });
    };
    let mut chunks = rest.chunks_exact(ENTRY_BYTES);
    let believed = chunks
        .by_ref()
        .all(|chunk| decode(chunk).is_some_and(|e| vector.try_push(e)));
    Ok(Loaded {
        vector,
        intact: believed && chunks.remainder().is_empty(),
        exists: true,
    })
}

/// Appends `entry` behind the `written` entries that the file has, durably.
pub(crate) fn append(
    disk: &dyn Disk,
    dir: &Path,
    entry: EpochEntry,
    written: usize,
) -> io::Result<()> {
    let file = disk.open(&dir.join(layout::EPOCHS), OpenFile::Write)?;
    let mut bytes = Vec::with_capacity(ENTRY_BYTES);
    encode(entry, &mut bytes);
    write_all_at(
        &*file,
        &bytes,
        (HEADER_BYTES + written * ENTRY_BYTES) as u64,
    )?;
    file.sync()
}

/// Replaces the file by one with all of `vector`, durably.
pub(crate) fn rewrite(disk: &dyn Disk, dir: &Path, vector: &EpochVector) -> io::Result<()> {
    write(disk, dir, vector)?;
    disk.sync_dir(dir)
}

/// Replaces the file by one with all of `vector`. Its name is durable once the directory is synced.
pub(crate) fn write(disk: &dyn Disk, dir: &Path, vector: &EpochVector) -> io::Result<()> {
    let mut bytes = header();
    for entry in vector.entries() {
        encode(*entry, &mut bytes);
    }
    replace(disk, &dir.join(layout::EPOCHS), &bytes)
}

#[cfg(test)]
mod tests {
    use plimsoll_types::Offset;

    use super::*;
    use crate::disk::RealDisk;

    fn entry(epoch: u32, start: u64) -> EpochEntry {
        EpochEntry {
            epoch: LeaderEpoch::new(epoch),
            start: Offset::new(start),
        }
    }

    #[test]
    fn entries_rewritten_and_appended_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut vector = EpochVector::default();
        vector.push(entry(1, 0));
        rewrite(&RealDisk, dir.path(), &vector).unwrap();
        append(&RealDisk, dir.path(), entry(4, 20), 1).unwrap();
        vector.push(entry(4, 20));
        let loaded = load(&RealDisk, dir.path()).unwrap();
        assert!(loaded.intact && loaded.exists);
        assert_eq!(loaded.vector, vector);
    }

    #[test]
    fn any_flipped_bit_or_cut_is_noticed_and_leaves_a_true_front() {
        let dir = tempfile::tempdir().unwrap();
        let mut vector = EpochVector::default();
        (1..4).for_each(|n| vector.push(entry(n, u64::from(n) * 10)));
        rewrite(&RealDisk, dir.path(), &vector).unwrap();
        let path = dir.path().join(layout::EPOCHS);
        let whole = std::fs::read(&path).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &flipped).unwrap();
            let loaded = load(&RealDisk, dir.path()).unwrap();
            assert!(!loaded.intact, "bit {bit}");
            let kept = loaded.vector.entries();
            assert_eq!(kept, &vector.entries()[..kept.len()], "bit {bit}");
        }
    }
}
