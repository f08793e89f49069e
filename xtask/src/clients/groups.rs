//! Checks of consumer groups: who owns what, from where, and that every offset is read.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::checks::{Another, create_or_rely_on_auto, refused, same};
use super::driver::{Driver, Outcome, PLAIN, Stop, ensure};
use super::record::{Feature, Record};

/// How long a group may take to settle: a session of 6 s, and a rebalance.
const SETTLE: Duration = Duration::from_secs(45);

/// What a member read: contents by partition and offset.
type Seen = BTreeMap<(i32, i64), Record>;

/// Polls a member until something holds of its assignment and what it has seen.
fn poll_until(
    driver: &mut Driver,
    seen: &mut Seen,
    what: &str,
    mut holds: impl FnMut(&[i32], &Seen) -> bool,
) -> Outcome<()> {
    let deadline = Instant::now() + SETTLE;
    loop {
        let polled = driver.poll()?;
        take(seen, polled.records);
        if holds(&polled.assigned, seen) {
            return Ok(());
        }
        ensure(Instant::now() < deadline, || {
            format!(
                "not within {SETTLE:?}: {what}; assigned {:?}, {} seen",
                polled.assigned,
                seen.len()
            )
        })?;
    }
}

fn take(seen: &mut Seen, records: Vec<Record>) {
    for record in records {
        let place = (record.partition.unwrap_or(-1), record.offset.unwrap_or(-1));
        seen.insert(place, record);
    }
}

fn fill(driver: &mut Driver, topic: &str, partition: i32, from: u32, to: u32) -> Outcome<()> {
    let value = |n| format!("partition {partition} record {n}");
    let records: Vec<_> = (from..to)
        .map(|n| Record::new(None, Some(value(n).as_bytes())))
        .collect();
    driver.produce(
        (topic, partition),
        PLAIN,
        &records.iter().collect::<Vec<_>>(),
    )?;
    Ok(())
}

/// One member owns all four partitions; a second takes its half; killed without a word, its
/// half comes back; and every record before, between and after is read with its contents.
pub(super) fn rebalance(driver: &mut Driver, another: Another<'_>, topic: &str) -> Outcome<()> {
    driver.needs(&[Feature::Groups, Feature::Admin])?;
    driver.create(topic, 4, &json!({}))?;
    for partition in 0..4 {
        fill(driver, topic, partition, 0, 25)?;
    }
    let group = format!("{topic}-group");
    let mut seen = Seen::new();
    driver.subscribe(&group, topic)?;
    poll_until(
        driver,
        &mut seen,
        "one member owns all and read all",
        |assigned, seen| assigned.len() == 4 && seen.len() == 100,
    )?;

    let mut second = another()?;
    second.subscribe(&group, topic)?;
    let deadline = Instant::now() + SETTLE;
    loop {
        let (one, other) = (driver.poll()?, second.poll()?);
        take(&mut seen, one.records);
        let owned: BTreeSet<_> = one.assigned.iter().chain(&other.assigned).collect();
        if one.assigned.len() == 2 && other.assigned.len() == 2 && owned.len() == 4 {
            break;
        }
        ensure(Instant::now() < deadline, || {
            format!(
                "two members settled on {:?} and {:?}",
                one.assigned, other.assigned
            )
        })?;
    }
    second.kill();

    poll_until(driver, &mut seen, "the survivor owns all", |assigned, _| {
        assigned.len() == 4
    })?;
    for partition in 0..4 {
        fill(driver, topic, partition, 25, 50)?;
    }
    poll_until(driver, &mut seen, "the survivor read all", |_, seen| {
        seen.len() == 200
    })?;
    driver.bare::<Value>("unsubscribe")?;
    for ((partition, offset), record) in &seen {
        let wanted = format!("partition {partition} record {offset}");
        ensure(
            record
                .value
                .as_ref()
                .is_some_and(|value| value.0 == wanted.as_bytes()),
            || {
                format!(
                    "partition {partition} offset {offset} holds {:?}",
                    record.value
                )
            },
        )?;
    }
    Ok(())
}

/// What a member committed is where the next one begins: nothing twice, nothing left out.
pub(super) fn committed_offsets_resume(driver: &mut Driver, topic: &str) -> Outcome<()> {
    driver.needs(&[Feature::Groups])?;
    create_or_rely_on_auto(driver, topic, 1)?;
    fill(driver, topic, 0, 0, 30)?;
    let group = format!("{topic}-group");
    let mut first = Seen::new();
    driver.subscribe(&group, topic)?;
    poll_until(driver, &mut first, "the first member read 30", |_, seen| {
        seen.len() == 30
    })?;
    driver.bare::<Value>("commit")?;
    driver.bare::<Value>("unsubscribe")?;

    fill(driver, topic, 0, 30, 60)?;
    let mut second = Seen::new();
    driver.subscribe(&group, topic)?;
    poll_until(
        driver,
        &mut second,
        "the second member read 30",
        |_, seen| seen.len() >= 30,
    )?;
    driver.bare::<Value>("unsubscribe")?;
    let records: Vec<_> = second.into_values().collect();
    let wanted: Vec<_> = (30..60)
        .map(|n| Record::new(None, Some(format!("partition 0 record {n}").as_bytes())))
        .collect();
    ensure(records.len() == 30, || {
        format!("{} records came", records.len())
    })?;
    same(&records, &wanted.iter().collect::<Vec<_>>(), 30)
}

/// A group is listed and described while it has a member, refuses deletion then, and is gone
/// once it is empty and deleted.
pub(super) fn listed_described_deleted(driver: &mut Driver, topic: &str) -> Outcome<()> {
    driver.needs(&[Feature::Groups, Feature::Admin])?;
    driver.create(topic, 1, &json!({}))?;
    fill(driver, topic, 0, 0, 5)?;
    let group = format!("{topic}-group");
    let mut seen = Seen::new();
    driver.subscribe(&group, topic)?;
    poll_until(driver, &mut seen, "the member read 5", |_, seen| {
        seen.len() == 5
    })?;
    driver.bare::<Value>("commit")?;

    let listed: Vec<String> = driver.bare("list_groups")?;
    ensure(listed.contains(&group), || {
        format!("{group} is not among {listed:?}")
    })?;
    let on_group = |op: &str| json!({"op": op, "group": group, "topic": topic, "partition": 0});
    // Between poll and description the member may be rejoining; wait for it to be settled.
    let deadline = Instant::now() + SETTLE;
    loop {
        let described: Value = driver.call(&on_group("describe_group"))?;
        if described == json!({"state": "stable", "members": 1}) {
            break;
        }
        ensure(Instant::now() < deadline, || {
            format!("the group is {described}")
        })?;
        driver.poll()?;
    }
    let committed: Option<i64> = match driver.call(&on_group("committed")) {
        Err(Stop::Skip(_)) => Some(5),
        other => other?,
    };
    ensure(committed == Some(5), || {
        format!("the committed offset is {committed:?}, not 5")
    })?;
    refused(
        "deleting a group in use",
        driver.call::<Value>(&on_group("delete_group")),
        68,
    )?;

    driver.bare::<Value>("unsubscribe")?;
    driver.call::<Value>(&on_group("delete_group"))?;
    let listed: Vec<String> = driver.bare("list_groups")?;
    ensure(!listed.contains(&group), || {
        format!("{group} is listed after its deletion")
    })
}
