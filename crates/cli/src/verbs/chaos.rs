//! `plimsoll chaos …`: doing harm to a cluster to play with, and telling how it got over it: when
//! it was noticed, when everything was served again, when all was well, and what was lost.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;

use crate::failure::{Code, Exit, Failure};
use crate::harm::{Chaos, FlipBit, Lasting, Passing};
use crate::http::HttpAsk;
use crate::operate::OneNode;
use crate::output::{Output, print};
use crate::verbs::doctor;
use crate::verbs::words::{text, time};

/// Between two looks at how the cluster does.
const LOOK: Duration = Duration::from_millis(100);
/// How long harm that nobody notices is watched.
const NOTICE: Duration = Duration::from_secs(30);
/// How long the cluster is watched until it is well.
const HEAL: Duration = Duration::from_secs(120);

/// Where each partition's committed end is.
type Committed = BTreeMap<(String, u64), u64>;

/// What is told at the end.
#[derive(Default, Serialize)]
struct Told {
    node: u32,
    harm: &'static str,
    done: String,
    /// Until something was told to be wrong.
    noticed_seconds: Option<f64>,
    /// What, first.
    noticed: Option<String>,
    /// Until every partition was led and took writes.
    served_seconds: Option<f64>,
    /// Until all was well, from when the harm was over.
    healed_seconds: Option<f64>,
    records_lost: Option<u64>,
}

pub(super) async fn chaos(chaos: Chaos) -> Result<Exit, Failure> {
    match chaos {
        Chaos::Kill(args) => passing(args, "kill", "restart").await,
        Chaos::Cut(args) => passing(args, "cut", "heal").await,
        Chaos::Restart(args) => cure(args, "restart").await,
        Chaos::Heal(args) => cure(args, "heal").await,
        Chaos::MendDisk(args) => cure(args, "mend-disk").await,
        Chaos::Pause(args) => {
            let asked = format!("?ms={}", args.lasting.as_millis());
            lasting(args, "pause", &asked).await
        }
        Chaos::SlowDisk(args) => {
            let asked = format!("?ms={}", args.ms);
            lasting(args.sick, "slow-disk", &asked).await
        }
        Chaos::FillDisk(args) => lasting(args, "fill-disk", "").await,
        Chaos::FlipBit(args) => flip_bit(args).await,
    }
}

/// Harm to one node, and those who tell of it.
struct Harm {
    ask: HttpAsk,
    /// The nodes that are asked and ordered: not the one that is hurt.
    others: Vec<String>,
    before: Committed,
    told: Told,
}

impl Harm {
    async fn new(ask: HttpAsk, node: u32, harm: &'static str) -> Result<Self, Failure> {
        let others = ask.http.but(node).await?;
        let status = ask.http.best_of(&others, "/v1/status").await?;
        let ids = doctor::list(&status, "nodes").iter();
        let ids: Vec<u64> = ids.filter_map(|row| row["id"].as_u64()).collect();
        if !ids.is_empty() && !ids.contains(&u64::from(node)) {
            let ids: Vec<String> = ids.iter().map(u64::to_string).collect();
            let what = format!("there is no node {node}; there are {}", ids.join(", "));
            return Err(Failure::new(Code::NotKnown, what));
        }
        let told = Told {
            node,
            harm,
            ..Told::default()
        };
        let mut new = Self {
            ask,
            others,
            before: Committed::new(),
            told,
        };
        new.before = new.committed().await?;
        Ok(new)
    }

    /// Does something; whoever is asked says what was done.
    async fn order(&mut self, word: &str, asked: &str) -> Result<(), Failure> {
        let path = format!("/v1/chaos/{word}/{}{asked}", self.told.node);
        let answer = self.ask.http.post_to(&self.others, &path).await?;
        self.say(&text(&answer, "done"))?;
        if self.told.done.is_empty() {
            self.told.done = text(&answer, "done");
        }
        Ok(())
    }

