//! The states of a replica: one vocabulary for the command line, the console and the metrics.

use std::fmt;

/// What a replica does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReplicaState {
    /// Leads its partition.
    Leader,
    /// Has all that was committed, and counts.
    InSync,
    /// Behind, and gaining.
    CatchingUp,
    /// Counts still, but slows the others down and will be left out if it goes on.
    FallingBehind,
    /// Behind, and not moving.
    Stalled,
    /// Mends a part of its log.
    Repairing,
    /// Copies its log anew.
    Rebuilding,
    /// Not there.
    Offline,
    /// Nobody has told of it lately.
    Unknown,
}

impl ReplicaState {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Leader,
        Self::InSync,
        Self::CatchingUp,
        Self::FallingBehind,
        Self::Stalled,
        Self::Repairing,
        Self::Rebuilding,
        Self::Offline,
        Self::Unknown,
    ];

    /// The word for it, as people and metrics see it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::InSync => "in-sync",
            Self::CatchingUp => "catching-up",
            Self::FallingBehind => "falling-behind",
            Self::Stalled => "stalled",
            Self::Repairing => "repairing",
            Self::Rebuilding => "rebuilding",
            Self::Offline => "offline",
            Self::Unknown => "unknown",
        }
    }

    /// A sign for it that does without colour.
    #[must_use]
    pub const fn symbol(self) -> char {
        match self {
            Self::Leader => '★',
            Self::InSync => '●',
            Self::CatchingUp => '↑',
            Self::FallingBehind => '↓',
            Self::Stalled => '‖',
            Self::Repairing => '✚',
            Self::Rebuilding => '↻',
            Self::Offline => '×',
            Self::Unknown => '?',
        }
    }

    /// Whether nothing needs to change.
    #[must_use]
    pub const fn is_well(self) -> bool {
        matches!(self, Self::Leader | Self::InSync)
    }
}

impl fmt::Display for ReplicaState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
