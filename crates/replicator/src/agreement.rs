//! Where two logs part (KIP-101, KIP-279, KIP-595, in one round).
//!
//! An epoch has one writer and its part of a log only grows. So two logs that hold the same epoch
//! agree up to the smaller end of it, and everything before it. Pure; knows no bytes.
//!
//! - R1: two logs are never said to agree beyond the smaller end of their greatest common epoch.

use plimsoll_segment_log::EpochEntry;
use plimsoll_types::Offset;

/// One log, for comparing.
#[derive(Clone, Copy, Debug)]
pub struct LogFacts<'a> {
    /// Base of its first batch; its end if it has none.
    pub start: Offset,
    /// Its end.
    pub end: Offset,
    /// Its epochs, oldest first.
    pub epochs: &'a [EpochEntry],
}

impl LogFacts<'_> {
    fn end_of(&self, at: usize) -> Offset {
        self.epochs.get(at + 1).map_or(self.end, |next| next.start)
    }
}

/// What a comparison says the follower must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// Nothing: its log is a prefix of the leader's.
    Aligned,
    /// Cut its log here, then attach again.
    TruncateTo(Offset),
    /// Begin anew at the leader's start: nothing can be proven, or the leader no longer has it.
    Reset,
}

/// Compares a follower's log with its leader's.
#[must_use]
pub fn agree(leader: &LogFacts<'_>, follower: &LogFacts<'_>) -> Agreement {
    let divergence = if follower.epochs.is_empty() {
        follower.end.min(leader.end)
    } else {
        let common = follower
            .epochs
            .iter()
            .enumerate()
            .rev()
            .find_map(|(f, entry)| {
                let l = leader
                    .epochs
                    .binary_search_by_key(&entry.epoch, |entry| entry.epoch);
                l.ok().map(|l| (l, f))
            });
        let Some((l, f)) = common else {
            return if follower.end == follower.start && follower.end == leader.start {
                Agreement::Aligned
            } else {
                Agreement::Reset
            };
        };
        let divergence = leader.end_of(l).min(follower.end_of(f));
        debug_assert!(divergence <= leader.end_of(l), "R1");
        divergence
    };
    if divergence < leader.start || divergence < follower.start {
        Agreement::Reset
    } else if divergence < follower.end {
        Agreement::TruncateTo(divergence)
    } else {
        Agreement::Aligned
    }
}

/// Whether the follower's epochs above the greatest common one differ from the leader's, as far
/// as its log reaches: then it takes the leader's over, though no record goes.
#[must_use]
pub fn must_adopt(leader: &[EpochEntry], follower: &[EpochEntry], log_end: Offset) -> bool {
    let last = leader.iter().rfind(|entry| entry.start <= log_end);
    follower.last().map(|entry| entry.epoch) != last.map(|entry| entry.epoch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_types::LeaderEpoch;

    fn check(leader: (u64, u64, &[(u32, u64)]), follower: (u64, u64, &[(u32, u64)])) -> Agreement {
        let entries = |list: &[(u32, u64)]| -> Vec<EpochEntry> {
            let entry = |&(epoch, start): &(u32, u64)| EpochEntry {
                epoch: LeaderEpoch::new(epoch),
                start: Offset::new(start),
            };
            list.iter().map(entry).collect()
        };
        let (l, f) = (entries(leader.2), entries(follower.2));
        let facts = |start, end, epochs| LogFacts {
            start: Offset::new(start),
            end: Offset::new(end),
            epochs,
        };
        agree(
            &facts(leader.0, leader.1, &l),
            &facts(follower.0, follower.1, &f),
        )
    }

    #[test]
    fn a_prefix_is_aligned() {
        assert_eq!(
            check((0, 9, &[(1, 0)]), (0, 5, &[(1, 0)])),
            Agreement::Aligned
        );
        assert_eq!(
            check((0, 9, &[(1, 0), (2, 5)]), (0, 5, &[(1, 0)])),
            Agreement::Aligned
        );
        assert_eq!(check((0, 9, &[(1, 0)]), (0, 0, &[])), Agreement::Aligned);
    }

    #[test]
    fn what_follows_the_common_epoch_goes() {
        let cut = |at| Agreement::TruncateTo(Offset::new(at));
        assert_eq!(
            check((0, 9, &[(1, 0), (3, 6)]), (0, 8, &[(1, 0), (2, 5)])),
            cut(5)
        );
        assert_eq!(check((0, 9, &[(1, 0), (3, 6)]), (0, 8, &[(1, 0)])), cut(6));
        // A fast change of leaders (KIP-279): both wrote after the common epoch.
        assert_eq!(
            check((0, 7, &[(1, 0), (3, 4)]), (0, 9, &[(1, 0), (2, 4)])),
            cut(4)
        );
    }

    #[test]
    fn what_cannot_be_proven_begins_anew() {
        assert_eq!(
            check((0, 9, &[(3, 0)]), (0, 5, &[(1, 0)])),
            Agreement::Reset
        );
        assert_eq!(
            check((6, 9, &[(1, 0)]), (0, 5, &[(1, 0)])),
            Agreement::Reset
        );
        assert_eq!(check((6, 9, &[(1, 0)]), (0, 0, &[])), Agreement::Reset);
    }
}
