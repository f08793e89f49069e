//! A sorted map whose clone is one reference count and whose change copies little.
//!
//! Two levels: a shared list of shared sorted chunks. A change to a map that is shared copies the
//! list of chunks and one chunk; a change to a map that nobody shares copies nothing. For the ten
//! thousands of topics of a cluster that is some hundred pointers a change, which a tree of more
//! levels would not better by enough to pay for itself.
//!
//! Always: no chunk is empty or longer than [`MAX_CHUNK`], and keys strictly ascend across them.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// Most entries of a chunk; a longer one splits in halves.
const MAX_CHUNK: usize = 256;

type Chunk<K, V> = Arc<Vec<(K, V)>>;

/// A sorted map with cheap clones; see the module.
pub struct SortedMap<K, V> {
    chunks: Arc<Vec<Chunk<K, V>>>,
    len: usize,
}

impl<K, V> Clone for SortedMap<K, V> {
    fn clone(&self) -> Self {
        Self {
            chunks: Arc::clone(&self.chunks),
            len: self.len,
        }
    }
}

impl<K, V> Default for SortedMap<K, V> {
    fn default() -> Self {
        Self {
            chunks: Arc::default(),
            len: 0,
        }
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for SortedMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.chunks.iter().flat_map(|chunk| chunk.iter());
        f.debug_map().entries(entries.map(|(k, v)| (k, v))).finish()
    }
}

impl<K: PartialEq, V: PartialEq> PartialEq for SortedMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        let entries = |map: &Self| map.chunks.clone();
        self.len == other.len
            && entries(self)
                .iter()
                .flat_map(|chunk| chunk.iter())
                .eq(entries(other).iter().flat_map(|chunk| chunk.iter()))
    }
}

impl<K, V> SortedMap<K, V> {
    /// How many entries.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Every entry, by ascending key.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let chunks = self.chunks.iter();
        chunks.flat_map(|chunk| chunk.iter().map(|(key, value)| (key, value)))
    }

    /// Every value, by ascending key.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// The chunks, for a comparison that skips what two maps share.
    pub(crate) fn chunks(&self) -> &[Arc<Vec<(K, V)>>] {
        &self.chunks
    }
}

