//! `cargo xtask kill`: a node killed again and again under a real client's load.
//!
//! What was acknowledged must be there afterwards: once where the producer is idempotent, in
//! order, with its bytes. TERM must end gracefully under the same load. A torn tail is cut; a bit
//! flipped below the synced end is reported and never served.

use std::fs;
use std::path::Path;
use std::thread;

use anyhow::{Context, Result, ensure};
use clap::Args;

use super::Claims;
use super::damage::{Found, find, first_batch, flip_bit, write_at, written_end};
use super::load::{Load, Semantics, Topic};
use crate::node::{Node, Place, scratch};
use crate::random::Random;
use crate::steps::Done;
use crate::workspace;

/// Partitions of each topic.
const PARTITIONS: u32 = 3;
/// Acknowledgements between a start and the next kill, at least.
const PROGRESS_RECORDS: u64 = 300;

/// How often, and with which choices.
#[derive(Args)]
pub(crate) struct KillArgs {
    /// How many times the node is killed under load
    #[arg(long, default_value_t = 10)]
    rounds: u32,
    /// Repeats the random choices of an earlier run
    #[arg(long)]
    seed: Option<u64>,
    /// The binary to hurt; built with `--release` if left out
    #[arg(long)]
    binary: Option<std::path::PathBuf>,
}

impl Default for KillArgs {
    fn default() -> Self {
        Self {
            rounds: 10,
            seed: None,
            binary: None,
        }
    }
}

/// `cargo xtask kill`.
pub(crate) fn kill(args: &KillArgs) -> Result<()> {
    if args.binary.is_none() {
        workspace::build_release()?;
    }
    match suite(args)? {
        Done::Without(what) => println!("!! NOT CHECKED: {what}"),
        Done::Fully => {}
    }
    Ok(())
}

/// The suite as a step of the test command.
pub(crate) fn suite(args: &KillArgs) -> Result<Done> {
    let (seed, binary) = match super::prepare(args.seed, args.binary.as_deref())? {
        Ok(prepared) => prepared,
        Err(missing) => return Ok(Done::Without(missing)),
    };
    let dir = scratch("kill")?;
    let place = Place::new(&binary, &dir)?;
    let mut suite = Suite {
        place,
        random: Random::new(seed),
        claims: Claims::default(),
        node: None,
    };
    suite
        .run(&dir, args.rounds)
        .with_context(|| format!("seed {seed}"))?;
    suite
        .claims
        .finish("kill")
        .with_context(|| format!("seed {seed}"))?;
    Ok(Done::Fully)
}

/// A node's place, the node while it runs, and what was claimed so far.
struct Suite {
    place: Place,
    random: Random,
    claims: Claims,
    node: Option<Node>,
}

impl Suite {
    fn run(&mut self, dir: &Path, rounds: u32) -> Result<()> {
        let node = self.place.start()?;
        let bootstrap = node.bootstrap();
        self.node = Some(node);
        let topic = |name, semantics| Topic::create(name, &bootstrap, dir, PARTITIONS, semantics);
        let topics = [
            topic("once", Semantics::Once)?,
            topic("at-least-once", Semantics::AtLeastOnce)?,
        ];

        let mut loads = topics.iter().map(Topic::load).collect::<Result<Vec<_>>>()?;
        for round in 1..=rounds {
            self.kill_round(&mut loads)
                .with_context(|| format!("round {round}"))?;
        }
        self.finish_and_verify(&topics, loads, &format!("after {rounds} kills"));

        let after = [topic("term", Semantics::Once)?];
        self.term_under_load(&after)?;
        self.kill_and_restart()?;
        self.claims
            .claim("nothing lost after TERM and a kill", after[0].verify());

        self.torn_tails(&topics[0])?;
        self.flipped_bits(&topics[1])
    }

    /// Lets the loads make progress, kills the node at a random moment, starts it again; now and
    /// then it is killed while it recovers, too.
    fn kill_round(&mut self, loads: &mut [Load]) -> Result<()> {
        for load in loads.iter_mut() {
            load.progress(PROGRESS_RECORDS)?;
        }
        thread::sleep(self.random.millis(0, 500));
        self.take()?.kill()?;
        if self.random.below(3) == 0 {
            let node = self.place.spawn()?;
            thread::sleep(self.random.millis(0, 120));
            node.kill()?;
        }
        self.node = Some(self.place.start()?);
        Ok(())
    }

