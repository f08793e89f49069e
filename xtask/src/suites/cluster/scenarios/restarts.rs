//! Nodes that are asked to end.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::super::stage::{HEAL, MIN_ISR, Stage};
use super::kills::SLACK;
use crate::suites::load::{Semantics, Topic};

/// A leader that hands over stops writes for no longer.
const HANDED_OVER: Duration = Duration::from_millis(100);
/// What a machine that runs three nodes and their clients on two cores may take more.
const BUSY: u32 = SLACK * 3;

/// TERM and start again, one node after the other, while a client with default settings writes.
pub(super) fn rolling(stage: &mut Stage<'_>) -> Result<()> {
    let bootstrap = stage.cluster.bootstrap();
    stage.topic("defaults", 3, &[MIN_ISR])?;
    let dir = stage.cluster.place(1).log.with_file_name("defaults");
    std::fs::create_dir_all(&dir)?;
    let topic = Topic::existing("defaults", &bootstrap, &dir, Semantics::Defaults);
    let mut load = topic.load_of(2)?;
    load.progress(100)?;
    let probe = stage.probe()?;
    let (mut gaps, mut ends, mut heals) = (Vec::new(), Vec::new(), Vec::new());
    for id in stage.cluster.ids() {
        stage.progress()?;
        let begun = Instant::now();
        ends.push(stage.cluster.terminate(id)?);
        let settled = Instant::now() + Duration::from_millis(500);
        std::thread::sleep(settled.saturating_duration_since(Instant::now()));
        gaps.push(probe.gap_of_any(begun, Instant::now()));
        stage.cluster.start(id)?;
        heals.push(stage.cluster.in_sync(HEAL)?);
    }
    let failure = probe.failure();
    drop(probe);
    let report = &mut stage.report;
    report.times(
        "writes stop when a node is asked to end",
        gaps,
        HANDED_OVER,
        BUSY,
    );
    report.times("a node takes to end", ends, Duration::from_secs(5), SLACK);
    report.times("in sync after a start", heals, HEAL, 1);
    let delivered = load.finish().and_then(|told| {
        ensure!(failure.is_none(), "a probe failed: {failure:?}");
        Ok(told)
    });
    report.claim("no produce fails with a client's defaults", delivered);
    report.claim("and all of it is there", topic.verify());
    stage.whole_again(HEAL)
}