impl<K: Ord + Clone, V: Clone> SortedMap<K, V> {
    /// The value at `key`.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let chunk = self.chunks.get(self.chunk_of(key)?)?;
        let at = chunk.binary_search_by(|(k, _)| k.borrow().cmp(key)).ok()?;
        chunk.get(at).map(|(_, value)| value)
    }

    /// Every entry from `key` on, by ascending key.
    pub fn iter_from<Q: Ord + ?Sized>(&self, key: &Q) -> impl Iterator<Item = (&K, &V)>
    where
        K: Borrow<Q>,
    {
        let first = self.chunk_of(key).unwrap_or(0);
        let skip = self
            .chunks
            .get(first)
            .map_or(0, |chunk| chunk.partition_point(|(k, _)| k.borrow() < key));
        let chunks = self.chunks.iter().skip(first);
        chunks
            .flat_map(|chunk| chunk.iter().map(|(k, v)| (k, v)))
            .skip(skip)
    }

    /// As [`iter_from`](Self::iter_from), for a key that nobody keeps.
    pub fn range_from<'a>(
        &'a self,
        key: &K,
    ) -> impl Iterator<Item = (&'a K, &'a V)> + use<'a, K, V> {
        let first = self.chunk_of(key).unwrap_or(0);
        let skip = self
            .chunks
            .get(first)
            .map_or(0, |chunk| chunk.partition_point(|(k, _)| k < key));
        let chunks = self.chunks.iter().skip(first);
        chunks
            .flat_map(|chunk| chunk.iter().map(|(k, v)| (k, v)))
            .skip(skip)
    }

    /// Sets the value at `key` and returns the one it replaced.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let at = self.chunk_of(&key).unwrap_or(0);
        let chunks = Arc::make_mut(&mut self.chunks);
        if chunks.is_empty() {
            chunks.push(Arc::default());
        }
        let chunk = Arc::make_mut(&mut chunks[at]);
        match chunk.binary_search_by(|(k, _)| k.cmp(&key)) {
            Ok(found) => return Some(std::mem::replace(&mut chunk[found].1, value)),
            Err(place) => chunk.insert(place, (key, value)),
        }
        if chunk.len() > MAX_CHUNK {
            let upper = chunk.split_off(chunk.len() / 2);
            chunks.insert(at + 1, Arc::new(upper));
        }
        self.len += 1;
        None
    }

    /// The value at `key`, to be changed in place; copied first where it is shared.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.get(key)?;
        let at = self.chunk_of(key)?;
        let chunk = Arc::make_mut(Arc::make_mut(&mut self.chunks).get_mut(at)?);
        let place = chunk.binary_search_by(|(k, _)| k.borrow().cmp(key)).ok()?;
        chunk.get_mut(place).map(|(_, value)| value)
    }

    /// Removes and returns the value at `key`.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.get(key)?;
        let at = self.chunk_of(key)?;
        let chunks = Arc::make_mut(&mut self.chunks);
        let chunk = Arc::make_mut(chunks.get_mut(at)?);
        let place = chunk.binary_search_by(|(k, _)| k.borrow().cmp(key)).ok()?;
        let (_, value) = chunk.remove(place);
        let left = chunk.len();
        if left == 0 {
            chunks.remove(at);
        } else if at > 0 && left + chunks[at - 1].len() <= MAX_CHUNK / 2 {
            let tail = chunks.remove(at);
            Arc::make_mut(&mut chunks[at - 1]).extend(tail.iter().cloned());
        }
        self.len -= 1;
        Some(value)
    }

    /// The chunk where `key` is or belongs; `None` when there is none yet.
    fn chunk_of<Q: Ord + ?Sized>(&self, key: &Q) -> Option<usize>
    where
        K: Borrow<Q>,
    {
        let starts_at_or_before = |chunk: &Chunk<K, V>| {
            let (first, _) = chunk.first().expect("no chunk is empty");
            first.borrow() <= key
        };
        let after = self.chunks.partition_point(starts_at_or_before);
        (!self.chunks.is_empty()).then_some(after.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn it_is_a_btree_map_and_its_clones_stand_still(
            steps in prop::collection::vec((any::<bool>(), 0_u16..900), 0..1500),
        ) {
            let mut map = SortedMap::default();
            let mut model = BTreeMap::new();
            let mut kept = Vec::new();
            for (at, (insert, key)) in steps.into_iter().enumerate() {
                if insert {
                    prop_assert_eq!(map.insert(key, at), model.insert(key, at));
                } else {
                    prop_assert_eq!(map.remove(&key), model.remove(&key));
                }
                if at % 300 == 0 {
                    kept.push((map.clone(), model.clone()));
                }
            }
            kept.push((map, model));
            for (map, model) in kept {
                prop_assert_eq!(map.len(), model.len());
                prop_assert!(map.iter().eq(model.iter()));
                prop_assert!(map.chunks().iter().all(|c| !c.is_empty() && c.len() <= MAX_CHUNK));
                for from in [0_u16, 1, 450, 899, 1000] {
                    prop_assert_eq!(map.get(&from), model.get(&from));
                    prop_assert!(map.iter_from(&from).eq(model.range(from..)));
                }
            }
        }
    }

    #[test]
    fn a_change_to_a_shared_map_copies_one_chunk() {
        let mut map: SortedMap<u32, u32> = SortedMap::default();
        for key in 0..10_000 {
            map.insert(key, key);
        }
        let before = map.clone();
        *map.get_mut(&5_000).expect("present") = 1;
        let shared = before.chunks().iter().zip(map.chunks());
        let copied = shared.filter(|(a, b)| !Arc::ptr_eq(a, b)).count();
        assert_eq!(copied, 1);
        assert_eq!(before.get(&5_000), Some(&5_000));
    }
}
