//! Partitions that move, and nodes that come and go for good.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::super::answers::Broker;
use super::super::doctor::{DEGRADED, OK};
use super::super::figures::Report;
use super::super::nodes::{Cluster, Form, wait};
use super::super::stage::{HEAL, MIN_ISR, Setting, Stage};
use super::kills::{SLACK, STALL};
use crate::random::Random;
use crate::suites::load;

/// Records of the partition that moves, so that copying takes a moment.
const RECORDS: (u32, u64) = (60, 1_000_000);
const MOVED: &str = "moved/0";

/// A fourth node joins, and partitions move while parties of the move are killed.
pub(super) fn moves(setting: &Setting<'_>, report: &mut Report, random: Random) -> Result<()> {
    let mut stage = Stage::set(setting, &Form::default(), report, |_| Ok(()))?;
    stage.random = random;
    joins(&mut stage)?;
    target_killed(&mut stage)?;
    cancelled(&mut stage)?;
    leader_killed(&mut stage)?;
    drained(&mut stage)?;
    decommissioned(&mut stage)?;
    stage.whole_again(HEAL)?;
    stage.close()
}

/// A move is ordered, and not waited for.
fn begin(stage: &Stage<'_>, to: &str) -> Result<()> {
    let order = ["partition", "move", MOVED, "--to", to, "--no-wait"];
    stage.cluster.order(&order).map(drop)
}

fn broker(cluster: &Cluster, id: u32) -> Result<Broker> {
    let brokers = cluster.brokers()?;
    let found = brokers.into_iter().find(|node| node.id == id);
    found.with_context(|| format!("node {id} is not listed"))
}

/// Who holds the partition, and whether all of them are in sync.
fn held_by(cluster: &Cluster, wanted: &[u32]) -> Result<()> {
    let replicas = cluster.replicas()?;
    let rows = replicas.iter().filter(|row| row.is("moved", 0));
    let rows = rows.collect::<Vec<_>>();
    let mut nodes = rows.iter().map(|row| row.node).collect::<Vec<_>>();
    nodes.sort_unstable();
    ensure!(nodes == wanted, "it is held by {nodes:?}, not {wanted:?}");
    for row in rows {
        ensure!(row.in_sync, "{row}");
    }
    Ok(())
}

fn joins(stage: &mut Stage<'_>) -> Result<()> {
    let begun = Instant::now();
    let id = stage.cluster.join(&[])?;
    let joined = wait("joined", HEAL, || {
        let node = broker(&stage.cluster, id)?;
        ensure!(node.state == "up", "node {id} is {}", node.state);
        Ok(())
    });
    let joined = joined.map(|()| format!("up after {:.1?}", begun.elapsed()));
    stage.report.claim("a fourth node joins", joined);
    stage.topic("later", 8, &[MIN_ISR])?;
    let given = wait("given partitions", HEAL, || {
        let node = broker(&stage.cluster, id)?;
        ensure!(node.replicas > 0, "node {id} has no replica");
        Ok(format!(
            "{} replicas, {} of them leading",
            node.replicas, node.leaders
        ))
    });
    stage
        .report
        .claim("it is given partitions of a new topic", given);
    stage.cluster.in_sync(HEAL).map(drop)
}

/// Where the partition is now, and where it goes: from node 1 to the new node 4.
fn target_killed(stage: &mut Stage<'_>) -> Result<()> {
    let bootstrap = stage.cluster.bootstrap();
    stage.topic("moved", 1, &[MIN_ISR])?;
    // Wherever it was placed, it begins on the first three.
    stage
        .cluster
        .order(&["partition", "move", MOVED, "--to", "1,2,3"])?;
    wait("moved", HEAL, || held_by(&stage.cluster, &[1, 2, 3]))?;
    load::large(&bootstrap, "moved", RECORDS.0, RECORDS.1)?;
    stage.progress()?;
    let probe = stage.probe()?;
    let begun = Instant::now();
    begin(stage, "2,3,4")?;
    std::thread::sleep(stage.random.millis(20, 120));
    let mut watch = stage.watch(4);
    watch.restart();
    stage.cluster.kill(4)?;
    stage.names(&watch, 4, &["R002"], &[DEGRADED]);
    stage.progress()?;
    let gap = probe.gap_of_any(begun, Instant::now());
    let report = &mut stage.report;
    report.times(
        "a target killed during a move: writes stop",
        vec![gap],
        STALL,
        SLACK,
    );
    stage.heard(watch);
    stage.cluster.start(4)?;
    let begun = Instant::now();
    let moved = wait("moved", 2 * HEAL, || held_by(&stage.cluster, &[2, 3, 4]));
    let moved = moved.map(|()| format!("{:.1?} after the target's start", begun.elapsed()));
    stage.report.claim("the move comes to its end", moved);
    let counted = load::count(&bootstrap, "moved");
    stage.report.claim("every offset is read", counted);
    drop(probe);
    stage.whole_again(HEAL)
}

