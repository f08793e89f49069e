//! What those around the machines owe to them: the owner of a log, and whoever brings proposals
//! before the controller. The simulation can neglect one duty, to see that its checkers notice.

use std::cell::Cell;

/// A duty of the machines' surroundings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tests) enum Duty {
    /// A log is cut against a leader's answer only, never to its own high watermark (KIP-101).
    NoCutToHighWatermark,
    /// With fewer in sync than min ISR nothing is committed.
    NothingBelowMinIsr,
    /// In a topic that syncs, a replica counts by what it has synced.
    SyncedCounts,
    /// A node that granted a lease does not lead before it is over.
    GrantOutwaited,
    /// An echo is worth what its frame's time of sending says, not when it came back.
    EchoBySending,
    /// A node acts on metadata only in the uptime that the metadata knows.
    RoleOfThisUptime,
    /// A proposal is void when the metadata went on since it was judged; judged anew, it would be
    /// admitted by whatever uptime its members are in by then (KIP-903).
    StaleProposalsAreVoid,
    /// Whoever may have lost records says so when it registers.
    LossIsReported,
}

impl Duty {
    /// All of them.
    pub(in crate::tests) const ALL: [Self; 8] = [
        Self::NoCutToHighWatermark,
        Self::NothingBelowMinIsr,
        Self::SyncedCounts,
        Self::GrantOutwaited,
        Self::EchoBySending,
        Self::RoleOfThisUptime,
        Self::StaleProposalsAreVoid,
        Self::LossIsReported,
    ];
}

thread_local! {
    static NEGLECTED: Cell<Option<Duty>> = const { Cell::new(None) };
}

impl Duty {
    /// Whether it is kept.
    pub(super) fn kept(self) -> bool {
        NEGLECTED.with(|duty| duty.get() != Some(self))
    }
}

/// Runs `run` while `duty` is neglected.
pub(in crate::tests) fn neglected<T>(duty: Duty, run: impl FnOnce() -> T) -> T {
    NEGLECTED.with(|cell| cell.set(Some(duty)));
    let result = run();
    NEGLECTED.with(|cell| cell.set(None));
    result
}
