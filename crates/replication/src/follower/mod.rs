//! A follower of one partition in one leader epoch: attach, agree, be fed, and begin again.
//!
//! It never cuts its log but against a leader's answer, and starts no session but by stating where
//! it stands. Record bytes stay outside: it sees where an append begins and what became of it.

mod standing;
mod view;

use std::time::Duration;

use plimsoll_types::{LeaderEpoch, Monotonic, NodeId, Offset};

pub use view::{
    AppendHead, Attached, FollowerAction, FollowerEvent, FollowerState, FollowerTerm, LocalFault,
    LocalLog, Reset, Verdict,
};

use crate::back_off::BackOff;
use crate::divergence::{LogShape, adopted, greatest_common};
use crate::guards::{Guard, breached, holds};
use crate::session::{Nack, Refusal};
use crate::timing::Timing;

/// A follower of one partition in one leader epoch.
///
/// Every method appends what is to be done to `out`; the owner does it in order.
#[derive(Debug)]
pub struct Follower {
    term: FollowerTerm,
    timing: Timing,
    state: FollowerState,
    linked: bool,
    back_off: BackOff,
    /// How long it waits for the next answer to an attach.
    patience: Duration,
    suspicion: BackOff,
    /// A copy was kept of what this leader wanted cut.
    quarantined: Option<Offset>,
    /// A log was put aside, and is kept until this replica is in sync.
    aside: bool,
    /// What is here is not to be believed.
    damaged: bool,
    /// It may be elected without loss, as far as is known.
    may_lead: bool,
    /// The leader has said that it has no session of this replica and does not count it.
    released: bool,
    /// Where the log ended when it last moved in this session, and when.
    moved: (Offset, Monotonic),
    /// The leader's log end, as far as it has told.
    leader_end: Offset,
    outside: standing::Outside,
}

impl Follower {
    /// Begins to follow; `linked` when there is a link to the leader already.
    #[must_use]
    pub fn new(
        term: FollowerTerm,
        timing: Timing,
        linked: bool,
        now: Monotonic,
        out: &mut Vec<FollowerAction>,
    ) -> Self {
        let seed = u64::from(term.me.get()) << 40
            ^ u64::from(term.key.index) << 20
            ^ u64::from(term.leader_epoch.get());
        let mut follower = Self {
            term,
            timing,
            state: FollowerState::Waiting,
            linked,
            back_off: BackOff::new(timing.back_off_min, timing.back_off_max, seed),
            patience: timing.attach,
            suspicion: BackOff::new(timing.suspect_pause / 8, timing.suspect_pause, !seed),
            quarantined: None,
            aside: false,
            damaged: false,
            may_lead: true,
            released: false,
            moved: (Offset::ZERO, now),
            leader_end: Offset::ZERO,
            outside: standing::Outside::default(),
        };
        follower.ask(now, out);
        follower
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> FollowerState {
        self.state
    }

    /// The epoch it follows.
    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.term.leader_epoch
    }

