//! The first frames of a connection: who is there, in which version, and for what.
//!
//! These three messages are read leniently: what follows the fields known here is left unread, so
//! that later versions may add to them.

use plimsoll_types::{BrokerEpoch, NodeId};

use super::value::{choices, structs};

/// The versions of the peer protocol spoken here.
pub const VERSIONS: Versions = Versions { min: 1, max: 1 };

/// `b"PLIM"`: tells a node from a stranger that found the port.
const MAGIC: u32 = 0x504c_494d;

structs! {
    /// A range of versions, both ends included.
    pub struct Versions {
        /// The least.
        min: u16,
        /// The greatest.
        max: u16,
    }

    /// The first frame of who connects.
    pub struct Hello {
        /// `b"PLIM"` as a number; see [`Hello::is_from_a_node`].
        magic: u32,
        /// The versions it speaks.
        versions: Versions,
        /// The cluster it belongs to, if it knows.
        cluster_id: Option<String>,
        /// Who it is.
        node: NodeId,
        /// Its registration, if it has one.
        broker_epoch: Option<BrokerEpoch>,
        /// Whom it means to reach: an address may have gone to another node since.
        expects: Option<NodeId>,
        /// What the connection is for.
        purpose: Purpose,
    }

    /// The answer that lets it in.
    pub struct Welcome {
        /// The version both speak from now on.
        version: u16,
        /// The cluster this node belongs to, if it knows.
        cluster_id: Option<String>,
        /// Who answers.
        node: NodeId,
        /// The registration of who answers, if it has one.
        broker_epoch: Option<BrokerEpoch>,
        /// The largest frame it takes, in bytes.
        max_frame: u32,
    }

    /// The answer that turns it away; the connection closes after it.
    pub struct Denied {
        /// Why, for a program.
        reason: DeniedReason,
        /// Why, for a person.
        message: String,
    }
}

choices! {
    /// What a connection is for.
    #[derive(Copy, Hash, PartialOrd, Ord)]
    pub enum Purpose {
        /// Requests and replies, both ways.
        0 => Control,
        /// Records to followers that are in sync, and what they have.
        1 => InSync,
        /// Records to followers that catch up: may be throttled, never delays the other stream.
        2 => CatchUp,
    }

    /// Why a hello is turned away.
    #[derive(Copy)]
    pub enum DeniedReason {
        /// No version that both speak.
        0 => Version { /// What this node speaks.
            speaks: Versions },
        /// It belongs to another cluster.
        1 => WrongCluster,
        /// This is not the node it means to reach.
        2 => WrongNode { /// Who this is.
            is: NodeId },
        /// It says it is the node it connected to.
        3 => Itself,
        /// The node registered anew since: an older process must not go on.
        4 => StaleBrokerEpoch,
        /// This node does not know it (yet): try again.
        5 => UnknownNode,
        /// Too many connections, or shutting down: try again.
        6 => Busy,
    }
}

impl Copy for Versions {}

impl Versions {
    /// The greatest version that both ranges have.
    #[must_use]
    pub fn agree(self, other: Self) -> Option<u16> {
        let version = self.max.min(other.max);
        (version >= self.min.max(other.min)).then_some(version)
    }
}

impl Hello {
    /// The hello of `node`, which knows of no cluster yet and takes whoever answers.
    #[must_use]
    pub const fn new(node: NodeId, purpose: Purpose) -> Self {
        Self {
            magic: MAGIC,
            versions: VERSIONS,
            cluster_id: None,
            node,
            broker_epoch: None,
            expects: None,
            purpose,
        }
    }

    /// Whether it comes from a node at all.
    #[must_use]
    pub const fn is_from_a_node(&self) -> bool {
        self.magic == MAGIC
    }
}
