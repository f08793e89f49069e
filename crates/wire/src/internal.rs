//! The records of `__consumer_offsets`, in Kafka's format: key and value begin with their version.
//!
//! Not here: record batches, and what the records mean for a group. What always holds: what is
//! written here is read by Kafka's tools and by this module alike.

use bytes::Bytes;

use crate::codec::{Context, Input, Malformed, Message, Output, Reason, Str, message, some};

message! {
    /// Whose offset it is. Versions 0 and 1 are alike.
    pub struct OffsetCommitKey: 0..=1, rigid {
        /// The group.
        group: Str,
        /// The topic's name.
        topic: Str,
        /// The partition's index.
        partition: i32,
    }
}

message! {
    /// The offset.
    pub struct OffsetCommitValue: 0..=4, flexible 4 {
        /// The next offset to read.
        offset: i64,
        /// The epoch of the last record read, -1 if unknown.
        leader_epoch: i32 [3..] = -1,
        /// What the client kept with it.
        metadata: Str,
        /// When it was committed, in milliseconds since 1970.
        commit_timestamp: i64,
        /// When it is to be forgotten, -1 if the broker's retention decides.
        expire_timestamp: i64 [1..=1] = -1,
    }
}

message! {
    /// Which group it is.
    pub struct GroupMetadataKey: 2..=2, rigid {
        /// The group.
        group: Str,
    }
}

message! {
    /// The state of a group.
    pub struct GroupMetadataValue: 0..=4, flexible 4 {
        /// Its class of protocols, such as "consumer".
        protocol_type: Str,
        /// Its generation.
        generation: i32,
        /// The protocol chosen; null while it has none.
        protocol: Option<Str> = some(),
        /// The member that leads; null while nobody does.
        leader: Option<Str> = some(),
        /// When it came into its state, in milliseconds since 1970; -1 if unknown.
        current_state_timestamp: i64 [2..] = -1,
        /// Its members.
        members: Vec<MemberMetadata>,
    }

    /// A member.
    pub struct MemberMetadata {
        /// Its id.
        member_id: Str,
        /// Its name, if it is static.
        group_instance_id: Option<Str> [3..],
        /// The client id it joined with.
        client_id: Str,
        /// The host it joined from.
        client_host: Str,
        /// How long it gets to join a rebalance, in milliseconds.
        rebalance_timeout: i32 [1..],
        /// After how long without heartbeats it is dead, in milliseconds.
        session_timeout: i32,
        /// What it told under the protocol chosen.
        subscription: Bytes,
        /// What it is given.
        assignment: Bytes,
    }
}

/// The key of a record, which tells its kind.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Key {
    /// Of an offset.
    Offset(OffsetCommitKey),
    /// Of a group.
    Group(GroupMetadataKey),
    /// Of something written by another version of the broker, to be passed over.
    Unknown {
        /// The version, which is the kind.
        version: i16,
    },
}

impl Key {
    /// Reads a record's key.
    ///
    /// # Errors
    /// It is damaged.
    pub fn decode(bytes: &Bytes) -> Result<Self, Malformed> {
        let mut input = Input::new(bytes);
        let version = read_version(&mut input)?;
        match version {
            0 | 1 => read_whole(&mut input, version).map(Self::Offset),
            2 => read_whole(&mut input, version).map(Self::Group),
            _ => Ok(Self::Unknown { version }),
        }
    }
}

/// Reads a key or value of the kind `M`: its version, then itself.
///
/// # Errors
/// It is damaged, or of a version that `M` does not have.
pub fn decode<M: Message>(bytes: &Bytes) -> Result<M, Malformed> {
    let mut input = Input::new(bytes);
    let version = read_version(&mut input)?;
    if !M::VERSIONS.contains(&version) {
        return Err(input.malformed(Reason::Version { version }));
    }
    read_whole(&mut input, version)
}

/// Writes a key or value: its version, then itself.
#[must_use]
pub fn encode<M: Message>(version: i16, message: &M) -> Bytes {
    let mut out = Output::new();
    out.i16(version);
    message.write(&mut out, Context::of::<M>(version));
    out.finish().concat()
}

fn read_version(input: &mut Input<'_>) -> Result<i16, Malformed> {
    input.at_field("version");
    input.i16()
}

fn read_whole<M: Message>(input: &mut Input<'_>, version: i16) -> Result<M, Malformed> {
    let message = M::read(input, Context::of::<M>(version))?;
    input.finish()?;
    Ok(message)
}
