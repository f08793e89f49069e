//! Questions that change nothing, answered from what is durable.

use super::Coordinator;
use std::collections::BTreeSet;

use plimsoll_types::TopicName;

use crate::group::{CONSUMER, Group, GroupState};
use crate::{Blob, GroupError, GroupOffsets, Text};

/// A group, described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedGroup {
    /// What it is doing.
    pub state: GroupState,
    /// The kind of group; empty for one that only keeps offsets.
    pub protocol_type: Text,
    /// The protocol agreed on; empty unless the group is stable.
    pub protocol: Text,
    /// The current generation.
    pub generation: i32,
    /// The members.
    pub members: Vec<DescribedMember>,
}

/// A member, described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedMember {
    /// The member id.
    pub member: Text,
    /// The instance id of a static member.
    pub instance: Option<Text>,
    /// The client's name for itself.
    pub client_id: Text,
    /// Where the client is.
    pub client_host: Text,
    /// What it told the assignor; empty unless the group is stable.
    pub metadata: Blob,
    /// What it was assigned.
    pub assignment: Blob,
}

/// A group in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedGroup {
    /// The group.
    pub group: Text,
    /// The kind of group; empty for one that only keeps offsets.
    pub protocol_type: Text,
    /// What it is doing.
    pub state: GroupState,
}

impl ListedGroup {
    /// Kafka's name for groups of this protocol.
    pub const TYPE: &'static str = "classic";
}

/// Which groups to list. Names are compared without regard to case; one that is not known selects
/// nothing; an empty list selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListFilter {
    /// Names of states.
    pub states: Vec<Text>,
    /// Names of types.
    pub types: Vec<Text>,
}

/// Numbers for the metrics of a coordinator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Groups.
    pub groups: usize,
    /// Members of all groups.
    pub members: usize,
    /// Committed offsets of all groups.
    pub offsets: usize,
    /// What they are charged for all they keep.
    pub bytes: usize,
    /// Writes that wait for the log.
    pub writes_in_flight: usize,
}

impl Coordinator {
    /// The durable offsets of a group; none for one that is not known.
    ///
    /// # Errors
    /// While the log is not read.
    pub fn offsets(&self, group: &str) -> Result<GroupOffsets<'_>, GroupError> {
        self.check_loaded()?;
        Ok(GroupOffsets {
            offsets: self.groups.get(group).map(|g| &g.offsets),
        })
    }

    /// Describes a group.
    ///
    /// # Errors
    /// While the log is not read, or if there is no such group.
    pub fn describe(&self, group: &str) -> Result<DescribedGroup, GroupError> {
        self.check_loaded()?;
        let group = self.groups.get(group).ok_or(GroupError::GroupIdNotFound)?;
        match group.state {
            GroupState::Dead => Err(GroupError::GroupIdNotFound),
            GroupState::Empty
            | GroupState::PreparingRebalance
            | GroupState::CompletingRebalance
            | GroupState::Stable => Ok(group.described()),
        }
    }

    /// The groups that the filter selects, by id.
    ///
    /// # Errors
    /// While the log is not read.
    pub fn list(&self, filter: &ListFilter) -> Result<Vec<ListedGroup>, GroupError> {
        self.check_loaded()?;
        let names = |list: &[Text], name: &str| {
            list.is_empty() || list.iter().any(|wanted| wanted.eq_ignore_ascii_case(name))
        };
        let wanted = |group: &&Group| {
            names(&filter.types, ListedGroup::TYPE)
                && names(&filter.states, &group.state.to_string())
        };
        let listed = |group: &Group| ListedGroup {
            group: group.id.clone(),
            protocol_type: or_empty(group.protocol_type.as_ref()),
            state: group.state,
        };
        Ok(self.groups.values().filter(wanted).map(listed).collect())
    }

    /// Every topic that some group has a durable offset of, also while the log is read.
    #[must_use]
    pub fn topics(&self) -> BTreeSet<TopicName> {
        let of_groups = self
            .groups
            .values()
            .flat_map(|group| group.offsets.topics());
        of_groups.cloned().collect()
    }

    /// Numbers for metrics. Visits every group.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            groups: self.groups.len(),
            members: self.groups.values().map(|g| g.members.len()).sum(),
            offsets: self.groups.values().map(|g| g.offsets.count()).sum(),
            bytes: self.bytes,
            writes_in_flight: self.writes.len(),
        }
    }
}

impl Group {
    fn described(&self) -> DescribedGroup {
        let stable = self.state == GroupState::Stable;
        let protocol = self.protocol.as_ref().filter(|_| stable);
        let member = |(id, m): (&Text, &crate::member::Member)| DescribedMember {
            member: id.clone(),
            instance: m.instance.clone(),
            client_id: m.client_id.clone(),
            client_host: m.client_host.clone(),
            metadata: m.metadata(protocol),
            assignment: m.assignment.clone(),
        };
        DescribedGroup {
            state: self.state,
            protocol_type: or_empty(self.protocol_type.as_ref()),
            protocol: or_empty(protocol),
            generation: self.generation,
            members: self.members.iter().map(member).collect(),
        }
    }

    /// Whether its members are consumers, as far as is known.
    pub(crate) fn has_consumers(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }
}

fn or_empty(text: Option<&Text>) -> Text {
    text.cloned().unwrap_or_else(|| Text::from(""))
}
