//! Metadata records and images as bytes of the metadata log.
//!
//! Strict towards the future: a version, a record or a byte more than this program knows is an
//! error and never skipped, because a record that is not applied makes another cluster of this one.
//! Total: no bytes make it panic or allocate more than a few times their number.
//!
//! ```text
//! entry       version u8 = 2, records
//! snapshot    version u8 = 2, image version, records; then, unless it ends there, last changes
//! changes     count, each: node that made it, its ticket, the image version that it made
//! records     count, each: tag u8, body length, body
//! numbers     unsigned LEB128, the shortest form;   node ids, epochs, counts and lengths are such
//! texts       length, UTF-8;   ids and incarnations: 16 bytes;   optional: 0, or 1 and the value
//! truths      0 or 1
//!
//! tag  record                 body
//!   1  TopicCreated           name, id, assignments
//!   2  PartitionsAdded        id, first, assignments
//!   3  TopicDeleted           id
//!   4  PartitionChanged       id, partition, assignment
//!   5  ConfigSet              resource, key, value
//!   6  ConfigUnset            resource, key
//!   7  ProducerIdsReserved    next
//!   8  NodeRegistered         node, broker epoch, incarnation, directory id, listeners, peer,
//!                             optional rack
//!   9  NodeStateSet           node, fenced, drain
//!  10  NodeRemoved            node
//!
//! assignment   replicas, isr, elr, last known elr, adding, removing, optional leader,
//!              leader epoch, partition epoch, optional unclean epoch, recovering
//! drain        1 if its process is about to stop, and 2 more if a person keeps it drained
//! replicas     count, each: node;   isr and the others likewise
//! resource     0 topic name, or 1 node, or 2 for every node
//! listeners    count, each: name, host, port
//! ```
//!
//! Version 1 belonged to a metadata log of one voter, which no released version wrote.

mod read;
mod write;

use std::collections::BTreeMap;

use bytes::Bytes;
use plimsoll_controller::{Image, Misfit, Record};
use plimsoll_types::{InvalidTopicName, NodeId};
use read::Reader;
use write::Writer;

const VERSION: u8 = 2;

/// Why bytes of the metadata log are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// A later program wrote them.
    #[error("format version {version} is not known to this version of Plimsoll")]
    Version {
        /// The version.
        version: u8,
    },
    /// A later program's record.
    #[error("record kind {tag} is not known to this version of Plimsoll")]
    UnknownRecord {
        /// Its tag.
        tag: u8,
    },
    /// They end too early.
    #[error("the bytes end within {what}")]
    Short {
        /// Within what.
        what: &'static str,
    },
    /// There are more of them than were said.
    #[error("{bytes} bytes too many after {what}")]
    Trailing {
        /// How many.
        bytes: usize,
        /// After what.
        what: &'static str,
    },
    /// A value is out of its range.
    #[error("{what} is out of range")]
    Range {
        /// Which value.
        what: &'static str,
    },
    /// A topic's name is not legal.
    #[error("{0}")]
    Name(#[from] InvalidTopicName),
    /// A snapshot's records contradict one another.
    #[error("{0}")]
    Misfit(#[from] Misfit),
}

/// The entry that holds `records`.
pub(crate) fn encode(records: &[Record]) -> Bytes {
    let mut out = Writer(vec![VERSION]);
    out.records(records.iter());
    out.0.into()
}

/// The records of an entry.
pub(crate) fn decode(entry: &[u8]) -> Result<Vec<Record>, CodecError> {
    let mut reader = Reader(entry);
    reader.version()?;
    let records = reader.records()?;
    reader.end("the entry")?;
    Ok(records)
}

/// Each node's last change that came through: its ticket, and the image version that it made. A
/// snapshot may stand in for the entry that a node waits for, which knows its own by this.
pub(crate) type LastChanges = BTreeMap<NodeId, (u64, u64)>;

/// The snapshot that holds `image`.
pub(crate) fn encode_snapshot(image: &Image, last: &LastChanges) -> Bytes {
    let mut out = Writer(vec![VERSION]);
    out.number(image.version());
    let records: Vec<Record> = image.to_records().collect();
    out.records(records.iter());
    out.last_changes(last);
    out.0.into()
}

/// The image of a snapshot.
pub(crate) fn decode_snapshot(snapshot: &[u8]) -> Result<(Image, LastChanges), CodecError> {
    let mut reader = Reader(snapshot);
    reader.version()?;
    let version = reader.number("the image version")?;
    let records = reader.records()?;
    let last = if reader.0.is_empty() {
        LastChanges::default()
    } else {
        reader.last_changes()?
    };
    reader.end("the snapshot")?;
    Ok((Image::restore(version, records)?, last))
}

#[cfg(test)]
mod tests;
