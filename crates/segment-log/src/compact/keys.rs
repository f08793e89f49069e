//! The latest offset of each key, in bounded memory.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use plimsoll_types::Offset;

/// Bytes that one key costs, the table's slack included.
const KEY_BYTES: usize = 64;

/// The latest offset of each key. Keys are known by 128 bits of keyed hashes, drawn anew for each
/// compaction, so nobody can make two keys collide, and chance does so for 10^9 keys once in 10^20.
#[derive(Debug)]
pub(super) struct Keys {
    hashers: [RandomState; 2],
    offsets: HashMap<(u64, u64), Offset>,
    max: usize,
}

impl Keys {
    /// Room for as many keys as `max_bytes` allow.
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            hashers: [RandomState::new(), RandomState::new()],
            offsets: HashMap::new(),
            max: max_bytes / KEY_BYTES,
        }
    }

    /// Whether `more` keys still fit; into an empty map they always do.
    pub(super) fn fits(&self, more: usize) -> bool {
        self.offsets.is_empty() || self.offsets.len() + more <= self.max
    }

    /// Notes a later record of `key`.
    pub(super) fn note(&mut self, key: &[u8], offset: Offset) {
        self.offsets.insert(self.hash(key), offset);
    }

    /// Whether a record of `key` after `offset` was noted.
    pub(super) fn supersedes(&self, key: &[u8], offset: Offset) -> bool {
        self.offsets
            .get(&self.hash(key))
            .is_some_and(|latest| *latest > offset)
    }

    fn hash(&self, key: &[u8]) -> (u64, u64) {
        let [one, other] = &self.hashers;
        (one.hash_one(key), other.hash_one(key))
    }
}
