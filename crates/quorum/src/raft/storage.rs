//! The store as the consensus library asks for it: log, state machine, snapshots.

use super::codec::{LogEntry, LogId, Meta, StoredMembers, Types, Vote};
use super::store::{Kept, Store, members_at};
use super::stream::{Event, Stream};
use crate::{Entry, Snapshot, SnapshotError};
use bytes::Bytes;
use futures_util::Stream as AsyncStream;
use openraft::storage::{EntryResponder, IOFlushed, RaftLogStorage, RaftStateMachine};
use openraft::{EntryPayload, LogState, OptionalSend, RaftLogReader, RaftSnapshotBuilder};
use parking_lot::Mutex;
use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::watch;

pub(crate) type RaftSnapshot = openraft::alias::SnapshotOf<Types, Bytes>;

/// The log.
#[derive(Clone, Debug)]
pub(crate) struct LogStore(pub(crate) Arc<Store>);

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<LogEntry>, io::Error> {
        Ok(self.0.entries(&range))
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.0.vote())
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        Ok(LogState {
            last_purged_log_id: self.0.purged(),
            last_log_id: self.0.last(),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.0.save_vote(*vote).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.0.save_committed(committed);
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.0.committed())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = LogEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        match self.0.append(entries.into_iter().collect())? {
            None => callback.io_completed(Ok(())),
            Some(proposal) => {
                tokio::spawn(async move {
                    let synced = proposal.await.map(drop).map_err(io::Error::other);
                    callback.io_completed(synced);
                });
            }
        }
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        self.0.truncate_from(last.map_or(0, |id| id.index + 1))
    }

    async fn purge(&mut self, to: LogId) -> Result<(), io::Error> {
        self.0.purge(to)
    }
}

/// What is applied; shared with the face.
#[derive(Debug)]
pub(crate) struct Applied {
    /// Every membership since the snapshot, oldest first.
    history: Mutex<Vec<StoredMembers>>,
    /// The last applied entry's index plus one; 0 for none.
    pub(crate) next: watch::Sender<u64>,
}

impl Applied {
    pub(crate) fn new(store: &Store) -> Self {
        let kept = store.snapshot();
        let next = kept.as_ref().map_or(0, |kept| kept.index() + 1);
        let history = kept.map(|kept| kept.meta.last_membership);
        Self {
            history: Mutex::new(history.into_iter().collect()),
            next: watch::Sender::new(next),
        }
    }

    /// Keeps the application's snapshot of entries up to its index. Blocks.
    pub(crate) fn keep(&self, store: &Store, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        let index = snapshot.index;
        let next = *self.next.borrow();
        if index >= next {
            let committed = next.saturating_sub(1);
            return Err(SnapshotError::Ahead { index, committed });
        }
        let newest = store.snapshot().map_or(0, |kept| kept.index());
        let Some(id) = store.entry_id(index) else {
            return Err(SnapshotError::NotNewer { index, newest });
        };
        let mut history = self.history.lock();
        let last_membership = members_at(&history, index);
        store.keep(Kept {
            meta: Meta {
                last_log_id: Some(id),
                last_membership: last_membership.clone(),
            },
            bytes: snapshot.bytes.clone(),
        })?;
        history.retain(|members| members.log_id() >= last_membership.log_id());
        Ok(())
    }
}

/// The application, as far as the consensus is concerned: a stream that takes entries.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) store: Arc<Store>,
    pub(crate) stream: Arc<Stream>,
    pub(crate) applied: Arc<Applied>,
    pub(crate) last: Option<LogId>,
    pub(crate) members: StoredMembers,
    /// Makes snapshots of nothing by itself; for the library's tests of storages.
    pub(crate) makes_snapshots: bool,
}

impl Machine {
    pub(crate) fn new(store: Arc<Store>, stream: Arc<Stream>, applied: Arc<Applied>) -> Self {
        let kept = store.snapshot();
        Self {
            last: kept.as_ref().and_then(|kept| kept.meta.last_log_id),
            members: kept
                .map(|kept| kept.meta.last_membership)
                .unwrap_or_default(),
            store,
            stream,
            applied,
            makes_snapshots: false,
        }
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = Bytes;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembers), io::Error> {
        Ok((self.last, self.members.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: AsyncStream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(next) =
            std::future::poll_fn(|context| Pin::new(&mut entries).poll_next(context)).await
        {
            let (entry, responder) = next?;
            let index = entry.log_id.index;
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Normal(data) => {
                    let bytes = data.0;
                    self.stream.push(Event::Entry(Entry { index, bytes })).await;
                }
                EntryPayload::Membership(members) => {
                    self.members = StoredMembers::new(Some(entry.log_id), members);
                    self.applied.history.lock().push(self.members.clone());
                }
            }
            self.last = Some(entry.log_id);
            self.applied.next.send_replace(index + 1);
            if let Some(responder) = responder {
                responder.send(());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let own = self.makes_snapshots.then(|| Kept {
            meta: Meta {
                last_log_id: self.last,
                last_membership: self.members.clone(),
            },
            bytes: Bytes::new(),
        });
        Builder(Arc::clone(&self.store), own)
    }

    async fn install_snapshot(&mut self, meta: &Meta, bytes: Bytes) -> Result<(), io::Error> {
        let kept = Kept {
            meta: meta.clone(),
            bytes: bytes.clone(),
        };
        let index = kept.index();
        let store = Arc::clone(&self.store);
        let written = tokio::task::spawn_blocking(move || store.keep(kept)).await;
        match written.map_err(io::Error::other)? {
            Ok(()) | Err(SnapshotError::NotNewer { .. }) => {}
            Err(error) => return Err(io::Error::other(error)),
        }
        self.last = meta.last_log_id;
        self.members = meta.last_membership.clone();
        *self.applied.history.lock() = vec![self.members.clone()];
        let snapshot = Snapshot { index, bytes };
        self.stream.push(Event::Snapshot(snapshot)).await;
        self.applied.next.send_replace(index + 1);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<RaftSnapshot>, io::Error> {
        Ok(self.store.snapshot().map(to_raft))
    }
}

fn to_raft(kept: Kept) -> RaftSnapshot {
    RaftSnapshot {
        meta: kept.meta,
        snapshot: kept.bytes,
    }
}

/// Gives the library the snapshot that the application made.
#[derive(Debug)]
pub(crate) struct Builder(Arc<Store>, Option<Kept>);

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> Result<RaftSnapshot, io::Error> {
        if let Some(own) = self.1.take() {
            let store = Arc::clone(&self.0);
            let written = tokio::task::spawn_blocking(move || store.keep(own)).await;
            written
                .map_err(io::Error::other)?
                .map_err(io::Error::other)?;
        }
        let kept = self.0.snapshot();
        let kept = kept.ok_or_else(|| io::Error::other("there is no snapshot yet"))?;
        Ok(to_raft(kept))
    }
}
