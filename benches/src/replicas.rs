//! A leader with followers at the other end of hand-carried frames, and rivals of its fan-out.

use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use plimsoll_replicator::{
    Config, LeadLink, PeerInfo, Purpose, Replicas, Store, StreamFrame, View,
};
use plimsoll_segment_log::{Minimum, ToAppend};
use plimsoll_types::{
    BrokerEpoch, LeaderEpoch, Monotonic, NodeId, Offset, PartitionEpoch, PartitionKey,
};
use plimsoll_wire::peer::{Ack, Acks, Attach};

use crate::logs::{TOPIC, TempPartition};
use crate::writers::block_on;

/// A follower's window: no bench is to wait for credits.
const WINDOW: u32 = 1 << 30;
/// How many batches the rival's channel holds.
const CHANNEL: usize = 1024;

fn node(id: u32) -> NodeId {
    NodeId::new(id).expect("a small number")
}

/// Time stands still in these benches: a tick is not what they measure.
fn now() -> Monotonic {
    Monotonic::from_start(Duration::from_secs(1))
}

/// The leader's end of one follower's session.
pub struct Follower {
    link: LeadLink,
    session: u64,
    echo: u64,
    frames: Vec<StreamFrame>,
}

impl Follower {
    /// Takes an ack, from the bytes of its frame to the high watermark.
    ///
    /// # Panics
    /// If the leader does not have what is acknowledged.
    pub fn ack(&mut self, end: u64) {
        self.echo += 1;
        let end = Offset::new(end);
        let ack = Ack {
            session: self.session,
            log_end: end,
            durable_end: end,
            log_start: Offset::ZERO,
        };
        let acks = StreamFrame::Acks(Acks {
            echo: self.echo,
            acks: vec![ack],
        });
        let taken = self.link.receive(acks, now());
        taken.expect("the leader has what is acknowledged");
    }

    /// Frames to send, made ready for a socket: how many bytes.
    pub fn send(&mut self, mut sent: impl FnMut(Bytes, Vec<Bytes>)) {
        let mut cx = Context::from_waker(Waker::noop());
        while self
            .link
            .poll_outgoing(&mut cx, now(), &mut self.frames)
            .is_ready()
        {
            for frame in self.frames.drain(..) {
                let (head, tail) = frame.encode();
                sent(head, tail);
            }
        }
    }
}

/// A partition that leads, and its followers' sessions.
pub struct Leader {
    /// Each follower's, node 2 the first.
    pub followers: Vec<Follower>,
    partition: TempPartition,
    _replicas: Arc<Replicas>,
}

impl Leader {
    /// One with so many followers, all in the ISR and attached.
    ///
    /// # Panics
    /// If they do not come together.
    #[must_use]
    pub fn with(followers: u32) -> Self {
        let partition = TempPartition::idle();
        let replicas = Replicas::new(node(1), Config::agreed());
        let nodes: Vec<NodeId> = (1..=1 + followers).map(node).collect();
        let peer = |node: &NodeId| PeerInfo {
            node: *node,
            address: String::new(),
            broker_epoch: BrokerEpoch(u64::from(node.get())),
            fenced: false,
            draining: false,
            stopping: false,
        };
        replicas.set_peers(nodes.iter().map(peer).collect());
        let key = PartitionKey {
            topic: TOPIC,
            index: 0,
        };
        let view = View {
            key,
            leader: Some(node(1)),
            leader_epoch: LeaderEpoch::new(1),
            partition_epoch: PartitionEpoch(1),
            replicas: nodes.clone(),
            isr: nodes.clone(),
            elr: Vec::new(),
            min_isr: 1,
            unclean_epoch: None,
        };
        let store: Arc<dyn Store> = partition.partition.clone();
        replicas.apply(&store, &view, now());
        let followers = nodes.iter().skip(1);
        let followers = followers.map(|node| attach(&replicas, key, *node));
        Self {
            followers: followers.collect(),
            partition,
            _replicas: replicas,
        }
    }

    /// Appends at the leader; the new log end.
    ///
    /// # Panics
    /// If there is no room on the disk.
    pub fn append(&self, batch: ToAppend) -> u64 {
        let appended = block_on(self.partition.partition.append(batch));
        appended.expect("room on the disk").end.get()
    }

    /// How far all have come.
    #[must_use]
    pub fn high_watermark(&self) -> u64 {
        self.partition.partition.watermarks().high_watermark().get()
    }

    /// The batch at `from`, as a slice of the log.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn read(&self, from: u64, to: u64) -> Vec<Bytes> {
        let reader = self.partition.partition.reader();
        let (from, to) = (Offset::new(from), Offset::new(to));
        let read = reader.read(from, to, 1 << 20, Minimum::OneBatch);
        read.expect("it was appended").chunks.into_iter().collect()
    }
}

