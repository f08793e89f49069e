//! Which partitions had a log here, kept in a file beside the logs.
//!
//! An empty replica has no directory, so a directory that is missing looks like one. The roster
//! tells the two apart at a start: a replica whose log is gone must not vouch for anything. It is
//! written behind, within seconds of a log's first record; what it does not name yet is taken for
//! empty. Not here: what follows from a loss.
//!
//! ```text
//! <data>/logs.known    one line a log, the name of its directory; then "crc " and the CRC-32 of
//!                      the lines before it, in hexadecimal digits
//! ```

use std::collections::BTreeSet;
use std::io::{self, IoSlice};
use std::path::Path;

use plimsoll_segment_log::disk::{Disk, OpenFile};
use plimsoll_types::PartitionKey;

const FILE: &str = "logs.known";
const BESIDE: &str = "logs.known.tmp";
const CHECK: &str = "crc ";

/// The names of the logs' directories.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Roster(BTreeSet<String>);

impl Roster {
    /// What the file in `data` says; nothing if there is none, or it cannot be believed.
    pub(crate) fn read(disk: &dyn Disk, data: &Path) -> Self {
        let Ok(bytes) = disk.read(&data.join(FILE)) else {
            return Self::default();
        };
        Self::decode(&bytes).unwrap_or_else(|| {
            tracing::warn!(event = "roster_unreadable", file = FILE);
            Self::default()
        })
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (lines, check) = text.rsplit_once(CHECK)?;
        let told = u32::from_str_radix(check.trim_end(), 16).ok()?;
        let names = lines.lines().map(str::to_owned);
        (told == crc(lines)).then(|| Self(names.collect()))
    }

    fn encode(&self) -> String {
        let mut text = String::new();
        for name in &self.0 {
            text.push_str(name);
            text.push('\n');
        }
        let check = crc(&text);
        text + &format!("{CHECK}{check:08x}\n")
    }

    /// Replaces the file in `data`, durably.
    pub(super) fn write(&self, disk: &dyn Disk, data: &Path) -> io::Result<()> {
        let beside = data.join(BESIDE);
        let file = disk.open(&beside, OpenFile::Replace)?;
        let text = self.encode();
        let mut left = text.as_bytes();
        let mut at = 0;
        while !left.is_empty() {
            let written = file.write_at(&[IoSlice::new(left)], at)?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            left = left.get(written..).unwrap_or_default();
            at += written as u64;
        }
        file.sync()?;
        disk.rename(&beside, &data.join(FILE))?;
        disk.sync_dir(data)
    }

    pub(super) fn add(&mut self, key: PartitionKey) {
        self.0.insert(name(key));
    }

    pub(super) fn has(&self, key: PartitionKey) -> bool {
        self.0.contains(&name(key))
    }
}

/// The name of a log's directory.
pub(super) fn name(key: PartitionKey) -> String {
    format!("{}-{}", key.topic, key.index)
}

/// CRC-32 as of IEEE 802.3, bit by bit: a few kilobytes every few minutes.
fn crc(text: &str) -> u32 {
    let step = |crc: u32, byte: u8| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0xEDB8_8320 & (0_u32.wrapping_sub(crc & 1)))
        })
    };
    !text.bytes().fold(!0, step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_segment_log::disk::RealDisk;
    use plimsoll_types::TopicId;

    fn key(index: u32) -> PartitionKey {
        let topic = TopicId::from_bytes([7; 16]);
        PartitionKey { topic, index }
    }

    #[test]
    fn roster_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(Roster::read(&RealDisk, dir.path()), Roster::default());
        let mut roster = Roster::default();
        roster.write(&RealDisk, dir.path()).expect("written");
        assert_eq!(Roster::read(&RealDisk, dir.path()), roster);
        roster.add(key(1));
        roster.add(key(12));
        roster.write(&RealDisk, dir.path()).expect("written");
        let read = Roster::read(&RealDisk, dir.path());
        assert_eq!(read, roster);
        assert!(read.has(key(12)) && !read.has(key(2)));
    }

    #[test]
    fn roster_that_was_changed_is_not_believed() {
        let mut roster = Roster::default();
        roster.add(key(1));
        let text = roster.encode();
        assert_eq!(crc("123456789"), 0xCBF4_3926);
        assert_eq!(Roster::decode(text.as_bytes()), Some(roster));
        let other = text.replace("-1\n", "-2\n");
        assert_eq!(Roster::decode(other.as_bytes()), None);
        assert_eq!(Roster::decode(&text.as_bytes()[..20]), None);
    }
}
