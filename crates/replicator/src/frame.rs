//! The frames of a stream, and what this crate adds to them.

use plimsoll_segment_log::EpochEntry;
pub(crate) use plimsoll_wire::peer::{
    Ack, Acks, Append, Attach, Attached, EpochStart, Mark, Marks, Nack, NackReason, Purpose,
    Refused, RefusedReason, Reset, StreamFrame,
};

/// Epochs as frames carry them.
pub(crate) fn to_wire(entries: &[EpochEntry]) -> Vec<EpochStart> {
    let entry = |entry: &EpochEntry| EpochStart {
        epoch: entry.epoch,
        start: entry.start,
    };
    entries.iter().map(entry).collect()
}

/// Epochs as logs keep them.
pub(crate) fn to_log(entries: &[EpochStart]) -> Vec<EpochEntry> {
    let entry = |entry: &EpochStart| EpochEntry {
        epoch: entry.epoch,
        start: entry.start,
    };
    entries.iter().map(entry).collect()
}

/// Epochs as the rules compare them.
pub(crate) fn to_rules(entries: &[EpochStart]) -> Vec<plimsoll_replication::EpochStart> {
    let entry = |entry: &EpochStart| plimsoll_replication::EpochStart {
        epoch: entry.epoch,
        start: entry.start,
    };
    entries.iter().map(entry).collect()
}