    /// A line for people, as it happens.
    fn say(&self, line: &str) -> Result<(), Failure> {
        match self.ask.output {
            Output::Table | Output::Wide => print(&format!("{line}\n")),
            _ => Ok(()),
        }
    }

    /// Waits until somebody says that something is wrong, and what.
    async fn notice(&mut self, within: Duration) -> Result<(), Failure> {
        let begun = Instant::now();
        while begun.elapsed() < within {
            if let Some(answer) = self.look().await?
                && answer["verdict"] != "ok"
            {
                let problems = doctor::list(&answer, "problems");
                let of_this = |problem: &&Value| problem["node"] == self.told.node;
                let problem = problems.iter().find(of_this).or(problems.first());
                let what = problem.map_or_else(
                    || text(&answer, "summary"),
                    |problem| format!("{} {}", text(problem, "code"), text(problem, "name")),
                );
                let took = begun.elapsed();
                self.told.noticed_seconds = Some(rounded(took));
                self.say(&format!("noticed after {}: {what}", time(took)))?;
                self.told.noticed = Some(what);
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
        self.say(&format!("not noticed within {}", time(within)))
    }

    /// Waits until every partition is led and takes writes, from `since` on.
    async fn served(&mut self, since: Instant) -> Result<(), Failure> {
        let serves = |answer: &Value| answer["verdict"] == "ok" || answer["verdict"] == "degraded";
        if self.until(serves).await? {
            let took = since.elapsed();
            self.told.served_seconds = Some(rounded(took));
            return self.say(&format!("everything is served after {}", time(took)));
        }
        self.say(&format!("not everything is served after {}", time(HEAL)))
    }

    /// Waits until all is well, now that the harm is over.
    async fn healed(&mut self) -> Result<(), Failure> {
        let begun = Instant::now();
        if self.until(|answer| answer["verdict"] == "ok").await? {
            let took = begun.elapsed();
            self.told.healed_seconds = Some(rounded(took));
            return self.say(&format!("healed {} after that", time(took)));
        }
        let still = format!("not healed after {}. See plimsoll doctor", time(HEAL));
        self.say(&still)
    }

    async fn until(&self, holds: impl Fn(&Value) -> bool) -> Result<bool, Failure> {
        let begun = Instant::now();
        while begun.elapsed() < HEAL {
            if self.look().await?.is_some_and(|answer| holds(&answer)) {
                return Ok(true);
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(false)
    }

    /// How the cluster does; `None` while nobody says.
    async fn look(&self) -> Result<Option<Value>, Failure> {
        match self.ask.http.best_of(&self.others, "/v1/doctor").await {
            Ok(answer) => Ok(Some(answer)),
            Err(failure) if failure.code.exit() == Exit::Unreachable => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Up to where each partition is committed, as the best informed replica knows.
    async fn committed(&self) -> Result<Committed, Failure> {
        let answer = self.ask.http.best_of(&self.others, "/v1/replicas").await?;
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

    /// The end of it: what was lost. `well`: whether all went as it should.
    async fn end(mut self) -> Result<Exit, Failure> {
        let after = self.committed().await?;
        let lost = lost(&self.before, &after);
        self.told.records_lost = Some(lost);
        self.say(&format!("{lost} committed records lost"))?;
        let well = self.told.healed_seconds.or(self.told.served_seconds);
        if !matches!(self.ask.output, Output::Table | Output::Wide) {
            let name = self.told.node.to_string();
            let output = self.ask.output;
            output.one("chaos", &name, &self.told, String::new)?;
        }
        Ok(match (well, lost) {
            (Some(_), 0) => Exit::Ok,
            _ => Exit::Unhealthy,
        })
    }
}

/// Harm that lasts until it is ended by `cure`, which may be asked for as well.
async fn passing(args: Passing, word: &'static str, cure: &str) -> Result<Exit, Failure> {
    let mut harm = Harm::new(args.node.ask, args.node.node, word).await?;
    harm.order(word, "").await?;
    let begun = Instant::now();
    harm.notice(NOTICE).await?;
    harm.served(begun).await?;
    match args.lasting {
        Some(lasting) => {
            tokio::time::sleep_until(begun + lasting).await;
            harm.order(cure, "").await?;
            harm.healed().await?;
        }
        None => harm.say(&format!(
            "see plimsoll doctor; plimsoll chaos {cure} {} ends it",
            harm.told.node
        ))?,
    }
    harm.end().await
}

/// Harm that ends by itself, or is ended here.
async fn lasting(args: Lasting, word: &'static str, asked: &str) -> Result<Exit, Failure> {
    let mut harm = Harm::new(args.node.ask, args.node.node, word).await?;
    harm.order(word, asked).await?;
    let begun = Instant::now();
    harm.notice(args.lasting.max(LOOK)).await?;
    if harm.told.noticed.is_none() && word == "slow-disk" {
        harm.say("(a disk that nobody writes to is not slow: produce something meanwhile)")?;
    }
    tokio::time::sleep_until(begun + args.lasting).await;
    if word != "pause" {
        harm.order("mend-disk", "").await?;
    }
    harm.healed().await?;
    harm.end().await
}

/// The end of harm that was done before.
async fn cure(args: OneNode, word: &'static str) -> Result<Exit, Failure> {
    let mut harm = Harm::new(args.ask, args.node, word).await?;
    harm.order(word, "").await?;
    harm.healed().await?;
    harm.end().await
}

async fn flip_bit(args: FlipBit) -> Result<Exit, Failure> {
    let mut harm = Harm::new(args.ask, args.node, "flip-bit").await?;
    let (topic, partition) = &args.partition;
    let asked = format!("?partition={topic}/{partition}");
    harm.order("flip-bit", &asked).await?;
    harm.notice(NOTICE).await?;
    harm.healed().await?;
    harm.end().await
}

fn lost(before: &Committed, after: &Committed) -> u64 {
    let end = |of| after.get(of).copied().unwrap_or(0);
    let lost = before.iter();
    lost.map(|(of, committed)| committed.saturating_sub(end(of)))
        .sum()
}

/// To milliseconds.
fn rounded(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

impl crate::http::Http {
    /// The nodes' addresses but for `node`'s. Who is hurt cannot tell of it.
    async fn but(&self, node: u32) -> Result<Vec<String>, Failure> {
        let who = self.who().await?;
        let known = who.iter().any(|(_, id)| *id == Some(u64::from(node)));
        let others = who
            .iter()
            .filter(|(_, id)| id.is_some_and(|id| id != u64::from(node)));
        let others: Vec<String> = others.map(|(base, _)| base.clone()).collect();
        if others.is_empty() && known {
            let what = format!(
                "node {node} is the only one that answers, and nobody could tell what becomes of \
                 it. Try it with three: plimsoll dev"
            );
            return Err(Failure::new(Code::Refused, what));
        }
        if others.is_empty() {
            let what = "no node answers. Chaos is for a cluster to play with: start one with \
                        plimsoll dev, or name its nodes with --http";
            return Err(Failure::new(Code::Unreachable, what));
        }
        Ok(others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_any_more_is_lost() {
        let ends = |rows: &[(&str, u64, u64)]| -> Committed {
            let rows = rows.iter();
            rows.map(|(topic, partition, end)| (((*topic).to_owned(), *partition), *end))
                .collect()
        };
        let before = ends(&[("a", 0, 10), ("a", 1, 5), ("b", 0, 7)]);
        assert_eq!(lost(&before, &before), 0);
        let more = ends(&[("a", 0, 20), ("a", 1, 5), ("b", 0, 7), ("c", 0, 1)]);
        assert_eq!(lost(&before, &more), 0);
        let less = ends(&[("a", 0, 20), ("a", 1, 3)]);
        assert_eq!(lost(&before, &less), 9);
    }
}
