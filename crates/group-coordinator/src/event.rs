//! What an operator may want to read of a group's life.

use crate::{GroupState, Text};
use std::fmt;

/// A group changed its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The group.
    pub group: Text,
    /// The state it left.
    pub from: GroupState,
    /// The state it is in.
    pub to: GroupState,
    /// Its generation now.
    pub generation: i32,
    /// Its members now.
    pub members: usize,
    /// What brought the change about.
    pub cause: Cause,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "group {}: {} -> {} at generation {} with {} members: {}",
            self.group, self.from, self.to, self.generation, self.members, self.cause
        )
    }
}

/// Why a group changed its state.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// A member joined that was not one.
    MemberJoined(Text),
    /// A member joined again with other metadata, or the leader did to have it all assigned anew.
    MemberRejoined(Text),
    /// A static member came back under a new member id and could not simply go on.
    StaticMemberReplaced(Text),
    /// Members left or were removed.
    MembersLeft(usize),
    /// A member was silent for longer than its session timeout.
    SessionExpired(Text),
    /// Members joined but never asked for their assignment.
    SyncExpired(usize),
    /// All members joined again, or those who did not ran out of time.
    JoinEnded,
    /// The leader's assignment is durable.
    Assigned,
    /// The leader's assignment could not be written.
    AssignmentNotWritten,
    /// Offsets and members are gone, or an administrator asked.
    Deleted,
    /// The deletion could not be written.
    DeletionNotWritten,
    /// The group was loaded with more members than are allowed.
    TooManyMembers,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MemberJoined(member) => write!(f, "{member} joined"),
            Self::MemberRejoined(member) => write!(f, "{member} joined again"),
            Self::StaticMemberReplaced(member) => write!(f, "static member {member} came back"),
            Self::MembersLeft(members) => write!(f, "{members} members left"),
            Self::SessionExpired(member) => write!(f, "the session of {member} expired"),
            Self::SyncExpired(members) => write!(f, "{members} members never synced"),
            Self::JoinEnded => f.write_str("the join phase ended"),
            Self::Assigned => f.write_str("the assignment is durable"),
            Self::AssignmentNotWritten => f.write_str("the assignment could not be written"),
            Self::Deleted => f.write_str("deleted"),
            Self::DeletionNotWritten => f.write_str("the deletion could not be written"),
            Self::TooManyMembers => f.write_str("loaded with too many members"),
        }
    }
}
