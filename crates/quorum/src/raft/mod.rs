//! The metadata log of several nodes: entries are committed once most voters have them on disk.
//!
//! The consensus is the library `openraft`, and this module is all that knows it: votes and
//! entries go through one ordered writer and are synced before they are answered; everything runs
//! on one thread of its own, so that no load of the node delays a heartbeat; what a node says to
//! another goes through a [`Transport`] as opaque bytes.
//!
//! Not here: what an entry means, how nodes reach each other, and who should be a member.
//!
//! Always: an entry that is reported committed is durable on most voters; the [`Committed`] stream
//! of every node brings every committed entry once and in order, or a snapshot in place of many;
//! queues, requests and chunks are bounded; a request is answered by its deadline, if only with
//! [`QuorumError::Unknown`]; after the first failed write or sync this node takes no part any more.
//!
//! A full disk is refused, not suffered: a leader asks its disk for room before an entry enters
//! the log, and a follower before it takes entries from the leader.
//!
//! ```
//! use plimsoll_quorum::raft::{self, Event, Options, Start, Target, Timing, TransportError};
//! # struct Nobody;
//! # #[async_trait::async_trait]
//! # impl raft::Transport for Nobody {
//! #     async fn call(
//! #         &self,
//! #         to: Target,
//! #         _: bytes::Bytes,
//! #         _: std::time::Duration,
//! #     ) -> Result<bytes::Bytes, TransportError> {
//! #         Err(TransportError::Unreachable(to.address))
//! #     }
//! # }
//! let me = plimsoll_types::NodeId::new(1).ok_or("a node")?;
//! let voters = [(me, "127.0.0.1:9".to_owned())].into();
//! let dir = tempfile::tempdir()?;
//! let opened = raft::open(dir.path(), Options {
//!     me,
//!     start: Start::Voters { voters, form: true },
//!     limits: plimsoll_quorum::Limits::default(),
//!     timing: Timing::default(),
//!     transport: std::sync::Arc::new(Nobody),
//! })?;
//! let room = plimsoll_quorum::Room::Free;
//! let index = opened.quorum.propose("a fact".into(), room).wait()?;
//! assert!(matches!(opened.committed.next()?, Event::Entry(entry) if entry.index == index));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # On disk
//!
//! The log files and their frames are those of the crate's page; a frame's payload is a record,
//! and its index the record's number. A snapshot file's payload is the image of all records up to
//! its number. An option is a u8, 0 or 1, and the value; a log id is term u64 and index u64;
//! lengths and counts are u64.
//!
//! ```text
//! record   kind u8   0x20 nothing
//!                    0x21 vote           term u64 · node u64 · a leader's u8
//!                    0x22 entry          log id · payload u8: 0 blank, 1 bytes, 2 members
//!                    0x23 truncate       first index that is gone u64
//!                    0x24 purge          log id of the last entry that is gone
//!                    0x25 committed      log id; written with the entry after it
//!                    0x26 fence          u8: 0 asking, 1 catching up to an option of a log id, 2 open
//! image    version u8 = 2 · fence · option of vote · option of committed · option of purged
//!          snapshot: option of log id · option of log id of members · members · bytes
//!          count · entries
//! members  count, then for each configuration count and voters u64 · count, then node u64 and address
//! ```
//!
//! An image replaces the log files before it in one rename, so a snapshot from the leader and the
//! log that it makes void change together. A snapshot that is ahead of the log, or not of its
//! history, stands for the whole log.
//!
//! # A voter that lost its directory
//!
//! It may have voted and acknowledged entries, and must not help to decide otherwise now. A node
//! with a new directory therefore first asks the others, and waits until most voters, itself not
//! counted, have answered: it takes over the newest vote among them, so that no earlier leader
//! finds a follower in it, and votes only once it has applied up to the newest entry among them.
//! The exception is a cluster that is being formed: the one node that forms it says so to the
//! others, and does not before it is known that all of them are empty.

mod campaign;
mod codec;
mod face;
mod members;
mod network;
mod node;
mod rpc;
mod serve;
mod start;
mod storage;
mod store;
mod stream;

use crate::journal::disk::{Disk, RealDisk};
use crate::{Limits, OpenError, Recovery, Snapshot};
use async_trait::async_trait;
use bytes::Bytes;
use plimsoll_types::NodeId;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use face::{Answer, Barrier, Proposal, Quorum, QuorumError};
pub use stream::{Committed, Event};

