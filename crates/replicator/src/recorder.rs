//! The flight recorder's file: what happened to replicas here, one line an event, for later.
//!
//! Two files of a bounded size: when the current one is full it takes the older one's place. A
//! file that cannot be written costs its lines and nothing else.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use plimsoll_types::{Monotonic, PartitionKey, Timestamp};

use crate::replica::FlightEvent;
use crate::replicas::Replicas;

/// Where events are written.
pub(crate) struct Recorder {
    dir: PathBuf,
    file: File,
    bytes: u64,
    /// The wall clock's reading at a monotonic one; for the lines' times.
    clock: (Timestamp, Monotonic),
}

/// A file that has grown to this size is put aside.
const MAX_FILE_BYTES: u64 = 4 << 20;
const CURRENT: &str = "replicas.log";
const OLDER: &str = "replicas.1.log";

impl Recorder {
    fn open(dir: &Path, clock: (Timestamp, Monotonic)) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let path = dir.join(CURRENT);
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self {
            dir: dir.to_owned(),
            file,
            bytes,
            clock,
        })
    }

    fn write(&mut self, key: PartitionKey, event: &FlightEvent) -> io::Result<()> {
        if self.bytes >= MAX_FILE_BYTES {
            fs::rename(self.dir.join(CURRENT), self.dir.join(OLDER))?;
            *self = Self::open(&self.dir, self.clock)?;
        }
        let since = event.at.since(self.clock.1).as_millis();
        let since = i64::try_from(since).unwrap_or(i64::MAX);
        let ms = self.clock.0.as_millis().saturating_add(since);
        let FlightEvent {
            leader_epoch,
            high_watermark,
            log_end,
            what,
            ..
        } = event;
        let line = format!(
            "{ms}\t{key}\tleader_epoch={leader_epoch}\thigh_watermark={high_watermark}\t\
             log_end={log_end}\t{}\n",
            what.replace(['\n', '\t'], " ")
        );
        self.file.write_all(line.as_bytes())?;
        self.bytes += line.len() as u64;
        Ok(())
    }
}

impl Replicas {
    /// Has events written to files in `dir` from now on; `wall` is the time at `now`. Blocks.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub fn record_to(&self, dir: &Path, wall: Timestamp, now: Monotonic) -> io::Result<()> {
        *self.recorder.lock() = Some(Recorder::open(dir, (wall, now))?);
        Ok(())
    }

    /// Writes what happened since the last call. Blocks; once a second is often enough.
    ///
    /// # Errors
    /// If a line could not be written; it and the rest are still in memory.
    pub fn write_history(&self) -> io::Result<()> {
        let mut recorder = self.recorder.lock();
        let Some(recorder) = recorder.as_mut() else {
            return Ok(());
        };
        for replica in self.all() {
            for event in replica.take_unwritten() {
                recorder.write(replica.key, &event)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

    use plimsoll_types::{LeaderEpoch, Offset, TopicId};

    use super::*;

    #[test]
    fn a_full_file_is_put_aside_and_one_older_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let clock = (Timestamp::from_millis(1_000), Monotonic::default());
        let mut recorder = Recorder::open(dir.path(), clock).unwrap();
        let key = PartitionKey {
            topic: TopicId::from_bytes([1; 16]),
            index: 0,
        };
        let event = FlightEvent {
            at: Monotonic::from_start(std::time::Duration::from_millis(5)),
            leader_epoch: LeaderEpoch::new(3),
            high_watermark: Offset::new(7),
            log_end: Offset::new(9),
            what: "x".repeat(1 << 20),
        };
        for _ in 0..11 {
            recorder.write(key, &event).unwrap();
        }
        let size = |name| fs::metadata(dir.path().join(name)).unwrap().len();
        assert!(size(OLDER) >= MAX_FILE_BYTES && size(OLDER) < MAX_FILE_BYTES + (2 << 20));
        assert!(size(CURRENT) < MAX_FILE_BYTES);
        let text = fs::read_to_string(dir.path().join(CURRENT)).unwrap();
        assert!(text.starts_with("1005\t01010101-"), "{}", &text[..60]);
    }
}
