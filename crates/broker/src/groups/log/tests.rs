//! Writes in, batches out, and groups again.

use super::*;
use plimsoll_group_coordinator::{
    CommitRequest, CommittedOffset, Input, LogRecord, Now, OffsetToCommit, ReplyTo, Text,
};
use plimsoll_types::{Monotonic, TopicName};

/// Write ids, as a coordinator gives them out.
fn write_ids(count: u64) -> Vec<WriteId> {
    let config = crate::groups::tests_config();
    let mut coordinator = Coordinator::new(config);
    let now = Now {
        monotonic: Monotonic::default(),
        wall: Timestamp::from_millis(0),
    };
    let _ = coordinator.finish_loading(now);
    let mut ids = Vec::new();
    for n in 0..count {
        let offset = OffsetToCommit {
            topic: TopicName::new("orders").expect("legal"),
            partition: 0,
            offset: 0,
            leader_epoch: None,
            metadata: Text::from(""),
        };
        let request = CommitRequest {
            group: "g".into(),
            member: "".into(),
            instance: None,
            generation: -1,
            retention: None,
            offsets: vec![offset],
        };
        for action in coordinator.handle(
            now,
            Input::Commit {
                reply: ReplyTo(n),
                request,
            },
        ) {
            if let plimsoll_group_coordinator::Action::Write { write, .. } = action {
                ids.push(write);
            }
        }
    }
    ids
}

fn record(partition: u32, metadata_bytes: usize) -> LogRecord {
    LogRecord::Offset {
        group: "g".into(),
        topic: TopicName::new("orders").expect("legal"),
        partition,
        value: Some(CommittedOffset {
            offset: 7,
            leader_epoch: None,
            metadata: "x".repeat(metadata_bytes).into(),
            committed_at: Timestamp::from_millis(1),
            expires_at: None,
        }),
    }
}

fn limits() -> DecodeLimits {
    DecodeLimits {
        max_decompressed_bytes: 1 << 30,
        max_records: u32::MAX,
    }
}

fn records_of(bundle: &Bundle) -> Vec<LogRecord> {
    let append = bundle.batch.as_ref().expect("it fits");
    let batch = Batch::parse(&append.bytes).expect("built by us");
    let records = batch.records(&limits()).expect("built by us");
    let decode = |record: plimsoll_record_batch::Record<'_>| {
        log_format::decode(record.key, record.value)
            .expect("ours")
            .expect("ours")
    };
    records
        .iter()
        .map(|record| decode(record.expect("built by us")))
        .collect()
}

/// One write a size, each of one record with so much metadata, at most what a string can hold.
fn writes(sizes: &[usize]) -> VecDeque<Write> {
    let ids = write_ids(u64::try_from(sizes.len()).expect("few"));
    let pieces = |size: usize| {
        let whole = std::iter::repeat_n(30_000, size / 30_000);
        let records = whole.chain([size % 30_000]).zip(0..);
        records
            .map(|(bytes, partition)| record(partition, bytes))
            .collect()
    };
    ids.into_iter()
        .zip(sizes)
        .map(|(id, size)| (id, pieces(*size)))
        .collect()
}

#[test]
fn small_writes_share_a_batch_in_their_order() {
    let writes = writes(&[1, 2, 3]);
    let expected: Vec<_> = writes
        .iter()
        .flat_map(|(_, records)| records.clone())
        .collect();
    let ids: Vec<_> = writes.iter().map(|(id, _)| *id).collect();
    let bundles = bundle(writes, Timestamp::from_millis(5));
    assert_eq!(bundles.len(), 1);
    assert_eq!(bundles[0].writes, ids);
    assert_eq!(records_of(&bundles[0]), expected);
}

#[test]
fn write_is_never_split_over_batches() {
    let bundles = bundle(writes(&[200_000, 200_000, 10]), Timestamp::from_millis(5));
    let counts: Vec<_> = bundles.iter().map(|b| b.writes.len()).collect();
    assert_eq!(counts, [1, 2]);
}

#[test]
fn write_larger_than_a_shared_batch_has_its_own() {
    let bundles = bundle(writes(&[10, 1 << 20, 10]), Timestamp::from_millis(5));
    let counts: Vec<_> = bundles.iter().map(|b| b.writes.len()).collect();
    assert_eq!(counts, [1, 1, 1]);
    assert!(bundles.iter().all(|bundle| bundle.batch.is_ok()));
}

#[test]
fn write_that_is_too_large_is_refused_alone_and_in_its_place() {
    let bundles = bundle(
        writes(&[10, MAX_WRITE_BYTES + 1, 10]),
        Timestamp::from_millis(5),
    );
    let fits: Vec<_> = bundles.iter().map(|b| b.batch.is_ok()).collect();
    assert_eq!(fits, [true, false, true]);
}

#[test]
fn nothing_to_write_makes_no_batch() {
    assert!(bundle(VecDeque::new(), Timestamp::from_millis(5)).is_empty());
}

#[test]
fn batches_load_as_they_were_written() {
    let bundles = bundle(writes(&[3, 40_000]), Timestamp::from_millis(5));
    let mut coordinator = Coordinator::new(crate::groups::tests_config());
    for bundle in &bundles {
        let append = bundle.batch.as_ref().expect("it fits");
        let batch = Batch::parse(&append.bytes).expect("built by us");
        load_batch(&mut coordinator, &batch, &limits()).expect("ours");
    }
    assert_eq!(coordinator.topics().len(), 1);
    assert_eq!(coordinator.stats().offsets, 2);
}
