//! Many partitions.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::super::doctor;
use super::super::figures::Report;
use super::super::nodes::{Form, wait};
use super::super::stage::{HEAL, MIN_ISR, Setting, Stage};
use super::kills::SLACK;
use crate::random::Random;
use crate::suites::load;

const PARTITIONS: u32 = 1_000;
/// How long nodes are watched doing nothing.
const IDLE: Duration = Duration::from_secs(20);
/// The share of a core that a node with nothing to do may take.
const IDLE_PERCENT: f64 = 5.0;
/// All partitions of a killed node are led by others within this.
const ELECTED: Duration = Duration::from_secs(3);

/// A thousand partitions on three nodes.
pub(super) fn thousand(setting: &Setting<'_>, report: &mut Report, random: Random) -> Result<()> {
    let mut stage = Stage::bare(setting, &Form::default(), report, |_| Ok(()))?;
    stage.random = random;
    let begun = Instant::now();
    load::create(
        &stage.cluster.bootstrap(),
        "many",
        PARTITIONS,
        3,
        &[MIN_ISR],
    )?;
    let synced = stage.cluster.in_sync(3 * HEAL);
    let synced = synced.map(|_| format!("all in sync after {:.1?}", begun.elapsed()));
    stage.report.claim("1,000 partitions are created", synced);
    // Something to compare at the end.
    load::fill(&stage.cluster.bootstrap(), "many", 0, 100)?;
    thread::sleep(Duration::from_secs(5));
    let mut shares = Vec::new();
    let before = busy(&stage)?;
    thread::sleep(IDLE);
    for (then, now) in before.iter().zip(busy(&stage)?) {
        shares.push((now - *then).as_secs_f64() / IDLE.as_secs_f64() * 100.0);
    }
    let told = shares.iter().map(|share| format!("{share:.1} %"));
    let told = told.collect::<Vec<_>>().join(", ");
    let least = shares.iter().copied().fold(0.0, f64::max) <= IDLE_PERCENT * f64::from(SLACK);
    let outcome = match least {
        true => Ok(format!("{told} of a core over {IDLE:?}")),
        false => Err(anyhow::anyhow!("{told} of a core over {IDLE:?}")),
    };
    stage.report.claim("idle nodes take little CPU", outcome);
    let victim = 1 + u32::try_from(stage.random.below(3))?;
    let mut watch = stage.watch(victim);
    watch.restart();
    let killed = Instant::now();
    stage.cluster.kill(victim)?;
    wait("led", 2 * HEAL, || {
        let brokers = stage.cluster.brokers()?;
        let leads = |id| {
            brokers
                .iter()
                .find(|node| node.id == id)
                .map(|node| node.leaders)
        };
        ensure!(leads(victim) == Some(0), "node {victim} is said to lead");
        let all = brokers.iter().map(|node| node.leaders).sum::<u32>();
        ensure!(all >= PARTITIONS, "{all} partitions are led");
        Ok(())
    })?;
    let took = killed.elapsed();
    stage.report.times(
        "a node killed: all partitions led",
        vec![took],
        ELECTED,
        SLACK,
    );
    stage.names(&watch, victim, &["R002"], &[doctor::DEGRADED]);
    stage.heard(watch);
    stage.cluster.start(victim)?;
    stage.whole_again(2 * HEAL)?;
    stage.close()
}

/// The CPU time that each node has taken so far.
fn busy(stage: &Stage<'_>) -> Result<Vec<Duration>> {
    let ticks = rustix::param::clock_ticks_per_second();
    stage
        .cluster
        .ids()
        .map(|id| {
            let stat = fs::read_to_string(format!("/proc/{}/stat", stage.cluster.pid(id)?))?;
            // Fields 14 and 15, counted behind the name, which may hold anything.
            let rest = stat.rsplit_once(')').context("a name in brackets")?.1;
            let fields = rest.split_whitespace().collect::<Vec<_>>();
            let field = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok());
            let taken = field(11).zip(field(12)).context("two numbers")?;
            Ok(Duration::from_millis((taken.0 + taken.1) * 1_000 / ticks))
        })
        .collect()
}
