//! What a coordinator wants done.

use crate::{Blob, Event, GroupError, LogRecord, ReplyTo, Text};
use std::fmt;

/// A write the coordinator asked for; later writes have greater ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteId(pub(crate) u64);

impl fmt::Display for WriteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What to do, in this order.
pub type Actions = Vec<Action>;

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Action {
    /// Answer someone.
    Reply {
        /// Whom.
        to: ReplyTo,
        /// With what.
        response: Response,
    },
    /// Append these records to the partition, all or none, after those of earlier writes; then say
    /// [`Written`](crate::Input::Written) when they are durable, or how it failed.
    Write {
        /// The name of this write.
        write: WriteId,
        /// What to append; never empty.
        records: Vec<LogRecord>,
    },
    /// Write to the log file of the node: a group changed its state.
    Note(Event),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reply { to, .. } => write!(f, "reply to {}", to.0),
            Self::Write { write, records } => write!(f, "write {write}: {} records", records.len()),
            Self::Note(event) => event.fmt(f),
        }
    }
}

/// An answer, by the request it answers.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Response {
    /// To a join.
    Join(Result<Joined, Refused>),
    /// To a sync.
    Sync(Result<Synced, GroupError>),
    /// To a heartbeat.
    Heartbeat(Result<(), GroupError>),
    /// To a leave: one result a leaver, in their order.
    Leave(Result<Vec<LeaveResult>, GroupError>),
    /// To a commit: one result an offset, in their order.
    Commit(Vec<Result<(), GroupError>>),
    /// To an offset deletion: one result an offset, in their order.
    DeleteOffsets(Result<Vec<Result<(), GroupError>>, GroupError>),
    /// To a group deletion.
    DeleteGroup(Result<(), GroupError>),
}

/// A member of a new generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The member's id, perhaps just given.
    pub member: Text,
    /// The generation.
    pub generation: i32,
    /// The kind of group.
    pub protocol_type: Option<Text>,
    /// The protocol the members agreed on.
    pub protocol: Option<Text>,
    /// The leader's member id.
    pub leader: Text,
    /// The member leads, but the assignment stands as it is.
    pub skip_assignment: bool,
    /// For the leader, everyone and what they said; else empty.
    pub members: Vec<JoinedMember>,
}

/// What the leader learns of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    /// The member id.
    pub member: Text,
    /// The instance id of a static member.
    pub instance: Option<Text>,
    /// Its metadata for the protocol agreed on.
    pub metadata: Blob,
}

/// A join refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub error: GroupError,
    /// The member id to answer with: the one given, a new one to join with
    /// ([`GroupError::MemberIdRequired`]), or empty to forget it.
    pub member: Text,
}

/// A member's part of an assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    /// The kind of group.
    pub protocol_type: Option<Text>,
    /// The protocol the members agreed on.
    pub protocol: Option<Text>,
    /// The assignment; empty when the leader gave the member none.
    pub assignment: Blob,
}

/// How one leaver fared.
pub type LeaveResult = Result<(), GroupError>;

impl Response {
    /// The same answer had its write failed: what it said was done becomes `error`, what it refused
    /// stays refused.
    pub(crate) fn failed(self, error: GroupError) -> Self {
        let fail = |results: Vec<Result<(), GroupError>>| -> Vec<Result<(), GroupError>> {
            let fail_one = |result: Result<(), GroupError>| result.and(Err(error));
            results.into_iter().map(fail_one).collect()
        };
        match self {
            Self::Join(result) => {
                let none = Text::from("");
                Self::Join(Err(result.err().unwrap_or(Refused {
                    error,
                    member: none,
                })))
            }
            Self::Sync(result) => Self::Sync(Err(result.err().unwrap_or(error))),
            Self::Heartbeat(result) => Self::Heartbeat(result.and(Err(error))),
            Self::Leave(result) => Self::Leave(Err(result.err().unwrap_or(error))),
            Self::Commit(results) => Self::Commit(fail(results)),
            Self::DeleteOffsets(result) => Self::DeleteOffsets(Err(result.err().unwrap_or(error))),
            Self::DeleteGroup(result) => Self::DeleteGroup(result.and(Err(error))),
        }
    }
}
