//! What lies on a node's disk is gone or changed.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use super::super::doctor::{DEGRADED, UNHEALTHY};
use super::super::nodes::wait;
use super::super::stage::{HEAL, MIN_ISR, Stage};
use super::super::tools::{cut_in_half, segments};
use crate::suites::damage::{Found, find, flip_bit};
use crate::suites::load;

/// Records of each damaged topic, in a dozen segments or so.
const RECORDS: u32 = 1_500;
const SMALL: &str = "segment.bytes=65536";
/// Looking for changed bytes is background work at a bounded rate.
const NOTICED: Duration = Duration::from_secs(40);

/// A node comes back with an empty directory.
pub(super) fn emptied(stage: &mut Stage<'_>) -> Result<()> {
    stage.progress()?;
    let victim = 1 + u32::try_from(stage.random.below(3))?;
    stage.cluster.kill(victim)?;
    fs::remove_dir_all(&stage.cluster.place(victim).data)?;
    let mut watch = stage.watch(victim);
    watch.restart();
    stage.cluster.start(victim)?;
    stage.names(&watch, victim, &["R011"], &[DEGRADED]);
    stage.cluster.in_sync(2 * HEAL)?;
    stage.heard(watch);
    stage.whole_again(2 * HEAL)
}

/// A topic whose only partition has many segments, written and copied to all.
fn written(stage: &mut Stage<'_>, topic: &str) -> Result<()> {
    stage.topic(topic, 1, &[MIN_ISR, SMALL])?;
    load::fill(&stage.cluster.bootstrap(), topic, 0, RECORDS)?;
    stage.cluster.in_sync(HEAL).map(drop)
}

/// The place of a record on a node's disk.
fn record(stage: &Stage<'_>, node: u32, topic: &str, sequence: u32) -> Result<Found> {
    let marker = format!("{topic}:0:{sequence:08}:");
    find(&stage.cluster.place(node).data, marker.as_bytes())
}

/// Where a topic's only partition lies on a node.
fn directory(stage: &Stage<'_>, node: u32, topic: &str) -> Result<PathBuf> {
    let found = record(stage, node, topic, 0)?;
    let dir = found.file.parent().context("a segment is in a directory")?;
    Ok(dir.to_owned())
}

/// Bits flipped under a node that runs, or that is down.
pub(super) fn flipped(stage: &mut Stage<'_>) -> Result<()> {
    for (number, (of_leader, active, down)) in [
        (false, false, true),
        (false, true, false),
        (true, false, false),
        (true, true, false),
    ]
    .into_iter()
    .enumerate()
    {
        let topic = format!("flipped-{number}");
        written(stage, &topic)?;
        let leader = stage.cluster.leader(&topic, 0)?;
        let victim = if of_leader { leader } else { 1 + leader % 3 };
        let sequence = match active {
            true => RECORDS - 1,
            false => RECORDS / 4 + u32::try_from(stage.random.below(100))?,
        };
        let whose = if of_leader { "leader" } else { "follower" };
        let which = if active { "active" } else { "closed" };
        let how = if down { "down" } else { "running" };
        let what = format!("{which} segment of a {how} {whose}");
        let mut watch = stage.watch(victim);
        if down {
            stage.cluster.terminate(victim)?;
        }
        flip_bit(&record(stage, victim, &topic, sequence)?, 30)?;
        watch.restart();
        if down {
            stage.cluster.start(victim)?;
        }
        // What is written to now is read while it is in memory; that is looked at later.
        if of_leader && !active {
            let read = load::count(&stage.cluster.bootstrap(), &topic);
            stage
                .report
                .claim(&format!("{what}: every record is read, and right"), read);
        }
        let named = watch.names(victim, &["R004"], &[DEGRADED, UNHEALTHY], NOTICED);
        stage
            .report
            .claim(&format!("{what}: doctor names it"), named);
        let repaired = wait("repaired", NOTICED, || {
            stage.cluster.in_sync(HEAL)?;
            record(stage, victim, &topic, sequence)?;
            stage.at_rest(|stage| stage.bytes())
        });
        stage.report.claim(&format!("{what}: repaired"), repaired);
        let read = load::count(&stage.cluster.bootstrap(), &topic);
        stage
            .report
            .claim(&format!("{what}: every record is read afterwards"), read);
        stage.heard(watch);
        stage.cluster.mended();
    }
    stage.whole_again(HEAL)
}

/// Segment files that are gone or cut when a node starts.
pub(super) fn lost_segments(stage: &mut Stage<'_>) -> Result<()> {
    for (number, (of_leader, deleted)) in [(false, true), (true, false)].into_iter().enumerate() {
        let topic = format!("lost-{number}");
        written(stage, &topic)?;
        let leader = stage.cluster.leader(&topic, 0)?;
        let victim = if of_leader { leader } else { 1 + leader % 3 };
        let dir = directory(stage, victim, &topic)?;
        let mut watch = stage.watch(victim);
        stage.cluster.kill(victim)?;
        let segments = segments(&dir)?;
        let middle = &segments[segments.len() / 2];
        let what = match deleted {
            true => {
                fs::remove_file(middle)?;
                "a follower's segment deleted while it is down"
            }
            false => {
                cut_in_half(middle)?;
                "a leader's segment cut while it is down"
            }
        };
        watch.restart();
        stage.cluster.start(victim)?;
        let named = watch.names(victim, &["R011", "R004"], &[DEGRADED], NOTICED);
        stage
            .report
            .claim(&format!("{what}: doctor names it"), named);
        let read = load::count(&stage.cluster.bootstrap(), &topic);
        stage
            .report
            .claim(&format!("{what}: every record is read"), read);
        stage.heard(watch);
        stage.whole_again(2 * HEAL)?;
    }
    Ok(())
}
