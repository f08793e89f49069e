//! Changes as transactions, on a log of one node.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use super::transaction::Transaction;
use super::*;
use plimsoll_controller::{ConfigResource, Refusal};
use plimsoll_quorum::raft;
use tempfile::TempDir;

/// Time that does not pass.
struct Still;

#[async_trait::async_trait]
impl Clock for Still {
    fn now(&self) -> plimsoll_types::Monotonic {
        plimsoll_types::Monotonic::default()
    }

    fn wall(&self) -> plimsoll_types::Timestamp {
        plimsoll_types::Timestamp::from_millis(0)
    }

    async fn sleep_until(&self, _at: plimsoll_types::Monotonic) {
        std::future::pending().await
    }
}

/// Blocking work done on the spot.
struct Inline;

#[async_trait::async_trait]
impl Workers for Inline {
    async fn run(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }
}

fn node() -> NodeId {
    NodeId::new(1).unwrap()
}

fn set(value: &str) -> Vec<Record> {
    vec![Record::ConfigSet {
        resource: ConfigResource::EveryNode,
        key: "retention.ms".to_owned(),
        value: value.to_owned(),
    }]
}

fn value(metadata: &Metadata) -> Option<String> {
    let image = metadata.image();
    image
        .configs(&ConfigResource::EveryNode)?
        .get("retention.ms")
        .cloned()
}

fn open(dir: &TempDir) -> Arc<Metadata> {
    open_lone(dir.path(), node(), Arc::new(Still), Arc::new(Inline)).unwrap()
}

fn put(metadata: &Metadata, value: &str) -> u64 {
    let changed = metadata.change(|_| Ok::<_, Refusal>((set(value), ())));
    block_on(changed).unwrap().version
}

/// Puts an entry into the log, whatever it is.
fn propose(metadata: &Metadata, entry: Bytes) {
    block_on(metadata.propose(Room::Free, entry)).unwrap();
}

/// What another node would propose for an image of version `expected`.
fn foreign(expected: u64, value: &str) -> Bytes {
    let ticket = Ticket {
        proposer: NodeId::new(2).unwrap(),
        number: 5,
    };
    transaction::encode(expected, ticket, &set(value))
}

#[test]
fn transaction_reads_back_as_it_was_written() {
    let ticket = Ticket {
        proposer: node(),
        number: u64::MAX,
    };
    let entry = transaction::encode(7, ticket, &set("1"));
    let expected = Transaction {
        expected: 7,
        ticket,
        records: set("1"),
    };
    assert_eq!(transaction::decode(&entry).unwrap(), expected);
    for cut in 0..entry.len() {
        assert!(transaction::decode(&entry.slice(..cut)).is_err(), "{cut}");
    }
}

#[test]
fn entry_made_for_another_image_is_void() {
    let dir = TempDir::new().unwrap();
    let metadata = open(&dir);
    let version = put(&metadata, "1");
    propose(&metadata, foreign(version - 1, "2"));
    assert_eq!(put(&metadata, "3"), version + 1);
    assert_eq!(value(&metadata).as_deref(), Some("3"));
}

#[test]
fn rule_runs_again_when_somebody_else_was_first() {
    let dir = TempDir::new().unwrap();
    let metadata = open(&dir);
    let version = put(&metadata, "1");
    let runs = Mutex::new(Vec::new());
    let changed = block_on(metadata.change(|image| {
        runs.lock().push(image.version());
        if runs.lock().len() == 1 {
            propose(&metadata, foreign(image.version(), "2"));
        }
        Ok::<_, Refusal>((set("3"), image.version()))
    }));
    let changed = changed.unwrap();
    assert_eq!(*runs.lock(), [version, version + 1]);
    assert_eq!(
        (changed.outcome, changed.version),
        (version + 1, version + 2)
    );
    assert_eq!(value(&metadata).as_deref(), Some("3"));
}

#[test]
fn rule_that_never_comes_first_gives_up() {
    let dir = TempDir::new().unwrap();
    let metadata = open(&dir);
    let changed = block_on(metadata.change(|image| {
        propose(&metadata, foreign(image.version(), "2"));
        Ok::<_, Refusal>((set("3"), ()))
    }));
    assert!(matches!(changed, Err(ChangeError::Conflict)));
    assert_eq!(value(&metadata).as_deref(), Some("2"));
}

