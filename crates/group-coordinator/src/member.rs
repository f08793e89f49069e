//! One member of a group, as its coordinator knows it.

use crate::{Blob, JoinRequest, JoinedMember, MemberSnapshot, Protocol, ReplyTo, Text};
use plimsoll_types::Monotonic;
use std::time::Duration;

/// Charged for each protocol beside its bytes, so that empty ones are not free.
const PROTOCOL_OVERHEAD_BYTES: usize = 64;
/// Charged for each topic of a subscription: the list of them outweighs the bytes it was read from.
const TOPIC_OVERHEAD_BYTES: usize = 32;

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) instance: Option<Text>,
    pub(crate) client_id: Text,
    pub(crate) client_host: Text,
    pub(crate) rebalance_timeout: Duration,
    pub(crate) session_timeout: Duration,
    /// In the member's order of preference; names are unique.
    pub(crate) protocols: Vec<Protocol>,
    pub(crate) assignment: Blob,
    /// Has not yet had a join answered, so it sends no heartbeats and its wait is limited.
    pub(crate) new: bool,
    /// The join that waits for the generation (G2).
    pub(crate) join: Option<ReplyTo>,
    /// The sync that waits for the assignment (G2).
    pub(crate) sync: Option<ReplyTo>,
    /// When silence ends the membership; none while a request of the member waits and after.
    pub(crate) deadline: Option<Monotonic>,
}

impl Member {
    pub(crate) fn new(request: &JoinRequest) -> Self {
        Self {
            instance: request.instance.clone(),
            client_id: request.client_id.clone(),
            client_host: request.client_host.clone(),
            rebalance_timeout: request.rebalance_timeout,
            session_timeout: request.session_timeout,
            protocols: unique(&request.protocols),
            assignment: Blob::from([]),
            new: true,
            join: None,
            sync: None,
            deadline: None,
        }
    }

    pub(crate) fn loaded(snapshot: &MemberSnapshot, protocol: &Text) -> Self {
        Self {
            instance: snapshot.instance.clone(),
            client_id: snapshot.client_id.clone(),
            client_host: snapshot.client_host.clone(),
            rebalance_timeout: snapshot.rebalance_timeout,
            session_timeout: snapshot.session_timeout,
            protocols: vec![Protocol {
                name: protocol.clone(),
                metadata: snapshot.subscription.clone(),
                topics: snapshot.topics.clone(),
            }],
            assignment: snapshot.assignment.clone(),
            new: false,
            join: None,
            sync: None,
            deadline: None,
        }
    }

    /// Takes what a later join says; everything but protocols and timeouts stays.
    pub(crate) fn update(&mut self, request: &JoinRequest) {
        self.rebalance_timeout = request.rebalance_timeout;
        self.session_timeout = request.session_timeout;
        self.protocols = unique(&request.protocols);
    }

    /// Whether the join says what the member said before, in the same order.
    pub(crate) fn matches(&self, request: &JoinRequest) -> bool {
        let same = |(mine, theirs): (&Protocol, &Protocol)| {
            mine.name == theirs.name && mine.metadata == theirs.metadata
        };
        let theirs = unique(&request.protocols);
        self.protocols.len() == theirs.len() && self.protocols.iter().zip(&theirs).all(same)
    }

    pub(crate) fn protocol(&self, name: &str) -> Option<&Protocol> {
        self.protocols.iter().find(|p| &*p.name == name)
    }

    pub(crate) fn metadata(&self, protocol: Option<&Text>) -> Blob {
        protocol
            .and_then(|name| self.protocol(name))
            .map_or_else(|| Blob::from([]), |p| p.metadata.clone())
    }

    /// The member's request is what the group makes wait, so its silence is not its fault. A new
    /// member has no such excuse: nobody can tell whether it is still there.
    pub(crate) fn is_excused(&self) -> bool {
        !self.new && (self.join.is_some() || self.sync.is_some())
    }

    pub(crate) fn bytes(&self) -> usize {
        bytes_of(
            self.instance.as_ref(),
            &self.client_id,
            &self.client_host,
            &self.protocols,
        )
    }

    pub(crate) fn described_to_leader(&self, id: &Text, protocol: Option<&Text>) -> JoinedMember {
        JoinedMember {
            member: id.clone(),
            instance: self.instance.clone(),
            metadata: self.metadata(protocol),
        }
    }

    pub(crate) fn snapshot(
        &self,
        id: &Text,
        protocol: Option<&Text>,
        assignment: Blob,
    ) -> MemberSnapshot {
        MemberSnapshot {
            member: id.clone(),
            instance: self.instance.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            rebalance_timeout: self.rebalance_timeout,
            session_timeout: self.session_timeout,
            subscription: self.metadata(protocol),
            topics: None,
            assignment,
        }
    }
}

/// What the member of this join will be charged.
pub(crate) fn bytes_of_request(request: &JoinRequest) -> usize {
    bytes_of(
        request.instance.as_ref(),
        &request.client_id,
        &request.client_host,
        &request.protocols,
    )
}

fn bytes_of(
    instance: Option<&Text>,
    client_id: &Text,
    client_host: &Text,
    protocols: &[Protocol],
) -> usize {
    let of_protocol = |p: &Protocol| {
        let topics = p.topics.as_ref().map_or(0, Vec::len);
        p.name.len() + p.metadata.len() + PROTOCOL_OVERHEAD_BYTES + topics * TOPIC_OVERHEAD_BYTES
    };
    instance.map_or(0, |i| i.len())
        + client_id.len()
        + client_host.len()
        + protocols.iter().map(of_protocol).sum::<usize>()
}

/// The protocols with later repetitions of a name left out.
fn unique(protocols: &[Protocol]) -> Vec<Protocol> {
    let mut kept: Vec<Protocol> = Vec::with_capacity(protocols.len());
    for protocol in protocols {
        if !kept.iter().any(|k| k.name == protocol.name) {
            kept.push(protocol.clone());
        }
    }
    kept
}
