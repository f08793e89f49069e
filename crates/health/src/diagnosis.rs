//! From the facts about a replica to its one cause.
//!
//! Rules are asked in order, roots first: a failed disk before the session it ended, a missing
//! connection before the fencing that followed from it. What always holds: not well means a cause.

use std::fmt;
use std::time::Duration;

use crate::rules::{self, behind, estimate};
use crate::text::{bytes, count, some, time};
use crate::{Cause, Join, ReplicaFacts, ReplicaState, Session};

/// What is wrong with a replica, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// What it does.
    pub state: ReplicaState,
    /// Why it is not in sync, or its partition takes no writes; none if all is well.
    pub cause: Option<Cause>,
    /// What shows it: numbers and times.
    pub evidence: String,
    /// What is being done.
    pub action: String,
    /// When it is tried next.
    pub next_attempt: Option<Duration>,
    /// How long it may take until it is well.
    pub estimate: Option<Duration>,
    /// What a person may do; none if there is nothing.
    pub advice: Option<String>,
}

impl Diagnosis {
    pub(crate) fn well(state: ReplicaState, evidence: String) -> Self {
        Self {
            state,
            cause: None,
            evidence,
            action: String::new(),
            next_attempt: None,
            estimate: None,
            advice: None,
        }
    }

    pub(crate) fn ill(state: ReplicaState, cause: Cause, evidence: String, action: &str) -> Self {
        Self {
            state,
            cause: Some(cause),
            evidence,
            action: action.to_owned(),
            next_attempt: None,
            estimate: None,
            advice: None,
        }
    }

    pub(crate) fn next(mut self, at: Duration) -> Self {
        self.next_attempt = Some(at);
        self
    }

    pub(crate) fn within(mut self, estimate: Option<Duration>) -> Self {
        self.estimate = estimate;
        self
    }

    /// What a person may do is what the cause says.
    pub(crate) fn advised(mut self) -> Self {
        self.advice = self
            .cause
            .map(|cause| cause.explanation().person.to_owned());
        self
    }

    /// Whether there is nothing to tell.
    #[must_use]
    pub const fn is_well(&self) -> bool {
        self.cause.is_none() && self.state.is_well()
    }
}

/// One line: state, cause, evidence, action, next attempt, estimate.
impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.state)?;
        if let Some(cause) = self.cause {
            write!(f, " ({cause})")?;
        }
        if !self.evidence.is_empty() {
            write!(f, ": {}", self.evidence)?;
        }
        if !self.action.is_empty() {
            write!(f, "; {}", self.action)?;
        }
        if let Some(next) = self.next_attempt {
            write!(f, "; next attempt in {}", time(next))?;
        }
        if let Some(estimate) = self.estimate {
            write!(f, "; in sync in about {}", time(estimate))?;
        }
        Ok(())
    }
}

/// The state of a replica, its cause, and all that a person should know about it.
#[must_use]
pub fn diagnose(facts: &ReplicaFacts) -> Diagnosis {
    let rules: [fn(&ReplicaFacts) -> Option<Diagnosis>; 12] = [
        rules::stale,
        rules::failed_disk,
        rules::full_disk,
        rules::lost_history,
        rules::paused,
        rules::unreachable,
        rules::cut_off,
        rules::leaderless,
        rules::kept_out,
        rules::repair,
        rules::slow_disk,
        rules::session,
    ];
    match rules.iter().find_map(|rule| rule(facts)) {
        Some(diagnosis) => diagnosis,
        None if facts.is_leader() => leading(facts),
        None => following(facts),
    }
}

fn leading(facts: &ReplicaFacts) -> Diagnosis {
    if facts.isr >= facts.min_isr {
        let evidence = format!(
            "{} in sync, log ends at {}",
            some(u64::from(facts.isr), "replica"),
            count(facts.log_end.get()),
        );
        return Diagnosis::well(ReplicaState::Leader, evidence);
    }
    let evidence = format!(
        "{} in sync, min.insync.replicas is {}; high watermark stands at {}",
        some(u64::from(facts.isr), "replica"),
        facts.min_isr,
        count(facts.high_watermark.get()),
    );
    let action = "refusing acks=all until enough replicas are back";
    Diagnosis::ill(ReplicaState::Leader, Cause::BelowMinIsr, evidence, action).advised()
}

fn following(facts: &ReplicaFacts) -> Diagnosis {
    if facts.in_isr {
        return keeping_up(facts);
    }
    match facts.join {
        Join::Held {
            remaining,
            evictions,
        } => {
            let evidence = format!(
                "{}; left those in sync {} of late",
                behind(facts),
                some(u64::from(evictions), "time"),
            );
            let action = "waiting whether it keeps up";
            return Diagnosis::ill(ReplicaState::CatchingUp, Cause::JoinHold, evidence, action)
                .next(remaining)
                .within(Some(remaining))
                .advised();
        }
        Join::Proposed { since } => {
            let evidence = format!(
                "{}; the controller was asked {} ago",
                behind(facts),
                time(since)
            );
            let action = "asking the controller again every second";
            let state = ReplicaState::CatchingUp;
            return Diagnosis::ill(state, Cause::IsrChangePending, evidence, action)
                .next(Duration::from_secs(1).saturating_sub(since))
                .advised();
        }
        Join::Idle => {}
    }
    if let Some(rate) = facts.throttled_to.filter(|_| facts.behind() > 0) {
        let evidence = format!("{}, held to {} a second", behind(facts), bytes(rate));
        let action = "copying from the leader at that rate";
        return Diagnosis::ill(ReplicaState::CatchingUp, Cause::Throttled, evidence, action)
            .within(estimate(facts))
            .advised();
    }
    let speed = facts.records_per_second.map_or(String::new(), |rate| {
        format!(", gets {} a second", some(rate, "record"))
    });
    let evidence = format!("{}{speed}", behind(facts));
    let action = match facts.session {
        Session::Attaching { .. } | Session::Refused { .. } => {
            "agreeing with the leader on where to go on"
        }
        _ if facts.leader_log_end.is_some() && facts.behind() == 0 => {
            "counts again once it has kept up for a moment"
        }
        _ => "copying from the leader",
    };
    Diagnosis::ill(
        ReplicaState::CatchingUp,
        Cause::CatchingUp,
        evidence,
        action,
    )
    .within(estimate(facts))
}

fn keeping_up(facts: &ReplicaFacts) -> Diagnosis {
    if facts.behind() == 0 || facts.behind_for < rules::NOTABLE {
        return Diagnosis::well(ReplicaState::InSync, behind(facts));
    }
    let evidence = format!("{} for {}", behind(facts), time(facts.behind_for));
    let action = "leaves those in sync if it does not catch up";
    Diagnosis::ill(
        ReplicaState::FallingBehind,
        Cause::CatchingUp,
        evidence,
        action,
    )
    .within(estimate(facts))
}
