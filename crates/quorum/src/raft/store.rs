//! What a node of the quorum must not forget: its vote, its log, its snapshot, and whether it may
//! vote at all.
//!
//! Everything is a record in the log files of this crate, in the order in which it happened; an
//! image of all of it takes their place when a snapshot is kept. Memory mirrors what was written.
//!
//! Always: memory changes in the order of the records; a vote or an entry is acknowledged only
//! when its record is synced; after the first failure nothing is written any more.

use super::codec::{self, LogEntry, LogId, Meta, Reader, StoredMembers, Vote};
use crate::journal::disk::Disk;
use crate::journal::{self, Journal, Proposal};
use crate::{Limits, OpenError, Recovery, Room, Snapshot, SnapshotError};
use bytes::{BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::path::Path;
use std::sync::Arc;

const IMAGE_VERSION: u8 = 2;

/// Whether this node may vote. One whose directory is new may have voted, and acknowledged
/// entries, before it was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fence {
    /// It knows nothing; others must be asked first.
    Asking,
    /// It takes entries, and votes once it has all up to here.
    CatchingUp(Option<LogId>),
    /// It votes.
    Open,
}

#[derive(Clone, Debug)]
enum Record {
    Vote(Vote),
    Entry(LogEntry),
    /// Entries from this index on are gone.
    TruncateFrom(u64),
    /// Entries up to here are gone.
    Purge(LogId),
    Committed(LogId),
    Fence(Fence),
    Nothing,
}

/// A snapshot as it is kept.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) meta: Meta,
    pub(crate) bytes: Bytes,
}

impl Kept {
    pub(crate) fn index(&self) -> u64 {
        self.meta.last_log_id.map_or(0, |id| id.index)
    }
}

#[derive(Clone, Debug)]
struct State {
    fence: Fence,
    vote: Option<Vote>,
    purged: Option<LogId>,
    committed: Option<LogId>,
    /// As the log files have it.
    committed_written: Option<LogId>,
    snapshot: Option<Kept>,
    entries: BTreeMap<u64, LogEntry>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Store {
    journal: Journal,
    state: Mutex<State>,
    /// Held while an image is written.
    keeping: Mutex<()>,
}

impl Store {
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        limits: Limits,
    ) -> Result<(Self, Recovery), OpenError> {
        let journal_limits = Limits {
            max_queued_bytes: usize::MAX / 2,
            ..limits
        };
        let opened = journal::open(disk, dir, journal_limits)?;
        let inconsistent = |reason| OpenError::Inconsistent {
            dir: dir.to_owned(),
            reason,
        };
        let mut state = match opened.snapshot {
            Some(image) => State::decode(image.bytes).ok_or_else(|| inconsistent("the image"))?,
            None => State::new(),
        };
        for entry in opened.entries {
            if !Record::is_one(&entry.bytes) {
                let dir = dir.to_owned();
                return Err(OpenError::Outdated { dir });
            }
            let record = Record::decode(entry.bytes).ok_or_else(|| inconsistent("a record"))?;
            state.apply(record);
        }
        state.settle().map_err(inconsistent)?;
        let store = Self {
            journal: opened.journal,
            state: Mutex::new(state),
            keeping: Mutex::new(()),
        };
        Ok((store, opened.recovery))
    }

    /// Writes `records`; the proposal of the last one, if there is one.
    fn write(&self, records: impl IntoIterator<Item = Record>) -> io::Result<Option<Proposal>> {
        let mut state = self.state.lock();
        let mut last = None;
        for record in records {
            let room = Room::Reserved;
            let proposal = self.journal.propose(room, record.encode());
            last = Some(proposal.map_err(io::Error::other)?);
            state.apply(record);
        }
        Ok(last)
    }

