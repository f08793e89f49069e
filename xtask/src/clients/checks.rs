//! The checks of one client: what it wrote comes back byte for byte, at every offset, and the
//! node answers its admin calls as Kafka does.
//!
//! Each check makes topics and groups of its own, so that one failure does not cause another.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::driver::{Driver, Outcome, PLAIN, Settings, Stop, ensure};
use super::groups;
use super::record::{Feature, Record, samples};
use super::report::Report;

pub(super) const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
const ACKS: [&str; 3] = ["0", "1", "all"];

/// Starts another driver of the same client.
pub(super) type Another<'a> = &'a dyn Fn() -> Outcome<Driver>;

/// Runs every check of a client; `prefix` keeps its topics and groups apart from others'.
pub(super) fn all(driver: &mut Driver, another: Another<'_>, prefix: &str, report: &mut Report) {
    for codec in CODECS {
        for acks in ACKS {
            let name = format!("produce-{codec}-acks-{acks}");
            let topic = format!("{prefix}-{name}");
            report.check(&name, || produce_and_consume(driver, &topic, codec, acks));
        }
    }
    type Check = fn(&mut Driver, &str) -> Outcome<()>;
    let checks: [(&str, Check); 14] = [
        ("headers", headers),
        ("nulls", nulls),
        ("large-record", large_record),
        ("idempotence", idempotence),
        ("seek-by-timestamp", seek_by_timestamp),
        ("auto-create", auto_create),
        ("topic-recreated", topic_recreated),
        ("create-describe-list-delete", topics),
        ("topic-errors", topic_errors),
        ("configs", configs),
        ("create-partitions", create_partitions),
        ("delete-records", delete_records),
        ("committed-offsets-resume", groups::committed_offsets_resume),
        (
            "groups-listed-described-deleted",
            groups::listed_described_deleted,
        ),
    ];
    for (name, check) in checks {
        let topic = format!("{prefix}-{name}");
        report.check(name, || check(driver, &topic));
    }
    let topic = format!("{prefix}-rebalance");
    report.check("rebalance", || groups::rebalance(driver, another, &topic));
}

/// Writes records and reads them back: same contents, offsets without gaps.
fn round_trip(
    driver: &mut Driver,
    topic: &str,
    settings: Settings<'_>,
    records: &[&Record],
) -> Outcome<()> {
    let offsets = driver.produce((topic, 0), settings, records)?;
    if settings.acks != "0" {
        for (index, offset) in (0..).zip(&offsets) {
            // A client may not tell offsets; one it tells must be right.
            ensure(offset.is_none_or(|offset| offset == index), || {
                format!("record {index} was acknowledged at offset {offset:?}")
            })?;
        }
    }
    let read = driver.consume((topic, 0), 0, records.len())?;
    same(&read, records, 0)
}

/// Claims that records read are those written, in order, at consecutive offsets.
pub(super) fn same(read: &[Record], written: &[&Record], base: i64) -> Outcome<()> {
    for (at, (got, wanted)) in (base..).zip(read.iter().zip(written)) {
        ensure(got.offset == Some(at), || {
            format!("offset {:?} came where {at} is next", got.offset)
        })?;
        ensure(got.contents() == wanted.contents(), || {
            format!(
                "offset {at} holds {:?}, not {:?}",
                got.contents(),
                wanted.contents()
            )
        })?;
        let kept = wanted
            .timestamp
            .is_none_or(|time| got.timestamp == Some(time));
        ensure(kept, || {
            format!("offset {at} came with timestamp {:?}", got.timestamp)
        })?;
    }
    Ok(())
}

/// After this time every node has heard of a new topic.
const HEARSAY: std::time::Duration = std::time::Duration::from_millis(300);

