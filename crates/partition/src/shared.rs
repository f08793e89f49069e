//! What a partition's writer, its flusher and its readers share, none of it behind a lock.

use std::error::Error;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use arc_swap::{ArcSwap, ArcSwapOption};
use plimsoll_segment_log::{FlushPool, FlushTarget, LogHost, LogReader, LogSync};
use plimsoll_types::{LeaderEpoch, NodeId, Offset};
use plimsoll_watermark::{Counts, Position, Sealed, TenureStart, Watermarks};

use crate::config::{Durability, PartitionConfig};
use crate::lease::Lease;
use crate::partition::PartitionId;
use crate::role::{IsrRule, Role};
use crate::tap::Taps;

/// The log as its readers and flushers see it; another one after it was opened again.
pub(crate) struct Parts {
    pub(crate) reader: LogReader,
    pub(crate) sync: LogSync,
}

/// Whom a follower follows, and where its leader's high watermark is published.
pub(crate) struct Following {
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) position: Position,
}

/// Where a partition's files are.
pub(crate) struct Place {
    pub(crate) host: LogHost,
    pub(crate) dir: PathBuf,
}

/// The shared half of a [`Partition`](crate::Partition).
pub(crate) struct Shared {
    pub(crate) id: PartitionId,
    pub(crate) node: NodeId,
    pub(crate) host: LogHost,
    pub(crate) dir: PathBuf,
    pub(crate) watermarks: Watermarks,
    /// Changed by the writer, while a new course of the watermarks begins.
    pub(crate) role: ArcSwap<Role>,
    /// As the role. Of a leader only.
    pub(crate) rule: ArcSwap<IsrRule>,
    /// Of a follower only; changed by the writer.
    pub(crate) following: ArcSwapOption<Following>,
    /// Where the leader's log starts, as it says.
    pub(crate) leader_log_start: AtomicU64,
    /// The leader's lease, as [`Lease::to_word`] has it.
    pub(crate) lease: AtomicU64,
    /// Where scrubbing goes on.
    pub(crate) scrubbed_to: AtomicU64,
    pub(crate) taps: Taps,
    /// Changed by the writer.
    pub(crate) parts: ArcSwap<Parts>,
    pub(crate) config: ArcSwap<PartitionConfig>,
    /// The node's, which outlives no partition's flush: a flusher thread must not be the one that
    /// drops the pool.
    flushers: Weak<FlushPool>,
    /// Itself, to hand to the flushers.
    this: Weak<Shared>,
    /// Why the replica is offline; set by the first failure, cleared when it is opened again.
    pub(crate) offline: ArcSwapOption<Arc<str>>,
    /// Reads that found damage; for the operator.
    pub(crate) damaged_reads: AtomicU64,
}

