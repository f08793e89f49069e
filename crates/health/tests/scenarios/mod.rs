//! The faults, and what is known of a replica in each.

use std::time::Duration;

use plimsoll_health::{
    Cause, Disk, Join, Link, MetadataLag, Repair, ReplicaFacts, ReplicaState, Session,
};
use plimsoll_types::{NodeId, Offset};

pub(crate) fn node(id: u32) -> NodeId {
    NodeId::new(id).expect("small")
}

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn offset(offset: u64) -> Offset {
    Offset::new(offset)
}

/// A follower on node 3 that is in sync with node 1.
pub(crate) fn healthy() -> ReplicaFacts {
    ReplicaFacts::healthy(node(3), node(1), offset(1_000))
}

/// The same, out of sync and 500 records behind, getting 100 a second.
pub(crate) fn behind() -> ReplicaFacts {
    ReplicaFacts {
        in_isr: false,
        isr: 2,
        leader_log_end: Some(offset(1_500)),
        behind_for: seconds(12),
        records_per_second: Some(100),
        ..healthy()
    }
}

pub(crate) fn leader() -> ReplicaFacts {
    ReplicaFacts::healthy(node(1), node(1), offset(1_000))
}

pub(crate) fn down() -> Link {
    Link::Down {
        since: seconds(4),
        attempts: 7,
        next_attempt: Duration::from_millis(800),
    }
}

pub(crate) fn full() -> Disk {
    Disk::Full {
        free_bytes: 1 << 20,
        needs_bytes: 64 << 20,
    }
}

pub(crate) fn failed() -> Disk {
    Disk::Failed {
        since: seconds(2),
        error: "Input/output error (os error 5)".to_owned(),
    }
}

pub(crate) fn slow() -> Disk {
    Disk::Slow {
        sync: seconds(2),
        lasting: seconds(6),
    }
}

pub(crate) fn stalled(attempts: u32) -> Session {
    Session::Stalled {
        since: seconds(3),
        attempts,
        next_attempt: seconds(2),
    }
}