    fn finish_and_verify(&mut self, topics: &[Topic], loads: Vec<Load>, when: &str) {
        for (topic, load) in topics.iter().zip(loads) {
            self.claims
                .claim(&format!("{} delivers {when}", topic.name), load.finish());
            self.claims
                .claim(&format!("{} holds {when}", topic.name), topic.verify());
        }
    }

    /// TERM while loaded: exit status 0, and nothing lost.
    fn term_under_load(&mut self, topics: &[Topic]) -> Result<()> {
        let mut loads = topics.iter().map(Topic::load).collect::<Result<Vec<_>>>()?;
        for load in &mut loads {
            load.progress(PROGRESS_RECORDS)?;
        }
        let ended = self.take()?.terminate();
        self.claims.claim(
            "TERM under load ends gracefully",
            ended.and_then(|status| {
                ensure!(status.success(), "it ended with {status}");
                Ok("exit status 0".to_owned())
            }),
        );
        self.node = Some(self.place.start()?);
        self.finish_and_verify(topics, loads, "after TERM");
        Ok(())
    }

    fn kill_and_restart(&mut self) -> Result<()> {
        self.take()?.kill()?;
        self.node = Some(self.place.start()?);
        Ok(())
    }

    /// What a crash may leave after the synced end is cut: noise, half a batch, and a whole batch
    /// that does not continue the log.
    fn torn_tails(&mut self, topic: &Topic) -> Result<()> {
        let last = topic.marker(0, topic.sent(0)? - 1);
        for what in ["noise", "half a batch", "a batch of another offset"] {
            self.take()?.kill()?;
            let file = find(&self.place.data, &last)?.file;
            let mut tail = match what {
                "noise" => self.random.bytes(777),
                _ => first_batch(&file)?,
            };
            if what == "half a batch" {
                tail.truncate(tail.len() / 2);
            }
            write_at(&file, written_end(&file)?, &tail)?;
            let name = format!("{what} after the end is cut");
            match self.place.start() {
                Ok(node) => {
                    self.node = Some(node);
                    self.claims.claim(&name, topic.verify());
                }
                Err(error) => {
                    self.claims.claim(&name, Err(error));
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// A bit flipped in the middle of a log, found by a clean start and by a recovery.
    fn flipped_bits(&mut self, topic: &Topic) -> Result<()> {
        for (partition, clean) in [(0, true), (1, false)] {
            let sequence = topic.sent(partition)? / 2;
            let node = self.take()?;
            if clean {
                node.terminate()?;
            } else {
                node.kill()?;
            }
            let found = find(&self.place.data, &topic.marker(partition, sequence))?;
            flip_bit(&found, 40)?;
            let logged = fs::metadata(&self.place.log)?.len();
            let how = if clean { "a clean stop" } else { "a kill" };
            let name = format!("a bit flipped after {how} is not served");
            self.node = Some(self.place.start()?);
            self.claims
                .claim(&name, topic.verify_damaged(partition, sequence));
            let name = format!("a bit flipped after {how} is reported");
            self.claims
                .claim(&name, reported(&self.place, logged, &found));
            // Mended, so that the other partitions can be judged as whole.
            self.take()?.kill()?;
            flip_bit(&found, 40)?;
            self.node = Some(self.place.start()?);
        }
        Ok(())
    }

    fn take(&mut self) -> Result<Node> {
        self.node.take().context("no node runs")
    }
}

/// The line of the log, after its first `from` bytes, that tells of damage.
fn reported(place: &Place, from: u64, found: &Found) -> Result<String> {
    let log = fs::read(&place.log)?;
    let log = String::from_utf8_lossy(&log[usize::try_from(from)?..]).into_owned();
    let line = log.lines().find(|line| {
        let line = line.to_lowercase();
        ["damage", "corrupt", "crc", "checksum"]
            .iter()
            .any(|word| line.contains(word))
    });
    let line = line.with_context(|| format!("nothing in the log on {}", found.file.display()))?;
    Ok(line.chars().take(160).collect())
}