    async fn write_synced(&self, records: impl IntoIterator<Item = Record>) -> io::Result<()> {
        let written = self.write(records)?;
        if let Some(proposal) = written {
            proposal.await.map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// The committed index as a record, if the log files do not have it.
    fn unwritten_committed(&self) -> Option<Record> {
        let state = self.state.lock();
        let committed = state.committed?;
        (state.committed_written != Some(committed)).then_some(Record::Committed(committed))
    }

    pub(crate) fn append(&self, entries: Vec<LogEntry>) -> io::Result<Option<Proposal>> {
        let before = self.unwritten_committed();
        let entries = entries.into_iter().map(Record::Entry);
        self.write(before.into_iter().chain(entries))
    }

    pub(crate) async fn save_vote(&self, vote: Vote) -> io::Result<()> {
        self.write_synced([Record::Vote(vote)]).await
    }

    /// Takes the place of a voter that knew `vote` and had entries up to `target`.
    pub(crate) async fn catch_up(&self, vote: Option<Vote>, to: Option<LogId>) -> io::Result<()> {
        let vote = vote.map(Record::Vote);
        let fence = Record::Fence(Fence::CatchingUp(to));
        self.write_synced(vote.into_iter().chain([fence])).await
    }

    pub(crate) async fn open_fence(&self) -> io::Result<()> {
        self.write_synced([Record::Fence(Fence::Open)]).await
    }

    pub(crate) fn truncate_from(&self, index: u64) -> io::Result<()> {
        self.write([Record::TruncateFrom(index)]).map(drop)
    }

    pub(crate) fn purge(&self, to: LogId) -> io::Result<()> {
        self.write([Record::Purge(to)]).map(drop)
    }

    /// Written with the next entry: what is committed is found out again in any case.
    pub(crate) fn save_committed(&self, committed: Option<LogId>) {
        self.state.lock().committed = committed;
    }

    pub(crate) fn committed(&self) -> Option<LogId> {
        self.state.lock().committed
    }

    pub(crate) fn vote(&self) -> Option<Vote> {
        self.state.lock().vote
    }

    pub(crate) fn fence(&self) -> Fence {
        self.state.lock().fence
    }

    pub(crate) fn snapshot(&self) -> Option<Kept> {
        self.state.lock().snapshot.clone()
    }

    pub(crate) fn purged(&self) -> Option<LogId> {
        self.state.lock().purged
    }

    /// The last entry's id, or that of the last purged one.
    pub(crate) fn last(&self) -> Option<LogId> {
        let state = self.state.lock();
        let last = state.entries.last_key_value();
        last.map(|(_, entry)| entry.log_id).or(state.purged)
    }

    /// Whether nothing ever happened here.
    pub(crate) fn is_new(&self) -> bool {
        let state = self.state.lock();
        state.vote.is_none() && state.purged.is_none() && state.entries.is_empty()
    }

    pub(crate) fn entry_id(&self, index: u64) -> Option<LogId> {
        self.state.lock().entries.get(&index).map(|e| e.log_id)
    }

    pub(crate) fn entries(&self, range: &impl RangeBounds<u64>) -> Vec<LogEntry> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(end) => end.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        if start >= end {
            return Vec::new();
        }
        let state = self.state.lock();
        let found = state.entries.range(start..end);
        found.map(|(_, entry)| entry.clone()).collect()
    }

    /// Whether the disk has room for `bytes` more; others may take it meanwhile.
    pub(crate) fn ask_room(&self, room: Room, bytes: usize) -> io::Result<Proposal> {
        let asked = self.journal.ask_room(room, bytes as u64 + 512);
        asked.map_err(io::Error::other)
    }

    pub(crate) fn wants_snapshot(&self) -> bool {
        self.journal.wants_snapshot()
    }

    pub(crate) fn stopped(&self) -> Option<crate::Stopped> {
        self.journal.stopped()
    }

    /// Resolves when nothing is written any more.
    pub(crate) fn ended(&self) -> Proposal {
        self.journal.ended()
    }

    /// Makes `kept` the snapshot, durably, and everything before it short. Blocks.
    pub(crate) fn keep(&self, kept: Kept) -> Result<(), SnapshotError> {
        let _keeping = self.keeping.lock();
        let io = |error: String| SnapshotError::Io {
            path: "the metadata log".into(),
            error: io::Error::other(error),
        };
        let (state, place) = {
            let state = self.state.lock();
            let index = kept.index();
            if let Some(newest) = &state.snapshot
                && newest.index() >= index
            {
                let newest = newest.index();
                return Err(SnapshotError::NotNewer { index, newest });
            }
            // The image is what all records before this one amount to.
            let nothing = Record::Nothing.encode();
            let place = self.journal.propose(Room::Reserved, nothing);
            (state.clone(), place.map_err(|e| io(e.to_string()))?)
        };
        let index = place.wait().map_err(|e| io(e.to_string()))?;
        let bytes = state.encode(&kept);
        self.journal.install_snapshot(&Snapshot { index, bytes })?;
        self.state.lock().snapshot = Some(kept);
        Ok(())
    }

    /// Writes what is left to write and ends.
    pub(crate) fn close(&self) {
        let committed = self.unwritten_committed();
        // What is committed is found out again if this does not succeed.
        drop(self.write(committed));
        self.journal.close();
    }
}

impl State {
    fn new() -> Self {
        Self {
            fence: Fence::Asking,
            vote: None,
            purged: None,
            committed: None,
            committed_written: None,
            snapshot: None,
            entries: BTreeMap::new(),
        }
    }

