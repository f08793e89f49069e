//! Being one node of several: registering, signs of life, and what the active controller does.
//!
//! Each node sends a [heartbeat] to the active controller, which is the leader of the metadata
//! quorum. What the controller decides ([`control`]) it decides by rules on the metadata, as any
//! node's change is made: a second controller that does not know yet that it is none can only make
//! entries that are void. A node that hears no answer stops trusting [itself](session) before the
//! others stop trusting it.
//!
//! Not here: connections ([`Peers`] reaches the other nodes), and replication.

mod answer;
mod control;
mod disk;
mod heartbeat;
mod members;
mod missing;
mod operate;
mod replication;
mod rounds;
mod session;
pub(crate) mod standing;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use plimsoll_controller::liveness::{Decision, Liveness, LivenessConfig};
use plimsoll_controller::rules::{self, AlterPartition, AlterRefusal, IsrChange};
use plimsoll_controller::{Changes, Image, Listener, Record, Refusal};
use plimsoll_quorum::Snapshot;
use plimsoll_segment_log::Shutdown;
use plimsoll_types::{BrokerEpoch, Monotonic, NodeId, Offset, PartitionEpoch};
use plimsoll_watermark::Signal;
use plimsoll_wire::peer::{Reply, Request};

use crate::Broker;
use crate::metadata::{ChangeError, MetadataLog};
use session::Session;
pub use session::Trust;

/// How long a node may be silent before it is fenced, at least: by this a node trusts itself.
pub(crate) const SESSION: Duration = Duration::from_secs(3);
/// How long a node must have been well before leaderships go back to it.
const STABLE: Duration = Duration::from_secs(300);
/// Between two attempts to register.
const REGISTER_AGAIN: Duration = Duration::from_millis(200);

/// Reaches the brokers of the other nodes.
#[async_trait]
pub trait Peers: Send + Sync {
    /// One request to a node and its reply. A [`Request::Probe`] goes on a connection of its own.
    async fn call(
        &self,
        to: NodeId,
        request: Request,
        timeout: Duration,
    ) -> Result<Reply, PeerError>;

    /// Where the nodes are from now on, by the metadata: all of them, with their peer addresses.
    fn addresses(&self, nodes: Vec<(NodeId, String)>);

    /// This process has registered, perhaps anew: its links are of this registration from now on,
    /// and those that are of another end.
    fn registered(&self, epoch: BrokerEpoch) {
        let _ = epoch;
    }
}

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// The node's address refused a connection that was made for this request, a
    /// [`Request::Probe`]: its process is gone.
    #[error("the node's process is gone: {0}")]
    Unreachable(String),
    /// Anything else, which proves nothing. The request may have arrived.
    #[error("there is no reply: {0}")]
    Lost(String),
}

/// What makes a broker a member of a cluster.
pub struct Membership {
    /// This node's part of the metadata quorum.
    pub log: Arc<dyn MetadataLog>,
    /// Its newest snapshot.
    pub snapshot: Option<Snapshot>,
    /// The way to the other nodes.
    pub peers: Arc<dyn Peers>,
    /// Where they reach this one, `HOST:PORT`.
    pub peer_address: String,
}

/// Answers a question of another node.
type Answerer = Box<dyn Fn(Bytes) -> Bytes + Send + Sync>;

/// A part of what a node does as a member: see [`Broker::run_cluster`].
pub type Part = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Polls all of them; ends when they do.
fn together(mut parts: Vec<Part>) -> Part {
    Box::pin(std::future::poll_fn(move |cx| {
        parts.retain_mut(|part| part.as_mut().poll(cx).is_pending());
        if parts.is_empty() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }))
}

/// A broker's state as a member.
pub(crate) struct Member {
    peers: Arc<dyn Peers>,
    peer_address: String,
    dir_id: [u8; 16],
    shutdown: rules::Shutdown,
    pub(crate) session: Session,
    rounds: rounds::Rounds,
    missing: missing::Missing,
    liveness: Mutex<Liveness>,
    /// The term for which `liveness` judges.
    judging: Mutex<Option<u64>>,
    /// Answers other nodes' questions that are not the broker's.
    answerer: OnceLock<Answerer>,
    /// What the controller is to do next, as of its last look.
    decisions: Mutex<Vec<Decision>>,
    /// Rung when there are decisions.
    decided: Signal,
    /// Rung when a heartbeat is due at once.
    beat: Signal,
    /// Rung when the controller is to look at once.
    look: Signal,
}

