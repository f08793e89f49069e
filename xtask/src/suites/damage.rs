//! Damage to the files of a stopped node.
//!
//! Records are found by their bytes, so nothing here knows the names of files or what stands beside
//! them; that a segment is one batch after the other is in docs/on-disk-format.md. What is claimed
//! is what the node says and serves afterwards.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The place of a record on disk.
pub(super) struct Found {
    pub(super) file: PathBuf,
    /// Where the record's value begins.
    pub(super) at: u64,
}

/// Finds the file that holds these bytes, below a data directory.
pub(super) fn find(data: &Path, bytes: &[u8]) -> Result<Found> {
    for entry in fs::read_dir(data)? {
        let path = entry?.path();
        if path.is_dir() {
            if let Ok(found) = find(&path, bytes) {
                return Ok(found);
            }
        } else if let Some(at) = position(&fs::read(&path)?, bytes) {
            return Ok(Found {
                file: path,
                at: at as u64,
            });
        }
    }
    bail!(
        "{:?} is in no file of {}",
        String::from_utf8_lossy(bytes),
        data.display()
    )
}

fn position(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    // Scanning for the first byte first is what makes this fast enough for segments.
    let first = *needle.first()?;
    let mut from = 0;
    while let Some(step) = haystack.get(from..)?.iter().position(|byte| *byte == first) {
        let at = from + step;
        if haystack[at..].starts_with(needle) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

/// Flips one bit some bytes after a record's beginning.
pub(super) fn flip_bit(found: &Found, bytes_in: u64) -> Result<()> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&found.file)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, found.at + bytes_in)?;
    file.write_all_at(&[byte[0] ^ 0x10], found.at + bytes_in)?;
    Ok(())
}

/// Where the written part of a file ends: after its last byte that is not zero. The records of
/// our load end with such a byte.
pub(super) fn written_end(file: &Path) -> Result<u64> {
    let bytes = fs::read(file)?;
    let last = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .context("the file is empty")?;
    Ok(last as u64 + 1)
}

/// Writes bytes at a place of a file, as a torn write would have left them.
pub(super) fn write_at(file: &Path, at: u64, bytes: &[u8]) -> Result<()> {
    let file = OpenOptions::new().write(true).open(file)?;
    file.write_all_at(bytes, at)?;
    Ok(())
}

/// What of a segment's file is batches: all that is behind its front, if it has one.
fn batches(file: &[u8]) -> &[u8] {
    if file.starts_with(b"PLIMSEGM") {
        file.get(4096..).unwrap_or_default()
    } else {
        file
    }
}

/// The bytes of a segment's first batch: offset (8), length (4), then as many as the length tells.
pub(super) fn first_batch(file: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(file)?;
    let bytes = batches(&bytes);
    let length = bytes
        .get(8..12)
        .context("the file is too short for a batch")?;
    let length = u32::from_be_bytes(length.try_into().expect("the slice has four bytes"));
    let end = 12 + usize::try_from(length)?;
    Ok(bytes
        .get(..end)
        .context("the file's first batch is cut")?
        .to_vec())
}

#[cfg(test)]
mod tests {
    use super::position;

    #[test]
    fn bytes_are_found_after_false_starts() {
        assert_eq!(position(b"aab aabc", b"aabc"), Some(4));
        assert_eq!(position(b"aab", b"aabc"), None);
        assert_eq!(position(b"", b"a"), None);
    }
}
