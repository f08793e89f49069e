//! The conditions on which safety rests, each in one place and with a name.
//!
//! A guard is asked through [`holds`], which is `true` outside tests. Inside, one can be switched
//! off to see that somebody notices: the simulation or a unit test. `tests/mutants.rs` names for
//! each guard who does; one whose loss nobody notices is either superfluous or untested.

/// A condition that keeps committed records safe, or the promises made about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guard {
    /// An attach counts only in the epoch it was made for.
    AttachOfThisEpoch,
    /// A leader's answer counts only in the epoch it was given in.
    AnswerOfThisEpoch,
    /// A follower attaches only in the uptime that the metadata knows.
    AttachOfThisUptime,
    /// A session ends when its follower's uptime does.
    SessionOfThisUptime,
    /// Nothing of a session counts before its first ack has confirmed the agreed end.
    SessionConfirmed,
    /// A new session's position starts at nothing, whatever an older one had acknowledged.
    FreshPosition,
    /// Whoever counts and comes back without what is committed is out of the ISR before it is fed.
    MemberHasCommitted,
    /// A joiner has everything below the high watermark, read while it already counts.
    JoinerHasCommitted,
    /// A joiner has everything that was there when this epoch began.
    JoinerHasEpochStart,
    /// Whoever is proposed counts from before the proposal is sent.
    ProposedCounts,
    /// Whoever is to leave counts until the change is committed.
    LeaverCounts,
    /// And until the metadata with that change is here: only that tells what min ISR and ELR were
    /// when it was committed.
    LeaverAwaitsMetadata,
    /// A proposal is given up only when it is certain that it was not applied.
    PendingIsKept,
    /// An answer decides only the proposal that it is to.
    AnswerToThis,
    /// What is known of the partition never goes back to an older version.
    MetadataGoesForward,
    /// Members of the ELR count while the high watermark may move.
    EligibleLeadersCount,
    /// And until the metadata says that they are none: an answer may have been decided by a higher
    /// min ISR than is known here.
    EligibleAwaitMetadata,
    /// The watchdog and retention reset nobody who may be elected without loss.
    ResetSparesMembers,
    /// The lease is as old as the oldest echo of whoever counts.
    LeaseByOldestEcho,
    /// Below min ISR, where a member of the ELR may be elected, no follower's echo alone is a lease.
    LeaseNeedsMinIsr,
    /// Logs part by their epochs, not by their lengths.
    PartingByEpochs,
    /// A follower takes over its leader's epochs though it cuts nothing.
    EpochsAdopted,
    /// A follower cuts where its own epochs part, too, whatever it is told.
    OwnEpochsPart,
    /// Nothing below the high watermark is cut on a chain of clean elections.
    NoCutBelowHighWatermark,
    /// What was cut ends where it was agreed.
    CutAsAgreed,
    /// An append counts only in the session that it was sent in.
    AppendOfThisSession,
    /// An append begins where the log ends.
    AppendContinues,
    /// What a follower learns of the high watermark is no higher than its log.
    LearnedWithinLog,
}

#[cfg(test)]
impl Guard {
    /// All of them.
    pub(crate) const ALL: [Self; 28] = [
        Self::AttachOfThisEpoch,
        Self::AnswerOfThisEpoch,
        Self::AttachOfThisUptime,
        Self::SessionOfThisUptime,
        Self::SessionConfirmed,
        Self::FreshPosition,
        Self::MemberHasCommitted,
        Self::JoinerHasCommitted,
        Self::JoinerHasEpochStart,
        Self::ProposedCounts,
        Self::LeaverCounts,
        Self::LeaverAwaitsMetadata,
        Self::PendingIsKept,
        Self::AnswerToThis,
        Self::MetadataGoesForward,
        Self::EligibleLeadersCount,
        Self::EligibleAwaitMetadata,
        Self::ResetSparesMembers,
        Self::LeaseByOldestEcho,
        Self::LeaseNeedsMinIsr,
        Self::PartingByEpochs,
        Self::EpochsAdopted,
        Self::OwnEpochsPart,
        Self::NoCutBelowHighWatermark,
        Self::CutAsAgreed,
        Self::AppendOfThisSession,
        Self::AppendContinues,
        Self::LearnedWithinLog,
    ];
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

/// Runs `run` without `guard`; a panic of it is an error.
#[cfg(test)]
pub(crate) fn without<T>(guard: Guard, run: impl FnOnce() -> T) -> Result<T, String> {
    OFF.with(|off| off.set(Some(guard)));
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
    OFF.with(|off| off.set(None));
    result.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        text.unwrap_or_else(|| "a panic without words".to_owned())
    })
}
