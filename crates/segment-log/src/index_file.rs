//! The `.index` file of a segment: entries, each with its own checksum, written once, in order.
//!
//! ```text
//! header  0 "PLIM"  4 "INDX"  8 version u32  12 CRC-32 of 0..12
//! entry   0 relative offset u32   4 position u32   8 greatest timestamp before i64
//!        16 CRC-32 of the stamps before u32   20 CRC-32 of the segment's base offset and 0..20
//! ```
//! The file of a sealed segment ends with an entry at the segment's end. What follows an entry
//! that does not check, does not rise, or lies beyond the end is ignored and rebuilt by walking the
//! log. The file is synced before the checkpoint that counts on it: entries that a crash made
//! stale would check, and be wrong.

use std::io;
use std::path::Path;

use plimsoll_types::{Offset, Timestamp};

use crate::disk::{Disk, OpenFile, replace, write_all_at};
use crate::format::Fields;
use crate::index::{Entry, Index};

const HEADER_BYTES: usize = 16;
const ENTRY_BYTES: usize = 24;
const VERSION: u32 = 1;

fn header() -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    let (checked, crc) = bytes.split_at_mut(12);
    checked[..4].copy_from_slice(b"PLIM");
    checked[4..8].copy_from_slice(b"INDX");
    checked[8..].copy_from_slice(&VERSION.to_be_bytes());
    crc.copy_from_slice(&crc32fast::hash(checked).to_be_bytes());
    bytes
}

fn encode(base: Offset, entry: Entry, out: &mut Vec<u8>) {
    let from = out.len();
    out.extend_from_slice(&entry.relative.to_be_bytes());
    out.extend_from_slice(&entry.position.to_be_bytes());
    out.extend_from_slice(&entry.max_before.as_millis().to_be_bytes());
    out.extend_from_slice(&entry.stamps.to_be_bytes());
    let crc = checksum(base, out.get(from..).unwrap_or_default());
    out.extend_from_slice(&crc.to_be_bytes());
}

fn checksum(base: Offset, fields: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&base.get().to_be_bytes());
    crc.update(fields);
    crc.finalize()
}

fn decode(base: Offset, bytes: &[u8]) -> Option<Entry> {
    let mut fields = Fields(bytes);
    let checked = checksum(base, bytes.get(..ENTRY_BYTES - 4)?);
    let entry = Entry {
        relative: fields.u32().ok()?,
        position: fields.u32().ok()?,
        max_before: Timestamp::from_millis(fields.i64().ok()?),
        stamps: fields.u32().ok()?,
    };
    (fields.u32().ok()? == checked).then_some(entry)
}

/// The entries in `file` that can be believed, no further than position `bytes`.
pub(crate) fn believed(base: Offset, bytes: u64, file: &[u8]) -> Vec<Entry> {
    let Some(rest) = file.strip_prefix(&header()) else {
        return Vec::new();
    };
    let mut entries: Vec<Entry> = Vec::with_capacity(rest.len() / ENTRY_BYTES);
    for chunk in rest.chunks_exact(ENTRY_BYTES) {
        let last = entries.last().map_or((0, 0), |e| (e.position, e.relative));
        match decode(base, chunk) {
            Some(entry)
                if entry.position > last.0
                    && entry.relative >= last.1
                    && u64::from(entry.position) <= bytes =>
            {
                entries.push(entry);
            }
            _ => break,
        }
    }
    entries
}

/// Writes the entries from `written` on, durably; returns how many the file then has.
pub(crate) fn write(
    disk: &dyn Disk,
    path: &Path,
    base: Offset,
    index: &Index,
    written: usize,
) -> io::Result<usize> {
    let entries = index.entries();
    if entries == written {
        return Ok(written);
    }
    let mut bytes = Vec::new();
    for at in written..entries {
        if let Some(entry) = index.entry(at) {
            encode(base, entry, &mut bytes);
        }
    }
    if written == 0 {
        // Never over another index of the same name: compaction's output takes it over.
        bytes.splice(0..0, header());
        replace(disk, path, &bytes)?;
    } else {
        let file = disk.open(path, OpenFile::Write)?;
        let at = (HEADER_BYTES + written * ENTRY_BYTES) as u64;
        write_all_at(&*file, &bytes, at)?;
        let end = at + bytes.len() as u64;
        if file.bytes()? > end {
            // Of batches that a crash took, or a cut.
            file.set_bytes(end)?;
        }
        file.sync()?;
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;
    use crate::index::Growing;

    const BASE: Offset = Offset::new(1000);

    fn entries(count: u32) -> Vec<Entry> {
        (1..=count)
            .map(|n| Entry {
                relative: n,
                position: n * 50,
                max_before: Timestamp::from_millis(i64::from(n)),
                stamps: n,
            })
            .collect()
    }

    #[test]
    fn entries_written_in_two_goes_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index");
        let all = entries(5);
        let growing = Growing::from_entries(&all[..2]);
        let index = Index::Growing(growing);
        let written = write(&RealDisk, &path, BASE, &index, 0).unwrap();
        let Index::Growing(growing) = &index else {
            unreachable!("made so above")
        };
        all[2..].iter().for_each(|entry| growing.push(*entry));
        assert_eq!(write(&RealDisk, &path, BASE, &index, written).unwrap(), 5);
        let file = std::fs::read(&path).unwrap();
        assert_eq!(believed(BASE, 250, &file), all);
        assert_eq!(believed(BASE, 249, &file), all[..4]);
        assert_eq!(believed(Offset::ZERO, 250, &file), []);
    }

    #[test]
    fn any_flipped_bit_only_shortens_what_is_believed() {
        let mut file = header().to_vec();
        let all = entries(6);
        all.iter().for_each(|entry| encode(BASE, *entry, &mut file));
        for bit in 0..file.len() * 8 {
            let mut flipped = file.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let kept = believed(BASE, 300, &flipped);
            assert!(kept.len() < all.len(), "bit {bit}");
            assert_eq!(kept, all[..kept.len()], "bit {bit}");
        }
    }
}
