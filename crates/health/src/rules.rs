//! What can be wrong with a replica beside its position: one rule for each fault.
//!
//! A rule looks for its own fault alone; their order is in [`diagnose`](crate::diagnose).

use std::time::Duration;

use plimsoll_types::NodeId;

use crate::text::{bytes, count, some, time};
use crate::{Cause, Diagnosis, Disk, Link, Repair, ReplicaFacts, ReplicaState, Session};

/// What is over sooner is how things begin and end, and no fault: a replica counts meanwhile.
pub(crate) const NOTABLE: Duration = Duration::from_secs(1);
/// Facts older than this say nothing.
const STALE: Duration = Duration::from_secs(15);
/// A process that stood still for longer is no wonder of scheduling.
const NOTABLE_PAUSE: Duration = Duration::from_millis(500);
/// Metadata that lags for longer is not just on its way.
const NOTABLE_METADATA_LAG: Duration = Duration::from_secs(1);

pub(crate) fn stale(facts: &ReplicaFacts) -> Option<Diagnosis> {
    (facts.age > STALE).then(|| {
        let evidence = format!("last heard of {} ago", time(facts.age));
        let action = "waiting for the next report of its leader or its node";
        Diagnosis::ill(ReplicaState::Unknown, Cause::NoNews, evidence, action).advised()
    })
}

pub(crate) fn failed_disk(facts: &ReplicaFacts) -> Option<Diagnosis> {
    let Disk::Failed { since, error } = &facts.disk else {
        return None;
    };
    let evidence = format!(
        "node {}'s disk failed {} ago: {error}; log ends at {}",
        facts.node,
        time(*since),
        count(facts.log_end.get()),
    );
    let action = match facts.is_leader() {
        true => "handing leadership over; the log is read in full before it is used again",
        false => "left out of those in sync; the log is read in full before it is used again",
    };
    Some(Diagnosis::ill(ReplicaState::Offline, Cause::IoError, evidence, action).advised())
}

pub(crate) fn full_disk(facts: &ReplicaFacts) -> Option<Diagnosis> {
    let Disk::Full {
        free_bytes,
        needs_bytes,
    } = facts.disk
    else {
        return None;
    };
    let evidence = format!(
        "node {} has {} free and needs {}; {}",
        facts.node,
        bytes(free_bytes),
        bytes(needs_bytes),
        behind(facts),
    );
    let action = match facts.is_leader() {
        true => "handing leadership over, running retention",
        false => "running retention, goes on by itself once there is room",
    };
    Some(
        Diagnosis::ill(
            ReplicaState::Stalled,
            Cause::FollowerDiskFull,
            evidence,
            action,
        )
        .advised(),
    )
}

pub(crate) fn lost_history(facts: &ReplicaFacts) -> Option<Diagnosis> {
    let Some(Repair::Quarantined { at }) = facts.repair else {
        return None;
    };
    let evidence = format!(
        "differs from the leader's log from offset {} on, below the high watermark {}; no unclean election explains it",
        count(at.get()),
        count(facts.high_watermark.get()),
    );
    let action = "nothing is cut; the differing end is kept aside";
    Some(Diagnosis::ill(ReplicaState::Stalled, Cause::LostHistory, evidence, action).advised())
}

pub(crate) fn paused(facts: &ReplicaFacts) -> Option<Diagnosis> {
    let pause = facts.paused.filter(|pause| *pause >= NOTABLE_PAUSE)?;
    let outlived = facts.in_isr && facts.fenced.is_none() && facts.self_fenced.is_none();
    // Who kept its place has nothing to go on from, and who copies its log anew has another reason.
    if outlived || facts.repair.is_some() {
        return None;
    }
    let evidence = format!(
        "node {}'s process stood still for {}; {}",
        facts.node,
        time(pause),
        behind(facts)
    );
    let action = "going on where it was, or registering anew if it was fenced";
    Some(
        Diagnosis::ill(
            ReplicaState::Stalled,
            Cause::PausedProcess,
            evidence,
            action,
        )
        .advised(),
    )
}