impl Member {
    pub(crate) fn new(
        peers: Arc<dyn Peers>,
        peer_address: String,
        dir_id: [u8; 16],
        shutdown: &Shutdown,
        session: Duration,
    ) -> Self {
        let shutdown = match shutdown {
            Shutdown::First | Shutdown::Clean(_) => rules::Shutdown::Clean,
            Shutdown::Crash { same_boot: true } => rules::Shutdown::CrashSameBoot,
            Shutdown::Crash { same_boot: false } => rules::Shutdown::Lossy,
        };
        let config = LivenessConfig {
            session,
            stable_after: STABLE,
        };
        Self {
            peers,
            peer_address,
            dir_id,
            shutdown,
            session: Session::default(),
            rounds: rounds::Rounds::default(),
            missing: missing::Missing::default(),
            liveness: Mutex::new(Liveness::new(config)),
            judging: Mutex::new(None),
            answerer: OnceLock::new(),
            decisions: Mutex::default(),
            decided: Signal::new(),
            beat: Signal::new(),
            look: Signal::new(),
        }
    }

    /// Lets the next heartbeat go at once.
    pub(crate) fn hurry(&self) {
        self.beat.notify();
    }

    /// Follows the metadata: tells the peers' addresses.
    pub(crate) fn follow(&self, image: &Image, changes: &Changes) {
        if changes.nodes_changed {
            let book = image.address_book();
            self.peers
                .addresses(book.map(|(node, at)| (node, at.to_owned())).collect());
        }
    }
}

impl Broker {
    /// How far this node may trust what it knows, by the answers to its heartbeats.
    #[must_use]
    pub fn trust(&self) -> Trust {
        match &self.member {
            None => Trust::Full,
            Some(member) => member.session.trust(self.clock.now(), SESSION),
        }
    }

