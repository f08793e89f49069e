//! What differs between two images, found without looking at what they share.

use crate::image::{Partition, Topic};
use crate::sorted_map::SortedMap;
use plimsoll_types::TopicName;
use std::cmp::Ordering;
use std::sync::Arc;

/// What a node must act on when it goes from one image to a later one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Topics created, deleted or changed, by name. A topic deleted and created again under its
    /// name is a deletion followed by a creation.
    pub topics: Vec<TopicChange>,
    /// A node came, went, or is in another state or at another address.
    pub nodes_changed: bool,
    /// A node-wide config changed, so the resolved config of any topic may have.
    pub node_configs_changed: bool,
}

/// One topic's change.
#[derive(Clone, Debug, PartialEq)]
pub enum TopicChange {
    /// It is new.
    Created(Arc<Topic>),
    /// It is gone.
    Deleted(Arc<Topic>),
    /// Its partitions or its configs changed.
    Changed {
        /// As it was.
        before: Arc<Topic>,
        /// As it is.
        after: Arc<Topic>,
    },
}

impl TopicChange {
    /// The partitions that differ, each with what it was and what it is; found without looking
    /// into those that are shared.
    pub fn partitions(
        &self,
    ) -> impl Iterator<Item = (u32, Option<&Arc<Partition>>, Option<&Arc<Partition>>)> {
        let (before, after) = match self {
            Self::Created(topic) => (None, Some(topic)),
            Self::Deleted(topic) => (Some(topic), None),
            Self::Changed { before, after } => (Some(before), Some(after)),
        };
        let list = |topic: Option<&'_ Arc<Topic>>| topic.map_or(0, |topic| topic.partitions.len());
        let count = list(before).max(list(after));
        let numbered = (0..count).zip(0_u32..).map(move |(at, index)| {
            let (before, after) = (
                before.and_then(|topic| topic.partitions.get(at)),
                after.and_then(|topic| topic.partitions.get(at)),
            );
            (index, before, after)
        });
        numbered.filter(|(_, before, after)| match (before, after) {
            (Some(before), Some(after)) => !Arc::ptr_eq(before, after) && before != after,
            (before, after) => before.is_some() || after.is_some(),
        })
    }
}

type Topics = SortedMap<TopicName, Arc<Topic>>;

pub(crate) fn topics(earlier: &Topics, later: &Topics) -> Vec<TopicChange> {
    let mut changes = Vec::new();
    let (mut old, mut new) = (Cursor::at(earlier), Cursor::at(later));
    loop {
        if old.shares_chunk_with(&new) {
            old.next_chunk();
            new.next_chunk();
            continue;
        }
        let order = match (old.topic(), new.topic()) {
            (None, None) => return changes,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(before), Some(after)) => before.name.cmp(&after.name),
        };
        let before = old.topic().filter(|_| order.is_le()).cloned();
        let after = new.topic().filter(|_| order.is_ge()).cloned();
        if before.is_some() {
            old.next();
        }
        if after.is_some() {
            new.next();
        }
        push(&mut changes, before, after);
    }
}

fn push(changes: &mut Vec<TopicChange>, before: Option<Arc<Topic>>, after: Option<Arc<Topic>>) {
    match (before, after) {
        (Some(before), Some(after)) if before.id == after.id => {
            if !Arc::ptr_eq(&before, &after) && before != after {
                changes.push(TopicChange::Changed { before, after });
            }
        }
        (before, after) => {
            changes.extend(before.map(TopicChange::Deleted));
            changes.extend(after.map(TopicChange::Created));
        }
    }
}

/// A place in a map: a chunk and an entry in it.
struct Cursor<'a> {
    map: &'a Topics,
    chunk: usize,
    entry: usize,
}

impl<'a> Cursor<'a> {
    const fn at(map: &'a Topics) -> Self {
        Self {
            map,
            chunk: 0,
            entry: 0,
        }
    }

    fn topic(&self) -> Option<&'a Arc<Topic>> {
        let chunk = self.map.chunks().get(self.chunk)?;
        chunk.get(self.entry).map(|(_, topic)| topic)
    }

    fn next(&mut self) {
        self.entry += 1;
        let chunk = self.map.chunks().get(self.chunk);
        if chunk.is_some_and(|chunk| self.entry >= chunk.len()) {
            self.next_chunk();
        }
    }

    fn next_chunk(&mut self) {
        self.chunk += 1;
        self.entry = 0;
    }

    fn shares_chunk_with(&self, other: &Self) -> bool {
        let chunks = (
            self.map.chunks().get(self.chunk),
            other.map.chunks().get(other.chunk),
        );
        let at_starts = self.entry == 0 && other.entry == 0;
        at_starts && matches!(chunks, (Some(a), Some(b)) if Arc::ptr_eq(a, b))
    }
}
