//! Processes that stand still.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::super::doctor::{DEGRADED, UNHEALTHY};
use super::super::stage::{HEAL, PARTITIONS, Stage};
use super::kills::{SLACK, STALL};

/// A leader that stands still is replaced after its session of three seconds.
const REPLACED: Duration = Duration::from_secs(5);

/// Once it runs again and is not in sync yet, it is known why.
const WHY: Duration = Duration::from_secs(5);

/// SIGSTOP, shorter and longer than what a session bears.
pub(super) fn pauses(stage: &mut Stage<'_>) -> Result<()> {
    for (millis, of_leader) in [(500, false), (2_000, false), (5_000, true)] {
        stage.progress()?;
        let probe = stage.probe()?;
        let controller = stage.cluster.controller()?;
        let victim = 1 + controller % 3;
        let led = stage.led_by(victim)?;
        let led = led.with_context(|| format!("node {victim} leads no partition"))?;
        let mut watch = stage.watch(victim);
        watch.restart();
        let begun = Instant::now();
        stage.cluster.stop(victim)?;
        let end = begun + Duration::from_millis(millis);
        if millis >= 2_000 {
            stage.names(&watch, victim, &["R002", "R018"], &[DEGRADED, UNHEALTHY]);
        }
        thread::sleep(end.saturating_duration_since(Instant::now()));
        stage.cluster.resume(victim)?;
        if millis >= 2_000 {
            watch.restart();
            let named = watch.names(victim, &["R018"], &[DEGRADED, UNHEALTHY], WHY);
            let name = format!("a node stopped for {millis} ms: doctor says so afterwards");
            stage.report.claim(&name, named);
        }
        let gap = probe
            .longest_gap(led, end)?
            .max(probe.gap_until(led, begun, end));
        let until = Instant::now();
        let others = PARTITIONS.into_iter().filter(|at| *at != led);
        let stalls = others.map(|at| probe.gap_until(at, begun, until)).collect();
        let name = format!("a node stopped for {millis} ms: writes stop where others lead");
        stage.report.times(&name, stalls, STALL, SLACK);
        if of_leader {
            let name = format!("a leader stopped for {millis} ms: writes stop");
            stage.report.times(&name, vec![gap], REPLACED, SLACK);
        }
        stage.heard(watch);
        drop(probe);
        stage.whole_again(HEAL)?;
    }
    Ok(())
}
