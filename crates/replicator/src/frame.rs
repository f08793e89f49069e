//! The frames of a stream, and how what they carry is said to the machines and to the log.

use std::time::Duration;

use plimsoll_replication::{EpochStart, Nack as Refuses, Refusal};
use plimsoll_segment_log::EpochEntry;
use plimsoll_wire::peer::EpochStart as Sent;
pub(crate) use plimsoll_wire::peer::{
    Ack, Acks, Append, Attach, Attached, Detach, Mark, Marks, Nack, NackReason, Purpose, Refused,
    RefusedReason, Reset, Revoke, StreamFrame, seal,
};

/// Epochs as a log keeps them, for the machines.
pub(crate) fn of_log(entries: &[EpochEntry]) -> Vec<EpochStart> {
    let entry = |entry: &EpochEntry| EpochStart {
        epoch: entry.epoch,
        start: entry.start,
    };
    entries.iter().map(entry).collect()
}

/// Epochs of the machines, for a log.
pub(crate) fn to_log(entries: &[EpochStart]) -> Vec<EpochEntry> {
    let entry = |entry: &EpochStart| EpochEntry {
        epoch: entry.epoch,
        start: entry.start,
    };
    entries.iter().map(entry).collect()
}

/// Epochs of a frame, for the machines.
pub(crate) fn of_frame(entries: &[Sent]) -> Vec<EpochStart> {
    let entry = |entry: &Sent| EpochStart {
        epoch: entry.epoch,
        start: entry.start,
    };
    entries.iter().map(entry).collect()
}

/// Epochs of the machines, for a frame.
pub(crate) fn to_frame<'a>(entries: impl IntoIterator<Item = &'a EpochStart>) -> Vec<Sent> {
    let entry = |entry: &EpochStart| Sent {
        epoch: entry.epoch,
        start: entry.start,
    };
    entries.into_iter().map(entry).collect()
}

pub(crate) fn to_reason(why: Refusal) -> RefusedReason {
    match why {
        Refusal::NotLeader { leader } => RefusedReason::NotLeader { leader },
        Refusal::FencedEpoch { current } => RefusedReason::FencedEpoch { current },
        Refusal::UnknownEpoch => RefusedReason::UnknownEpoch,
        Refusal::NotAReplica => RefusedReason::NotAReplica,
        Refusal::StaleBrokerEpoch => RefusedReason::StaleBrokerEpoch,
        Refusal::Storage => RefusedReason::Storage,
        Refusal::LostLog => RefusedReason::LostLog,
        Refusal::Throttled { after } => RefusedReason::Throttled {
            ms: u32::try_from(after.as_millis()).unwrap_or(u32::MAX),
        },
    }
}

pub(crate) fn of_reason(reason: RefusedReason) -> Refusal {
    match reason {
        RefusedReason::NotLeader { leader } => Refusal::NotLeader { leader },
        RefusedReason::FencedEpoch { current } => Refusal::FencedEpoch { current },
        RefusedReason::UnknownEpoch => Refusal::UnknownEpoch,
        RefusedReason::NotAReplica => Refusal::NotAReplica,
        RefusedReason::StaleBrokerEpoch => Refusal::StaleBrokerEpoch,
        RefusedReason::Storage => Refusal::Storage,
        RefusedReason::LostLog => Refusal::LostLog,
        RefusedReason::Throttled { ms } => Refusal::Throttled {
            after: Duration::from_millis(u64::from(ms)),
        },
    }
}

pub(crate) fn to_nack(why: Refuses) -> NackReason {
    match why {
        Refuses::Corrupt { at } => NackReason::Corrupt { at },
        Refuses::Gap { expected } => NackReason::Gap { expected },
        Refuses::DiskFull => NackReason::DiskFull,
        Refuses::IoError => NackReason::IoError,
        Refuses::EpochRegression => NackReason::EpochRegression,
    }
}

pub(crate) fn of_nack(reason: NackReason) -> Refuses {
    match reason {
        NackReason::Corrupt { at } => Refuses::Corrupt { at },
        NackReason::Gap { expected } => Refuses::Gap { expected },
        NackReason::DiskFull => Refuses::DiskFull,
        NackReason::IoError => Refuses::IoError,
        NackReason::EpochRegression => Refuses::EpochRegression,
    }
}
