//! Nodes that end at once.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::super::doctor::{DEGRADED, OK, UNHEALTHY, Watch};
use super::super::nodes::wait;
use super::super::stage::{HEAL, PARTITIONS, Stage};

/// Writes to a partition whose leader was killed are taken again within this, in the middle of all
/// kills and in the worst of them.
const LED_AGAIN: Duration = Duration::from_secs(1);
const LED_AGAIN_AT_MOST: Duration = Duration::from_secs(2);
/// The loss of a follower stops writes for no longer.
pub(super) const STALL: Duration = Duration::from_millis(1_300);
/// What a busy machine with few cores may take more.
pub(super) const SLACK: u32 = 3;

/// kill -9 of a leader, half of the time of the one that is the controller, too.
pub(super) fn kills(stage: &mut Stage<'_>) -> Result<()> {
    let (mut leaders, mut controllers) = (Vec::new(), Vec::new());
    let (mut others, mut heals) = (Vec::new(), Vec::new());
    let mut named = Ok(String::new());
    for round in 1..=stage.kills {
        stage.progress()?;
        let probe = stage.probe()?;
        let controller = stage.cluster.controller()?;
        let with_controller = round % 2 == 0;
        let victim = match with_controller {
            true => controller,
            false => 1 + (controller + u32::try_from(stage.random.below(2))?) % 3,
        };
        let led = stage.led_by(victim)?;
        let led = led.with_context(|| format!("node {victim} leads no partition"))?;
        let mut watch = stage.watch(victim);
        thread::sleep(stage.random.millis(0, 300));
        watch.restart();
        let killed = Instant::now();
        stage.cluster.kill(victim)?;
        let gap = probe.longest_gap(led, killed)?;
        match with_controller {
            true => controllers.push(gap),
            false => leaders.push(gap),
        }
        for other in PARTITIONS.into_iter().filter(|other| *other != led) {
            others.push(probe.longest_gap(other, killed)?);
        }
        if named.is_ok() {
            named = tells(watch, victim).with_context(|| format!("kill {round}"));
        }
        stage.cluster.start(victim)?;
        let healed = stage.cluster.in_sync(HEAL);
        heals.push(healed.with_context(|| format!("kill {round}, of node {victim}"))?);
        if let Some(failure) = probe.failure() {
            bail!("a probe failed at kill {round}: {failure}");
        }
    }
    let report = &mut stage.report;
    for (name, times) in [
        ("writes taken again, leader killed", leaders),
        (
            "writes taken again, leader and controller killed",
            controllers,
        ),
    ] {
        if !times.is_empty() {
            report.median(&format!("{name}, median"), times.clone(), LED_AGAIN, SLACK);
            report.times(&format!("{name}, all"), times, LED_AGAIN_AT_MOST, SLACK);
        }
    }
    report.times("writes stop, follower killed", others, STALL, SLACK);
    report.times("in sync after a restart", heals, HEAL, 1);
    report.claim("doctor names a killed node each time", named);
    stage.whole_again(HEAL)
}

/// Doctor says that replicas on a killed node cannot be reached, and that the rest is served.
fn tells(watch: Watch, victim: u32) -> Result<String> {
    let told = watch.names(victim, &["R002"], &[DEGRADED], Duration::from_secs(10))?;
    watch.finish()?;
    Ok(told)
}

/// The controller's node is lost: partitions that others lead go on, and a new one is found.
pub(super) fn controller_loss(stage: &mut Stage<'_>) -> Result<()> {
    for (how, stopped) in [("killed", None), ("stopped for 5 s", Some(5))] {
        stage.progress()?;
        let probe = stage.probe()?;
        let victim = stage.cluster.controller()?;
        let led = stage.led_by(victim)?;
        let mut watch = stage.watch(victim);
        watch.restart();
        let begun = Instant::now();
        match stopped {
            None => stage.cluster.kill(victim)?,
            Some(_) => stage.cluster.stop(victim)?,
        }
        let found = wait("replaced", HEAL, || {
            let brokers = stage.cluster.brokers()?;
            let leader = brokers.into_iter().find(|node| node.quorum_leader);
            let leader = leader.context("nobody is the controller")?.id;
            ensure!(leader != victim, "node {leader} still is the controller");
            Ok(leader)
        });
        let took = begun.elapsed();
        let found = found.map(|leader| format!("node {leader} after {took:.1?}"));
        stage
            .report
            .claim(&format!("the controller {how}: replaced"), found);
        stage.names(&watch, victim, &["R002", "R008"], &[DEGRADED, UNHEALTHY]);
        if let Some(seconds) = stopped {
            let end = begun + Duration::from_secs(seconds);
            thread::sleep(end.saturating_duration_since(Instant::now()));
            stage.cluster.resume(victim)?;
        }
        thread::sleep(Duration::from_secs(1));
        let until = Instant::now();
        let unled = PARTITIONS.into_iter().filter(|at| Some(*at) != led);
        let gaps = unled.map(|at| probe.gap_until(at, begun, until)).collect();
        let name = format!("the controller {how}: writes stop where others lead");
        stage.report.times(&name, gaps, STALL, SLACK);
        stage.heard(watch);
        if stopped.is_none() {
            stage.cluster.start(victim)?;
        }
        drop(probe);
        stage.whole_again(HEAL)?;
    }
    Ok(())
}

/// A topic that asks for all its replicas takes no writes while one is missing, and doctor says so
/// with the exit code of what is not served.
pub(super) fn below_min_isr(stage: &mut Stage<'_>) -> Result<()> {
    stage.topic("all-of-three", 1, &["min.insync.replicas=3"])?;
    stage.cluster.in_sync(HEAL)?;
    let leader = stage.cluster.leader("all-of-three", 0)?;
    let victim = 1 + leader % 3;
    stage.cluster.ask(Some(leader));
    let mut watch = Watch::of(&stage.cluster, leader);
    watch.restart();
    stage.cluster.kill(victim)?;
    stage.names(&watch, leader, &["R016"], &[UNHEALTHY]);
    stage.names(&watch, victim, &["R002"], &[UNHEALTHY]);
    stage.cluster.start(victim)?;
    watch.restart();
    let served = watch.exits_with(OK, HEAL);
    stage.report.claim("served again", served);
    stage.heard(watch);
    // With it, no later fault would leave everything served.
    stage.cluster.ask(None);
    stage
        .cluster
        .order(&["topic", "delete", "all-of-three", "--yes"])?;
    stage.whole_again(HEAL)
}

/// Everything ends at once and comes back.
pub(super) fn all_killed(stage: &mut Stage<'_>) -> Result<()> {
    stage.progress()?;
    thread::sleep(stage.random.millis(0, 300));
    for id in stage.cluster.ids() {
        stage.cluster.kill(id)?;
    }
    let begun = Instant::now();
    for id in stage.cluster.ids() {
        stage.cluster.spawn(id)?;
    }
    for id in stage.cluster.ids() {
        stage.cluster.wait_until_ready(id)?;
    }
    let ready = begun.elapsed();
    stage.progress()?;
    let taken = begun.elapsed();
    stage.report.claim(
        "all come back",
        Ok(format!(
            "ready after {ready:.1?}, writes taken after {taken:.1?}"
        )),
    );
    stage.whole_again(HEAL)
}