fn produce_and_consume(driver: &mut Driver, topic: &str, codec: &str, acks: &str) -> Outcome<()> {
    driver.needs_codec(codec)?;
    create_or_rely_on_auto(driver, topic, 1)?;
    if acks == "0" {
        // A node that hears of a topic a moment after who made it loses what is written there
        // without an answer, as in any cluster.
        std::thread::sleep(HEARSAY);
    }
    let samples = samples();
    let carried = samples.iter().filter(|sample| driver.writes(sample.needs));
    let records: Vec<_> = carried.map(|sample| &sample.record).collect();
    round_trip(
        driver,
        topic,
        Settings {
            codec,
            acks,
            idempotent: false,
        },
        &records,
    )
}

/// Creates a topic, with a client that can; others rely on the node's making it.
pub(super) fn create_or_rely_on_auto(driver: &mut Driver, topic: &str, n: i32) -> Outcome<()> {
    if driver.has(&[Feature::Admin]) {
        driver.create(topic, n, &json!({}))
    } else {
        Ok(())
    }
}

fn samples_with(driver: &mut Driver, topic: &str, part: &str) -> Outcome<()> {
    create_or_rely_on_auto(driver, topic, 1)?;
    let samples = samples();
    let of_part = samples.iter().filter(|sample| sample.what.contains(part));
    let carried = of_part.filter(|sample| driver.writes(sample.needs));
    let records: Vec<_> = carried.map(|sample| &sample.record).collect();
    if records.is_empty() {
        return Err(Stop::Skip(format!("the client cannot tell any {part}")));
    }
    round_trip(driver, topic, PLAIN, &records)
}

fn headers(driver: &mut Driver, topic: &str) -> Outcome<()> {
    samples_with(driver, topic, "header")
}

fn nulls(driver: &mut Driver, topic: &str) -> Outcome<()> {
    samples_with(driver, topic, "null ")
}

/// A value just below the usual limit of 1 MiB for a batch, followed by a small one.
fn large_record(driver: &mut Driver, topic: &str) -> Outcome<()> {
    create_or_rely_on_auto(driver, topic, 1)?;
    let value = crate::random::Random::new(5).bytes(1_000_000);
    let large = Record::new(Some(b"large"), Some(&value));
    round_trip(
        driver,
        topic,
        PLAIN,
        &[&large, &Record::new(Some(b"small"), Some(b"small"))],
    )
}

/// Several idempotent writes, one after the other: one run of sequences, no gap, no repeat.
fn idempotence(driver: &mut Driver, topic: &str) -> Outcome<()> {
    driver.needs(&[Feature::Idempotence])?;
    create_or_rely_on_auto(driver, topic, 1)?;
    let records: Vec<_> = (0..600u32)
        .map(|n| {
            Record::new(
                Some(&n.to_be_bytes()),
                Some(format!("record {n}").as_bytes()),
            )
        })
        .collect();
    let records: Vec<_> = records.iter().collect();
    for hundred in records.chunks(100) {
        driver.produce(
            (topic, 0),
            Settings {
                idempotent: true,
                ..PLAIN
            },
            hundred,
        )?;
    }
    same(&driver.consume((topic, 0), 0, records.len())?, &records, 0)
}

/// The same through a proxy that loses replies: what was written twice is there once.
pub(super) fn idempotent_retries(
    driver: &mut Driver,
    topic: &str,
    cuts: impl Fn() -> u64,
) -> Outcome<()> {
    driver.needs(&[Feature::Idempotence])?;
    let before = cuts();
    let records: Vec<_> = (0..400u32)
        .map(|n| Record::new(None, Some(format!("record {n}").as_bytes())))
        .collect();
    let records: Vec<_> = records.iter().collect();
    for ten in records.chunks(10) {
        driver.produce(
            (topic, 0),
            Settings {
                idempotent: true,
                ..PLAIN
            },
            ten,
        )?;
    }
    ensure(cuts() > before, || "no reply was lost".to_owned())?;
    same(&driver.consume((topic, 0), 0, records.len())?, &records, 0)
}