impl Shared {
    pub(crate) fn new(
        id: PartitionId,
        node: NodeId,
        place: Place,
        watermarks: Watermarks,
        parts: Parts,
        config: PartitionConfig,
        flushers: &Arc<FlushPool>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            id,
            node,
            host: place.host,
            dir: place.dir,
            watermarks,
            role: ArcSwap::from_pointee(Role::Idle),
            rule: ArcSwap::from_pointee(IsrRule::default()),
            following: ArcSwapOption::empty(),
            leader_log_start: AtomicU64::new(0),
            lease: AtomicU64::new(0),
            scrubbed_to: AtomicU64::new(0),
            taps: Taps::default(),
            parts: ArcSwap::from_pointee(parts),
            config: ArcSwap::from_pointee(config),
            flushers: Arc::downgrade(flushers),
            this: Weak::clone(this),
            offline: ArcSwapOption::empty(),
            damaged_reads: AtomicU64::new(0),
        })
    }

    pub(crate) fn leader_epoch(&self) -> LeaderEpoch {
        self.watermarks.leader_epoch()
    }

    /// Why the replica is offline, if it is.
    pub(crate) fn offline(&self) -> Option<Arc<str>> {
        self.offline.load().as_deref().cloned()
    }

    /// Takes the replica offline (P3) and tells whoever waits. The first reason stands.
    pub(crate) fn fail(&self, error: &dyn Error) -> Arc<str> {
        let why: Arc<str> = describe(error).into();
        let first: Option<Arc<Arc<str>>> = None;
        let before = self
            .offline
            .compare_and_swap(&first, Some(Arc::new(Arc::clone(&why))));
        let why = before.as_deref().cloned().unwrap_or(why);
        // The course ends here: whoever waits for an offset of it is told so, and asks again.
        self.watermarks.cut(|sealed| self.tenure(sealed));
        self.taps.ring();
        why
    }

    pub(crate) fn set_lease(&self, lease: Lease) {
        self.lease.store(lease.to_word(), Ordering::Release);
    }

    /// Begins a new course as the log is now, in `epoch` or the current one, with the high
    /// watermark no higher than `at_most`. For the writer alone; `change` sees no advance.
    pub(crate) fn begin_course(
        &self,
        epoch: Option<LeaderEpoch>,
        at_most: Offset,
        change: impl FnOnce(),
    ) {
        let parts = self.parts.load();
        let reader = &parts.reader;
        self.watermarks.cut(|sealed| {
            change();
            let log_end = reader.log_end();
            let log_start = reader.log_start().min(log_end);
            let mut tenure = self.tenure(sealed);
            tenure.leader_epoch = epoch.unwrap_or(sealed.leader_epoch);
            tenure.log_start = log_start;
            tenure.log_end = log_end;
            tenure.durable_end = reader.durable_end().min(log_end);
            tenure.high_watermark = sealed.high_watermark.min(at_most).min(log_end);
            tenure
        });
        // A sync that was under way published on the course before.
        if self.config.load().durability == Durability::Fsync
            && reader.durable_end() < reader.log_end()
        {
            self.request_flush();
        }
        self.taps.ring();
    }

    /// Takes the handle on which the leader's word is published, after a course of `role` began.
    pub(crate) fn follow(&self, role: Role) {
        let following = Following::of(role).and_then(|(leader_epoch, leader)| {
            let position = self.watermarks.position(leader).ok()?;
            Some(Arc::new(Following {
                leader_epoch,
                position,
            }))
        });
        self.following.store(following);
    }

    /// A tenure that goes on from where `sealed` ended, as role, rule and configuration are now.
    ///
    /// A follower counts its leader, whose position is the leader's high watermark, and what it
    /// has written itself. Without a leader to listen to the high watermark stands still (W8).
    pub(crate) fn tenure(&self, sealed: Sealed) -> TenureStart {
        let mut tenure = TenureStart {
            leader_epoch: sealed.leader_epoch,
            log_start: sealed.log_start,
            durable_end: sealed.durable_end,
            log_end: sealed.log_end,
            high_watermark: sealed.high_watermark,
            local: self.node,
            followers: Vec::new(),
            fresh: Vec::new(),
            maximal_isr: vec![self.node],
            committed_isr: 1,
            min_isr: 2,
            counts: Counts::Written,
        };
        match **self.role.load() {
            Role::Follower {
                leader: Some(leader),
                ..
            } if leader != self.node => {
                tenure.followers = vec![leader];
                tenure.maximal_isr = vec![self.node, leader];
                tenure.min_isr = 1;
            }
            Role::Leader { .. } => {
                let rule = self.rule.load();
                tenure.followers.clone_from(&rule.followers);
                tenure.maximal_isr.clone_from(&rule.maximal_isr);
                tenure.committed_isr = rule.committed_isr;
                tenure.min_isr = rule.min_isr;
                tenure.counts = counts(self.config.load().durability);
            }
            Role::Follower { .. } | Role::Idle => {}
        }
        tenure
    }

    /// The bytes up to `log_end` are readable (P1): tells readers, and has them synced where the
    /// durability asks for it.
    pub(crate) fn written(&self, log_end: Offset) {
        self.watermarks.publish_log_end(log_end);
        if self.config.load().durability == Durability::Fsync {
            self.request_flush();
        }
        self.taps.ring();
    }

    /// Has everything written so far synced, by and by.
    pub(crate) fn request_flush(&self) {
        if let (Some(flushers), Some(this)) = (self.flushers.upgrade(), self.this.upgrade()) {
            flushers.request(&(this as Arc<dyn FlushTarget>));
        }
    }

    pub(crate) fn count_damaged_read(&self) {
        self.damaged_reads.fetch_add(1, Ordering::Relaxed);
    }
}

impl FlushTarget for Shared {
    fn flush(&self) {
        // Taken before the sync: if the log is cut meanwhile, the end that was synced is of another
        // course and counts for nothing.
        let position = self.watermarks.local_position();
        let parts = self.parts.load_full();
        match parts.sync.sync() {
            Ok(durable_end) => {
                self.watermarks
                    .publish_durable_end_on(&position, durable_end);
                self.taps.ring();
            }
            Err(error) => {
                // A log that was opened again does not answer for the one before.
                if Arc::ptr_eq(&parts, &self.parts.load()) {
                    self.fail(&error);
                }
            }
        }
    }
}

pub(crate) fn counts(durability: Durability) -> Counts {
    match durability {
        Durability::Fsync => Counts::Durable,
        Durability::Os => Counts::Written,
    }
}

/// An error and its causes in one line.
#[must_use]
pub fn describe(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_words = cause.to_string();
        if !words.contains(&cause_words) {
            words.push_str(": ");
            words.push_str(&cause_words);
        }
        source = cause.source();
    }
    words
}
