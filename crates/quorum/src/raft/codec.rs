//! The bytes of votes, log ids, memberships and entries, on disk and between nodes.
//!
//! Decoding is total: any bytes give a value or `None`. Records of entries stay slices.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use openraft::{BasicNode, EntryPayload};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What is proposed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Data(pub(crate) Bytes);

impl fmt::Display for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

openraft::declare_raft_types!(
    /// What the consensus is made of.
    pub(crate) Types:
        D = Data,
        R = (),
        NodeId = u64,
        Node = BasicNode,
        LeaderId = openraft::impls::leader_id_std::LeaderId<Self::Term, Self::NodeId>,
);

pub(crate) type LogId = openraft::alias::LogIdOf<Types>;
pub(crate) type Vote = openraft::alias::VoteOf<Types>;
pub(crate) type LogEntry = openraft::alias::EntryOf<Types>;
pub(crate) type Members = openraft::Membership<u64, BasicNode>;
pub(crate) type StoredMembers = openraft::alias::StoredMembershipOf<Types>;
pub(crate) type Meta = openraft::alias::SnapshotMetaOf<Types>;

/// Most nodes of a cluster that are believed.
const MAX_NODES: usize = 4096;
/// Most bytes of an address that are believed.
const MAX_ADDRESS: usize = 1024;

pub(crate) fn log_id(term: u64, index: u64) -> LogId {
    use openraft::vote::RaftLeaderId;
    let leader = openraft::impls::leader_id_std::LeaderId::new(term, 0);
    LogId::new(leader.to_committed(), index)
}

pub(crate) fn term_of(id: &LogId) -> u64 {
    id.leader_id.term
}

pub(crate) fn put_log_id(out: &mut BytesMut, id: &LogId) {
    out.put_u64_le(term_of(id));
    out.put_u64_le(id.index);
}

pub(crate) fn put_option<T>(
    out: &mut BytesMut,
    value: Option<&T>,
    put: impl FnOnce(&mut BytesMut, &T),
) {
    out.put_u8(u8::from(value.is_some()));
    if let Some(value) = value {
        put(out, value);
    }
}

pub(crate) fn put_vote(out: &mut BytesMut, vote: &Vote) {
    out.put_u64_le(vote.leader_id.term);
    out.put_u64_le(vote.leader_id.voted_for);
    out.put_u8(u8::from(vote.committed));
}

pub(crate) fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u64_le(bytes.len() as u64);
    out.put_slice(bytes);
}

pub(crate) fn put_nodes(out: &mut BytesMut, nodes: &BTreeMap<u64, String>) {
    out.put_u64_le(nodes.len() as u64);
    for (id, address) in nodes {
        out.put_u64_le(*id);
        put_bytes(out, address.as_bytes());
    }
}

pub(crate) fn put_members(out: &mut BytesMut, members: &Members) {
    let configs = members.get_joint_config();
    out.put_u64_le(configs.len() as u64);
    for config in configs {
        out.put_u64_le(config.len() as u64);
        for id in config {
            out.put_u64_le(*id);
        }
    }
    let nodes = members.nodes().map(|(id, node)| (*id, node.addr.clone()));
    put_nodes(out, &nodes.collect());
}

pub(crate) fn put_meta(out: &mut BytesMut, meta: &Meta) {
    put_option(out, meta.last_log_id.as_ref(), put_log_id);
    put_option(out, meta.last_membership.log_id().as_ref(), put_log_id);
    put_members(out, meta.last_membership.membership());
}

pub(crate) fn put_entry(out: &mut BytesMut, entry: &LogEntry) {
    put_log_id(out, &entry.log_id);
    match &entry.payload {
        EntryPayload::Blank => out.put_u8(0),
        EntryPayload::Normal(data) => {
            out.put_u8(1);
            put_bytes(out, &data.0);
        }
        EntryPayload::Membership(members) => {
            out.put_u8(2);
            put_members(out, members);
        }
    }
}

/// How many bytes an entry takes, about.
pub(crate) fn weight(entry: &LogEntry) -> usize {
    64 + match &entry.payload {
        EntryPayload::Normal(data) => data.0.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    }
}

/// Takes values off the front of bytes.
#[derive(Debug)]
pub(crate) struct Reader(pub(crate) Bytes);

impl Reader {
    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.0.try_get_u8().ok()
    }

    pub(crate) fn flag(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.0.try_get_u64_le().ok()
    }

    /// A count that is no larger than `max`, nor than what is left.
    pub(crate) fn count(&mut self, max: usize) -> Option<usize> {
        let count = usize::try_from(self.u64()?).ok()?;
        (count <= max && count <= self.0.len()).then_some(count)
    }

    pub(crate) fn bytes(&mut self) -> Option<Bytes> {
        let length = self.count(usize::MAX)?;
        Some(self.0.split_to(length))
    }

    pub(crate) fn text(&mut self) -> Option<String> {
        let bytes = self.bytes()?;
        if bytes.len() > MAX_ADDRESS {
            return None;
        }
        String::from_utf8(bytes.to_vec()).ok()
    }

    pub(crate) fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<Option<T>> {
        if self.flag()? {
            return read(self).map(Some);
        }
        Some(None)
    }

    pub(crate) fn log_id(&mut self) -> Option<LogId> {
        Some(log_id(self.u64()?, self.u64()?))
    }

    pub(crate) fn vote(&mut self) -> Option<Vote> {
        let (term, node) = (self.u64()?, self.u64()?);
        Some(if self.flag()? {
            Vote::new_committed(term, node)
        } else {
            Vote::new(term, node)
        })
    }

    pub(crate) fn nodes(&mut self) -> Option<BTreeMap<u64, String>> {
        let count = self.count(MAX_NODES)?;
        (0..count)
            .map(|_| Some((self.u64()?, self.text()?)))
            .collect()
    }

    pub(crate) fn members(&mut self) -> Option<Members> {
        let count = self.count(2)?;
        let mut configs = Vec::new();
        for _ in 0..count {
            let voters = self.count(MAX_NODES)?;
            let voters: Option<BTreeSet<u64>> = (0..voters).map(|_| self.u64()).collect();
            configs.push(voters?);
        }
        let nodes = self.nodes()?;
        if configs.is_empty() && nodes.is_empty() {
            return Some(Members::default());
        }
        let nodes = nodes.into_iter().map(|(id, addr)| (id, BasicNode { addr }));
        Members::new(configs, nodes.collect::<BTreeMap<_, _>>()).ok()
    }

    pub(crate) fn meta(&mut self) -> Option<Meta> {
        let last_log_id = self.option(Self::log_id)?;
        let membership_id = self.option(Self::log_id)?;
        let last_membership = StoredMembers::new(membership_id, self.members()?);
        Some(Meta {
            last_log_id,
            last_membership,
        })
    }

    pub(crate) fn entry(&mut self) -> Option<LogEntry> {
        let log_id = self.log_id()?;
        let payload = match self.u8()? {
            0 => EntryPayload::Blank,
            1 => EntryPayload::Normal(Data(self.bytes()?)),
            2 => EntryPayload::Membership(self.members()?),
            _ => return None,
        };
        Some(LogEntry { log_id, payload })
    }

    /// `value`, if nothing is left.
    pub(crate) fn end<T>(self, value: T) -> Option<T> {
        self.0.is_empty().then_some(value)
    }
}
