//! Which partition a record goes to: as the Java client decides it.
//!
//! A key always leads to the same partition as long as their number does not change, and to the
//! one that a Java producer would choose. Records without a key stay with one partition until a
//! batch of it is full, so that batches fill.

/// The partition of `key` among `partitions`.
///
/// # Panics
/// If there are no partitions.
#[must_use]
pub fn partition_of(key: &[u8], partitions: u32) -> u32 {
    assert!(partitions > 0, "a topic has partitions");
    (murmur2(key) & 0x7fff_ffff) % partitions
}

/// Another partition than `current`, if there is another: `any` decides which.
pub(crate) fn next_sticky(current: Option<u32>, partitions: u32, any: u64) -> u32 {
    let count = u64::from(partitions.max(1));
    let chosen = match current.filter(|current| *current < partitions) {
        // Steps of 1 to count-1 from here reach every other one.
        Some(current) if partitions > 1 => (u64::from(current) + 1 + any % (count - 1)) % count,
        _ => any % count,
    };
    u32::try_from(chosen).expect("less than a u32")
}

/// MurmurHash2 of 32 bits with the seed that Kafka's clients share.
#[must_use]
pub fn murmur2(bytes: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    // The length counts modulo 2^32, as in Java.
    let [.., a, b, c, d] = (bytes.len() as u64).to_be_bytes();
    let mut hash = SEED ^ u32::from_be_bytes([a, b, c, d]);
    let (words, tail) = bytes.as_chunks::<4>();
    for word in words {
        let mut mixed = u32::from_le_bytes(*word).wrapping_mul(M);
        mixed = (mixed ^ (mixed >> 24)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ mixed;
    }
    if !tail.is_empty() {
        let shifted = tail.iter().zip([0, 8, 16]);
        for (byte, shift) in shifted {
            hash ^= u32::from(*byte) << shift;
        }
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_java_client() {
        // The vectors of Kafka's own test of the function.
        let vectors: [(&[u8], i32); 6] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (
                b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            (b"abc", 479_470_107),
        ];
        for (bytes, hash) in vectors {
            assert_eq!(murmur2(bytes).cast_signed(), hash);
        }
    }

    #[test]
    fn a_sticky_partition_moves_to_any_other() {
        let reached: Vec<u32> = (0..3).map(|any| next_sticky(Some(1), 4, any)).collect();
        assert_eq!(reached, [2, 3, 0]);
        assert_eq!(next_sticky(Some(0), 1, 7), 0);
        assert_eq!(next_sticky(None, 4, 7), 3);
        assert_eq!(next_sticky(Some(9), 4, 5), 1);
    }
}