/// The first offset at or after a time, in batches and between them; nothing after the last.
fn seek_by_timestamp(driver: &mut Driver, topic: &str) -> Outcome<()> {
    driver.needs(&[Feature::Timestamps])?;
    create_or_rely_on_auto(driver, topic, 1)?;
    let start = 1_700_000_000_000_i64;
    let records: Vec<_> = (0..30)
        .map(|n| Record::new(None, Some(format!("{n}").as_bytes())).at(start + n * 1_000))
        .collect();
    let records: Vec<_> = records.iter().collect();
    for ten in records.chunks(10) {
        driver.produce((topic, 0), PLAIN, ten)?;
    }
    let cases = [
        (0, Some(0)),
        (1, Some(1)),
        (7_000, Some(7)),
        (12_500, Some(13)),
        (29_001, None),
    ];
    for (after, wanted) in cases {
        let found: Option<i64> = driver.call(&json!({
            "op": "offset_for_timestamp", "topic": topic, "partition": 0,
            "timestamp": start + after,
        }))?;
        ensure(found == wanted, || {
            format!("start + {after} ms is at {found:?}, not {wanted:?}")
        })?;
    }
    same(&driver.consume((topic, 0), 13, 17)?, &records[13..], 13)
}

/// Producing to a topic that is not there makes it.
fn auto_create(driver: &mut Driver, topic: &str) -> Outcome<()> {
    let record = Record::new(Some(b"first"), Some(b"record"));
    round_trip(driver, topic, PLAIN, &[&record])
}

/// A topic deleted and made again is empty, counts from zero and keeps nothing of its past.
fn topic_recreated(driver: &mut Driver, topic: &str) -> Outcome<()> {
    driver.needs(&[Feature::Admin])?;
    driver.create(topic, 1, &json!({}))?;
    let old = Record::new(None, Some(b"old"));
    round_trip(driver, topic, PLAIN, &[&old, &old, &old])?;
    driver.on_topic::<Value>("delete_topic", topic)?;
    wait_listed(driver, topic, false)?;
    driver.create(topic, 1, &json!({}))?;
    round_trip(driver, topic, PLAIN, &[&Record::new(None, Some(b"new"))])?;
    let ends: BTreeMap<String, i64> = driver.call(&offsets_of(topic))?;
    ensure(ends.get("latest") == Some(&1), || {
        format!("the new topic's offsets are {ends:?}")
    })
}

