//! Disks that are full, fail or are slow.

use std::cell::RefCell;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::super::doctor::{DEGRADED, UNHEALTHY};
use super::super::figures::Report;
use super::super::nodes::Form;
use super::super::stage::{HEAL, PARTITIONS, Setting, Stage};
use super::super::tools::{Injection, SmallDisk, missing_strace, segments};
use super::kills::{SLACK, STALL};
use crate::random::Random;
use crate::suites::damage::find;

/// A disk is called slow, and left, within this: a second a sync, lasting for five.
const SLOW: Duration = Duration::from_secs(14);
/// Megabytes of each node's disk, where it is to be filled.
const DISK: u32 = 700;

/// A node that is not the controller, and another that leads what it follows.
fn pair(stage: &Stage<'_>) -> Result<(u32, u32)> {
    let controller = stage.cluster.controller()?;
    Ok((1 + controller % 3, 1 + (controller + 1) % 3))
}

/// The active segment of a partition of the topic under load, on one node.
fn active(stage: &Stage<'_>, node: u32, partition: u32) -> Result<PathBuf> {
    let marker = stage.once().marker(partition, 0);
    let found = find(&stage.cluster.place(node).data, &marker)?;
    let dir = found.file.parent().context("a segment is in a directory")?;
    let mut all = segments(dir)?;
    all.pop().context("there is a segment")
}

/// A sync fails once, of one partition's log.
pub(super) fn fsync_error(stage: &mut Stage<'_>) -> Result<()> {
    if let Some(missing) = missing_strace() {
        stage.report.skip(&missing);
        return Ok(());
    }
    for of_leader in [false, true] {
        stage.progress()?;
        let probe = stage.probe()?;
        let (victim, _) = pair(stage)?;
        let led = leads_once(stage, victim, of_leader)?;
        let file = active(stage, victim, led)?;
        let mut watch = stage.watch(victim);
        watch.restart();
        let begun = Instant::now();
        let log = stage.cluster.place(victim).log.with_extension("strace");
        let pid = stage.cluster.pid(victim)?;
        let injection = Injection::into(pid, "error=EIO:when=1", &[file], &log)?;
        injection.done(HEAL)?;
        drop(injection);
        stage.cluster.mended();
        let whose = if of_leader { "a leader" } else { "a follower" };
        let exits = [DEGRADED, UNHEALTHY];
        let named = watch.names(victim, &["R010"], &exits, Duration::from_secs(10));
        stage
            .report
            .claim(&format!("a sync of {whose} fails: doctor names it"), named);
        stage.progress()?;
        let gap = probe.gap_of_any(begun, Instant::now());
        let name = format!("a sync of {whose} fails: other partitions' writes stop");
        stage.report.times(&name, vec![gap], STALL, SLACK);
        stage.cluster.in_sync(2 * HEAL)?;
        stage.heard(watch);
        drop(probe);
        stage.whole_again(HEAL)?;
    }
    Ok(())
}

/// A partition of the topic under load that a node leads, or follows.
fn leads_once(stage: &Stage<'_>, node: u32, leads: bool) -> Result<u32> {
    let replicas = stage.cluster.replicas()?;
    let found = replicas
        .iter()
        .find(|row| row.topic == "once" && row.node == node && (row.state == "leader") == leads);
    Ok(found.context("the node has no such replica")?.partition)
}