/// What a node's part of the quorum is made of.
pub struct Options {
    /// This node.
    pub me: NodeId,
    /// What to do with a directory that has no log; and where the voters are.
    pub start: Start,
    /// Bounds on memory and disk.
    pub limits: Limits,
    /// Clocks.
    pub timing: Timing,
    /// How other nodes are reached.
    pub transport: Arc<dyn Transport>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Options");
        out.field("me", &self.me).field("start", &self.start);
        out.finish_non_exhaustive()
    }
}

/// How a node comes to its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// As one of these voters. A directory that has a log just goes on.
    Voters {
        /// Peer addresses, this node's among them; they take the place of those in the log.
        voters: BTreeMap<NodeId, String>,
        /// This node forms the cluster, if its directory is new. Exactly one may, once all voters
        /// are known to be new.
        form: bool,
    },
    /// As a learner of an existing cluster.
    Join {
        /// Peer addresses of any of its nodes.
        seeds: Vec<String>,
        /// This node's own peer address.
        address: String,
    },
}

/// Clocks of the quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Between two heartbeats of the leader.
    pub heartbeat: Duration,
    /// Least time that a voter waits for a leader after its lease.
    pub election_min: Duration,
    /// Most time that it waits, and a leader's lease: who heard it less long ago elects no other.
    pub election_max: Duration,
    /// After which a request is answered in any case.
    pub request: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(100),
            election_min: Duration::from_millis(500),
            election_max: Duration::from_millis(750),
            request: Duration::from_secs(10),
        }
    }
}

/// Reaches other nodes.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Takes one request to the quorum of `to` ([`Quorum::handle`]) and its answer back.
    async fn call(
        &self,
        to: Target,
        request: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, TransportError>;
}

/// Whom a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The node; `None` for a seed of which only the address is known.
    pub node: Option<NodeId>,
    /// Its peer address.
    pub address: String,
}

impl Target {
    pub(crate) fn of(node: u64, address: String) -> Self {
        Self {
            node: to_node(node),
            address,
        }
    }
}

fn to_node(id: u64) -> Option<NodeId> {
    u32::try_from(id).ok().and_then(NodeId::new)
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The request did not leave this node.
    #[error("the peer cannot be reached: {0}")]
    Unreachable(String),
    /// The request may have arrived.
    #[error("the answer was lost: {0}")]
    Lost(String),
}

/// What a node is in the quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It decides what enters the log.
    Leader,
    /// It votes, and follows a leader if there is one.
    Follower,
    /// It asks for votes.
    Candidate,
    /// It follows without a vote, or is not a member yet.
    Learner,
}

/// How things stand, as far as a node knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// This node.
    pub me: NodeId,
    /// What it is.
    pub role: Role,
    /// Who leads. `None` as well at a leader that most voters do not answer any more.
    pub leader: Option<NodeId>,
    /// The term of office.
    pub term: u64,
    /// The last entry of this node's log.
    pub last_index: u64,
    /// The last entry known to be committed.
    pub committed_index: u64,
    /// Who votes, and where they are.
    pub voters: BTreeMap<NodeId, String>,
    /// Who follows without a vote.
    pub learners: BTreeMap<NodeId, String>,
    /// At the leader: each member's last known entry, and how long ago it was last heard.
    pub progress: Vec<(NodeId, u64, Option<Duration>)>,
}

/// What [`open`] found and made.
#[derive(Debug)]
pub struct Opened {
    /// This node's part of the quorum.
    pub quorum: Quorum,
    /// What is committed behind the snapshot; what was committed earlier comes again.
    pub committed: Committed,
    /// The newest snapshot.
    pub snapshot: Option<Snapshot>,
    /// What recovery did.
    pub recovery: Recovery,
}

/// Opens this node's part of the quorum, with its files in `dir`, which is made if it is not
/// there. Blocks while it reads them; the quorum forms or joins behind it.
///
/// The caller sees to it that nobody else has the directory open.
///
/// # Errors
/// Damage, a version from the future, or the machine's refusal; nothing is changed then.
pub fn open(dir: &Path, options: Options) -> Result<Opened, OpenError> {
    open_on(Arc::new(RealDisk), dir, options)
}

pub(crate) fn open_on(
    disk: Arc<dyn Disk>,
    dir: &Path,
    options: Options,
) -> Result<Opened, OpenError> {
    let (store, recovery) = store::Store::open(disk, dir, options.limits)?;
    node::start(store, recovery, options)
}

#[cfg(test)]
mod tests;