/// Scenario, what is known in it, the state and the cause to find.
pub(crate) type Case = (&'static str, ReplicaFacts, ReplicaState, Cause);

pub(crate) fn cases() -> Vec<Case> {
    use ReplicaState::*;
    vec![
        (
            "1: the follower was killed; fencing followed from it",
            ReplicaFacts {
                link: down(),
                fenced: Some(seconds(1)),
                ..behind()
            },
            Offline,
            Cause::PeerUnreachable,
        ),
        (
            "1: it comes back and copies what it misses",
            behind(),
            CatchingUp,
            Cause::CatchingUp,
        ),
        (
            "2, 33: the disk was replaced, or lost what it had not synced",
            ReplicaFacts {
                repair: Some(Repair::Lost {
                    from: offset(0),
                    copied_to: offset(700),
                }),
                ..behind()
            },
            Rebuilding,
            Cause::LostLog,
        ),
        (
            "3: all lost power; nobody may lead yet",
            ReplicaFacts {
                leader: None,
                isr: 0,
                leader_log_end: None,
                ..behind()
            },
            Stalled,
            Cause::NoLeader,
        ),
        (
            "4: the last one in sync leads and commits nothing",
            ReplicaFacts {
                isr: 1,
                min_isr: 2,
                ..leader()
            },
            Leader,
            Cause::BelowMinIsr,
        ),
        (
            "9, 10: its end was never committed",
            ReplicaFacts {
                repair: Some(Repair::Cut {
                    from: offset(990),
                    to: offset(1_000),
                }),
                ..behind()
            },
            Repairing,
            Cause::Diverged,
        ),
        (
            "9: committed records differ",
            ReplicaFacts {
                repair: Some(Repair::Quarantined { at: offset(400) }),
                ..behind()
            },
            Stalled,
            Cause::LostHistory,
        ),
        (
            "11, 13: a leader that hears no controller",
            ReplicaFacts {
                self_fenced: Some(seconds(2)),
                fenced: Some(seconds(1)),
                ..leader()
            },
            Offline,
            Cause::SelfFenced,
        ),
        (
            "15: caught up, and the controller is gone",
            ReplicaFacts {
                join: Join::Proposed { since: seconds(3) },
                leader_log_end: Some(offset(1_000)),
                ..behind()
            },
            CatchingUp,
            Cause::IsrChangePending,
        ),
        (
            "18, 19: its process was stopped",
            ReplicaFacts {
                paused: Some(seconds(20)),
                fenced: Some(seconds(17)),
                ..behind()
            },
            Stalled,
            Cause::PausedProcess,
        ),
        (
            "20: connected and fenced",
            ReplicaFacts {
                fenced: Some(seconds(3)),
                ..behind()
            },
            CatchingUp,
            Cause::Fenced,
        ),
        (
            "23: slow disk, still counted",
            ReplicaFacts {
                disk: slow(),
                isr: 3,
                in_isr: true,
                ..behind()
            },
            FallingBehind,
            Cause::SlowDisk,
        ),
        (
            "23: slow disk, left out; the stall follows from it",
            ReplicaFacts {
                disk: slow(),
                session: stalled(1),
                ..behind()
            },
            CatchingUp,
            Cause::SlowDisk,
        ),
        (
            "24: slow disk of the leader",
            ReplicaFacts {
                disk: slow(),
                ..leader()
            },
            Leader,
            Cause::SlowDisk,
        ),
        (
            "25: full disk; the stall follows from it",
            ReplicaFacts {
                disk: full(),
                session: stalled(2),
                ..behind()
            },
            Stalled,
            Cause::FollowerDiskFull,
        ),
        (
            "28: a sync failed",
            ReplicaFacts {
                disk: failed(),
                session: stalled(0),
                ..behind()
            },
            Offline,
            Cause::IoError,
        ),
        (
            "28: a sync of the leader failed",
            ReplicaFacts {
                disk: failed(),
                isr: 1,
                ..leader()
            },
            Offline,
            Cause::IoError,
        ),
        (
            "29: a flipped bit",
            ReplicaFacts {
                repair: Some(Repair::Corrupt {
                    from: offset(100),
                    to: offset(140),
                    copied_to: offset(120),
                }),
                ..behind()
            },
            Repairing,
            Cause::CorruptRange,
        ),
        (
            "35: the founding failure: connected, and nothing moves",
            ReplicaFacts {
                session: stalled(1),
                records_per_second: Some(0),
                ..behind()
            },
            Stalled,
            Cause::StalledStream,
        ),
        (
            "38: it came and went",
            ReplicaFacts {
                join: Join::Held {
                    remaining: seconds(8),
                    evictions: 4,
                },
                leader_log_end: Some(offset(1_000)),
                ..behind()
            },
            CatchingUp,
            Cause::JoinHold,
        ),
        (
            "39: half-open: in sync still, the link has died",
            ReplicaFacts {
                link: down(),
                ..healthy()
            },
            Offline,
            Cause::PeerUnreachable,
        ),
        (
            "40: retention was faster",
            ReplicaFacts {
                repair: Some(Repair::BehindLogStart {
                    ended: offset(1_000),
                    leader_log_start: offset(1_200),
                    copied_to: offset(1_300),
                }),
                ..behind()
            },
            Rebuilding,
            Cause::BehindLogStart,
        ),
        (
            "43: a new replica, held to a rate",
            ReplicaFacts {
                throttled_to: Some(8 << 20),
                ..behind()
            },
            CatchingUp,
            Cause::Throttled,
        ),
        (
            "51: does not know the newest metadata, nor therefore its leader",
            ReplicaFacts {
                leader: None,
                metadata_lag: Some(MetadataLag {
                    changes: 40,
                    lasting: seconds(30),
                }),
                ..behind()
            },
            Stalled,
            Cause::MetadataLag,
        ),
        (
            "the leader refuses it",
            ReplicaFacts {
                session: Session::Refused {
                    since: seconds(2),
                    why: "not a replica".to_owned(),
                    attempts: 3,
                    next_attempt: seconds(1),
                },
                ..behind()
            },
            Stalled,
            Cause::AttachRefused,
        ),
        (
            "it is drained on purpose",
            ReplicaFacts {
                draining: true,
                link: down(),
                fenced: Some(seconds(9)),
                ..behind()
            },
            Offline,
            Cause::Draining,
        ),
        (
            "nobody has told of it",
            ReplicaFacts {
                age: seconds(60),
                ..healthy()
            },
            Unknown,
            Cause::NoNews,
        ),
        (
            "in sync, and behind for long",
            ReplicaFacts {
                in_isr: true,
                isr: 3,
                behind_for: seconds(5),
                ..behind()
            },
            FallingBehind,
            Cause::CatchingUp,
        ),
    ]
}