    /// Registers this process; returns once the cluster has it. Where the node is alone there is
    /// nothing to do.
    pub async fn join(self: &Arc<Self>) {
        let Some(member) = &self.member else { return };
        let register = rules::RegisterNode {
            rack: self.config.rack.clone(),
            listeners: vec![Listener {
                name: "PLAINTEXT".to_owned(),
                host: self.config.advertised.host.clone(),
                port: self.config.advertised.port,
            }],
            peer: member.peer_address.clone(),
            ..rules::RegisterNode::new(
                self.config.node,
                self.clock.fresh_id(),
                member.dir_id,
                member.shutdown,
            )
        };
        let register = Arc::new(register);
        let mut failing = false;
        loop {
            let wish = Arc::clone(&register);
            let registered = self.change_until_done(|image| {
                self.tell_of_new_disk(image, member.dir_id);
                rules::register_node(image, &wish)
            });
            match registered.await {
                Ok(()) => break,
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(event = "not_registered", %error);
                    }
                }
            }
            self.pause(REGISTER_AGAIN).await;
        }
        let image = self.metadata.image();
        let known = image.node(self.config.node);
        if let Some(known) = known.filter(|known| known.incarnation == register.incarnation) {
            member.session.registered(known.broker_epoch);
            member.peers.registered(known.broker_epoch);
            let broker_epoch = known.broker_epoch.0;
            tracing::info!(event = "registered", broker_epoch);
        }
        member.beat.notify();
    }

    /// Says of every replica that it lost its log, if this node had another directory before.
    fn tell_of_new_disk(&self, image: &Image, dir_id: [u8; 16]) {
        let known = image.node(self.config.node);
        if known.is_some_and(|known| known.dir_id != dir_id) {
            for key in image.partitions_on(self.config.node) {
                self.host.replicas.lost(key, Offset::ZERO);
            }
        }
    }

    /// Follows the metadata, for as long as it is polled: nothing that is committed shows, and no
    /// change comes through, without. Ends when the quorum does. A node runs one of these, and
    /// from the start.
    pub fn run_metadata(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        Arc::clone(&self.metadata).run()
    }

    /// Takes part in the cluster for as long as all of these are polled: signs of life, and the
    /// controller's duties while the quorum leads here; the replicas' clock, which may wait for a
    /// hung disk, several times; and what else there is to do for replicas. Each wants a task of
    /// its own, on a runtime with several threads: none must wait for another. A node runs these
    /// once, from before [`Broker::join`]: registering may wait for a controller, and this node may
    /// be the one. There are none where the node is alone.
    #[must_use]
    pub fn run_cluster(self: &Arc<Self>) -> Vec<Part> {
        if self.member.is_none() {
            return Vec::new();
        }
        let me = || Arc::clone(self);
        let mut parts: Vec<Part> = vec![together(vec![
            Box::pin(me().run_leadership()),
            Box::pin(me().run_heartbeats()),
            Box::pin(me().run_watch()),
            Box::pin(me().run_decisions()),
            Box::pin(me().run_upkeep()),
        ])];
        parts.push(together(vec![
            Box::pin(me().run_hosting()),
            Box::pin(me().run_disk()),
            Box::pin(me().run_room()),
            Box::pin(me().run_losses()),
            Box::pin(me().run_healing()),
            Box::pin(me().run_terms()),
            Box::pin(me().run_work()),
            Box::pin(me().run_proposals()),
            Box::pin(me().run_reports()),
            Box::pin(me().run_checks()),
            Box::pin(me().run_trims()),
            Box::pin(me().run_history()),
        ]));
        for ticker in 0..rounds::TICKERS {
            parts.push(Box::pin(me().run_ticks(ticker)));
        }
        parts
    }

    /// A connection to `node` closed, and a new one, begun at `asked`, was refused: it is looked into
    /// at once.
    pub fn suspect(&self, node: NodeId, asked: Monotonic) {
        if let Some(member) = &self.member {
            self.host.replicas.ended(node, asked);
            self.metadata.log().suspect(node);
            member.session.suspect(node, self.clock.now());
            member.beat.notify();
        }
    }

    /// `node` says nothing any more. If it leads the quorum, most voters may agree at once that it
    /// does not; nothing else follows before its session ends.
    pub fn misses(&self, node: NodeId) {
        self.metadata.log().suspect(node);
    }

    /// From here on `answer` answers what other nodes ask with [`Broker::ask`]. It may block
    /// shortly. The first one stays.
    pub fn answer_with(&self, answer: impl Fn(Bytes) -> Bytes + Send + Sync + 'static) {
        if let Some(member) = &self.member {
            // One component asks and answers; a second one is a mistake that changes nothing.
            let _ = member.answerer.set(Box::new(answer));
        }
    }

    /// Asks another node's [`Broker::answer_with`].
    ///
    /// # Errors
    /// See [`PeerError`].
    pub async fn ask(
        &self,
        node: NodeId,
        question: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, PeerError> {
        let Some(member) = &self.member else {
            return Err(PeerError::Lost("this node is alone".to_owned()));
        };
        match member
            .peers
            .call(node, Request::Query(question), timeout)
            .await?
        {
            Reply::Query(answer) => Ok(answer),
            Reply::Failed(failed) => Err(PeerError::Lost(failed.message)),
            _ => Err(PeerError::Lost(
                "the reply is to another request".to_owned(),
            )),
        }
    }

    /// Puts changes of ISRs that this node's leaders propose; an outcome a change, in order.
    ///
    /// # Errors
    /// It is not known whether any of them happened, unless the error says that none did.
    pub async fn alter_isr(
        self: &Arc<Self>,
        changes: Vec<IsrChange>,
    ) -> Result<Vec<Result<PartitionEpoch, AlterRefusal>>, ChangeError<Refusal>> {
        let registered = self.member.as_ref().map(|member| member.session.epoch());
        let node = self.config.node;
        self.commit(move |image| {
            let known = image.node(node).map(|known| known.broker_epoch);
            let wish = AlterPartition {
                node,
                broker_epoch: proposer(node, registered, known)?,
                changes: changes.clone(),
            };
            let altered = rules::alter_partition(image, &wish)?;
            Ok((altered.records, altered.outcomes))
        })
        .await
    }

    /// Changes the metadata by a rule that makes a part of its records at a time, until it makes
    /// none.
    pub(crate) async fn change_until_done(
        self: &Arc<Self>,
        rule: impl Fn(&Image) -> Result<Vec<Record>, Refusal> + Send + Sync,
    ) -> Result<(), ChangeError<Refusal>> {
        loop {
            let made = self.commit(|image| {
                let records = rule(image)?;
                let made = records.len();
                Ok((records, made))
            });
            if made.await? == 0 {
                return Ok(());
            }
        }
    }

    pub(crate) async fn pause(&self, time: Duration) {
        self.clock.sleep_until(self.clock.now() + time).await;
    }
}

/// As which process this node proposes: `registered` is what a member of a cluster registered as,
/// `known` whom the metadata has. One that has not registered, or not again, must not speak for
/// the process that did.
fn proposer(
    node: NodeId,
    registered: Option<Option<BrokerEpoch>>,
    known: Option<BrokerEpoch>,
) -> Result<BrokerEpoch, Refusal> {
    let current = known.unwrap_or_default();
    match registered {
        None => Ok(current),
        Some(Some(epoch)) => Ok(epoch),
        Some(None) => Err(Refusal::StaleBrokerEpoch {
            node,
            given: BrokerEpoch::default(),
            current,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_not_registered_proposes_nothing_for_the_process_that_did() {
        let node = NodeId::new(1).expect("in range");
        let (of, known) = (Some(BrokerEpoch(7)), Some(BrokerEpoch(9)));
        assert!(matches!(
            proposer(node, Some(None), known),
            Err(Refusal::StaleBrokerEpoch { .. })
        ));
        assert_eq!(proposer(node, Some(of), known), Ok(BrokerEpoch(7)));
        assert_eq!(proposer(node, None, known), Ok(BrokerEpoch(9)), "alone");
    }
}
