//! `plimsoll chaos …`: doing harm to a cluster to play with, and telling how it got over it.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::failure::{Exit, Failure};
use crate::operate::{Chaos, FlipBit, OneNode, SickDisk};
use crate::output::{Output, print};
use crate::verbs::doctor;
use crate::verbs::words::{number, text};

/// Between two looks at how the cluster does.
const LOOK: Duration = Duration::from_millis(200);
/// How long harm that nobody notices is watched.
const NOTICE: Duration = Duration::from_secs(30);
/// How long the cluster is watched until it is well.
const HEAL: Duration = Duration::from_secs(120);

/// Where each partition's committed end is.
type Committed = BTreeMap<(String, u64), u64>;

pub(super) async fn chaos(chaos: Chaos) -> Result<Exit, Failure> {
    match chaos {
        Chaos::Kill(args) => order(&args, "kill", "").await,
        Chaos::Restart(args) => order(&args, "restart", "").await,
        Chaos::Cut(args) => order(&args, "cut", "").await,
        Chaos::Heal(args) => order(&args, "heal", "").await,
        Chaos::MendDisk(args) => order(&args, "mend-disk", "").await,
        Chaos::SlowDisk(args) => {
            let asked = format!("?ms={}", args.ms);
            sicken(&args.sick, "slow-disk", &asked).await
        }
        Chaos::FillDisk(args) => sicken(&args, "fill-disk", "").await,
        Chaos::FlipBit(args) => flip_bit(&args).await,
    }
}

async fn order(args: &OneNode, word: &str, asked: &str) -> Result<Exit, Failure> {
    let path = format!("/v1/chaos/{word}/{}{asked}", args.node);
    let answer = args.ask.http.post(&path).await?;
    match args.ask.output {
        Output::Table | Output::Wide => print(&(text(&answer, "done") + "\n"))?,
        Output::Json => print(&format!("{answer:#}\n"))?,
        Output::Jsonl => print(&format!("{answer}\n"))?,
        Output::Name => print(&(number(&answer, "node") + "\n"))?,
    }
    Ok(Exit::Ok)
}

/// A disk that is sick for a while.
async fn sicken(args: &SickDisk, word: &str, asked: &str) -> Result<Exit, Failure> {
    let before = committed(&args.node).await?;
    order(&args.node, word, asked).await?;
    let begun = Instant::now();
    let noticed = until(&args.node, false, args.lasting.max(LOOK)).await?;
    say(noticed, "noticed", "not noticed meanwhile");
    tokio::time::sleep_until(begun + args.lasting).await;
    order(&args.node, "mend-disk", "").await?;
    healed(&args.node, &before).await
}

async fn flip_bit(args: &FlipBit) -> Result<Exit, Failure> {
    let before = committed(&args.node).await?;
    let (topic, partition) = &args.partition;
    order(
        &args.node,
        "flip-bit",
        &format!("?partition={topic}/{partition}"),
    )
    .await?;
    let noticed = until(&args.node, false, NOTICE).await?;
    say(noticed, "noticed", "not noticed within half a minute");
    healed(&args.node, &before).await
}

async fn healed(args: &OneNode, before: &Committed) -> Result<Exit, Failure> {
    let well = until(args, true, HEAL).await?;
    say(well, "healed", "not healed within two minutes");
    let after = committed(args).await?;
    let end = |of| after.get(of).copied().unwrap_or(0);
    let lost: u64 = before
        .iter()
        .map(|(of, committed)| committed.saturating_sub(end(of)))
        .sum();
    print(&format!("{lost} committed records lost\n"))?;
    Ok(match (well, lost) {
        (Some(_), 0) => Exit::Ok,
        _ => Exit::Unhealthy,
    })
}

fn say(took: Option<Duration>, what: &str, never: &str) {
    match took {
        Some(took) => anstream::eprintln!("{what} after {:.1} s", took.as_secs_f64()),
        None => anstream::eprintln!("{never}"),
    }
}

/// Waits until the cluster's verdict is "ok", or is not; how long that took.
async fn until(args: &OneNode, ok: bool, patience: Duration) -> Result<Option<Duration>, Failure> {
    let begun = Instant::now();
    while begun.elapsed() < patience {
        let answer = args.ask.http.best("/v1/doctor").await?;
        if (answer["verdict"] == "ok") == ok {
            return Ok(Some(begun.elapsed()));
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(None)
}

/// Up to where each partition is committed, as the best informed replica knows.
async fn committed(args: &OneNode) -> Result<Committed, Failure> {
    let answer = args.ask.http.best("/v1/replicas").await?;
    let mut ends = Committed::new();
    for row in doctor::list(&answer, "replicas") {
        let (Some(partition), Some(end)) =
            (row["partition"].as_u64(), row["high_watermark"].as_u64())
        else {
            continue;
        };
        let known = ends.entry((text(row, "topic"), partition)).or_default();
        *known = end.max(*known);
    }
    Ok(ends)
}
