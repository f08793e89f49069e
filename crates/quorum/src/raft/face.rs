//! What a caller holds: the quorum, and answers that are on their way.

use super::Status;
use super::node::{Command, Shared};
use super::rpc::{Change, Reply};
use crate::{Room, Snapshot, SnapshotError, Stopped};
use bytes::Bytes;
use parking_lot::Mutex;
use plimsoll_types::NodeId;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{JoinHandle, Thread};
use tokio::sync::{mpsc, oneshot, watch};

/// Most bytes of one entry; what surrounds it has its own place in a record.
pub(crate) const MAX_PROPOSAL_BYTES: usize = crate::journal::format::MAX_ENTRY_BYTES - 4096;

/// Why the quorum did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuorumError {
    /// No leader was found in time. Nothing was done.
    #[error("the metadata quorum has no leader")]
    NoLeader,
    /// It may or may not have been done; the committed stream will tell, if ever it was.
    #[error("whether the metadata quorum did it is not known: {reason}")]
    Unknown {
        /// Why not.
        reason: Arc<str>,
    },
    /// The leader's disk has no room. Nothing was done.
    #[error("the leader's disk has no room for the entry, which was not written: {reason}")]
    Full {
        /// What the disk said.
        reason: Arc<str>,
    },
    /// As much waits as may. Nothing was done.
    #[error("as many requests wait for the metadata quorum as may")]
    Busy,
    /// The entry is larger than one may be. Nothing was done.
    #[error("an entry of {bytes} bytes is above the limit of {MAX_PROPOSAL_BYTES}")]
    TooLarge {
        /// Its size; 0 if another node said so.
        bytes: usize,
    },
    /// The change of members is not allowed as things stand.
    #[error("the metadata quorum refused: {reason}")]
    Refused {
        /// Why.
        reason: Arc<str>,
    },
    /// This node's part of the quorum has stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl QuorumError {
    pub(crate) fn unknown(reason: &dyn std::fmt::Display) -> Self {
        let reason = reason.to_string().into();
        Self::Unknown { reason }
    }

    pub(crate) fn refused(reason: &dyn std::fmt::Display) -> Self {
        let reason = reason.to_string().into();
        Self::Refused { reason }
    }
}

/// An answer on its way; a future for any executor. Dropping it does not take the request back.
#[must_use = "nothing is known of the outcome before this is awaited"]
#[derive(Debug)]
pub struct Answer<T>(oneshot::Receiver<Result<T, QuorumError>>);

/// Resolves to the index of the committed entry, which may not be on this node's stream yet.
pub type Proposal = Answer<u64>;

/// Resolves, once everything that was committed before it began is on the committed stream here,
/// to the index of the last event of the stream: apply up to there and read.
pub type Barrier = Answer<u64>;

impl<T> Answer<T> {
    /// Waits, blocking.
    ///
    /// # Errors
    /// See [`QuorumError`].
    pub fn wait(self) -> Result<T, QuorumError> {
        block_on(self)
    }
}

impl<T> Future for Answer<T> {
    type Output = Result<T, QuorumError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let gone = "the quorum's thread ended";
        Pin::new(&mut self.0)
            .poll(context)
            .map(|answer| answer.unwrap_or_else(|_| Err(QuorumError::unknown(&gone))))
    }
}

/// Wakes a thread that is parked for a future.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// This node's part of the quorum. The last clone that is dropped shuts it down.
#[derive(Clone, Debug)]
pub struct Quorum {
    pub(crate) shared: Arc<Shared>,
    pub(crate) owner: Arc<Owner>,
}

/// Ends the thread.
#[derive(Debug)]
pub(crate) struct Owner {
    pub(crate) closing: watch::Sender<bool>,
    pub(crate) thread: Mutex<Option<JoinHandle<()>>>,
}

