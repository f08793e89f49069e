//! The watermarks, and rivals that keep the same offsets under a lock.
//!
//! All do the same job for one partition: publish the leader's log end, take followers' acks, keep
//! the high watermark at the least position, read high watermark and log end true together. Of
//! waiters, only the question "is there one" is asked here; see `waiting` for the rest.

use parking_lot::{Mutex, RwLock};
use plimsoll_types::{LeaderEpoch, NodeId, Offset};
use plimsoll_watermark::{Counts, TenureStart, Watermarks};

/// A partition's offsets, however they are kept.
pub trait Marks: Send + Sync + 'static {
    /// What distinguishes it in a bench's name; empty for ours.
    const RIVAL: &'static str;

    /// A leader with an empty log and so many followers, all in the ISR.
    fn lead(followers: u32) -> Self;
    /// Moves the leader's log end.
    fn publish(&self, end: u64);
    /// Moves the position of a follower, 0 the first.
    fn ack(&self, follower: u32, end: u64);
    /// High watermark and log end.
    fn read(&self) -> (u64, u64);
}

/// How a partition with this many followers begins.
#[must_use]
pub fn start(followers: u32) -> TenureStart {
    let node = |id: u32| NodeId::new(id).expect("a small number");
    let followers: Vec<NodeId> = (1..=followers).map(node).collect();
    let mut isr = vec![node(0)];
    isr.extend(&followers);
    TenureStart {
        leader_epoch: LeaderEpoch::ZERO,
        log_start: Offset::ZERO,
        durable_end: Offset::ZERO,
        log_end: Offset::ZERO,
        high_watermark: Offset::ZERO,
        local: node(0),
        followers,
        fresh: Vec::new(),
        committed_isr: isr.len(),
        maximal_isr: isr,
        min_isr: 1,
        counts: Counts::Written,
    }
}

impl Marks for Watermarks {
    const RIVAL: &'static str = "";

    fn lead(followers: u32) -> Self {
        Self::new(start(followers))
    }

    fn publish(&self, end: u64) {
        self.publish_log_end(Offset::new(end));
    }

    fn ack(&self, follower: u32, end: u64) {
        let (node, end) = (NodeId::new(follower + 1), Offset::new(end));
        let node = node.expect("a small number");
        self.publish_follower(node, end, end)
            .expect("it is tracked");
    }

    fn read(&self) -> (u64, u64) {
        let seen = self.snapshot();
        (seen.high_watermark.get(), seen.log_end.get())
    }
}

/// The offsets as plain numbers.
pub struct Plain {
    positions: Vec<u64>,
    high_watermark: u64,
    waiters: usize,
}

impl Plain {
    fn lead(followers: u32) -> Self {
        let replicas = 1 + usize::try_from(followers).expect("a small number");
        Self {
            positions: vec![0; replicas],
            high_watermark: 0,
            waiters: 0,
        }
    }

    fn raise(&mut self, replica: usize, end: u64) -> usize {
        self.positions[replica] = self.positions[replica].max(end);
        let least = self.positions.iter().copied().min().unwrap_or(0);
        self.high_watermark = self.high_watermark.max(least);
        self.waiters
    }

    fn read(&self) -> (u64, u64) {
        (self.high_watermark, self.positions[0])
    }
}

fn replica(follower: u32) -> usize {
    usize::try_from(follower + 1).expect("a small number")
}

impl Marks for Mutex<Plain> {
    const RIVAL: &'static str = "mutex";

    fn lead(followers: u32) -> Self {
        Self::new(Plain::lead(followers))
    }

    fn publish(&self, end: u64) {
        self.lock().raise(0, end);
    }

    fn ack(&self, follower: u32, end: u64) {
        self.lock().raise(replica(follower), end);
    }

    fn read(&self) -> (u64, u64) {
        self.lock().read()
    }
}

impl Marks for RwLock<Plain> {
    const RIVAL: &'static str = "rwlock";

    fn lead(followers: u32) -> Self {
        Self::new(Plain::lead(followers))
    }

    fn publish(&self, end: u64) {
        self.write().raise(0, end);
    }

    fn ack(&self, follower: u32, end: u64) {
        self.write().raise(replica(follower), end);
    }

    fn read(&self) -> (u64, u64) {
        RwLock::read(self).read()
    }
}

impl Marks for std::sync::Mutex<Plain> {
    const RIVAL: &'static str = "std_mutex";

    fn lead(followers: u32) -> Self {
        Self::new(Plain::lead(followers))
    }

    fn publish(&self, end: u64) {
        self.lock().expect("nobody panics under it").raise(0, end);
    }

    fn ack(&self, follower: u32, end: u64) {
        self.lock()
            .expect("nobody panics under it")
            .raise(replica(follower), end);
    }

    fn read(&self) -> (u64, u64) {
        self.lock().expect("nobody panics under it").read()
    }
}

impl Marks for std::sync::RwLock<Plain> {
    const RIVAL: &'static str = "std_rwlock";

    fn lead(followers: u32) -> Self {
        Self::new(Plain::lead(followers))
    }

    fn publish(&self, end: u64) {
        self.write().expect("nobody panics under it").raise(0, end);
    }

    fn ack(&self, follower: u32, end: u64) {
        self.write()
            .expect("nobody panics under it")
            .raise(replica(follower), end);
    }

    fn read(&self) -> (u64, u64) {
        std::sync::RwLock::read(self)
            .expect("nobody panics under it")
            .read()
    }
}

/// The offsets in a channel of one value.
pub struct Channel(tokio::sync::watch::Sender<Plain>);

impl Marks for Channel {
    const RIVAL: &'static str = "watch_channel";

    fn lead(followers: u32) -> Self {
        Self(tokio::sync::watch::Sender::new(Plain::lead(followers)))
    }

    fn publish(&self, end: u64) {
        self.0.send_modify(|plain| {
            plain.raise(0, end);
        });
    }

    fn ack(&self, follower: u32, end: u64) {
        self.0.send_modify(|plain| {
            plain.raise(replica(follower), end);
        });
    }

    fn read(&self) -> (u64, u64) {
        self.0.borrow().read()
    }
}