pub(crate) fn unreachable(facts: &ReplicaFacts) -> Option<Diagnosis> {
    let Link::Down {
        since,
        attempts,
        next_attempt,
    } = facts.link
    else {
        return None;
    };
    // A stream that begins or was moved is no lost connection; a fenced node's is.
    let is_moment = since < NOTABLE && facts.in_isr && facts.fenced.is_none();
    if facts.is_leader() || is_moment {
        return None;
    }
    let between = match facts.leader {
        Some(leader) => format!("nodes {leader} and {}", facts.node),
        None => format!("node {} and the others", facts.node),
    };
    let lasting = match since.is_zero() {
        true => String::new(),
        false => format!(" for {}", time(since)),
    };
    let failed = match attempts {
        0 => String::new(),
        attempts => format!(", {} failed", some(u64::from(attempts), "attempt")),
    };
    // Whoever was never heard of in this term may have all there is.
    let behind = match facts.leader_log_end {
        None => String::new(),
        Some(_) => format!("; {}", behind(facts)),
    };
    let evidence = format!("no connection between {between}{lasting}{failed}{behind}");
    let action = match facts.draining {
        true => "its node was drained; connecting again",
        false => "connecting again",
    };
    let cause = match facts.draining {
        true => Cause::Draining,
        false => Cause::PeerUnreachable,
    };
    Some(
        Diagnosis::ill(ReplicaState::Offline, cause, evidence, action)
            .next(next_attempt)
            .advised(),
    )
}

pub(crate) fn cut_off(facts: &ReplicaFacts) -> Option<Diagnosis> {
    let silent = facts.self_fenced?;
    let evidence = format!(
        "node {} has had no answer from a controller for {}",
        facts.node,
        time(silent)
    );
    let action = "acknowledging nothing until a controller answers; asking all of them";
    Some(Diagnosis::ill(ReplicaState::Offline, Cause::SelfFenced, evidence, action).advised())
}

pub(crate) fn leaderless(facts: &ReplicaFacts) -> Option<Diagnosis> {
    if facts.leader.is_some() {
        return None;
    }
    // Who does not know the newest metadata does not know whether there is a leader.
    if let Some(lagging) = metadata(facts) {
        return Some(lagging);
    }
    let evidence = format!(
        "nobody leads; {} in sync, log ends at {}",
        some(u64::from(facts.isr), "replica"),
        count(facts.log_end.get()),
    );
    let action = "electing the first replica to come back that has all that was committed";
    Some(Diagnosis::ill(ReplicaState::Stalled, Cause::NoLeader, evidence, action).advised())
}

fn metadata(facts: &ReplicaFacts) -> Option<Diagnosis> {
    let lag = facts
        .metadata_lag
        .filter(|lag| lag.changes > 0 && lag.lasting >= NOTABLE_METADATA_LAG)?;
    let evidence = format!(
        "node {} misses {} of the metadata for {}",
        facts.node,
        some(lag.changes, "change"),
        time(lag.lasting),
    );
    let action = "fetching what is missing";
    Some(Diagnosis::ill(ReplicaState::Stalled, Cause::MetadataLag, evidence, action).advised())
}

pub(crate) fn kept_out(facts: &ReplicaFacts) -> Option<Diagnosis> {
    // In sync it is as well as any; that its node leads nothing is the node's matter.
    if facts.draining && !facts.in_isr {
        let evidence = format!("node {} is being drained; {}", facts.node, behind(facts));
        let action = "kept out of those in sync until the node resumes";
        let state = state_by_position(facts);
        return Some(Diagnosis::ill(state, Cause::Draining, evidence, action).advised());
    }
    if let Some(lagging) = metadata(facts) {
        return Some(lagging);
    }
    let since = facts.fenced?;
    let evidence = format!(
        "node {} is connected, and fenced for {}; {}",
        facts.node,
        time(since),
        behind(facts)
    );
    let action = "sending signs of life; the controller lets it in once they arrive in time";
    Some(Diagnosis::ill(state_by_position(facts), Cause::Fenced, evidence, action).advised())
}

/// Out of sync for a reason beside its position.
fn state_by_position(facts: &ReplicaFacts) -> ReplicaState {
    match facts.behind() {
        _ if facts.is_leader() => ReplicaState::Offline,
        0 => ReplicaState::Stalled,
        _ => ReplicaState::CatchingUp,
    }
}