    /// Whom it follows.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        self.term.leader
    }

    /// The session it is fed by.
    #[must_use]
    pub fn session(&self) -> Option<u64> {
        match self.state {
            FollowerState::Streaming { session } | FollowerState::Working { session, .. } => {
                Some(session)
            }
            FollowerState::Waiting
            | FollowerState::Pausing { .. }
            | FollowerState::Attaching { .. }
            | FollowerState::Withdrawn { .. }
            | FollowerState::Rebuilding { .. }
            | FollowerState::Suspect { .. } => None,
        }
    }

    /// There is a link to the leader.
    pub fn link_up(&mut self, now: Monotonic, out: &mut Vec<FollowerAction>) {
        self.linked = true;
        if self.state == FollowerState::Waiting {
            self.ask(now, out);
        }
    }

    /// There is none any more: what its sessions were is over.
    pub fn link_down(&mut self, now: Monotonic) {
        self.linked = false;
        self.patience = self.timing.attach;
        match self.state {
            // The disk is at work; what comes out of it is met by the next attach.
            FollowerState::Working { .. } => self.pause(now),
            FollowerState::Suspect { .. }
            | FollowerState::Withdrawn { .. }
            | FollowerState::Rebuilding { .. } => {}
            FollowerState::Waiting
            | FollowerState::Pausing { .. }
            | FollowerState::Attaching { .. }
            | FollowerState::Streaming { .. } => self.state = FollowerState::Waiting,
        }
    }

    /// The leader gives a session.
    pub fn attached(
        &mut self,
        answer: &Attached<'_>,
        log: &LocalLog<'_>,
        now: Monotonic,
        out: &mut Vec<FollowerAction>,
    ) {
        if !self.awaits(answer.session, answer.leader_epoch, now, out) {
            return;
        }
        let shape = LogShape {
            log_start: log.log_start,
            log_end: log.log_end,
            epochs: log.epochs,
        };
        // Its own rule next to the leader's word: it cuts at least where its own epochs part.
        let common = greatest_common(answer.epochs, log.epochs);
        let own_end = common.and_then(|common| shape.end_of(common));
        let own_end = own_end.filter(|_| holds(Guard::OwnEpochsPart));
        let given = answer.truncate_to.unwrap_or(log.log_end).min(log.log_end);
        let to = own_end.map_or(given, |end| end.min(given));
        let last = log.epochs.last().map(|entry| entry.epoch);
        let unclean = answer.unclean_epoch.max(self.term.unclean_epoch);
        let clean = unclean.is_none_or(|unclean| last.is_some_and(|last| unclean <= last));
        let cuts_committed = to < log.high_watermark;
        if breached(Guard::NoCutBelowHighWatermark, !(cuts_committed && clean)) {
            self.suspect(answer.session, to, log, now, out);
            return;
        }
        let mut epochs = adopted(log.epochs, answer.epochs, to);
        if !holds(Guard::EpochsAdopted) && to == log.log_end {
            epochs = log.epochs.to_vec();
        }
        self.leader_end = answer.log_end;
        self.moved = (to, now);
        if to < log.log_end {
            let from = log.log_end;
            out.push(FollowerAction::Event(FollowerEvent::Truncating {
                from,
                to,
            }));
        }
        if to < log.log_end || epochs != log.epochs {
            self.state = FollowerState::Working {
                session: answer.session,
                expects: to,
                until: now + self.timing.confirm,
            };
            out.push(FollowerAction::Truncate {
                to,
                epochs,
                allow_below_high_watermark: cuts_committed,
            });
        } else {
            self.stream(answer.session, to, out);
        }
        out.push(FollowerAction::Learned {
            high_watermark: answer.high_watermark.min(to),
            log_start: answer.log_start,
        });
    }

    /// The leader says to start afresh. The old log is put aside and kept until this replica is in
    /// sync again, so nothing is lost by a leader that is wrong.
    pub fn reset(&mut self, answer: &Reset<'_>, now: Monotonic, out: &mut Vec<FollowerAction>) {
        let of_session = self.session() == Some(answer.session);
        if !of_session && !self.awaits(answer.session, answer.leader_epoch, now, out) {
            return;
        }
        let epochs = adopted(&[], answer.epochs, answer.start);
        let Reset {
            session,
            start,
            log_start,
            ..
        } = *answer;
        self.aside = true;
        self.moved = (start, now);
        self.state = FollowerState::Working {
            session,
            expects: start,
            until: now + self.timing.confirm,
        };
        out.push(FollowerAction::Event(FollowerEvent::Resetting { start }));
        out.push(FollowerAction::ResetTo {
            start,
            log_start,
            epochs,
        });
    }

    /// The leader gives none, or has ended the one there was. A link is ordered, and only answers on
    /// the link of the last attach come here.
    pub fn refused(&mut self, why: Refusal, now: Monotonic, out: &mut Vec<FollowerAction>) {
        if let Some(session) = self.session() {
            out.push(FollowerAction::Detach { session });
        } else if !matches!(self.state, FollowerState::Attaching { .. }) {
            return;
        }
        out.push(FollowerAction::Event(FollowerEvent::Refused(why)));
        match why {
            Refusal::LostLog => out.push(FollowerAction::ReportLoss),
            Refusal::NotLeader { .. }
            | Refusal::FencedEpoch { .. }
            | Refusal::NotAReplica
            | Refusal::StaleBrokerEpoch => out.push(FollowerAction::RefreshMetadata),
            Refusal::UnknownEpoch | Refusal::Storage | Refusal::Throttled { .. } => {}
        }
        self.pause(now);
        if let (Refusal::Throttled { after }, FollowerState::Pausing { until }) = (why, self.state)
        {
            let told = now + after.min(Duration::from_secs(60));
            self.state = FollowerState::Pausing {
                until: until.max(told),
            };
        }
    }

    /// The log was cut or begun afresh, and ends here; or could not be.
    pub fn worked(
        &mut self,
        result: Result<Offset, LocalFault>,
        now: Monotonic,
        out: &mut Vec<FollowerAction>,
    ) {
        let (session, expects) = match self.state {
            FollowerState::Working {
                session, expects, ..
            } => (session, expects),
            FollowerState::Rebuilding { .. } => {
                match result {
                    Ok(_) => {
                        self.damaged = false;
                        self.ask(now, out);
                    }
                    Err(fault) => self.failed(fault, now, out),
                }
                return;
            }
            FollowerState::Waiting
            | FollowerState::Pausing { .. }
            | FollowerState::Attaching { .. }
            | FollowerState::Streaming { .. }
            | FollowerState::Withdrawn { .. }
            | FollowerState::Suspect { .. } => return,
        };
        match result {
            Ok(end) if !breached(Guard::CutAsAgreed, end == expects) => {
                self.stream(session, end, out);
            }
            Ok(_) => {
                // A batch reached across: state the new end and agree again.
                out.push(FollowerAction::Detach { session });
                self.pause(now);
            }
            Err(fault) => self.failed(fault, now, out),
        }
    }

    /// An append came, or marks without one.
    pub fn append(
        &mut self,
        head: &AppendHead,
        log_end: Offset,
        now: Monotonic,
        out: &mut Vec<FollowerAction>,
    ) -> Verdict {
        if breached(Guard::AppendOfThisSession, self.is_fed_by(head.session)) {
            return Verdict::Drop;
        }
        self.leader_end = self.leader_end.max(head.log_end);
        let Some(from) = head.from else {
            self.learn(head, log_end, out);
            return Verdict::Drop;
        };
        if breached(Guard::AppendContinues, from == log_end) {
            let why = Nack::Gap { expected: log_end };
            out.push(FollowerAction::SendNack {
                session: head.session,
                why,
            });
            self.pause(now);
            return Verdict::Refuse;
        }
        Verdict::Accept
    }

    /// The batches of an accepted append are in the log, which ends here now; or are not.
    pub fn appended(
        &mut self,
        head: &AppendHead,
        result: Result<Offset, LocalFault>,
        now: Monotonic,
        out: &mut Vec<FollowerAction>,
    ) {
        if breached(Guard::AppendOfThisSession, self.is_fed_by(head.session)) {
            return;
        }
        match result {
            Ok(log_end) => {
                if log_end > self.moved.0 {
                    self.moved = (log_end, now);
                    self.back_off.succeeded();
                    self.suspicion.succeeded();
                    self.patience = self.timing.attach;
                }
                self.learn(head, log_end, out);
                out.push(FollowerAction::SendAck {
                    session: head.session,
                });
            }
            Err(fault) => self.failed(fault, now, out),
        }
    }

    /// The log cannot take anything: tell the leader and try again later.
    pub fn failed(&mut self, fault: LocalFault, now: Monotonic, out: &mut Vec<FollowerAction>) {
        out.push(FollowerAction::Event(FollowerEvent::Fault(fault)));
        if let Some(session) = self.session() {
            let why = match fault {
                LocalFault::Refused(why) => why,
                LocalFault::DiskFull => Nack::DiskFull,
                LocalFault::IoError => Nack::IoError,
            };
            out.push(FollowerAction::SendNack { session, why });
        }
        self.pause(now);
    }

    /// Time passed.
    pub fn tick(&mut self, log_end: Offset, now: Monotonic, out: &mut Vec<FollowerAction>) {
        match self.state {
            FollowerState::Waiting => {
                if self.linked {
                    self.ask(now, out);
                }
            }
            FollowerState::Pausing { until }
            | FollowerState::Withdrawn { until }
            | FollowerState::Suspect { until } => {
                if now >= until {
                    self.ask(now, out);
                }
            }
            FollowerState::Attaching { until } => {
                if now >= until {
                    out.push(FollowerAction::Event(FollowerEvent::AttachUnanswered));
                    self.patience = (self.patience * 2).min(self.timing.attach_max);
                    self.pause(now);
                }
            }
            FollowerState::Working { session, until, .. } => {
                if now >= until {
                    out.push(FollowerAction::Detach { session });
                    self.pause(now);
                }
            }
            FollowerState::Rebuilding { until } => {
                if now >= until {
                    self.pause(now);
                }
            }
            FollowerState::Streaming { session } => {
                // The leader watches too, and sooner; this is for a leader that has forgotten.
                if log_end > self.moved.0 || log_end >= self.leader_end {
                    self.moved = (log_end, now);
                    self.ask_if_forgotten(log_end, now, out);
                } else if now.since(self.moved.1) >= self.timing.stall * 2 {
                    let event = FollowerEvent::Starved { at: log_end };
                    out.push(FollowerAction::Event(event));
                    out.push(FollowerAction::Detach { session });
                    self.pause(now);
                }
            }
        }
    }

    /// Whether an answer is to the attach under way. One to an older attach has made a session that
    /// nobody wants, and has replaced the one there was: agree again.
    fn awaits(
        &mut self,
        session: u64,
        epoch: LeaderEpoch,
        now: Monotonic,
        out: &mut Vec<FollowerAction>,
    ) -> bool {
        if breached(Guard::AnswerOfThisEpoch, epoch == self.term.leader_epoch) {
            out.push(FollowerAction::Detach { session });
            return false;
        }
        if matches!(self.state, FollowerState::Attaching { .. }) {
            return true;
        }
        out.push(FollowerAction::Detach { session });
        if self.session().is_some() {
            self.pause(now);
        }
        false
    }

    fn ask(&mut self, now: Monotonic, out: &mut Vec<FollowerAction>) {
        if self.begin_with_nothing(now, out) {
            return;
        }
        self.state = FollowerState::Waiting;
        let Some(leader) = self.term.leader.filter(|_| self.linked) else {
            return;
        };
        let until = now + self.patience;
        self.state = FollowerState::Attaching { until };
        self.released = false;
        out.push(FollowerAction::SendAttach {
            leader,
            leader_epoch: self.term.leader_epoch,
            broker_epoch: self.term.broker_epoch,
        });
    }

    fn pause(&mut self, now: Monotonic) {
        let until = self.back_off.failed(now);
        self.state = FollowerState::Pausing { until };
    }

    fn is_fed_by(&self, session: u64) -> bool {
        self.state == FollowerState::Streaming { session }
    }

    fn stream(&mut self, session: u64, from: Offset, out: &mut Vec<FollowerAction>) {
        self.state = FollowerState::Streaming { session };
        out.push(FollowerAction::Event(FollowerEvent::Streaming { from }));
        out.push(FollowerAction::SendAck { session });
    }

    fn learn(&self, head: &AppendHead, log_end: Offset, out: &mut Vec<FollowerAction>) {
        // Invariant R5: never above the own log end.
        let mut high_watermark = head.high_watermark;
        if holds(Guard::LearnedWithinLog) {
            high_watermark = high_watermark.min(log_end);
        }
        let log_start = head.log_start;
        out.push(FollowerAction::Learned {
            high_watermark,
            log_start,
        });
    }
}
