//! The consumer protocol: what consumers put into the groups they join, and get back.
//!
//! These bytes travel inside JoinGroup and SyncGroup, opaque to Kafka's brokers. They begin with
//! their version. A reader takes a later version for the last it knows and leaves what follows
//! unread, as the protocol wants; an earlier one is read as it is.

use bytes::Bytes;

use crate::codec::{Context, Input, Malformed, Message, Output, Str, message};

/// The group protocol type under which consumers join.
pub const PROTOCOL_TYPE: &str = "consumer";

message! {
    /// What a consumer wants: the metadata of its JoinGroup.
    pub struct ConsumerProtocolSubscription: 0..=3, rigid {
        /// The topics.
        topics: Vec<Str>,
        /// What the assignor adds for itself.
        user_data: Option<Bytes>,
        /// The partitions the consumer has.
        owned_partitions: Vec<TopicPartition> [1..],
        /// The generation it had them in, -1 for none.
        generation_id: i32 [2..] = -1,
        /// Its rack, if it has one.
        rack_id: Option<Str> [3..],
    }

    /// Partitions of one topic.
    pub struct TopicPartition {
        /// The topic's name.
        topic: Str,
        /// The partitions' indexes.
        partitions: Vec<i32>,
    }
}

message! {
    /// What a consumer is given: the assignment of SyncGroup.
    pub struct ConsumerProtocolAssignment: 0..=3, rigid {
        /// The partitions.
        assigned_partitions: Vec<TopicPartition>,
        /// What the assignor adds for itself.
        user_data: Option<Bytes>,
    }
}

impl ConsumerProtocolSubscription {
    /// Reads the metadata of a member.
    ///
    /// # Errors
    /// It is not a consumer's.
    pub fn from_member(metadata: &Bytes) -> Result<Self, Malformed> {
        tolerant(metadata)
    }

    /// Writes it with its version before it.
    #[must_use]
    pub fn to_member(&self, version: i16) -> Bytes {
        versioned(version, self)
    }
}

impl ConsumerProtocolAssignment {
    /// Reads the assignment of a member.
    ///
    /// # Errors
    /// It is not a consumer's.
    pub fn from_member(assignment: &Bytes) -> Result<Self, Malformed> {
        tolerant(assignment)
    }

    /// Writes it with its version before it.
    #[must_use]
    pub fn to_member(&self, version: i16) -> Bytes {
        versioned(version, self)
    }
}

fn tolerant<M: Message>(bytes: &Bytes) -> Result<M, Malformed> {
    let mut input = Input::new(bytes);
    input.at_field("version");
    let (first, last) = M::VERSIONS.into_inner();
    let version = input.i16()?.clamp(first, last);
    M::read(&mut input, Context::of::<M>(version))
}

fn versioned<M: Message>(version: i16, message: &M) -> Bytes {
    let mut out = Output::new();
    out.i16(version);
    message.write(&mut out, Context::of::<M>(version));
    out.finish().concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_version_is_read_as_the_last_known() {
        let subscription = ConsumerProtocolSubscription {
            topics: vec!["a".into()],
            ..Default::default()
        };
        let mut later = subscription.to_member(3).to_vec();
        later.splice(..2, 9_i16.to_be_bytes());
        later.extend_from_slice(b"more of a later version");
        let read = ConsumerProtocolSubscription::from_member(&Bytes::from(later));
        assert_eq!(read, Ok(subscription));
    }

    #[test]
    fn metadata_shorter_than_a_version_is_refused() {
        let short = Bytes::from_static(&[0]);
        assert!(ConsumerProtocolSubscription::from_member(&short).is_err());
        assert!(ConsumerProtocolAssignment::from_member(&Bytes::new()).is_err());
    }
}
