//! Records to bytes; see [`super`] for their form.

use plimsoll_controller::{Assignment, ConfigResource, Listener, Record};
use plimsoll_types::{NodeId, TopicId};

use super::LastChanges;

/// The bytes so far.
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn records<'a>(&mut self, records: impl ExactSizeIterator<Item = &'a Record>) {
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
            Record::PartitionChanged {
                id,
                partition,
                state,
            } => {
                self.id(*id);
                self.number((*partition).into());
                self.assignment(state);
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
                dir_id,
                listeners,
                peer,
                rack,
            } => {
                self.node(node);
                self.number(broker_epoch.0);
                self.0.extend_from_slice(incarnation);
                self.0.extend_from_slice(dir_id);
                self.list(listeners, Self::listener);
                self.text(peer);
                self.optional(rack.as_ref(), |out, rack| out.text(rack));
                8
            }
            Record::NodeStateSet {
                node,
                fenced,
                drain,
            } => {
                self.node(node);
                self.truth(*fenced);
                let (stopping, kept) = (u8::from(drain.stopping), u8::from(drain.kept));
                self.0.push(stopping | kept << 1);
                9
            }
            Record::NodeRemoved { node } => {
                self.node(node);
                10
            }
        }
    }

    fn truth(&mut self, truth: bool) {
        self.0.push(u8::from(truth));
    }

    pub(super) fn last_changes(&mut self, last: &LastChanges) {
        let changes: Vec<_> = last.iter().collect();
        self.list(&changes, |out, (node, (ticket, version))| {
            out.node(node);
            out.number(*ticket);
            out.number(*version);
        });
    }

    fn assignment(&mut self, assignment: &Assignment) {
        for nodes in [
            &assignment.replicas,
            &assignment.isr,
            &assignment.elr,
            &assignment.last_known_elr,
            &assignment.adding,
            &assignment.removing,
        ] {
            self.list(nodes, Self::node);
        }
        self.optional(assignment.leader.as_ref(), Self::node);
        self.number(assignment.leader_epoch.get().into());
        self.number(assignment.partition_epoch.0.into());
        self.optional(assignment.unclean_epoch.as_ref(), |out, epoch| {
            out.number(epoch.get().into());
        });
        self.truth(assignment.recovering);
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

    pub(super) fn number(&mut self, mut number: u64) {
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
