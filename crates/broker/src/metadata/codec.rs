//! Metadata records and images as bytes of the metadata log.
//!
//! Strict towards the future: a version, a record or a byte more than this program knows is an
//! error and never skipped, because a record that is not applied makes another cluster of this one.
//! Total: no bytes make it panic or allocate more than a few times their number.
//!
//! ```text
//! entry       version u8 = 1, records: count, each: tag u8, body length, body
//! snapshot    version u8 = 1, image version, records as in an entry
//! numbers     unsigned LEB128, the shortest form;   node ids, epochs, counts and lengths are such
//! texts       length, UTF-8;   ids and incarnations: 16 bytes;   optional: 0, or 1 and the value
//!
//! tag  record                 body
//!   1  TopicCreated           name, id, assignments
//!   2  PartitionsAdded        id, first, assignments
//!   3  TopicDeleted           id
//!   4  LeaderChanged          id, partition, optional leader, isr, leader epoch, partition epoch
//!   5  ConfigSet              resource, key, value
//!   6  ConfigUnset            resource, key
//!   7  ProducerIdsReserved    next
//!   8  NodeRegistered         node, broker epoch, incarnation, listeners, optional rack
//!
//! assignments  count, each: replicas, isr, optional leader, leader epoch, partition epoch
//! replicas     count, each: node;   isr likewise
//! resource     0 topic name, or 1 node, or 2 for every node
//! listeners    count, each: name, host, port
//! ```

use bytes::Bytes;
use plimsoll_controller::{Assignment, ConfigResource, Image, Listener, Misfit, Record};
use plimsoll_types::{
    BrokerEpoch, InvalidTopicName, LeaderEpoch, NodeId, PartitionEpoch, TopicId, TopicName,
};

const VERSION: u8 = 1;

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

/// The snapshot that holds `image`.
pub(crate) fn encode_snapshot(image: &Image) -> Bytes {
    let mut out = Writer(vec![VERSION]);
    out.number(image.version());
    let records: Vec<Record> = image.to_records().collect();
    out.records(records.iter());
    out.0.into()
}

/// The image of a snapshot.
pub(crate) fn decode_snapshot(snapshot: &[u8]) -> Result<Image, CodecError> {
    let mut reader = Reader(snapshot);
    reader.version()?;
    let version = reader.number("the image version")?;
    let records = reader.records()?;
    reader.end("the snapshot")?;
    Ok(Image::restore(version, records)?)
}

struct Writer(Vec<u8>);