fn attach(replicas: &Arc<Replicas>, key: PartitionKey, follower: NodeId) -> Follower {
    let epoch = BrokerEpoch(u64::from(follower.get()));
    let mut link = replicas.lead_link(follower, epoch, Purpose::InSync, now());
    let attach = Attach {
        key,
        leader_epoch: LeaderEpoch::new(1),
        broker_epoch: epoch,
        log_start: Offset::ZERO,
        log_end: Offset::ZERO,
        durable_end: Offset::ZERO,
        high_watermark: Offset::ZERO,
        epochs: Vec::new(),
        more: false,
        window: WINDOW,
    };
    link.receive(StreamFrame::Attach(attach), now())
        .expect("an attach is a follower's to send");
    let mut frames = Vec::new();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(link.poll_outgoing(&mut cx, now(), &mut frames).is_ready());
    let attached = frames.iter().find_map(|frame| match frame {
        StreamFrame::Attached(attached) => Some(attached.session),
        _ => None,
    });
    let mut follower = Follower {
        link,
        session: attached.expect("an empty log attaches"),
        echo: 0,
        frames: Vec::new(),
    };
    // The first ack confirms where it begins.
    follower.ack(0);
    follower.send(|_, _| {});
    follower
}

/// What carries an appended batch from the leader to N followers' sockets.
pub trait FanOut {
    /// What distinguishes it in a bench's name; empty for ours.
    const RIVAL: &'static str;

    /// A leader with so many followers.
    fn with(followers: u32) -> Self;
    /// Appends, makes it ready for each follower's socket, and takes each follower's ack; tells
    /// how many bytes were made ready.
    fn round(&mut self, batch: ToAppend) -> usize;
}

impl FanOut for Leader {
    const RIVAL: &'static str = "";

    fn with(followers: u32) -> Self {
        Self::with(followers)
    }

    fn round(&mut self, batch: ToAppend) -> usize {
        let end = self.append(batch);
        let mut bytes = 0;
        for follower in &mut self.followers {
            follower.send(|_, tail| bytes += tail.iter().map(Bytes::len).sum::<usize>());
            follower.ack(end);
        }
        assert_eq!(self.high_watermark(), end, "all have it");
        bytes
    }
}

/// The same, with the records copied into each frame.
pub struct Copied(Leader);

impl FanOut for Copied {
    const RIVAL: &'static str = "copied";

    fn with(followers: u32) -> Self {
        Self(Leader::with(followers))
    }

    fn round(&mut self, batch: ToAppend) -> usize {
        let end = self.0.append(batch);
        let mut bytes = 0;
        for follower in &mut self.0.followers {
            follower.send(|head, tail| {
                let records: usize = tail.iter().map(Bytes::len).sum();
                let mut frame = BytesMut::with_capacity(head.len() + records);
                frame.extend_from_slice(&head);
                tail.iter().for_each(|chunk| frame.extend_from_slice(chunk));
                bytes += std::hint::black_box(frame).len() - head.len();
            });
            follower.ack(end);
        }
        bytes
    }
}

/// A broadcast channel from the writer to a receiver for each follower, in place of the sessions'
/// looking into the log: it cannot wait for a slow follower, nor serve one that comes later.
pub struct Broadcast {
    leader: Leader,
    sender: tokio::sync::broadcast::Sender<(u64, Vec<Bytes>)>,
    receivers: Vec<tokio::sync::broadcast::Receiver<(u64, Vec<Bytes>)>>,
    at: u64,
}

impl FanOut for Broadcast {
    const RIVAL: &'static str = "broadcast_channel";

    fn with(followers: u32) -> Self {
        let (sender, _) = tokio::sync::broadcast::channel(CHANNEL);
        let receivers = (0..followers).map(|_| sender.subscribe()).collect();
        Self {
            leader: Leader::with(followers),
            sender,
            receivers,
            at: 0,
        }
    }

    fn round(&mut self, batch: ToAppend) -> usize {
        let end = self.leader.append(batch);
        let records = self.leader.read(self.at, end);
        self.at = end;
        // Without followers nobody listens.
        let _ = self.sender.send((end, records));
        let mut bytes = 0;
        for (receiver, follower) in self.receivers.iter_mut().zip(&mut self.leader.followers) {
            let (end, records) = receiver.try_recv().expect("it was sent");
            bytes += records.iter().map(Bytes::len).sum::<usize>();
            follower.ack(end);
        }
        bytes
    }
}
