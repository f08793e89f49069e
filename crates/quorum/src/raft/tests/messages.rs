//! Messages come through as they were sent, and damaged ones are refused without a panic.

use super::*;
use crate::Room;
use codec::{Data, LogEntry, Members, Meta, StoredMembers, Vote, log_id};
use openraft::{BasicNode, EntryPayload};
use rpc::{Call, Change, Inquired, Reply, Request};
use std::collections::BTreeSet;

fn members() -> Members {
    let nodes = [1, 2, 7].map(|id| {
        (
            id,
            BasicNode {
                addr: format!("n{id}:9"),
            },
        )
    });
    let configs = vec![BTreeSet::from([1, 2]), BTreeSet::from([1])];
    Members::new(configs, BTreeMap::from(nodes)).unwrap()
}

fn requests() -> Vec<Request> {
    let vote = Vote::new_committed(7, 2);
    let last = Some(log_id(6, 40));
    let payloads = [
        EntryPayload::Blank,
        EntryPayload::Normal(Data("some bytes".into())),
        EntryPayload::Membership(members()),
    ];
    let entries = (41..).zip(payloads).map(|(index, payload)| LogEntry {
        log_id: log_id(7, index),
        payload,
    });
    vec![
        Request::Append {
            vote,
            previous: last,
            entries: entries.collect(),
            committed: None,
        },
        Request::Vote {
            vote: Vote::new(3, 1),
            last: None,
            transfer: true,
            only_asks: false,
        },
        Request::Snapshot {
            vote,
            meta: Meta {
                last_log_id: last,
                last_membership: StoredMembers::new(last, members()),
            },
            total: 99,
            at: 3,
            chunk: "chunk".into(),
        },
        Request::Takeover { vote, to: 3, last },
        Request::Propose {
            bytes: "entry".into(),
            room: Room::Reserved,
            millis: 17,
        },
        Request::Barrier,
        Request::Change {
            change: Change::Admit(4, "n4:9".to_owned()),
            millis: 3,
        },
        Request::Change {
            change: Change::Transfer(4),
            millis: 3,
        },
        Request::Inquire,
        Request::Form,
    ]
}

fn replies() -> Vec<Reply> {
    let vote = Vote::new(9, 9);
    let reason = || "for reasons".into();
    vec![
        Reply::Appended,
        Reply::Conflict,
        Reply::HigherVote(vote),
        Reply::Voted {
            vote,
            granted: true,
            last: Some(log_id(1, 2)),
        },
        Reply::Chunk,
        Reply::Installed(vote),
        Reply::Done(12),
        Reply::NotLeader(Some((3, "n3:9".to_owned()))),
        Reply::NotReady,
        Reply::Failed(QuorumError::Unknown { reason: reason() }),
        Reply::Failed(QuorumError::Full { reason: reason() }),
        Reply::Failed(QuorumError::Busy),
        Reply::Inquired(Inquired {
            node: 3,
            open: true,
            vote: Some(vote),
            last: None,
            voters: BTreeMap::from([(3, "n3:9".to_owned())]),
        }),
    ]
}

#[test]
fn messages_come_through_as_they_were_sent() {
    for request in requests() {
        for to in [None, Some(4)] {
            let request = request.clone();
            let call = Call {
                from: 1,
                to,
                request,
            };
            let read = Call::decode(call.encode()).unwrap();
            assert_eq!(format!("{call:?}"), format!("{read:?}"));
        }
    }
    for reply in replies() {
        let read = Reply::decode(reply.encode()).unwrap();
        assert_eq!(format!("{reply:?}"), format!("{read:?}"));
    }
}

#[test]
fn damaged_messages_are_refused_or_read_but_never_panic() {
    let calls = requests().into_iter().map(|request| {
        let (from, to) = (1, None);
        Call { from, to, request }.encode()
    });
    for bytes in calls {
        let whole = (0..bytes.len()).all(|cut| Call::decode(bytes.slice(..cut)).is_none());
        assert!(whole);
        damage(&bytes);
    }
    for reply in replies() {
        let bytes = reply.encode();
        let whole = (0..bytes.len()).all(|cut| Reply::decode(bytes.slice(..cut)).is_none());
        assert!(whole);
        damage(&bytes);
    }
}

fn damage(bytes: &Bytes) {
    for at in 0..bytes.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= flip;
            drop(Call::decode(damaged.clone().into()));
            drop(Reply::decode(damaged.into()));
        }
    }
}
