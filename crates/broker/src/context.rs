//! What a request's handler is given besides the request.

use std::sync::Arc;

use plimsoll_partition::Partition;
use plimsoll_types::{Monotonic, NodeId};
use plimsoll_wire::Str;

use crate::Broker;
use crate::catalog::{Catalog, HostedTopic, LookupError};
use crate::cluster::Trust;
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

    /// Whether this node may vouch alone for what it knows of a partition that it leads: the
    /// controller hears it, or its followers granted it the lease.
    pub(crate) fn may_vouch(&self, partition: &Partition) -> bool {
        self.broker.trust() == Trust::Full || partition.lease_until() > self.now()
    }

    /// This node.
    pub(crate) fn node(&self) -> NodeId {
        self.broker.config.node
    }

    pub(crate) fn now(&self) -> Monotonic {
        self.broker.clock.now()
    }
}
