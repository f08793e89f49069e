//! How the metadata quorum stands, as its leader tells another node that is asked.
//!
//! ```text
//! term committed leader                             one line of numbers; 0 for no leader
//! node votes end milliseconds-since-heard           a line a member; -1 for what is not known
//! ```

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use plimsoll_quorum::raft::Status;
use plimsoll_types::{NodeId, TopicId};
use plimsoll_wire::describe_quorum::response::ReplicaState;

/// What another node is asked.
pub(crate) const QUESTION: &[u8] = b"plimsoll: how does the quorum stand?";
/// Lines that are read, at most; quorums are a handful of nodes.
const MAX_MEMBERS: usize = 10_000;

/// How the quorum stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) term: u64,
    pub(crate) committed: i64,
    pub(crate) leader: Option<NodeId>,
    pub(crate) members: Vec<Member>,
}

/// One of its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    node: NodeId,
    pub(crate) votes: bool,
    /// The end of its log; -1 if not known.
    end: i64,
    /// How long ago it was heard, in milliseconds; -1 if not known.
    heard: i64,
}

impl Standing {
    /// As far as one node knows.
    pub(crate) fn of(status: &Status) -> Self {
        let member = |node: NodeId, votes: bool| {
            let is_me = node == status.me;
            let known = status.progress.iter().find(|(other, ..)| *other == node);
            let matched = known.map_or(-1, |(_, matched, _)| signed(*matched));
            let heard = known.and_then(|(.., heard)| *heard);
            let ms = |age: Duration| i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
            Member {
                node,
                votes,
                end: if is_me {
                    signed(status.last_index)
                } else {
                    matched
                },
                heard: if is_me { 0 } else { heard.map_or(-1, ms) },
            }
        };
        let voters = status.voters.keys().map(|node| member(*node, true));
        let learners = status.learners.keys().map(|node| member(*node, false));
        Self {
            term: status.term,
            committed: signed(status.committed_index),
            leader: status.leader,
            members: voters.chain(learners).collect(),
        }
    }

    /// Whether it is the word of a leader that is no older than what another node knows.
    pub(crate) fn leads_as_of(&self, other: &Self) -> bool {
        self.leader.is_some() && self.term >= other.term
    }

    pub(crate) fn encode(&self) -> Bytes {
        let leader = self.leader.map_or(0, NodeId::get);
        let mut text = format!("{} {} {leader}\n", self.term, self.committed);
        for member in &self.members {
            let Member {
                node, end, heard, ..
            } = member;
            let votes = u8::from(member.votes);
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{node} {votes} {end} {heard}");
        }
        text.into()
    }

    pub(crate) fn decode(text: &[u8]) -> Option<Self> {
        let mut lines = std::str::from_utf8(text).ok()?.lines();
        let mut head = lines.next()?.split(' ');
        let (term, committed) = (head.next()?.parse().ok()?, head.next()?.parse().ok()?);
        let leader = NodeId::new(head.next()?.parse().ok()?);
        let member = |line: &str| {
            let mut words = line.split(' ');
            Some(Member {
                node: NodeId::new(words.next()?.parse().ok()?)?,
                votes: words.next()? == "1",
                end: words.next()?.parse().ok()?,
                heard: words.next()?.parse().ok()?,
            })
        };
        let members = lines.take(MAX_MEMBERS).map(member).collect::<Option<_>>()?;
        Some(Self {
            term,
            committed,
            leader,
            members,
        })
    }
}

impl Member {
    /// In Kafka's words, where the log is committed up to there, at a time of the wall clock.
    pub(crate) fn state(&self, committed: i64, now: i64) -> ReplicaState {
        let heard = match self.heard {
            -1 => -1,
            age => now.saturating_sub(age),
        };
        ReplicaState {
            replica_id: self.node.to_wire(),
            replica_directory_id: TopicId::ABSENT,
            log_end_offset: self.end,
            last_fetch_timestamp: heard,
            last_caught_up_timestamp: if self.end >= committed { heard } else { -1 },
        }
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing() -> Standing {
        let member = |id, votes, end, heard| Member {
            node: NodeId::new(id).expect("in range"),
            votes,
            end,
            heard,
        };
        Standing {
            term: 7,
            committed: 41,
            leader: NodeId::new(2),
            members: vec![
                member(1, true, 41, 120),
                member(2, true, 42, 0),
                member(4, false, -1, -1),
            ],
        }
    }

    #[test]
    fn what_is_told_is_what_is_heard() {
        assert_eq!(Standing::decode(&standing().encode()), Some(standing()));
        for text in [&b""[..], b"7 41", b"7 x 2\n", b"7 41 2\n1 1\n", b"\xff"] {
            assert_eq!(Standing::decode(text), None, "{text:?}");
        }
    }

    #[test]
    fn only_a_leaders_word_of_this_term_counts() {
        let older = Standing {
            term: 6,
            ..standing()
        };
        let nobody = Standing {
            leader: None,
            ..standing()
        };
        assert!(standing().leads_as_of(&older) && standing().leads_as_of(&standing()));
        assert!(!older.leads_as_of(&standing()) && !nobody.leads_as_of(&standing()));
    }

    #[test]
    fn times_are_told_as_of_the_wall_clock() {
        let states: Vec<_> = standing()
            .members
            .iter()
            .map(|m| m.state(41, 1_000))
            .collect();
        let times: Vec<_> = states.iter().map(|s| s.last_fetch_timestamp).collect();
        assert_eq!(times, [880, 1_000, -1]);
        let lagging = standing().members[0].state(42, 1_000);
        assert_eq!(lagging.last_caught_up_timestamp, -1);
        assert_eq!(states[2].log_end_offset, -1);
    }
}
