//! Which partition of the offsets topic keeps a group: the same one as in Kafka, so that a log
//! taken over from Kafka is found where it is.

/// The partition of `group` among `partitions`.
pub(super) fn partition_of(group: &str, partitions: usize) -> usize {
    // Kafka takes the absolute value of Java's hash, and zero for the one that has none.
    let hash = java_hash(group).checked_abs().unwrap_or(0).unsigned_abs();
    usize::try_from(hash).unwrap_or(0) % partitions.max(1)
}

/// Java's `String.hashCode`: over UTF-16 code units.
fn java_hash(text: &str) -> i32 {
    let unit = |hash: i32, unit: u16| hash.wrapping_mul(31).wrapping_add(i32::from(unit));
    text.encode_utf16().fold(0, unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Java's `String.hashCode` gives, as printed by a Java 17.
    const KNOWN: &[(&str, i32)] = &[
        ("", 0),
        ("a", 97),
        ("hello", 99_162_322),
        ("console-consumer-12345", 158_455_506),
        ("my-group", -1_906_497_762),
        ("polygenelubricants", i32::MIN),
        ("😀", 1_772_899),
    ];

    #[test]
    fn hashes_are_those_of_java() {
        for (text, hash) in KNOWN {
            assert_eq!(java_hash(text), *hash, "{text}");
        }
    }

    #[test]
    fn negative_hashes_lose_their_sign() {
        assert_eq!(partition_of("my-group", 50), 1_906_497_762 % 50);
    }

    #[test]
    fn hash_without_absolute_value_is_partition_zero() {
        assert_eq!(partition_of("polygenelubricants", 50), 0);
    }
}
