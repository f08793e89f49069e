//! Requests and replies of control connections.
//!
//! Who asks numbers its requests; the reply carries the number. Requests and replies cross each
//! other freely, and either side may ask.

use bytes::{Bytes, BytesMut};
use plimsoll_types::{BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionKey};

use super::value::{Scan, Value, choices, structs};
use crate::codec::Malformed;

choices! {
    /// What one node asks of another.
    pub enum Request {
        /// Who are you? Answered before there is a cluster. See [`Reply::Identity`].
        0 => Identify,
        /// Are you there? Answered by the connection itself. See [`Reply::Alive`].
        1 => Probe,
        /// A message of the metadata quorum, opaque here. See [`Reply::Quorum`].
        2 => Quorum(payload: Bytes),
        /// A sign of life for the active controller. See [`Reply::Heartbeat`].
        3 => Heartbeat(heartbeat: Heartbeat),
        /// What do your logs of these partitions hold? See [`Reply::LogInfo`].
        4 => LogInfo(partitions: Vec<PartitionKey>),
        /// The digest of a range of a log. See [`Reply::Digest`].
        5 => Digest(digest: DigestRequest),
        /// A question of the broker's own, opaque here. See [`Reply::Query`].
        6 => Query(payload: Bytes),
    }

    /// The reply to a request.
    pub enum Reply {
        /// To [`Request::Identify`].
        0 => Identity(identity: Identity),
        /// To [`Request::Probe`].
        1 => Alive,
        /// To [`Request::Quorum`].
        2 => Quorum(payload: Bytes),
        /// To [`Request::Heartbeat`].
        3 => Heartbeat(heartbeat: HeartbeatReply),
        /// To [`Request::LogInfo`]: a row for each partition that lies here, the others are left
        /// out.
        4 => LogInfo(rows: Vec<LogInfo>),
        /// To [`Request::Digest`].
        5 => Digest(digest: DigestReply),
        /// To [`Request::Query`].
        6 => Query(payload: Bytes),
        /// To any request that could not be answered.
        7 => Failed(failed: Failed),
    }

    /// How a node's disk does, as it says itself.
    #[derive(Copy)]
    pub enum Disk {
        /// Well.
        0 => Healthy,
        /// Syncs take long.
        1 => Slow {
            /// How long of late, in milliseconds.
            ms: u32,
        },
        /// No room for records.
        2 => Full,
        /// An operation failed; nothing is written any more until the logs are opened anew.
        3 => Failed,
    }

    /// Why a request could not be answered.
    #[derive(Copy)]
    pub enum FailureCode {
        /// Not able to yet: still starting, or without a cluster.
        0 => NotReady,
        /// The request means nothing here.
        1 => Unsupported,
        /// The partition does not lie here.
        2 => UnknownPartition,
        /// This node does not lead the partition, or leads it in another epoch.
        3 => NotLeader,
        /// The disk refused.
        4 => Storage,
        /// Too much under way: try again.
        5 => Busy,
        /// The request was not well-formed.
        6 => Malformed,
        /// A fault of this node.
        7 => Internal,
    }
}

structs! {
    /// Who a node is.
    pub struct Identity {
        /// The cluster it belongs to, if it knows.
        cluster_id: Option<String>,
        /// Its id.
        node: NodeId,
        /// Whether it has a metadata log: a cluster was formed, and this node knew of it.
        has_metadata: bool,
    }

    /// A node's sign of life.
    pub struct Heartbeat {
        /// Who.
        node: NodeId,
        /// Its registration.
        broker_epoch: BrokerEpoch,
        /// The version of the metadata that it has applied.
        applied_version: u64,
        /// Whether it wants to hand over what it leads, to shut down.
        drain: bool,
        /// How its disk does.
        disk: Disk,
        /// Partitions that it cannot serve, though assigned to it.
        offline: Vec<PartitionKey>,
        /// Nodes whose connection closed and that did not answer a probe.
        suspects: Vec<NodeId>,
    }

    /// What the controller thinks of the node.
    pub struct HeartbeatReply {
        /// Whether who answers is the active controller; nothing below counts if not.
        controller: bool,
        /// Who leads the quorum, as far as who answers knows.
        leader: Option<NodeId>,
        /// Whether the node is fenced.
        fenced: bool,
        /// Whether nothing is left that the node leads.
        drained: bool,
        /// Whether the registration is not the current one: stop serving and register again.
        stale_epoch: bool,
        /// The version of the metadata at the controller.
        version: u64,
    }

    /// What one log holds.
    pub struct LogInfo {
        /// Whose log.
        key: PartitionKey,
        /// The epoch of its last entry, if it has any.
        last_epoch: Option<LeaderEpoch>,
        /// Its first offset.
        log_start: Offset,
        /// Its end.
        log_end: Offset,
        /// The end of what is synced.
        durable_end: Offset,
        /// The greatest high watermark it knew.
        high_watermark: Offset,
        /// Whether it is known to hold all it ever acknowledged.
        trusted: bool,
    }

    /// Asks for the digest of a range of a log.
    pub struct DigestRequest {
        /// Whose log.
        key: PartitionKey,
        /// The leader epoch of who asks.
        leader_epoch: LeaderEpoch,
        /// Where the range begins: the base of a batch.
        from: Offset,
        /// Where it ends, exclusive.
        to: Offset,
    }

    /// The digest of a range.
    pub struct DigestReply {
        /// Where the range begins.
        from: Offset,
        /// Where it ends, exclusive.
        to: Offset,
        /// The digest; none if the log does not hold all of the range.
        digest: Option<u64>,
    }

    /// Why there is no other reply.
    pub struct Failed {
        /// For a program.
        code: FailureCode,
        /// For a person.
        message: String,
    }
}

macro_rules! whole {
    ($($type:ident),*) => { $(
        impl $type {
            /// The message alone, for a transport with frames of its own.
            #[must_use]
            pub fn encode(&self) -> Bytes {
                let mut out = BytesMut::new();
                self.put(&mut out);
                out.freeze()
            }

            /// Reads what [`encode`](Self::encode) wrote; payloads are parts of `message`.
            ///
            /// # Errors
            /// The bytes are not that message, or more bytes follow it.
            pub fn decode(message: Bytes) -> Result<Self, Malformed> {
                let mut input = Scan::new(message);
                let this = Self::take(&mut input)?;
                input.finish()?;
                Ok(this)
            }
        }
    )* };
}

whole!(Request, Reply);

impl Reply {
    /// A reply that says why there is no other.
    #[must_use]
    pub fn failed(code: FailureCode, message: impl Into<String>) -> Self {
        Self::Failed(Failed {
            code,
            message: message.into(),
        })
    }
}
