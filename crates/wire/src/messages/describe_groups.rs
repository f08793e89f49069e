//! DescribeGroups: the state and members of groups.

use crate::codec::{Str, message};
use crate::metadata::OPERATIONS_NOT_ASKED;
use bytes::Bytes;

message! {
    /// Asks about groups.
    pub struct DescribeGroupsRequest: 0..=6, flexible 5 {
        /// The groups; empty for none.
        groups: Vec<Str>,
        /// Whether to tell what the client may do to each.
        include_authorized_operations: bool [3..],
    }
}

message! {
    /// The groups.
    pub struct DescribeGroupsResponse: 0..=6, flexible 5 {
        /// For how long the client is muted from now on, in milliseconds.
        throttle_time_ms: i32 [1..],
        /// The groups.
        groups: Vec<DescribedGroup>,
    }

    /// A group.
    pub struct DescribedGroup {
        /// What went wrong, 0 for nothing.
        error_code: i16,
        /// What went wrong, for a person.
        error_message: Option<Str> [6..],
        /// The group.
        group_id: Str,
        /// Its state, such as "Stable"; empty with an error.
        group_state: Str,
        /// Its class of protocols, such as "consumer".
        protocol_type: Str,
        /// Its protocol, such as "range"; empty while it has none.
        protocol_data: Str,
        /// Its members.
        members: Vec<DescribedGroupMember>,
        /// What the client may do to it, a bit for each operation.
        authorized_operations: i32 [3..] = OPERATIONS_NOT_ASKED,
    }

    /// A member.
    pub struct DescribedGroupMember {
        /// Its id.
        member_id: Str,
        /// Its name, if it is static.
        group_instance_id: Option<Str> [4..],
        /// The client id it joined with.
        client_id: Str,
        /// The host it joined from.
        client_host: Str,
        /// What it told under the group's protocol.
        member_metadata: Bytes,
        /// What it is given.
        member_assignment: Bytes,
    }
}
