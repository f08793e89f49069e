//! Changes as transactions, on a log of one node.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use super::transaction::Transaction;
use super::*;
use plimsoll_controller::{ConfigResource, Refusal};
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
    Metadata::open(dir.path(), node(), Arc::new(Still)).unwrap()
}

fn put(metadata: &Metadata, value: &str) -> u64 {
    let changed = metadata.change(|_| Ok::<_, Refusal>((set(value), ())));
    changed.unwrap().version
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
        expected: Some(7),
        ticket: Some(ticket),
        records: set("1"),
    };
    assert_eq!(transaction::decode(&entry).unwrap(), expected);
    for cut in 0..entry.len() {
        assert!(transaction::decode(&entry.slice(..cut)).is_err(), "{cut}");
    }
}

#[test]
fn records_without_a_condition_are_those_of_an_older_log() {
    let read = transaction::decode(&codec::encode(&set("1"))).unwrap();
    assert_eq!((read.expected, read.ticket), (None, None));
    assert_eq!(read.records, set("1"));
}

#[test]
fn entry_made_for_another_image_is_void() {
    let dir = TempDir::new().unwrap();
    let metadata = open(&dir);
    let version = put(&metadata, "1");
    metadata
        .propose(Room::Free, foreign(version - 1, "2"))
        .unwrap();
    assert_eq!(put(&metadata, "3"), version + 1);
    assert_eq!(value(&metadata).as_deref(), Some("3"));
}

#[test]
fn rule_runs_again_when_somebody_else_was_first() {
    let dir = TempDir::new().unwrap();
    let metadata = open(&dir);
    let version = put(&metadata, "1");
    let runs = std::cell::RefCell::new(Vec::new());
    let changed = metadata.change(|image| {
        runs.borrow_mut().push(image.version());
        if runs.borrow().len() == 1 {
            metadata
                .propose(Room::Free, foreign(image.version(), "2"))
                .unwrap();
        }
        Ok::<_, Refusal>((set("3"), image.version()))
    });
    let changed = changed.unwrap();
    assert_eq!(*runs.borrow(), [version, version + 1]);
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
    let changed = metadata.change(|image| {
        metadata
            .propose(Room::Free, foreign(image.version(), "2"))
            .unwrap();
        Ok::<_, Refusal>((set("3"), ()))
    });
    assert!(matches!(changed, Err(ChangeError::Conflict)));
    assert_eq!(value(&metadata).as_deref(), Some("2"));
}

#[test]
fn log_with_void_entries_makes_the_same_image_again() {
    let dir = TempDir::new().unwrap();
    let metadata = open(&dir);
    metadata
        .propose(Room::Free, codec::encode(&set("0")))
        .unwrap();
    metadata.propose(Room::Free, foreign(9, "9")).unwrap();
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
    metadata.propose(Room::Free, foreign(1, "2")).unwrap();
    put(&metadata, "3");
    assert_eq!(*seen.lock(), [(1, true), (2, true), (3, true)]);
}
