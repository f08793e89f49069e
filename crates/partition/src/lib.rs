//! One replica of one partition: its log, its role and its watermarks behind a single writer.
//!
//! [`Partition`] takes batches that were already checked ([`Partition::append`]), lets at most one
//! caller at a time append them (a combining lock: whoever finds the log busy leaves its batch to
//! the one who is appending), publishes the log end, has the log synced by the flusher pool and
//! publishes the durable end. Readers ([`Partition::read`]) and waiters (the [`watermarks`]) never
//! ask the writer.
//!
//! [`watermarks`]: Partition::watermarks
//!
//! What always holds:
//! - P1: an append is acknowledged only by the watermarks; the log end moves after the bytes are
//!   readable, the durable end after they are synced.
//! - P2: nothing at or above the high watermark is read out.
//! - P3: after a storage error the replica is offline: it takes no append and serves no read until
//!   it is opened again ([`Partition::reopen`]), and it says why.
//!
//! A replica leads, follows or is idle ([`Role`]). A leader counts its followers' acks
//! ([`Partition::acked`]); a follower appends the leader's batches as they are
//! ([`Partition::append_replicated`]) and counts, beside itself, its leader's high watermark as the
//! leader's position ([`Partition::learned`]): so its own is never above its log end.
//!
//! Not here: requests and their error codes, sockets, clocks, who leads (the metadata says so).

mod append;
mod combine;
mod compact;
mod config;
mod inspect;
mod lease;
mod maintain;
mod partition;
mod read;
mod remove;
mod repair;
mod replicate;
mod role;
mod shared;
mod tap;

pub use append::{Append, AppendError, Appended};
pub use compact::CompactError;
pub use config::{Cleanup, Durability, PartitionConfig};
pub use inspect::{Digest, LogInfo, Scrubbed};
pub use lease::Lease;
pub use maintain::{MaintainError, Maintained};
pub use partition::{Describe, OpenError, Opened, Partition, PartitionId};
pub use plimsoll_segment_log::{CompactionReport, Recovery};
pub use read::{ReadError, Records};
pub use repair::{Reopened, RepairError};
pub use replicate::ReplicateError;
pub use role::{IsrRule, LeaderTerm, Role, RoleError};
pub use shared::describe;
pub use tap::{Tap, TapGuard};