/// Every sync of a node takes two seconds.
pub(super) fn slow_fsync(stage: &mut Stage<'_>) -> Result<()> {
    if let Some(missing) = missing_strace() {
        stage.report.skip(&missing);
        return Ok(());
    }
    stage.progress()?;
    let probe = stage.probe()?;
    let (victim, _) = pair(stage)?;
    let led = stage.led_by(victim)?.context("every node leads one")?;
    let mut watch = stage.watch(victim);
    watch.restart();
    let begun = Instant::now();
    let log = stage.cluster.place(victim).log.with_extension("strace");
    let pid = stage.cluster.pid(victim)?;
    let injection = Injection::into(pid, "delay_enter=2000000", &[], &log)?;
    stage.names(&watch, victim, &["R005"], &[DEGRADED, UNHEALTHY]);
    thread::sleep((begun + SLOW).saturating_duration_since(Instant::now()));
    let leaders = stage.cluster.brokers()?;
    let leaders = leaders.iter().find(|node| node.id == victim);
    let leaders = leaders.context("the node is listed")?.leaders;
    let outcome = match leaders {
        0 => Ok("it leads nothing any more".to_owned()),
        some => Err(anyhow::anyhow!("it still leads {some} partitions")),
    };
    stage
        .report
        .claim("a leader on a slow disk resigns", outcome);
    let isr = others_in_sync(stage, victim);
    stage.report.claim("healthy followers stay in sync", isr);
    let until = Instant::now();
    let others = PARTITIONS.into_iter().filter(|at| *at != led);
    let stalls = others.map(|at| probe.gap_until(at, begun, until)).collect();
    let own = probe.gap_until(led, begun, until);
    drop(injection);
    stage.cluster.mended();
    let report = &mut stage.report;
    report.times("writes stop where others lead", stalls, STALL, SLACK);
    report.times("writes stop where it led", vec![own], SLOW, 1);
    stage.heard(watch);
    drop(probe);
    stage.whole_again(2 * HEAL)
}

fn others_in_sync(stage: &Stage<'_>, victim: u32) -> Result<String> {
    let replicas = stage.cluster.replicas()?;
    let out = replicas
        .iter()
        .find(|row| row.node != victim && !row.in_sync);
    match out {
        Some(row) => anyhow::bail!("{row}"),
        None => Ok("all replicas on the other nodes are in sync".to_owned()),
    }
}

/// No room on a node's disk, for a while.
pub(super) fn full(setting: &Setting<'_>, report: &mut Report, random: Random) -> Result<()> {
    let disks = RefCell::new(Vec::new());
    let probe_place = setting.dir.join("probe");
    if let Err(error) = SmallDisk::mount(&probe_place, 1) {
        report.skip(&error.to_string());
        return Ok(());
    }
    // Kept until the nodes on them have ended.
    let mounts = &disks;
    let mut stage = Stage::set(setting, &Form::default(), report, |place| {
        mounts
            .borrow_mut()
            .push(SmallDisk::mount(&place.data, DISK)?);
        Ok(())
    })?;
    stage.random = random;
    for of_leader in [false, true] {
        stage.progress()?;
        let probe = stage.probe()?;
        let (victim, _) = pair(&stage)?;
        let led = stage.led_by(victim)?.context("every node leads one")?;
        let mut watch = stage.watch(victim);
        watch.restart();
        let begun = Instant::now();
        let at = usize::try_from(victim)? - 1;
        disks.borrow()[at].fill()?;
        let whose = if of_leader { "a leader" } else { "a follower" };
        let exits = [DEGRADED, UNHEALTHY];
        let named = watch.names(victim, &["R001"], &exits, Duration::from_secs(20));
        stage.report.claim(
            &format!("the disk of {whose} is full: doctor names it"),
            named,
        );
        stage.progress()?;
        let name = format!("the disk of {whose} is full: writes stop");
        let until = Instant::now();
        let gaps = match of_leader {
            true => vec![probe.gap_until(led, begun, until)],
            false => PARTITIONS
                .into_iter()
                .filter(|at| *at != led)
                .map(|at| probe.gap_until(at, begun, until))
                .collect(),
        };
        stage.report.times(&name, gaps, STALL, SLACK);
        stage.report.claim("the node runs on", runs(&stage, victim));
        disks.borrow()[at].free()?;
        stage.cluster.mended();
        stage.cluster.in_sync(2 * HEAL)?;
        stage.heard(watch);
        drop(probe);
        stage.whole_again(HEAL)?;
    }
    stage.close()
}

fn runs(stage: &Stage<'_>, node: u32) -> Result<String> {
    let http = stage.cluster.place(node).http;
    let status = crate::node::http_status(http, "/livez");
    anyhow::ensure!(status == Some(200), "node {node} says {status:?}");
    Ok("it answers".to_owned())
}
