//! Checks of what only several nodes have: replicas to describe, elect, move and read from.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

use super::checks::{refused, same};
use super::driver::{Driver, Outcome, PLAIN, ensure};
use super::record::{Feature, Record};
use super::report::Report;

/// How long a change may take until it is seen everywhere.
const SETTLE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

/// A partition, as an admin client describes it.
#[derive(Debug, Deserialize)]
struct Described {
    leader: i32,
    replicas: Vec<i32>,
    isr: Vec<i32>,
    elr: Vec<i32>,
    last_known_elr: Vec<i32>,
}

/// The metadata quorum, as an admin client describes it.
#[derive(Debug, Deserialize)]
struct Quorum {
    leader: i32,
    voters: Vec<i32>,
    log_ends: Vec<i64>,
}

/// Runs the checks of a client that can tell of replicas; all nodes are voters.
pub(super) fn all(driver: &mut Driver, nodes: u32, prefix: &str, report: &mut Report) {
    type Check = fn(&mut Driver, &str, &[i32]) -> Outcome<()>;
    let checks: [(&str, Check); 5] = [
        ("replicas-described", described),
        ("preferred-leader-elected", elected),
        ("partition-moved", moved),
        ("quorum-described", quorum),
        ("log-dirs-described", log_dirs),
    ];
    let nodes: Vec<i32> = (1..).take(nodes as usize).collect();
    for (name, check) in checks {
        let topic = format!("{prefix}-{name}");
        report.check(name, || {
            driver.must_offer(Feature::Replicas)?;
            check(driver, &topic, &nodes)
        });
    }
}

fn on(op: &str, topic: &str) -> Value {
    json!({"op": op, "topic": topic, "partition": 0})
}

fn reassign(driver: &mut Driver, topic: &str, replicas: Option<&[i32]>) -> Outcome<()> {
    let mut request = on("reassign", topic);
    request["replicas"] = json!(replicas);
    driver.call::<Value>(&request)?;
    Ok(())
}

/// Waits until the topic's partition is as wanted.
fn until(
    driver: &mut Driver,
    topic: &str,
    what: &str,
    wanted: impl Fn(&Described) -> bool,
) -> Outcome<Described> {
    let deadline = Instant::now() + SETTLE;
    loop {
        let described: Described = driver.call(&on("describe_partition", topic))?;
        if wanted(&described) {
            return Ok(described);
        }
        ensure(Instant::now() < deadline, || {
            format!("not within {SETTLE:?}: {what}; {described:?}")
        })?;
        thread::sleep(POLL);
    }
}

fn sorted(nodes: &[i32]) -> Vec<i32> {
    let set: BTreeSet<_> = nodes.iter().copied().collect();
    set.into_iter().collect()
}

/// Every replica is in sync, so nobody else is eligible.
fn described(driver: &mut Driver, topic: &str, nodes: &[i32]) -> Outcome<()> {
    driver.create(topic, 1, &json!({}))?;
    let found = until(driver, topic, "all replicas are in sync", |found| {
        found.isr.len() == nodes.len()
    })?;
    ensure(sorted(&found.replicas) == nodes, || format!("{found:?}"))?;
    ensure(sorted(&found.isr) == nodes, || format!("{found:?}"))?;
    ensure(found.replicas[0] == found.leader, || {
        format!("a new topic is not led by its first replica: {found:?}")
    })?;
    ensure(
        found.elr.is_empty() && found.last_known_elr.is_empty(),
        || format!("somebody is eligible besides the ISR: {found:?}"),
    )
}

/// The order of replicas says who is to lead, and an election makes it so.
fn elected(driver: &mut Driver, topic: &str, nodes: &[i32]) -> Outcome<()> {
    driver.create(topic, 1, &json!({}))?;
    let before = until(driver, topic, "all replicas are in sync", |found| {
        found.isr.len() == nodes.len()
    })?;
    let mut order = before.replicas;
    order.rotate_left(1);
    reassign(driver, topic, Some(&order))?;
    until(driver, topic, "the replicas have another order", |found| {
        found.replicas == order
    })?;
    let elect = on("elect_leader", topic);
    driver.call::<Value>(&elect)?;
    until(driver, topic, "the first replica leads", |found| {
        found.leader == order[0]
    })?;
    refused("electing it again", driver.call::<Value>(&elect), 84)
}

/// Replicas are taken away and given back; the records are there before, between and after.
fn moved(driver: &mut Driver, topic: &str, nodes: &[i32]) -> Outcome<()> {
    driver.create(topic, 1, &json!({"min.insync.replicas": "1"}))?;
    let records: Vec<_> = (0..200)
        .map(|n| Record::new(None, Some(format!("record {n}").as_bytes())))
        .collect();
    let records: Vec<_> = records.iter().collect();
    driver.produce((topic, 0), PLAIN, &records[..100])?;
    let described: Described = driver.call(&on("describe_partition", topic))?;
    let last = *described.replicas.last().unwrap_or(&1);
    refused(
        "taking back what is not under way",
        reassign(driver, topic, None),
        85,
    )?;
    refused(
        "moving to a node that is none",
        reassign(driver, topic, Some(&[99])),
        39,
    )?;
    for replicas in [&[last][..], nodes] {
        reassign(driver, topic, Some(replicas))?;
        until(driver, topic, "the partition is elsewhere", |found| {
            found.replicas == replicas
                && sorted(&found.isr) == sorted(replicas)
                && replicas.contains(&found.leader)
        })?;
        let under_way: Vec<String> = driver.bare("reassignments")?;
        ensure(!under_way.contains(&format!("{topic}-0")), || {
            format!("it is moved, and is still being moved: {under_way:?}")
        })?;
        same(&driver.consume((topic, 0), 0, 100)?, &records[..100], 0)?;
    }
    driver.produce((topic, 0), PLAIN, &records[100..])?;
    same(&driver.consume((topic, 0), 0, 200)?, &records, 0)
}

/// All nodes vote, and one of them leads. Who is asked knows the end of its own log at least.
fn quorum(driver: &mut Driver, _topic: &str, nodes: &[i32]) -> Outcome<()> {
    let found: Quorum = driver.bare("describe_quorum")?;
    ensure(nodes.contains(&found.leader), || format!("{found:?}"))?;
    ensure(found.voters == nodes, || format!("{found:?}"))?;
    ensure(found.log_ends.iter().any(|end| *end > 0), || {
        format!("the end of no voter's log is told: {found:?}")
    })
}

/// Every node tells how large its replicas are.
fn log_dirs(driver: &mut Driver, topic: &str, nodes: &[i32]) -> Outcome<()> {
    driver.create(topic, 2, &json!({}))?;
    let record = Record::new(None, Some(&[b'x'; 1_000]));
    driver.produce((topic, 1), PLAIN, &[&record])?;
    let deadline = Instant::now() + SETTLE;
    loop {
        let sizes: BTreeMap<i32, BTreeMap<i32, i64>> =
            driver.on_topic("describe_log_dirs", topic)?;
        let told: Vec<_> = sizes.keys().copied().collect();
        ensure(told == nodes, || {
            format!("nodes {told:?} told of their directories")
        })?;
        // acks=all waits for two of three.
        let whole = |here: &BTreeMap<i32, i64>| {
            here.contains_key(&0) && here.get(&1).is_some_and(|size| *size > 1_000)
        };
        if sizes.values().all(whole) {
            return Ok(());
        }
        ensure(Instant::now() < deadline, || {
            format!("the sizes of {topic} are {sizes:?}")
        })?;
        thread::sleep(POLL);
    }
}
