//! What several APIs ask about leader epochs (KIP-320).

use plimsoll_partition::Partition;
use plimsoll_types::{LeaderEpoch, Offset};
use plimsoll_wire::ErrorCode;

/// Compares the epoch that a client believes to be current with the real one; -1 asks for no check.
pub(crate) fn check_epoch(believed: i32, current: LeaderEpoch) -> Result<(), ErrorCode> {
    match LeaderEpoch::from_wire(believed) {
        Some(believed) if believed < current => Err(ErrorCode::FencedLeaderEpoch),
        Some(believed) if believed > current => Err(ErrorCode::UnknownLeaderEpoch),
        _ => Ok(()),
    }
}

/// The greatest epoch not above one that was asked for, and where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EpochEnd {
    pub(crate) epoch: LeaderEpoch,
    pub(crate) offset: Offset,
}

/// Where `epoch` ends in the log (KIP-101): `None` if the log knows nothing of it.
pub(crate) fn end_of_epoch(partition: &Partition, epoch: LeaderEpoch) -> Option<EpochEnd> {
    let log_end = partition.watermarks().log_end();
    if epoch == partition.leader_epoch() {
        // The current epoch ends where the log does, whether or not it has records.
        return Some(EpochEnd {
            epoch,
            offset: log_end,
        });
    }
    let (epoch, offset) = partition.reader().epochs().end_offset_for(epoch, log_end)?;
    Some(EpochEnd { epoch, offset })
}