    fn apply(&mut self, record: Record) {
        match record {
            Record::Vote(vote) => self.vote = Some(vote),
            Record::Entry(entry) => {
                self.entries.insert(entry.log_id.index, entry);
            }
            Record::TruncateFrom(index) => drop(self.entries.split_off(&index)),
            Record::Purge(to) => {
                if self.purged.is_none_or(|purged| purged.index < to.index) {
                    self.entries = self.entries.split_off(&(to.index + 1));
                    self.purged = Some(to);
                }
            }
            Record::Committed(id) => {
                self.committed_written = Some(id);
                if self.committed.is_none_or(|known| known.index < id.index) {
                    self.committed = Some(id);
                }
            }
            Record::Fence(fence) => self.fence = fence,
            Record::Nothing => {}
        }
    }

    /// After all records were read: a snapshot stands for the entries before it, and what is left
    /// follows on.
    fn settle(&mut self) -> Result<(), &'static str> {
        let covered = self
            .snapshot
            .as_ref()
            .and_then(|kept| kept.meta.last_log_id);
        if let Some(id) = covered
            && self.purged.is_none_or(|purged| purged.index < id.index)
            && self.entries.get(&id.index).map(|e| e.log_id) != Some(id)
        {
            self.entries.clear();
            self.purged = Some(id);
        }
        if covered > self.committed {
            self.committed = covered;
        }
        let first = self.purged.map_or(0, |purged| purged.index + 1);
        for (expected, index) in (first..).zip(self.entries.keys()) {
            if expected != *index {
                return Err("entries are missing");
            }
        }
        Ok(())
    }

