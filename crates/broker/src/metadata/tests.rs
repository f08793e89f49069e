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
