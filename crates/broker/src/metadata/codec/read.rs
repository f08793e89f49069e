//! Bytes to records; see [`super`] for their form.

use super::{CodecError, LastChanges, VERSION};
use plimsoll_controller::{Assignment, ConfigResource, Drain, Listener, Record};
use plimsoll_types::{BrokerEpoch, LeaderEpoch, NodeId, PartitionEpoch, TopicId, TopicName};

/// The bytes that are left.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

type Read<T> = Result<T, CodecError>;

impl<'a> Reader<'a> {
    pub(super) fn version(&mut self) -> Read<()> {
        match self.byte("the version")? {
            VERSION => Ok(()),
            version => Err(CodecError::Version { version }),
        }
    }

    pub(super) fn records(&mut self) -> Read<Vec<Record>> {
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
            4 => Record::PartitionChanged {
                id: self.id()?,
                partition: self.number_u32("the partition")?,
                state: self.assignment()?,
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
                dir_id: self.sixteen("the directory id")?,
                listeners: self.list("the listeners", Self::listener)?,
                peer: self.text("the peer address")?,
                rack: self.optional("the rack", |reader| reader.text("the rack"))?,
            },
            9 => Record::NodeStateSet {
                node: self.node()?,
                fenced: self.truth("whether it is fenced")?,
                drain: self.drain()?,
            },
            10 => Record::NodeRemoved { node: self.node()? },
            tag => return Err(CodecError::UnknownRecord { tag }),
        })
    }

    pub(super) fn last_changes(&mut self) -> Read<LastChanges> {
        let each = |reader: &mut Self| {
            let node = reader.node()?;
            let ticket = reader.number("a ticket")?;
            Ok((node, (ticket, reader.number("a version")?)))
        };
        let changes = self.list("the last changes", each)?;
        Ok(changes.into_iter().collect())
    }

    fn assignment(&mut self) -> Read<Assignment> {
        Ok(Assignment {
            replicas: self.list("the replicas", Self::node)?,
            isr: self.list("the isr", Self::node)?,
            elr: self.list("the elr", Self::node)?,
            last_known_elr: self.list("the last known elr", Self::node)?,
            adding: self.list("the replicas to add", Self::node)?,
            removing: self.list("the replicas to remove", Self::node)?,
            leader: self.optional("the leader", Self::node)?,
            leader_epoch: self.leader_epoch()?,
            partition_epoch: PartitionEpoch(self.number_u32("the partition epoch")?),
            unclean_epoch: self.optional("the unclean epoch", Self::leader_epoch)?,
            recovering: self.truth("whether it recovers")?,
        })
    }

    fn drain(&mut self) -> Read<Drain> {
        match self.byte("whether it drains")? {
            bits @ 0..=3 => Ok(Drain {
                stopping: bits & 1 != 0,
                kept: bits & 2 != 0,
            }),
            _ => Err(CodecError::Range {
                what: "whether it drains",
            }),
        }
    }

    fn truth(&mut self, what: &'static str) -> Read<bool> {
        match self.byte(what)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(CodecError::Range { what }),
        }
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

    pub(super) fn number(&mut self, what: &'static str) -> Read<u64> {
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

    pub(super) fn end(&self, what: &'static str) -> Read<()> {
        match self.0.len() {
            0 => Ok(()),
            bytes => Err(CodecError::Trailing { bytes, what }),
        }
    }
}
