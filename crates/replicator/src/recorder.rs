//! The flight recorder's file: what happened to replicas here, one line an event, for later.
//!
//! Two files of a bounded size: when the current one is full it takes the older one's place. A
//! file that cannot be written costs its lines and nothing else.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use plimsoll_types::{LeaderEpoch, Monotonic, Offset, PartitionKey, Timestamp};

use crate::events::FlightEvent;
use crate::replicas::Replicas;

/// Something that happened to a replica, at a time that outlives the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// When, by this node's clock.
    pub at: Timestamp,
    /// In which term.
    pub leader_epoch: LeaderEpoch,
    /// The high watermark then.
    pub high_watermark: Offset,
    /// The log end then.
    pub log_end: Offset,
    /// What.
    pub what: String,
}

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
        let ms = time_of(event, self.clock).as_millis();
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

/// When `event` happened, by a wall clock whose reading at a monotonic one is known.
fn time_of(event: &FlightEvent, (wall, at): (Timestamp, Monotonic)) -> Timestamp {
    let ms = |span: std::time::Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    let (after, before) = (ms(event.at.since(at)), ms(at.since(event.at)));
    Timestamp::from_millis(
        wall.as_millis()
            .saturating_add(after)
            .saturating_sub(before),
    )
}

impl Recorded {
    fn of(event: FlightEvent, clock: (Timestamp, Monotonic)) -> Self {
        Self {
            at: time_of(&event, clock),
            leader_epoch: event.leader_epoch,
            high_watermark: event.high_watermark,
            log_end: event.log_end,
            what: event.what,
        }
    }

    /// `None`: the line is torn, or was written by another version.
    fn parse(line: &str, key: &str, since: Timestamp) -> Option<Self> {
        let mut parts = line.splitn(6, '\t');
        let at = Timestamp::from_millis(parts.next()?.parse().ok()?);
        if at < since || parts.next()? != key {
            return None;
        }
        let mut field = |name: &str| parts.next()?.strip_prefix(name)?.strip_prefix('=');
        Some(Self {
            at,
            leader_epoch: LeaderEpoch::from_wire(field("leader_epoch")?.parse().ok()?)?,
            high_watermark: Offset::new(field("high_watermark")?.parse().ok()?),
            log_end: Offset::new(field("log_end")?.parse().ok()?),
            what: parts.next()?.to_owned(),
        })
    }
}

/// What a file says of a partition; nothing if it is not there or cannot be read.
fn lines(path: &Path, key: &str, since: Timestamp) -> Vec<Recorded> {
    let Ok(file) = File::open(path) else {
        return Vec::new();
    };
    let lines = BufReader::new(file).split(b'\n').map_while(Result::ok);
    lines
        .filter_map(|line| Recorded::parse(&String::from_utf8_lossy(&line), key, since))
        .collect()
}

impl Replicas {
    /// What happened to the replica since `since`, oldest first: from the files, which tell of
    /// earlier processes too, and what is not written yet. `wall` is the time at `now`. Blocks.
    #[must_use]
    pub fn recorded(
        &self,
        key: PartitionKey,
        since: Timestamp,
        (wall, now): (Timestamp, Monotonic),
    ) -> Vec<Recorded> {
        // Held meanwhile: an event is either in the files or not written yet.
        let recorder = self.recorder.lock();
        let mut told = Vec::new();
        if let Some(recorder) = recorder.as_ref() {
            let named = key.to_string();
            for file in [OLDER, CURRENT] {
                told.extend(lines(&recorder.dir.join(file), &named, since));
            }
        }
        if let Some(replica) = self.replica(key) {
            let fresh = replica.events.unwritten().into_iter();
            let fresh = fresh.map(|event| Recorded::of(event, (wall, now)));
            told.extend(fresh.filter(|event| event.at >= since));
        }
        told
    }

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
            for event in replica.events.take_unwritten() {
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

        let named = key.to_string();
        let since = Timestamp::from_millis;
        let told = lines(&dir.path().join(CURRENT), &named, since(1_005));
        assert!(!told.is_empty());
        let expected = Recorded {
            at: since(1_005),
            leader_epoch: event.leader_epoch,
            high_watermark: event.high_watermark,
            log_end: event.log_end,
            what: event.what.clone(),
        };
        assert_eq!(told.first(), Some(&expected));
        assert!(lines(&dir.path().join(CURRENT), &named, since(1_006)).is_empty());
        assert!(lines(&dir.path().join(CURRENT), "another", since(0)).is_empty());
        assert!(lines(&dir.path().join("none"), &named, since(0)).is_empty());
    }

    #[test]
    fn a_torn_line_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(CURRENT);
        let whole = "5\tk\tleader_epoch=1\thigh_watermark=2\tlog_end=3\tleads";
        fs::write(
            &path,
            format!("5\tk\tleader_ep{whole}\n{whole}\n7\tk\tleader_epoch=1"),
        )
        .unwrap();
        let told = lines(&path, "k", Timestamp::from_millis(0));
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].what, "leads");
    }
}