impl Writer {
    fn records<'a>(&mut self, records: impl ExactSizeIterator<Item = &'a Record>) {
        self.count(records.len());
        for record in records {
            let mut body = Self(Vec::new());
            let tag = body.body(record);
            self.0.push(tag);
            self.bytes(&body.0);
        }
    }

    /// Writes the body of `record` and returns its tag.
    fn body(&mut self, record: &Record) -> u8 {
        match record {
            Record::TopicCreated {
                name,
                id,
                partitions,
            } => {
                self.text(name.as_str());
                self.id(*id);
                self.list(partitions, Self::assignment);
                1
            }
            Record::PartitionsAdded {
                id,
                first,
                partitions,
            } => {
                self.id(*id);
                self.number((*first).into());
                self.list(partitions, Self::assignment);
                2
            }
            Record::TopicDeleted { id } => {
                self.id(*id);
                3
            }
            Record::LeaderChanged {
                id,
                partition,
                leader,
                isr,
                leader_epoch,
                partition_epoch,
            } => {
                self.id(*id);
                self.number((*partition).into());
                self.optional(leader.as_ref(), Self::node);
                self.list(isr, Self::node);
                self.number(leader_epoch.get().into());
                self.number(partition_epoch.0.into());
                4
            }
            Record::ConfigSet {
                resource,
                key,
                value,
            } => {
                self.resource(resource);
                self.text(key);
                self.text(value);
                5
            }
            Record::ConfigUnset { resource, key } => {
                self.resource(resource);
                self.text(key);
                6
            }
            Record::ProducerIdsReserved { next } => {
                self.number(*next);
                7
            }
            Record::NodeRegistered {
                node,
                broker_epoch,
                incarnation,
                listeners,
                rack,
            } => {
                self.node(node);
                self.number(broker_epoch.0);
                self.0.extend_from_slice(incarnation);
                self.list(listeners, Self::listener);
                self.optional(rack.as_ref(), |out, rack| out.text(rack));
                8
            }
        }
    }

    fn assignment(&mut self, assignment: &Assignment) {
        self.list(&assignment.replicas, Self::node);
        self.list(&assignment.isr, Self::node);
        self.optional(assignment.leader.as_ref(), Self::node);
        self.number(assignment.leader_epoch.get().into());
        self.number(assignment.partition_epoch.0.into());
    }

    fn resource(&mut self, resource: &ConfigResource) {
        match resource {
            ConfigResource::Topic(name) => {
                self.0.push(0);
                self.text(name.as_str());
            }
            ConfigResource::Node(node) => {
                self.0.push(1);
                self.node(node);
            }
            ConfigResource::EveryNode => self.0.push(2),
        }
    }

    fn listener(&mut self, listener: &Listener) {
        self.text(&listener.name);
        self.text(&listener.host);
        self.number(listener.port.into());
    }

    fn list<T>(&mut self, items: &[T], write: impl Fn(&mut Self, &T)) {
        self.count(items.len());
        for item in items {
            write(self, item);
        }
    }

    fn optional<T>(&mut self, item: Option<&T>, write: impl Fn(&mut Self, &T)) {
        self.0.push(u8::from(item.is_some()));
        if let Some(item) = item {
            write(self, item);
        }
    }

    fn node(&mut self, node: &NodeId) {
        self.number(node.get().into());
    }

    fn id(&mut self, id: TopicId) {
        self.0.extend_from_slice(&id.to_bytes());
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    fn count(&mut self, count: usize) {
        self.number(u64::try_from(count).unwrap_or(u64::MAX));
    }

    fn number(&mut self, mut number: u64) {
        while number > 0x7f {
            self.0.push(low_bits(number) | 0x80);
            number >>= 7;
        }
        self.0.push(low_bits(number));
    }
}

fn low_bits(number: u64) -> u8 {
    u8::try_from(number & 0x7f).unwrap_or(0)
}

struct Reader<'a>(&'a [u8]);

type Read<T> = Result<T, CodecError>;

impl<'a> Reader<'a> {
    fn version(&mut self) -> Read<()> {
        match self.byte("the version")? {
            VERSION => Ok(()),
            version => Err(CodecError::Version { version }),
        }
    }

    fn records(&mut self) -> Read<Vec<Record>> {
        self.list("the records", |reader| {
            let tag = reader.byte("a record's tag")?;
            let mut body = Reader(reader.bytes("a record")?);
            let record = body.body(tag)?;
            body.end("a record")?;
            Ok(record)
        })
    }

    fn body(&mut self, tag: u8) -> Read<Record> {
        Ok(match tag {
            1 => Record::TopicCreated {
                name: self.topic_name()?,
                id: self.id()?,
                partitions: self.list("the assignments", Self::assignment)?,
            },
            2 => Record::PartitionsAdded {
                id: self.id()?,
                first: self.number_u32("the first partition")?,
                partitions: self.list("the assignments", Self::assignment)?,
            },
            3 => Record::TopicDeleted { id: self.id()? },
            4 => Record::LeaderChanged {
                id: self.id()?,
                partition: self.number_u32("the partition")?,
                leader: self.optional("the leader", Self::node)?,
                isr: self.list("the isr", Self::node)?,
                leader_epoch: self.leader_epoch()?,
                partition_epoch: PartitionEpoch(self.number_u32("the partition epoch")?),
            },
            5 => Record::ConfigSet {
                resource: self.resource()?,
                key: self.text("a config key")?,
                value: self.text("a config value")?,
            },
            6 => Record::ConfigUnset {
                resource: self.resource()?,
                key: self.text("a config key")?,
            },
            7 => Record::ProducerIdsReserved {
                next: self.number("the next producer id")?,
            },
            8 => Record::NodeRegistered {
                node: self.node()?,
                broker_epoch: BrokerEpoch(self.number("the broker epoch")?),
                incarnation: self.sixteen("the incarnation")?,
                listeners: self.list("the listeners", Self::listener)?,
                rack: self.optional("the rack", |reader| reader.text("the rack"))?,
            },
            tag => return Err(CodecError::UnknownRecord { tag }),
        })
    }