#[test]
fn log_with_void_entries_makes_the_same_image_again() {
    let dir = TempDir::new().unwrap();
    let metadata = open(&dir);
    propose(&metadata, foreign(9, "9"));
    put(&metadata, "1");
    put(&metadata, "2");
    let image = metadata.image();
    drop(metadata);
    let again = open(&dir);
    assert_eq!(*again.image(), *image);
    assert_eq!(put(&again, "3"), image.version() + 1);
}

#[test]
fn every_image_is_followed_in_order() {
    let dir = TempDir::new().unwrap();
    let metadata = open(&dir);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&seen);
    metadata.follow_with(move |image, changes| {
        noted
            .lock()
            .push((image.version(), changes.node_configs_changed));
    });
    put(&metadata, "1");
    propose(&metadata, foreign(1, "2"));
    put(&metadata, "3");
    assert_eq!(*seen.lock(), [(1, true), (2, true), (3, true)]);
}

/// A log whose entries are gone into a snapshot before they are read here.
struct Overtaken {
    state: Mutex<(Image, codec::LastChanges, u64)>,
    events: Mutex<std::collections::VecDeque<raft::Event>>,
    bell: plimsoll_watermark::Signal,
}

#[async_trait::async_trait]
impl MetadataLog for Overtaken {
    async fn propose(&self, entry: Bytes, _: Room) -> Result<u64, raft::QuorumError> {
        let transaction = transaction::decode(&entry).unwrap();
        let (image, last, index) = &mut *self.state.lock();
        if let transaction::Applied::Moved(after) = transaction.apply(image) {
            let ticket = transaction.ticket;
            last.insert(ticket.proposer, (ticket.number, after.version()));
            *image = *after;
        }
        *index += 1;
        let bytes = codec::encode_snapshot(image, last);
        let snapshot = Snapshot {
            index: *index,
            bytes,
        };
        self.events
            .lock()
            .push_back(raft::Event::Snapshot(snapshot));
        self.bell.notify();
        Ok(*index)
    }

    async fn read_barrier(&self) -> Result<u64, raft::QuorumError> {
        Ok(self.state.lock().2)
    }

    async fn next(&self) -> Result<raft::Event, Stopped> {
        loop {
            if let Some(event) = self.events.lock().pop_front() {
                return Ok(event);
            }
            self.bell.notified().await;
        }
    }

    fn status(&self) -> raft::Status {
        raft::Status {
            me: node(),
            role: Role::Follower,
            leader: None,
            term: 1,
            last_index: 0,
            committed_index: 0,
            voters: Default::default(),
            learners: Default::default(),
            progress: Vec::new(),
        }
    }

    async fn leadership(&self, _: (Option<NodeId>, u64)) -> Result<(Option<NodeId>, u64), Stopped> {
        std::future::pending().await
    }

    fn stopped(&self) -> Option<Stopped> {
        None
    }

    fn wants_snapshot(&self) -> bool {
        false
    }

    fn install_snapshot(&self, _: &Snapshot) -> Result<(), plimsoll_quorum::SnapshotError> {
        Ok(())
    }

    async fn handle(&self, request: Bytes) -> Bytes {
        request
    }

    fn suspect(&self, _: NodeId) {}

    async fn promote(&self, _: NodeId) -> Result<(), raft::QuorumError> {
        Ok(())
    }

    async fn remove(&self, _: NodeId) -> Result<(), raft::QuorumError> {
        Ok(())
    }

    fn shutdown(&self) {}
}

#[test]
fn change_that_came_here_in_a_snapshot_is_known_for_the_own_one() {
    let log = Arc::new(Overtaken {
        state: Mutex::default(),
        events: Mutex::default(),
        bell: plimsoll_watermark::Signal::new(),
    });
    let log: Arc<dyn MetadataLog> = log;
    let metadata = Metadata::new(log, None, node(), Arc::new(Still), Arc::new(Inline)).unwrap();
    let driven = Arc::clone(&metadata);
    std::thread::spawn(move || block_on(driven.run()));
    for round in 1..=3 {
        let wanted = round.to_string();
        // As of a name that must be free.
        let changed = block_on(metadata.change(|image| {
            let configs = image.configs(&ConfigResource::EveryNode);
            let is_there = configs.is_some_and(|all| all.get("retention.ms") == Some(&wanted));
            match is_there {
                true => Err("it is there already"),
                false => Ok((set(&wanted), round)),
            }
        }));
        let changed = changed.unwrap();
        assert_eq!((changed.outcome, changed.version), (round, round));
    }
}
