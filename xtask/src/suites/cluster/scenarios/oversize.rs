//! The founding failure: batches above every window and frame size.
//!
//! Its false cure, a batch cut at a limit and taken as whole, is tried where single frames can be
//! crafted: `crates/replicator/tests`, `crates/record-batch/tests` and `xtask/suites/hostile.py`.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::super::doctor::DEGRADED;
use super::super::figures::percentile;
use super::super::stage::{HEAL, MIN_ISR, Stage};
use crate::suites::load;

/// What a topic may allow at most, nearly: a request must hold it with what is around it.
const LARGEST: u64 = 90 << 20;
const MAX_MESSAGE_BYTES: &str = "max.message.bytes=96000000";

/// A follower is down while such batches are written, limits are lowered, and it comes back. The
/// latency of other partitions meanwhile is compared with what it was before.
pub(super) fn founding(stage: &mut Stage<'_>) -> Result<()> {
    let bootstrap = stage.cluster.bootstrap();
    stage.topic("large", 1, &[MIN_ISR, MAX_MESSAGE_BYTES])?;
    let follower = 1 + stage.cluster.leader("large", 0)? % 3;
    let probe = stage.probe()?;
    let quiet_from = Instant::now();
    std::thread::sleep(Duration::from_secs(2));
    let quiet = probe.intervals(quiet_from, Instant::now());
    let mut watch = stage.watch(follower);
    watch.restart();
    stage.cluster.kill(follower)?;
    for (count, bytes) in [(2, 1 << 20), (2, 33_000_000), (1, LARGEST)] {
        let written = load::large(&bootstrap, "large", count, bytes);
        let name = format!("batches of {bytes} bytes are taken");
        stage.report.claim(&name, written);
    }
    stage.names(&watch, follower, &["R002"], &[DEGRADED]);
    let lowered = stage
        .cluster
        .order(&["topic", "set", "large", "max.message.bytes=100000"]);
    let lowered = lowered.map(|_| "to 100,000 bytes".to_owned());
    stage.report.claim("limits are lowered", lowered);
    let begun = Instant::now();
    stage.cluster.start(follower)?;
    let caught_up = stage.cluster.holds(HEAL, |replicas| {
        let row = replicas
            .iter()
            .find(|row| row.is("large", 0) && row.node == follower);
        ensure!(row.is_some_and(|row| row.in_sync), "{row:?}");
        Ok(())
    });
    let (from, until) = (begun, Instant::now());
    let caught_up = caught_up.map(|_| format!("in sync {:.1?} after its start", begun.elapsed()));
    stage.report.claim("the follower catches up", caught_up);
    let meanwhile = probe.intervals(from, until);
    stage.report.claim(
        "other partitions do not notice",
        unaffected(&quiet, &meanwhile),
    );
    stage
        .report
        .claim("every offset is read", load::count(&bootstrap, "large"));
    drop(probe);
    stage.heard(watch);
    stage.whole_again(HEAL)
}

/// Compares times between acknowledgements: in the middle, and of the slowest in twenty.
fn unaffected(before: &[Duration], meanwhile: &[Duration]) -> Result<String> {
    ensure!(
        !before.is_empty() && !meanwhile.is_empty(),
        "nothing was acknowledged"
    );
    let at = |times: &[Duration], percent| times[percentile(times.len(), percent)];
    let [(m1, m2), (p1, p2)] =
        [50, 95].map(|percent| (at(before, percent), at(meanwhile, percent)));
    let text = format!(
        "time between two acknowledgements, median {m1:.1?} before and {m2:.1?} meanwhile, \
         p95 {p1:.1?} and {p2:.1?}, longest meanwhile {:.0?}",
        at(meanwhile, 100)
    );
    // Generous: the same two cores copy the large batches, sync them and run the clients.
    ensure!(m2 <= m1 * 4 && p2 <= p1 * 8, "{text}");
    Ok(text)
}