pub(crate) fn repair(facts: &ReplicaFacts) -> Option<Diagnosis> {
    let (state, cause, evidence, action) = match facts.repair.as_ref()? {
        Repair::Quarantined { .. } => return None,
        Repair::Cut { from, to } => (
            ReplicaState::Repairing,
            Cause::Diverged,
            format!(
                "{} at {} to {} were never committed",
                some(to.get().saturating_sub(from.get()), "record"),
                count(from.get()),
                count(to.get()),
            ),
            "cutting them off, then copying from the leader",
        ),
        Repair::Corrupt {
            from,
            to,
            copied_to,
        } => (
            ReplicaState::Repairing,
            Cause::CorruptRange,
            format!(
                "a checksum fails on node {} between offsets {} and {}; copied to {}",
                facts.node,
                count(from.get()),
                count(to.get()),
                count(copied_to.get()),
            ),
            match (facts.is_leader(), facts.in_isr) {
                (true, _) => "handing leadership over; nothing of the range is served",
                (false, true) => "leaving those in sync, then copying from a verified replica",
                (false, false) => "copying the records from a verified replica",
            },
        ),
        Repair::Lost { from, copied_to } => (
            ReplicaState::Rebuilding,
            Cause::LostLog,
            format!(
                "node {} is without {}; copied to {}, {}",
                facts.node,
                match from.get() {
                    0 => "this log".to_owned(),
                    from => format!("what this log held from offset {} on", count(from)),
                },
                count(copied_to.get()),
                behind(facts),
            ),
            match facts.in_isr {
                true => "leaving those in sync, then copying all of it from the leader",
                false => "copying all of it from the leader",
            },
        ),
        Repair::BehindLogStart {
            ended,
            leader_log_start,
            copied_to,
        } => (
            ReplicaState::Rebuilding,
            Cause::BehindLogStart,
            format!(
                "log ended at {}, the leader's begins at {}; copied to {}",
                count(ended.get()),
                count(leader_log_start.get()),
                count(copied_to.get()),
            ),
            "copying anew from the leader's first record",
        ),
    };
    let estimate = estimate(facts);
    Some(
        Diagnosis::ill(state, cause, evidence, action)
            .within(estimate)
            .advised(),
    )
}

pub(crate) fn slow_disk(facts: &ReplicaFacts) -> Option<Diagnosis> {
    let Disk::Slow { sync, lasting } = facts.disk else {
        return None;
    };
    let evidence = format!(
        "a sync of node {}'s disk took {}, slow for {}; {}",
        facts.node,
        time(sync),
        time(lasting),
        behind(facts),
    );
    let (state, action) = match (facts.is_leader(), facts.in_isr) {
        (true, _) => (ReplicaState::Leader, "handing leadership over"),
        (false, true) => (
            ReplicaState::FallingBehind,
            "leaves those in sync if it goes on holding them up",
        ),
        (false, false) => (
            ReplicaState::CatchingUp,
            "joins again once its disk has kept up for a while",
        ),
    };
    let estimate = estimate(facts);
    Some(
        Diagnosis::ill(state, Cause::SlowDisk, evidence, action)
            .within(estimate)
            .advised(),
    )
}

pub(crate) fn session(facts: &ReplicaFacts) -> Option<Diagnosis> {
    if facts.is_leader() {
        return None;
    }
    match &facts.session {
        Session::Streaming | Session::Attaching { .. } => None,
        // The leader had to learn of the topic, or began the stream anew: the next attempt is near.
        Session::Refused { since, .. } if *since < NOTABLE => None,
        Session::Refused {
            since,
            why,
            attempts,
            next_attempt,
        } => {
            let evidence = format!(
                "the leader on node {} refused {} in {}: {why}",
                leader(facts.leader),
                some(u64::from(*attempts), "attempt"),
                time(*since),
            );
            let action = "asking again, with the newest metadata";
            Some(
                Diagnosis::ill(
                    ReplicaState::Stalled,
                    Cause::AttachRefused,
                    evidence,
                    action,
                )
                .next(*next_attempt)
                .advised(),
            )
        }
        Session::Stalled {
            since,
            attempts,
            next_attempt,
        } => {
            let evidence = format!(
                "no record taken for {}, log stands at {}; {}",
                time(*since),
                count(facts.log_end.get()),
                behind(facts),
            );
            let action = match attempts {
                0 | 1 => "beginning the stream anew",
                2..=3 => "sending one batch at a time",
                _ => "copying the log anew",
            };
            Some(
                Diagnosis::ill(
                    ReplicaState::Stalled,
                    Cause::StalledStream,
                    evidence,
                    action,
                )
                .next(*next_attempt)
                .advised(),
            )
        }
    }
}

pub(crate) fn behind(facts: &ReplicaFacts) -> String {
    match (facts.leader_log_end, facts.behind()) {
        (None, _) => format!(
            "log ends at {}, the leader's end is not known",
            count(facts.log_end.get())
        ),
        (Some(end), 0) => format!("has all up to {}", count(end.get())),
        (Some(_), behind) => format!("{} behind", some(behind, "record")),
    }
}

/// How long until it has all, at the rate of late.
pub(crate) fn estimate(facts: &ReplicaFacts) -> Option<Duration> {
    match (facts.behind(), facts.records_per_second?) {
        (_, 0) => None,
        (behind, rate) => Some(Duration::from_millis(behind.saturating_mul(1000) / rate)),
    }
}

fn leader(leader: Option<NodeId>) -> String {
    leader.map_or("?".to_owned(), |leader| leader.to_string())
}
