//! Readers with a rack of their own (KIP-392): a follower in their rack serves them, without their
//! asking again and again at its end; and when it dies, they go on elsewhere.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::super::checks::same;
use super::super::cluster::Cluster;
use super::super::driver::{Driver, Outcome, PLAIN, Settings, Stop, ensure as holds};
use super::super::programs::Program;
use super::super::record::{Feature, Record};
use super::super::report::Report;
use super::super::target;
use super::{HEAL, POLL};
use crate::node::http_get;

/// Records before and after the follower dies, a kilobyte each.
const HALF: usize = 2_000;
/// What is sent again after a refusal stays in its place: Java has several batches under way at once.
const IN_ORDER: Settings<'static> = Settings {
    idempotent: true,
    ..PLAIN
};
/// How long a reader idles at the end while its requests are counted.
const IDLE: Duration = Duration::from_secs(2);
/// The most requests of an idle reader: it waits for a quarter of a second at least, the slowest
/// to begin included.
const MAX_IDLE: u64 = 40;

/// The racks of the nodes: one each.
pub(super) fn settings(node: u32) -> Vec<String> {
    let mut settings = target::settings();
    settings.extend(["--set".to_owned(), format!("broker.rack=rack-{node}")]);
    settings
}

/// Runs the check for each client that can say where it is.
pub(super) fn check(
    cluster: &mut Cluster,
    dir: &Path,
    programs: &[&'static Program],
) -> Result<Vec<Report>> {
    let mut reports = Vec::new();
    for program in programs {
        let bootstrap = cluster.bootstrap();
        let mut driver = match Driver::start(program.driver(), &bootstrap) {
            Ok(driver) => driver,
            Err(stop) => anyhow::bail!("{} does not start: {stop}", program.name),
        };
        if !driver.hello.offers.contains(&Feature::Racks) {
            continue;
        }
        let topic = format!("racks-{}", program.name);
        super::create(cluster, dir, &topic, 1)?;
        let leader = leader(cluster, &topic)?;
        let nearest = 1 + leader % 3;
        let mut report = Report::new(program.name);
        report.check(
            "a reader is served in its rack, and elsewhere when that dies",
            || {
                let reader = || Driver::start(program.driver(), &bootstrap);
                read_there(cluster, &mut driver, reader, &topic, (leader, nearest))
            },
        );
        // It may have been killed, and the check may have ended before it came back.
        if !cluster.runs(nearest) {
            cluster.start(nearest)?;
        }
        cluster.in_sync(HEAL)?;
        reports.push(report);
    }
    Ok(reports)
}

fn read_there(
    cluster: &mut Cluster,
    producer: &mut Driver,
    reader: impl FnOnce() -> Outcome<Driver>,
    topic: &str,
    (leader, nearest): (u32, u32),
) -> Outcome<()> {
    let records: Vec<_> = (0..2 * HALF)
        .map(|n| Record::new(None, Some(format!("{n:01000}").as_bytes())))
        .collect();
    let records: Vec<_> = records.iter().collect();
    for some in records[..HALF].chunks(500) {
        producer.produce((topic, 0), IN_ORDER, some)?;
    }
    let wrong = |error: anyhow::Error| Stop::Wrong(format!("{error:#}"));
    let before = (counters(cluster, leader), counters(cluster, nearest));
    let (before_leader, before_nearest) = (before.0.map_err(wrong)?, before.1.map_err(wrong)?);
    let mut reader = reader()?;
    let request = json!({
        "op": "consume", "topic": topic, "partition": 0, "from": 0, "count": 2 * HALF,
        "timeout_ms": 80_000, "rack": format!("rack-{nearest}"),
    });
    thread::scope(|scope| {
        let reading = scope.spawn(move || reader.call::<Vec<Record>>(&request));
        let outcome = (|| {
            let half = u64::try_from(HALF).unwrap_or(0) * 1_000;
            served(cluster, nearest, before_nearest.bytes + half).map_err(wrong)?;
            let from_leader = counters(cluster, leader).map_err(wrong)?.bytes - before_leader.bytes;
            holds(from_leader < half / 2, || {
                format!("the leader served {from_leader} bytes of {half}")
            })?;
            let idle = counters(cluster, nearest).map_err(wrong)?;
            thread::sleep(IDLE);
            let asked = counters(cluster, nearest).map_err(wrong)?.requests - idle.requests;
            holds(asked <= MAX_IDLE, || {
                format!("an idle reader asked {asked} times in {IDLE:?}")
            })?;
            cluster.kill(nearest).map_err(wrong)?;
            for some in records[HALF..].chunks(500) {
                producer.produce((topic, 0), IN_ORDER, some)?;
            }
            Ok(())
        })();
        let read = reading.join().expect("a reader's thread does not panic");
        outcome?;
        let read = read?;
        holds(read.len() == records.len(), || {
            format!("{} of {} records came", read.len(), records.len())
        })?;
        same(&read, &records, 0)
    })
}

/// What a node has done for clients.
struct Counters {
    bytes: u64,
    requests: u64,
}

fn counters(cluster: &Cluster, node: u32) -> Result<Counters> {
    let (_, text) = http_get(cluster.place(node).http, "/metrics")
        .with_context(|| format!("node {node} does not tell its metrics"))?;
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map_or(Ok(0), |value| value.trim().parse::<u64>())
            .with_context(|| format!("{name} is no number"))
    };
    Ok(Counters {
        bytes: value("plimsoll_fetched_bytes_total ")?,
        requests: value("plimsoll_requests_total{api=\"Fetch\"} ")?,
    })
}

/// Waits until a node has served so many bytes.
fn served(cluster: &Cluster, node: u32, bytes: u64) -> Result<()> {
    let deadline = Instant::now() + HEAL;
    loop {
        let served = counters(cluster, node)?.bytes;
        if served >= bytes {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "the follower, node {node}, has served {served} bytes in all, not {bytes}"
        );
        thread::sleep(POLL);
    }
}

/// Who leads the topic's partition, once all its replicas are in sync.
fn leader(cluster: &Cluster, topic: &str) -> Result<u32> {
    let deadline = Instant::now() + HEAL;
    loop {
        let mut replicas = cluster.replicas()?;
        replicas.retain(|replica| replica.topic == topic && replica.in_sync);
        let leader = replicas.iter().find(|replica| replica.state == "leader");
        match leader {
            Some(leader) if replicas.len() == cluster.ids().count() => return Ok(leader.node),
            _ => ensure!(
                Instant::now() < deadline,
                "{topic} is not led and in sync: {replicas:?}"
            ),
        }
        thread::sleep(POLL);
    }
}