/// A move to a node that stands still, whatever else that is, is taken back.
fn cancelled(stage: &mut Stage<'_>) -> Result<()> {
    begin(stage, "1,2,3")?;
    stage.cluster.stop(1)?;
    stage
        .cluster
        .order(&["partition", "move", MOVED, "--cancel"])?;
    let back = wait("cancelled", HEAL, || held_by(&stage.cluster, &[2, 3, 4]));
    let back = back.map(|()| "held by 2, 3 and 4 as before".to_owned());
    stage.report.claim("a move is cancelled", back);
    stage.cluster.resume(1)?;
    stage.whole_again(HEAL)
}

/// The partition moves back, and its leader is killed meanwhile.
fn leader_killed(stage: &mut Stage<'_>) -> Result<()> {
    let leader = stage.cluster.leader("moved", 0)?;
    begin(stage, "1,2,3")?;
    std::thread::sleep(stage.random.millis(20, 120));
    stage.cluster.kill(leader)?;
    stage.progress()?;
    stage.cluster.start(leader)?;
    let begun = Instant::now();
    let moved = wait("moved", 2 * HEAL, || held_by(&stage.cluster, &[1, 2, 3]));
    let moved = moved.map(|()| format!("{:.1?} after node {leader}'s start", begun.elapsed()));
    stage.report.claim(
        "the leader killed during a move: it comes to its end",
        moved,
    );
    let counted = load::count(&stage.cluster.bootstrap(), "moved");
    stage.report.claim("every offset is read", counted);
    stage.whole_again(HEAL)
}

/// A node gives its leaderships away, and takes some again.
fn drained(stage: &mut Stage<'_>) -> Result<()> {
    let probe = stage.probe()?;
    let mut watch = stage.watch(2);
    watch.restart();
    let begun = Instant::now();
    stage.cluster.order(&["node", "drain", "2"])?;
    let empty = wait("drained", HEAL, || {
        let node = broker(&stage.cluster, 2)?;
        ensure!(node.leaders == 0, "it leads {}", node.leaders);
        Ok(format!("leads nothing after {:.1?}", begun.elapsed()))
    });
    stage.report.claim("a node is drained", empty);
    std::thread::sleep(Duration::from_millis(500));
    let gap = probe.gap_of_any(begun, Instant::now());
    let report = &mut stage.report;
    report.times(
        "a drain: writes stop",
        vec![gap],
        Duration::from_millis(100),
        SLACK * 3,
    );
    stage.names(&watch, 2, &["R019"], &[OK, DEGRADED]);
    stage.heard(watch);
    stage.cluster.order(&["node", "resume", "2"])?;
    drop(probe);
    stage.whole_again(HEAL)
}

/// The fourth node leaves for good: its partitions move, and it is taken out.
fn decommissioned(stage: &mut Stage<'_>) -> Result<()> {
    let mut leaving = stage.cluster.verb(&["node", "decommission", "4", "--yes"]);
    let leaving = leaving
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let empty = wait("empty", 2 * HEAL, || {
        let node = broker(&stage.cluster, 4)?;
        ensure!(node.replicas == 0, "it holds {} replicas", node.replicas);
        Ok("its partitions have moved".to_owned())
    });
    stage.report.claim("a node is emptied", empty);
    // Told to stop it, an operator does.
    stage.cluster.terminate(4)?;
    let output = leaving.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let blamed = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let gone = match output.status.success() {
        true => Ok(said),
        false => Err(anyhow::anyhow!("{}: {said} {blamed}", output.status)),
    };
    stage.report.claim("a node is decommissioned", gone);
    let listed = wait("gone", HEAL, || {
        let brokers = stage.cluster.brokers()?;
        ensure!(
            brokers.iter().all(|node| node.id != 4),
            "node 4 is still listed"
        );
        Ok("the others know three nodes".to_owned())
    });
    stage.report.claim("and forgotten", listed);
    Ok(())
}
