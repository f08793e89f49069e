//! The conditions on which safety rests, each in one place and with a name.
//!
//! A guard is asked through [`holds`], which is `true` outside tests. Inside, the simulation may
//! switch one off to see that its checkers notice: a guard whose loss nobody notices is either
//! superfluous or untested.

/// A condition that keeps committed records safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guard {
    /// An attach, an answer or an append counts only in the epoch it was made for.
    SameLeaderEpoch,
    /// A follower attaches, and joins, only in the uptime that the metadata knows.
    SameBrokerEpoch,
    /// Nothing of a session counts before its first ack has confirmed the agreed end.
    SessionConfirmed,
    /// A new session's position starts at nothing, whatever an older one had acknowledged.
    FreshPosition,
    /// A joiner has everything below the high watermark, read while it already counts.
    JoinerHasCommitted,
    /// A joiner has everything that was there when this epoch began.
    JoinerHasEpochStart,
    /// Whoever is proposed counts from before the proposal is sent.
    ProposedCounts,
    /// Whoever is to leave counts until the change is committed.
    LeaverCounts,
    /// A proposal is given up only when it is certain that it was not applied.
    PendingIsKept,
    /// Members of the ELR count while the high watermark may move.
    EligibleLeadersCount,
    /// The watchdog resets nobody who may be elected without loss.
    ResetSparesMembers,
    /// Nothing below the high watermark is cut on a chain of clean elections.
    NoCutBelowHighWatermark,
    /// An append begins where the log ends.
    AppendContinues,
}

/// Whether `guard` is in force and its condition fails: the caller then refuses.
#[inline]
pub(crate) fn breached(guard: Guard, condition: bool) -> bool {
    !condition && holds(guard)
}

/// Whether `guard` is in force.
#[cfg(not(test))]
#[inline]
pub(crate) const fn holds(_: Guard) -> bool {
    true
}

/// Whether `guard` is in force.
#[cfg(test)]
pub(crate) fn holds(guard: Guard) -> bool {
    OFF.with(|off| off.get() != Some(guard))
}

#[cfg(test)]
thread_local! {
    static OFF: std::cell::Cell<Option<Guard>> = const { std::cell::Cell::new(None) };
}

/// Runs `run` without `guard`.
#[cfg(test)]
pub(crate) fn without<T>(guard: Option<Guard>, run: impl FnOnce() -> T) -> T {
    OFF.with(|off| off.set(guard));
    let result = run();
    OFF.with(|off| off.set(None));
    result
}