/// Waits until a topic is listed or no longer so: metadata may lag behind an admin call.
fn wait_listed(driver: &mut Driver, topic: &str, wanted: bool) -> Outcome<()> {
    for _ in 0..50 {
        let listed: Vec<String> = driver.bare("list_topics")?;
        if listed.iter().any(|name| name == topic) == wanted {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    Err(Stop::Wrong(format!(
        "listing {topic} was not {wanted} within 5 s"
    )))
}

fn topics(driver: &mut Driver, topic: &str) -> Outcome<()> {
    driver.needs(&[Feature::Admin])?;
    driver.create(topic, 3, &json!({}))?;
    wait_listed(driver, topic, true)?;
    let partitions: i32 = driver.on_topic("describe_topic", topic)?;
    ensure(partitions == 3, || {
        format!("{partitions} partitions, not 3")
    })?;
    driver.on_topic::<Value>("delete_topic", topic)?;
    wait_listed(driver, topic, false)
}

/// A second topic of a name is error 36; deleting an unknown one is error 3.
fn topic_errors(driver: &mut Driver, topic: &str) -> Outcome<()> {
    driver.needs(&[Feature::Admin])?;
    driver.create(topic, 1, &json!({}))?;
    refused("creating it again", driver.create(topic, 1, &json!({})), 36)?;
    let gone = format!("{topic}-unknown");
    refused(
        "deleting an unknown one",
        driver.on_topic::<Value>("delete_topic", &gone),
        3,
    )?;
    let bad = driver.create("no/such/name", 1, &json!({}));
    refused("a name with a slash", bad, 17)?;
    let configs = json!({"cleanup.policy": "burn"});
    refused("a bad config", driver.create(&gone, 1, &configs), 40)
}

/// Claims that a call failed with Kafka's error code, where the client tells codes.
pub(super) fn refused<T>(what: &str, outcome: Outcome<T>, wanted: i16) -> Outcome<()> {
    match outcome {
        Err(Stop::Error { code, .. }) if code.is_none_or(|code| code == wanted) => Ok(()),
        Err(other @ (Stop::Error { .. } | Stop::Wrong(_))) => Err(Stop::Wrong(format!(
            "{what} gave {other}, not error {wanted}"
        ))),
        Err(Stop::Skip(why)) => Err(Stop::Skip(why)),
        Ok(_) => Err(Stop::Wrong(format!("{what} was not refused"))),
    }
}

fn configs(driver: &mut Driver, topic: &str) -> Outcome<()> {
    driver.needs(&[Feature::Admin])?;
    driver.create(topic, 1, &json!({"retention.ms": "86400000"}))?;
    let mut expect = |wanted: &[(&str, &str)]| -> Outcome<()> {
        let configs: BTreeMap<String, Option<String>> =
            driver.on_topic("describe_configs", topic)?;
        for (name, value) in wanted {
            let got = configs.get(*name).and_then(Option::as_deref);
            ensure(got == Some(value), || {
                format!("{name} is {got:?}, not {value}")
            })?;
        }
        Ok(())
    };
    expect(&[("retention.ms", "86400000"), ("cleanup.policy", "delete")])?;
    driver.call::<Value>(&json!({
        "op": "alter_configs", "topic": topic,
        "configs": {"retention.ms": "3600000", "max.message.bytes": "2000000"}
    }))?;
    let mut altered = || -> Outcome<()> {
        let configs: BTreeMap<String, Option<String>> =
            driver.on_topic("describe_configs", topic)?;
        for (name, value) in [
            ("retention.ms", "3600000"),
            ("max.message.bytes", "2000000"),
        ] {
            let got = configs.get(name).and_then(Option::as_deref);
            ensure(got == Some(value), || {
                format!("{name} is {got:?}, not {value}")
            })?;
        }
        Ok(())
    };
    // A node may take a moment to apply its own metadata.
    for _ in 0..20 {
        if altered().is_ok() {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    altered()
}

fn create_partitions(driver: &mut Driver, topic: &str) -> Outcome<()> {
    driver.needs(&[Feature::Admin])?;
    driver.create(topic, 1, &json!({}))?;
    let grow = json!({"op": "create_partitions", "topic": topic, "total": 4});
    driver.call::<Value>(&grow)?;
    for _ in 0..50 {
        if driver.on_topic::<i32>("describe_topic", topic)? == 4 {
            return refused(
                "growing to as many as there are",
                driver.call::<Value>(&grow),
                37,
            );
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    Err(Stop::Wrong(
        "the topic did not grow to 4 partitions within 5 s".to_owned(),
    ))
}

/// Records before an offset go; the log starts there; what is left is what was.
fn delete_records(driver: &mut Driver, topic: &str) -> Outcome<()> {
    driver.needs(&[Feature::Admin])?;
    driver.create(topic, 1, &json!({}))?;
    let records: Vec<_> = (0..20u8)
        .map(|n| Record::new(Some(&[n]), Some(&[n; 50])))
        .collect();
    let records: Vec<_> = records.iter().collect();
    driver.produce((topic, 0), PLAIN, &records)?;
    driver.call::<Value>(&json!({
        "op": "delete_records", "topic": topic, "partition": 0, "before": 12
    }))?;
    let offsets: BTreeMap<String, i64> = driver.call(&offsets_of(topic))?;
    let wanted = BTreeMap::from([("earliest".to_owned(), 12), ("latest".to_owned(), 20)]);
    ensure(offsets == wanted, || format!("the offsets are {offsets:?}"))?;
    same(&driver.consume((topic, 0), 12, 8)?, &records[12..], 12)
}

fn offsets_of(topic: &str) -> Value {
    json!({"op": "offsets", "topic": topic, "partition": 0})
}