impl Owner {
    fn shut_down(&self) {
        self.closing.send_replace(true);
        let thread = self.thread.lock().take();
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
        {
            // A panic of the thread has stopped everything already.
            drop(thread.join());
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shut_down();
    }
}

impl Quorum {
    fn send<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, QuorumError>>) -> Command,
    ) -> Answer<T> {
        let (sender, receiver) = oneshot::channel();
        let refusal = match self.shared.commands.try_send(command(sender)) {
            Ok(()) => return Answer(receiver),
            Err(mpsc::error::TrySendError::Full(_)) => QuorumError::Busy,
            Err(mpsc::error::TrySendError::Closed(_)) => self.shared.stopped_error(),
        };
        answered(Err(refusal))
    }

    /// Puts an entry into the log, here or at the leader.
    pub fn propose(&self, entry: Bytes, room: Room) -> Proposal {
        let bytes = entry.len();
        if bytes > MAX_PROPOSAL_BYTES {
            return answered(Err(QuorumError::TooLarge { bytes }));
        }
        if let Some(stopped) = self.stopped() {
            return answered(Err(stopped.into()));
        }
        let queued = self.shared.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        if queued > 0 && queued + bytes > self.shared.limits.max_queued_bytes {
            self.shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return answered(Err(QuorumError::Busy));
        }
        let charge = super::node::Charge(Arc::clone(&self.shared), bytes);
        self.send(|reply| Command::Propose {
            entry,
            room,
            charge,
            reply,
        })
    }

    /// Finds out what is committed by now, from whoever leads.
    pub fn read_barrier(&self) -> Barrier {
        self.send(|reply| Command::Barrier { reply })
    }

    /// Answers a request of another node's quorum.
    pub fn handle(&self, request: Bytes) -> impl Future<Output = Bytes> + Send + 'static {
        let (reply, receiver) = oneshot::channel();
        let sent = self
            .shared
            .commands
            .try_send(Command::Handle { request, reply })
            .is_ok();
        async move {
            let answer = if sent { receiver.await.ok() } else { None };
            answer.unwrap_or_else(|| Reply::NotReady.encode())
        }
    }

    /// How things stand, as far as this node knows.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared.status.borrow().clone()
    }

    /// Tells of every change of the status.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.shared.status.subscribe()
    }

    /// Tells who leads and in which term, whenever that changes.
    #[must_use]
    pub fn watch_leader(&self) -> watch::Receiver<(Option<NodeId>, u64)> {
        self.shared.led.subscribe()
    }

    fn change(&self, change: Change) -> Answer<()> {
        self.send(|reply| Command::Change { change, reply })
    }

    /// Makes `node` a learner, or gives it another address.
    pub fn admit(&self, node: NodeId, address: String) -> Answer<()> {
        self.change(Change::Admit(u64::from(node.get()), address))
    }

    /// Makes the learner `node` a voter.
    pub fn promote(&self, node: NodeId) -> Answer<()> {
        self.change(Change::Promote(u64::from(node.get())))
    }

    /// Takes `node` out of the quorum.
    pub fn remove(&self, node: NodeId) -> Answer<()> {
        self.change(Change::Remove(u64::from(node.get())))
    }

    /// Lets the voter `to` lead.
    pub fn transfer(&self, to: NodeId) -> Answer<()> {
        self.change(Change::Transfer(u64::from(to.get())))
    }

    /// The process of `node` is gone: its connection ended, and its address refuses another. If it
    /// leads, this node seeks another leader at once. To be told again for as long as it is so.
    pub fn suspect(&self, node: NodeId) {
        let suspect = Command::Suspect(u64::from(node.get()));
        // Told again if there is no room for it.
        drop(self.shared.commands.try_send(suspect));
    }

    /// The index of the last event that was put on the committed stream.
    #[must_use]
    pub fn committed_index(&self) -> u64 {
        self.shared.stream.last()
    }

    /// Whether enough log has gathered for a snapshot to be worth its writing.
    #[must_use]
    pub fn wants_snapshot(&self) -> bool {
        self.shared.store.wants_snapshot()
    }

    /// Keeps what all entries up to an applied one amount to, and shortens the log. Blocks.
    ///
    /// # Errors
    /// The snapshot reaches past what is applied or is older than the newest one, or the disk
    /// failed. The earlier snapshot and the log then stand as before.
    pub fn install_snapshot(&self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        self.shared.applied.keep(&self.shared.store, snapshot)?;
        // If it cannot be told now, the next snapshot shortens the log.
        drop(self.shared.commands.try_send(Command::Kept));
        Ok(())
    }

    /// Why this node takes no part any more, if so.
    #[must_use]
    pub fn stopped(&self) -> Option<Stopped> {
        self.shared.stream.stopped()
    }

    /// Ends this node's part; blocks until its files are closed. Not from the futures of this
    /// type.
    pub fn shutdown(&self) {
        self.owner.shut_down();
    }
}

fn answered<T>(answer: Result<T, QuorumError>) -> Answer<T> {
    let (sender, receiver) = oneshot::channel();
    drop(sender.send(answer));
    Answer(receiver)
}
