//! What a request's handler is given besides the request.

use std::sync::Arc;

use plimsoll_partition::{Lease, Partition};
use plimsoll_types::{Monotonic, NodeId, PartitionKey};
use plimsoll_wire::Str;

use crate::Broker;
use crate::catalog::{Catalog, HostedTopic, LookupError};
use crate::cluster::{SESSION, Trust};
use crate::connection::Connection;

/// One request's surroundings.
pub(crate) struct Context {
    pub(crate) broker: Arc<Broker>,
    pub(crate) connection: Arc<Connection>,
    /// The version of the request, one that is served.
    pub(crate) version: i16,
    /// What the client calls itself.
    pub(crate) client_id: Option<Str>,
}

impl Context {
    pub(crate) fn catalog(&self) -> &Catalog {
        &self.broker.host.catalog
    }

    /// The partition `index` of the topic called `name`, which this node leads.
    pub(crate) fn led(&self, name: &str, index: i32) -> Result<Arc<Partition>, LookupError> {
        let topic = self.catalog().topic(name);
        let topic = topic.ok_or(LookupError::UnknownTopic)?;
        self.leads(&topic, index).cloned()
    }

    /// The partition `index` of `topic`, if this node leads it and trusts itself to.
    pub(crate) fn leads<'a>(
        &self,
        topic: &'a HostedTopic,
        index: i32,
    ) -> Result<&'a Arc<Partition>, LookupError> {
        let led = topic.led(index, self.node())?;
        match self.broker.trust() {
            Trust::None => Err(topic.leaderless(index)),
            Trust::Full | Trust::Doubtful => Ok(led),
        }
    }

    /// Invariant R9: a leader vouches alone for what it knows of a partition only while nobody else
    /// can lead it. That the controller hears this node is no proof of that: it may have given the
    /// leadership to a follower, of which the metadata is on its way here. Who counts grants the
    /// lease, and does not lead before that is over or given back.
    pub(crate) fn may_vouch(&self, partition: &Partition) -> bool {
        let Some(member) = &self.broker.member else {
            return true;
        };
        let now = self.now();
        let heard = || member.session.is_heard(now, SESSION);
        let holds = |lease: Lease| lease.holds(now, lease.if_heard && heard());
        if holds(partition.lease()) {
            return true;
        }
        let id = partition.id();
        let key = PartitionKey {
            topic: id.topic_id,
            index: id.index,
        };
        self.broker.host.replicas.renew_lease(key, now);
        holds(partition.lease())
    }

    /// Whether this node need not send a client elsewhere, though it cannot vouch for the partition
    /// at this moment: the controller hears it, and what it takes can be committed.
    pub(crate) fn may_commit(&self, partition: &Partition) -> bool {
        self.broker.trust() == Trust::Full && partition.watermarks().min_isr_met()
    }

    /// This node.
    pub(crate) fn node(&self) -> NodeId {
        self.broker.config.node
    }

    pub(crate) fn now(&self) -> Monotonic {
        self.broker.clock.now()
    }
}