    fn assignment(&mut self) -> Read<Assignment> {
        Ok(Assignment {
            replicas: self.list("the replicas", Self::node)?,
            isr: self.list("the isr", Self::node)?,
            leader: self.optional("the leader", Self::node)?,
            leader_epoch: self.leader_epoch()?,
            partition_epoch: PartitionEpoch(self.number_u32("the partition epoch")?),
        })
    }

    fn resource(&mut self) -> Read<ConfigResource> {
        match self.byte("a config's resource")? {
            0 => Ok(ConfigResource::Topic(self.topic_name()?)),
            1 => Ok(ConfigResource::Node(self.node()?)),
            2 => Ok(ConfigResource::EveryNode),
            _ => Err(CodecError::Range {
                what: "a config's resource",
            }),
        }
    }

    fn listener(&mut self) -> Read<Listener> {
        let (name, host) = (
            self.text("a listener's name")?,
            self.text("a listener's host")?,
        );
        let what = "a listener's port";
        let port = u16::try_from(self.number(what)?);
        let port = port.map_err(|_| CodecError::Range { what })?;
        Ok(Listener { name, host, port })
    }

    fn list<T>(
        &mut self,
        what: &'static str,
        mut read: impl FnMut(&mut Self) -> Read<T>,
    ) -> Read<Vec<T>> {
        let count = self.number(what)?;
        // Every item takes a byte at least: what is set aside is bounded by what is there.
        if count > self.0.len() as u64 {
            return Err(CodecError::Short { what });
        }
        (0..count).map(|_| read(self)).collect()
    }

    fn optional<T>(
        &mut self,
        what: &'static str,
        read: impl FnOnce(&mut Self) -> Read<T>,
    ) -> Read<Option<T>> {
        match self.byte(what)? {
            0 => Ok(None),
            1 => read(self).map(Some),
            _ => Err(CodecError::Range { what }),
        }
    }

    fn topic_name(&mut self) -> Read<TopicName> {
        Ok(TopicName::new(&self.text("a topic name")?)?)
    }

    fn node(&mut self) -> Read<NodeId> {
        let what = "a node id";
        NodeId::new(self.number_u32(what)?).ok_or(CodecError::Range { what })
    }

    fn leader_epoch(&mut self) -> Read<LeaderEpoch> {
        let what = "the leader epoch";
        let epoch = i32::try_from(self.number(what)?).ok();
        epoch
            .and_then(LeaderEpoch::from_wire)
            .ok_or(CodecError::Range { what })
    }

    fn id(&mut self) -> Read<TopicId> {
        self.sixteen("a topic id").map(TopicId::from_bytes)
    }

    fn sixteen(&mut self, what: &'static str) -> Read<[u8; 16]> {
        let (head, rest) = self
            .0
            .split_first_chunk()
            .ok_or(CodecError::Short { what })?;
        self.0 = rest;
        Ok(*head)
    }

    fn text(&mut self, what: &'static str) -> Read<String> {
        let bytes = self.bytes(what)?.to_vec();
        String::from_utf8(bytes).map_err(|_| CodecError::Range { what })
    }

    fn bytes(&mut self, what: &'static str) -> Read<&'a [u8]> {
        let length = usize::try_from(self.number(what)?).unwrap_or(usize::MAX);
        let (head, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(CodecError::Short { what })?;
        self.0 = rest;
        Ok(head)
    }

    fn byte(&mut self, what: &'static str) -> Read<u8> {
        let (byte, rest) = self.0.split_first().ok_or(CodecError::Short { what })?;
        self.0 = rest;
        Ok(*byte)
    }

    fn number_u32(&mut self, what: &'static str) -> Read<u32> {
        u32::try_from(self.number(what)?).map_err(|_| CodecError::Range { what })
    }

    fn number(&mut self, what: &'static str) -> Read<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(what)?;
            let bits = u64::from(byte & 0x7f);
            let overlong = byte == 0 && shift > 0;
            if overlong || (bits << shift) >> shift != bits {
                return Err(CodecError::Range { what });
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(CodecError::Range { what })
    }

    fn end(&self, what: &'static str) -> Read<()> {
        match self.0.len() {
            0 => Ok(()),
            bytes => Err(CodecError::Trailing { bytes, what }),
        }
    }
}

#[cfg(test)]
mod tests;
