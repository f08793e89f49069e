//! Consumer groups as a function: an input and the time go in, actions come out.
//!
//! One [`Coordinator`] holds the groups of one partition of the offsets topic: who is a member, who
//! leads, which generation is current, and what was committed. It decides and does nothing else:
//! no bytes of the wire, no files, no sockets, no threads, no clock. Whoever runs it decodes
//! requests into [`Input`]s, appends what [`Action::Write`] asks for to the log, says when that is
//! durable ([`Input::Written`]), wakes it at [`Coordinator::next_deadline`] with [`Input::Tick`],
//! and sends what [`Action::Reply`] carries to whom the [`ReplyTo`] stands for.
//!
//! The rules are those of Kafka's classic group protocol, static members included (KIP-345,
//! KIP-394, KIP-559, KIP-800, KIP-814). What always holds:
//!
//! - **G1** One generation of a group is current; it only grows while the group lives.
//! - **G2** A member waits for a join only while the group prepares a rebalance, and for a sync only
//!   while it completes one.
//! - **G3** A group without members is `Empty` or `Dead`, or still waits for the first ones.
//! - **G4** A group with members has one of them as its leader, and its members agree on a protocol
//!   type and on at least one protocol.
//! - **G5** A reply is given once: never twice, and never not at all as long as ticks come.
//! - **G6** A reply that promises something durable comes after the write that makes it so.
//! - **G7** An instance id belongs to one member, and that member knows it.
//! - **G8** Members, waiting joins, bytes of metadata and writes in flight are bounded.
//!
//! ```
//! use std::time::Duration;
//! use plimsoll_group_coordinator::*;
//! use plimsoll_types::{Monotonic, Timestamp};
//!
//! # let config = GroupConfig {
//! #     min_session_timeout: Duration::from_secs(6), max_session_timeout: Duration::from_secs(1800),
//! #     initial_rebalance_delay: Duration::ZERO, new_member_join_timeout: Duration::from_secs(300),
//! #     max_group_members: 100, max_groups: 100, max_member_bytes: 1 << 16, max_group_bytes: 1 << 20,
//! #     max_bytes: 1 << 24,
//! #     max_offset_metadata_bytes: 4096, offsets_retention: Duration::from_secs(604_800),
//! #     retention_check_interval: Duration::from_secs(600), write_timeout: Duration::from_secs(5),
//! #     max_writes_in_flight: 100, max_records_per_write: 1000,
//! # };
//! let mut coordinator = Coordinator::new(config);
//! let now = Now { monotonic: Monotonic::default(), wall: Timestamp::from_millis(0) };
//! coordinator.finish_loading(now);
//!
//! let request = JoinRequest {
//!     group: "readers".into(),
//!     member: "".into(),
//!     instance: None,
//!     client_id: "laptop".into(),
//!     client_host: "127.0.0.1".into(),
//!     session_timeout: Duration::from_secs(10),
//!     rebalance_timeout: Duration::from_secs(60),
//!     protocol_type: "consumer".into(),
//!     protocols: vec![Protocol { name: "range".into(), metadata: [].into(), topics: None }],
//!     require_member_id: false,
//!     may_skip_assignment: false,
//!     fresh_id: "6ba7b810".into(),
//! };
//! let actions = coordinator.handle(now, Input::Join { reply: ReplyTo(7), request });
//! assert!(actions.iter().any(|action| matches!(
//!     action,
//!     Action::Reply { to: ReplyTo(7), response: Response::Join(Ok(joined)) } if joined.generation == 1
//! )));
//! ```

#![deny(clippy::wildcard_enum_match_arm)]

mod action;
mod config;
mod coordinator;
mod error;
mod event;
mod group;
mod input;
mod member;
mod offsets;
mod record;
mod writes;

pub use action::{
    Action, Actions, Joined, JoinedMember, LeaveResult, Refused, Response, Synced, WriteId,
};
pub use config::GroupConfig;
pub use coordinator::{
    Coordinator, DescribedGroup, DescribedMember, ListFilter, ListedGroup, Stats,
};
pub use error::{GroupError, WriteError};
pub use event::{Cause, Event};
pub use group::GroupState;
pub use input::{
    CommitRequest, HeartbeatRequest, Input, JoinRequest, LeaveRequest, Leaver, Now,
    OffsetDeleteRequest, OffsetToCommit, Protocol, ReplyTo, SyncRequest,
};
pub use offsets::GroupOffsets;
pub use record::{CommittedOffset, GroupSnapshot, LogRecord, MemberSnapshot};

use std::sync::Arc;

/// A group id, member id or other name: made once, then shared.
pub type Text = Arc<str>;

/// Bytes that only clients understand (a subscription, an assignment). Owned apart from the request
/// they came in, so that a long-lived group pins no network buffer.
pub type Blob = Arc<[u8]>;