    /// All of it, with `kept` for the snapshot and what it covers left out.
    fn encode(&self, kept: &Kept) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(IMAGE_VERSION);
        put_fence(&mut out, self.fence);
        codec::put_option(&mut out, self.vote.as_ref(), codec::put_vote);
        codec::put_option(&mut out, self.committed.as_ref(), codec::put_log_id);
        let covered = kept.meta.last_log_id;
        let has_it = covered.is_some_and(|id| {
            let held = self.entries.get(&id.index);
            held.is_some_and(|e| e.log_id == id) || self.purged == Some(id)
        });
        let purged = self.purged.max(covered);
        codec::put_option(&mut out, purged.as_ref(), codec::put_log_id);
        codec::put_meta(&mut out, &kept.meta);
        codec::put_bytes(&mut out, &kept.bytes);
        let first = purged.map_or(0, |purged| purged.index + 1);
        // Entries behind a snapshot that this log has no part of are another history's.
        let first = if has_it { first } else { u64::MAX };
        let rest = self.entries.range(first..);
        out.put_u64_le(rest.clone().count() as u64);
        for (_, entry) in rest {
            codec::put_entry(&mut out, entry);
        }
        out.freeze()
    }

    fn decode(bytes: Bytes) -> Option<Self> {
        let mut reader = Reader(bytes);
        if reader.u8()? != IMAGE_VERSION {
            return None;
        }
        let fence = read_fence(&mut reader)?;
        let vote = reader.option(Reader::vote)?;
        let committed = reader.option(Reader::log_id)?;
        let purged = reader.option(Reader::log_id)?;
        let (meta, bytes) = (reader.meta()?, reader.bytes()?);
        let count = reader.count(usize::MAX)?;
        let mut entries = BTreeMap::new();
        for _ in 0..count {
            let entry = reader.entry()?;
            entries.insert(entry.log_id.index, entry);
        }
        let snapshot = Some(Kept { meta, bytes });
        let committed_written = committed;
        reader.end(Self {
            fence,
            vote,
            purged,
            committed,
            committed_written,
            snapshot,
            entries,
        })
    }
}

fn put_fence(out: &mut BytesMut, fence: Fence) {
    match fence {
        Fence::Asking => out.put_u8(0),
        Fence::CatchingUp(to) => {
            out.put_u8(1);
            codec::put_option(out, to.as_ref(), codec::put_log_id);
        }
        Fence::Open => out.put_u8(2),
    }
}

fn read_fence(reader: &mut Reader) -> Option<Fence> {
    match reader.u8()? {
        0 => Some(Fence::Asking),
        1 => Some(Fence::CatchingUp(reader.option(Reader::log_id)?)),
        2 => Some(Fence::Open),
        _ => None,
    }
}

impl Record {
    fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        match self {
            Self::Nothing => out.put_u8(0x20),
            Self::Vote(vote) => {
                out.put_u8(0x21);
                codec::put_vote(&mut out, vote);
            }
            Self::Entry(entry) => {
                out.reserve(codec::weight(entry));
                out.put_u8(0x22);
                codec::put_entry(&mut out, entry);
            }
            Self::TruncateFrom(index) => {
                out.put_u8(0x23);
                out.put_u64_le(*index);
            }
            Self::Purge(id) => {
                out.put_u8(0x24);
                codec::put_log_id(&mut out, id);
            }
            Self::Committed(id) => {
                out.put_u8(0x25);
                codec::put_log_id(&mut out, id);
            }
            Self::Fence(fence) => {
                out.put_u8(0x26);
                put_fence(&mut out, *fence);
            }
        }
        out.freeze()
    }

    /// Whether the bytes are a record at all: what a node that was alone wrote once began
    /// otherwise.
    fn is_one(bytes: &[u8]) -> bool {
        bytes
            .first()
            .is_some_and(|kind| (0x20..0x30).contains(kind))
    }

    fn decode(bytes: Bytes) -> Option<Self> {
        let mut reader = Reader(bytes);
        let record = match reader.u8()? {
            0x20 => Self::Nothing,
            0x21 => Self::Vote(reader.vote()?),
            0x22 => Self::Entry(reader.entry()?),
            0x23 => Self::TruncateFrom(reader.u64()?),
            0x24 => Self::Purge(reader.log_id()?),
            0x25 => Self::Committed(reader.log_id()?),
            0x26 => Self::Fence(read_fence(&mut reader)?),
            _ => return None,
        };
        reader.end(record)
    }
}

/// The newest membership of `history` that entries up to `index` made.
pub(crate) fn members_at(history: &[StoredMembers], index: u64) -> StoredMembers {
    let made = |members: &&StoredMembers| members.log_id().is_none_or(|id| id.index <= index);
    history.iter().rev().find(made).cloned().unwrap_or_default()
}
