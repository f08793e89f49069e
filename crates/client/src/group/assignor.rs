//! Who reads what: the partitions of a group's topics shared out among its members.
//!
//! Pure, and equal to Kafka's own assignors of the same names, so that members of other clients
//! in the group agree. Not here: members that keep what they have across a rebalance.

use std::collections::{BTreeMap, BTreeSet};

use plimsoll_types::{TopicName, TopicPartition};

/// How partitions are shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignor {
    /// Each topic by itself, in runs: the first members get one more where it does not divide.
    Range,
    /// All partitions of all topics dealt out one by one.
    RoundRobin,
}

/// A member as the assignor sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscriber {
    /// Its id, by which the assignment finds it.
    pub member_id: String,
    /// Its own name, if it is a static member: it keeps its turn under a new id.
    pub instance_id: Option<String>,
    /// The topics it reads.
    pub topics: BTreeSet<TopicName>,
}

/// Partitions by member id. Every member has an entry.
pub type Assignment = BTreeMap<String, Vec<TopicPartition>>;

impl Assignor {
    /// The name that members agree on.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Range => "range",
            Self::RoundRobin => "roundrobin",
        }
    }

    /// The assignor of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Range, Self::RoundRobin]
            .into_iter()
            .find(|assignor| assignor.name() == name)
    }

    /// Shares out the topics' partitions, of which there are so many.
    #[must_use]
    pub fn assign(
        self,
        members: &[Subscriber],
        partitions: &BTreeMap<TopicName, u32>,
    ) -> Assignment {
        let mut sorted: Vec<&Subscriber> = members.iter().collect();
        // Static members first, by their own names; then the others, by id.
        sorted.sort_by_key(|member| {
            let name = member.instance_id.as_ref().unwrap_or(&member.member_id);
            (member.instance_id.is_none(), name)
        });
        let mut assignment: Assignment = members
            .iter()
            .map(|member| (member.member_id.clone(), Vec::new()))
            .collect();
        let mut give = |member: &Subscriber, topic: &TopicName, partition| {
            let given = assignment.entry(member.member_id.clone()).or_default();
            let topic = topic.clone();
            given.push(TopicPartition { topic, partition });
        };
        match self {
            Self::Range => range(&sorted, partitions, &mut give),
            Self::RoundRobin => round_robin(&sorted, partitions, &mut give),
        }
        assignment
    }
}

fn range(
    members: &[&Subscriber],
    partitions: &BTreeMap<TopicName, u32>,
    give: &mut impl FnMut(&Subscriber, &TopicName, u32),
) {
    for (topic, count) in partitions {
        let readers = members
            .iter()
            .filter(|member| member.topics.contains(topic));
        let readers: Vec<_> = readers.collect();
        let Some(among) = u32::try_from(readers.len()).ok().filter(|n| *n > 0) else {
            continue;
        };
        let (each, more) = (count / among, count % among);
        let mut next = 0;
        for (at, reader) in (0..).zip(readers) {
            let run = each + u32::from(at < more);
            for partition in next..next + run {
                give(reader, topic, partition);
            }
            next += run;
        }
    }
}

fn round_robin(
    members: &[&Subscriber],
    partitions: &BTreeMap<TopicName, u32>,
    give: &mut impl FnMut(&Subscriber, &TopicName, u32),
) {
    let mut turn = members.iter().cycle();
    for (topic, count) in partitions {
        if !members.iter().any(|member| member.topics.contains(topic)) {
            continue;
        }
        for partition in 0..*count {
            // Somebody reads it, so the search ends within one turn.
            let reader = turn.find(|member| member.topics.contains(topic));
            if let Some(reader) = reader {
                give(reader, topic, partition);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn topic(name: &str) -> TopicName {
        TopicName::new(name).expect("legal")
    }

    fn member(id: &str, instance: Option<&str>, topics: &[&str]) -> Subscriber {
        Subscriber {
            member_id: id.to_owned(),
            instance_id: instance.map(ToOwned::to_owned),
            topics: topics.iter().map(|name| topic(name)).collect(),
        }
    }

    fn counts(topics: &[(&str, u32)]) -> BTreeMap<TopicName, u32> {
        topics
            .iter()
            .map(|(name, count)| (topic(name), *count))
            .collect()
    }

    /// `a/0 a/1 b/0` for each member.
    fn told(assignment: &Assignment) -> Vec<(&str, String)> {
        let told = assignment.iter().map(|(member, given)| {
            let given: Vec<_> = given.iter().map(ToString::to_string).collect();
            (member.as_str(), given.join(" "))
        });
        told.collect()
    }

    #[test]
    fn range_gives_the_first_members_one_more() {
        let members = [
            member("y", None, &["a", "b"]),
            member("x", None, &["a", "b"]),
        ];
        let given = Assignor::Range.assign(&members, &counts(&[("a", 3), ("b", 3)]));
        assert_eq!(
            told(&given),
            [
                ("x", "a/0 a/1 b/0 b/1".to_owned()),
                ("y", "a/2 b/2".to_owned())
            ]
        );
    }

    #[test]
    fn round_robin_goes_on_with_the_next_topic() {
        let members = [
            member("x", None, &["a", "b"]),
            member("y", None, &["a", "b"]),
        ];
        let given = Assignor::RoundRobin.assign(&members, &counts(&[("a", 3), ("b", 3)]));
        assert_eq!(
            told(&given),
            [
                ("x", "a/0 a/2 b/1".to_owned()),
                ("y", "a/1 b/0 b/2".to_owned())
            ]
        );
    }

    #[test]
    fn static_members_come_first_whatever_their_id() {
        let members = [member("a", None, &["t"]), member("z", Some("one"), &["t"])];
        let given = Assignor::Range.assign(&members, &counts(&[("t", 1)]));
        assert_eq!(
            told(&given),
            [("a", String::new()), ("z", "t/0".to_owned())]
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_partition_goes_to_one_member_that_reads_it(
            subscriptions in proptest::collection::vec(0u8..8, 1..6),
            partitions in proptest::collection::vec(0u32..9, 3),
        ) {
            let topics = ["a", "b", "c"];
            let members: Vec<_> = subscriptions.iter().enumerate().map(|(at, mask)| {
                let wanted = topics.iter().enumerate().filter(|(bit, _)| mask & (1 << bit) != 0);
                let wanted: Vec<_> = wanted.map(|(_, name)| *name).collect();
                member(&format!("m{at}"), None, &wanted)
            }).collect();
            let counted: Vec<_> = topics.into_iter().zip(partitions).collect();
            let counted = counts(&counted);
            for assignor in [Assignor::Range, Assignor::RoundRobin] {
                let given = assignor.assign(&members, &counted);
                let mut seen = BTreeSet::new();
                for (id, partitions) in &given {
                    let member = members.iter().find(|m| m.member_id == *id).expect("known");
                    for partition in partitions {
                        prop_assert!(member.topics.contains(&partition.topic));
                        prop_assert!(seen.insert(partition.clone()), "{partition} twice");
                    }
                }
                let read = |topic: &TopicName| members.iter().any(|m| m.topics.contains(topic));
                let all: u32 = counted.iter().filter(|(t, _)| read(t)).map(|(_, n)| *n).sum();
                prop_assert_eq!(seen.len(), all as usize);
            }
        }
    }
}
