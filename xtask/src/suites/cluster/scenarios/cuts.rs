//! Links that are cut, flap or are slow.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::super::doctor::{DEGRADED, UNHEALTHY, Watch};
use super::super::nodes::wait;
use super::super::proxy::Proxy;
use super::super::stage::{HEAL, PARTITIONS, Stage};
use super::kills::{SLACK, STALL};

/// How long links stay cut: longer than a session of three seconds.
const CUT: Duration = Duration::from_secs(4);
/// A leader that cannot be reached is replaced after its session.
const REPLACED: Duration = Duration::from_secs(5);
/// How long a link flaps, and how long it is up or down each time.
const FLAPPING: Duration = Duration::from_secs(6);
const FLAP: Duration = Duration::from_millis(300);

fn proxy<'a>(stage: &'a Stage<'_>) -> Result<&'a Proxy> {
    stage.cluster.proxy.as_ref().context("there is a proxy")
}

/// The bytes that one node sends another are held; then those the other way.
pub(super) fn one_way(stage: &mut Stage<'_>) -> Result<()> {
    for to_follower in [true, false] {
        stage.progress()?;
        let probe = stage.probe()?;
        // Neither is the controller, whose links are the subject of another scenario.
        let controller = stage.cluster.controller()?;
        let (leader, follower) = (1 + controller % 3, 1 + (controller + 1) % 3);
        let led = stage.led_by(leader)?.context("every node leads one")?;
        let (from, to, name) = match to_follower {
            true => (leader, follower, "leader to follower"),
            false => (follower, leader, "follower to leader"),
        };
        stage.cluster.ask(Some(controller));
        let mut watch = Watch::of(&stage.cluster, controller);
        watch.restart();
        let begun = Instant::now();
        proxy(stage)?.cut(from, to, true);
        stage.names(&watch, follower, &["R002"], &[DEGRADED, UNHEALTHY]);
        thread::sleep((begun + CUT).saturating_duration_since(Instant::now()));
        proxy(stage)?.cut(from, to, false);
        stage.cluster.mended();
        thread::sleep(Duration::from_secs(1));
        let gap = probe.gap_until(led, begun, Instant::now());
        let name = format!("{name} cut: writes stop");
        stage.report.times(&name, vec![gap], STALL, SLACK);
        stage.heard(watch);
        drop(probe);
        stage.whole_again(HEAL)?;
    }
    Ok(())
}

/// A leader is cut from both others, and clients still reach it.
pub(super) fn leader(stage: &mut Stage<'_>) -> Result<()> {
    let controller = stage.cluster.controller()?;
    cut(stage, 1 + controller % 3, "the leader")
}

/// The controller is cut from both others, and clients still reach it.
pub(super) fn controller(stage: &mut Stage<'_>) -> Result<()> {
    let controller = stage.cluster.controller()?;
    cut(stage, controller, "the controller")
}

fn cut(stage: &mut Stage<'_>, victim: u32, name: &str) -> Result<()> {
    stage.progress()?;
    let probe = stage.probe()?;
    let led = stage.led_by(victim)?.context("every node leads one")?;
    let mut watch = stage.watch(victim);
    watch.restart();
    let begun = Instant::now();
    proxy(stage)?.isolate(victim, stage.cluster.ids(), true);
    let replaced = wait("replaced", HEAL, || {
        let leader = stage.cluster.leader("probe", led)?;
        ensure!(leader != victim, "node {leader} still leads");
        Ok(leader)
    });
    let took = begun.elapsed();
    let replaced = replaced.map(|leader| format!("node {leader} leads after {took:.1?}"));
    stage.report.claim(&format!("{name} is replaced"), replaced);
    stage.names(&watch, victim, &["R002", "R008"], &[DEGRADED, UNHEALTHY]);
    let alone = alone(stage, victim);
    stage.report.claim("who is cut off says so", alone);
    let gap = probe.longest_gap(led, begun)?;
    let others = PARTITIONS.into_iter().filter(|at| *at != led);
    let until = Instant::now();
    let stalls = others.map(|at| probe.gap_until(at, begun, until)).collect();
    proxy(stage)?.isolate(victim, stage.cluster.ids(), false);
    stage.cluster.mended();
    let report = &mut stage.report;
    report.times("writes stop where it led", vec![gap], REPLACED, SLACK);
    report.times("writes stop where others lead", stalls, STALL, SLACK);
    stage.heard(watch);
    drop(probe);
    stage.whole_again(HEAL)
}

/// A node that reaches nobody does not call itself or the others well.
fn alone(stage: &Stage<'_>, victim: u32) -> Result<String> {
    let watch = Watch::of(&stage.cluster, victim);
    wait("told", Duration::from_secs(10), || {
        let told = [3, UNHEALTHY]
            .into_iter()
            .find_map(|exit| watch.exits_with(exit, Duration::ZERO).ok());
        let told = told.with_context(|| format!("it says {}", watch.heard()))?;
        Ok(format!("{told}: {}", watch.heard()))
    })
}

/// A link that comes and goes.
pub(super) fn flapping(stage: &mut Stage<'_>) -> Result<()> {
    stage.progress()?;
    let probe = stage.probe()?;
    let controller = stage.cluster.controller()?;
    let (leader, follower) = (1 + controller % 3, 1 + (controller + 1) % 3);
    let begun = Instant::now();
    let mut cut = false;
    while begun.elapsed() < FLAPPING {
        cut = !cut;
        let proxy = proxy(stage)?;
        proxy.cut(leader, follower, cut);
        proxy.cut(follower, leader, cut);
        thread::sleep(FLAP);
    }
    proxy(stage)?.isolate(leader, [follower], false);
    stage.cluster.mended();
    let until = Instant::now();
    let gaps = PARTITIONS
        .into_iter()
        .map(|at| probe.gap_until(at, begun, until))
        .collect();
    stage
        .report
        .times("writes stop while it flaps", gaps, STALL, SLACK);
    // Who came and went is held back for up to a minute before it counts again.
    drop(probe);
    stage.whole_again(Duration::from_secs(70))
}

/// A link on which everything takes longer.
pub(super) fn slow(stage: &mut Stage<'_>) -> Result<()> {
    stage.progress()?;
    let probe = stage.probe()?;
    let controller = stage.cluster.controller()?;
    let (leader, follower) = (1 + controller % 3, 1 + (controller + 1) % 3);
    let led = stage.led_by(leader)?.context("every node leads one")?;
    proxy(stage)?.delay(leader, follower, Duration::from_millis(100));
    let begun = Instant::now();
    thread::sleep(CUT);
    let until = Instant::now();
    let gap = probe.gap_until(led, begun, until);
    stage.progress()?;
    let in_sync = stage.cluster.in_sync(HEAL);
    let in_sync = in_sync.map(|_| "100 ms each way".to_owned());
    stage.report.claim("a slow link costs no replica", in_sync);
    stage
        .report
        .times("writes stop on a slow link", vec![gap], STALL, SLACK);
    proxy(stage)?.delay(leader, follower, Duration::ZERO);
    stage.cluster.mended();
    drop(probe);
    stage.whole_again(HEAL)
}
