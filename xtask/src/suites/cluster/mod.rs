//! `cargo xtask cluster`: three nodes hurt in every way, under a real client's load.
//!
//! After every fault all replicas must be in sync again by themselves, with HW = LEO; nothing that
//! was acknowledged may be missing, doubled or out of order; at the end the replicas' logs are
//! compared byte for byte.

mod bytes;
pub(crate) mod nodes;

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;

use self::nodes::Cluster;
use super::Claims;
use super::damage::{find, flip_bit};
use super::load::{self, Load, Probe, Semantics, Topic};
use crate::node::scratch;
use crate::random::Random;
use crate::steps::Done;
use crate::workspace;

/// Acknowledgements between two faults, at least.
const PROGRESS_RECORDS: u64 = 300;
/// The longest a cluster may take to be whole again after a fault has ended.
const HEAL: Duration = Duration::from_secs(30);

/// How often, and with which choices.
#[derive(Args)]
pub(crate) struct ClusterArgs {
    /// How many times a node is killed under load
    #[arg(long, default_value_t = 4)]
    rounds: u32,
    /// Repeats the random choices of an earlier run
    #[arg(long)]
    seed: Option<u64>,
    /// The binary to hurt; built with `--release` if left out
    #[arg(long)]
    binary: Option<PathBuf>,
}

impl Default for ClusterArgs {
    fn default() -> Self {
        Self {
            rounds: 4,
            seed: None,
            binary: None,
        }
    }
}

/// `cargo xtask cluster`.
pub(crate) fn cluster(args: &ClusterArgs) -> Result<()> {
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
pub(crate) fn suite(args: &ClusterArgs) -> Result<Done> {
    let (seed, binary) = match super::prepare(args.seed, args.binary.as_deref())? {
        Ok(prepared) => prepared,
        Err(missing) => return Ok(Done::Without(missing)),
    };
    let dir = scratch("cluster")?;
    let mut suite = Suite {
        cluster: Cluster::form(&binary, &dir, 3, &[])?,
        random: Random::new(seed),
        claims: Claims::default(),
    };
    suite
        .run(&dir, args.rounds)
        .with_context(|| format!("seed {seed}"))?;
    suite
        .claims
        .finish("cluster")
        .with_context(|| format!("seed {seed}"))?;
    Ok(Done::Fully)
}

struct Suite {
    cluster: Cluster,
    random: Random,
    claims: Claims,
}

impl Suite {
    fn run(&mut self, dir: &Path, rounds: u32) -> Result<()> {
        let bootstrap = self.cluster.bootstrap();
        let mut topics = Vec::new();
        for (name, semantics) in [
            ("once", Semantics::Once),
            ("at-least-once", Semantics::AtLeastOnce),
        ] {
            load::create(&bootstrap, name, 3, 3, &["min.insync.replicas=2"])?;
            topics.push(Topic::existing(name, &bootstrap, dir, semantics));
        }
        load::create(&bootstrap, "probe", 1, 3, &["min.insync.replicas=2"])?;
        self.healthy_is_nearly_silent();

        let mut loads = topics.iter().map(Topic::load).collect::<Result<Vec<_>>>()?;
        self.kills(&mut loads, rounds)?;
        self.pauses(&mut loads)?;
        self.rolling_restart(&mut loads)?;
        for (topic, load) in topics.iter().zip(loads) {
            let name = &topic.name;
            self.claims
                .claim(&format!("{name} delivers"), load.finish());
            self.claims.claim(&format!("{name} holds"), topic.verify());
        }
        self.oversize()?;
        self.emptied_directory()?;
        self.flipped_bit(&topics[0])?;
        let healed = self.cluster.healed(HEAL);
        self.claims.claim(
            "healed at the end",
            healed.map(|took| format!("{took:.1?}")),
        );
        self.claims.claim("equal bytes", self.bytes());
        for topic in &topics {
            self.claims
                .claim(&format!("{} holds at the end", topic.name), topic.verify());
        }
        Ok(())
    }

    /// A new topic's followers attach within moments, and are told of until then.
    fn healthy_is_nearly_silent(&mut self) {
        let deadline = Instant::now() + HEAL;
        let silent = loop {
            let outcome = self.cluster.doctor().and_then(|(code, text)| {
                ensure!(code == 0, "doctor ends with {code}: {text}");
                let lines = text.lines().count();
                ensure!(lines <= 3, "{lines} lines for a healthy cluster: {text}");
                Ok(text.trim().to_owned())
            });
            if outcome.is_ok() || Instant::now() > deadline {
                break outcome;
            }
            thread::sleep(Duration::from_millis(100));
        };
        self.claims.claim("doctor has little to say", silent);
    }

    /// Kills a random node, half of the time the one that leads the probed partition.
    fn kills(&mut self, loads: &mut [Load], rounds: u32) -> Result<()> {
        let probe = Probe::start(&self.cluster.bootstrap(), "probe")?;
        probe.ready()?;
        let (mut leader_gaps, mut follower_gaps) = (Vec::new(), Vec::new());
        let mut heals = Vec::new();
        for round in 1..=rounds {
            for load in loads.iter_mut() {
                load.progress(PROGRESS_RECORDS)?;
            }
            let leader = self.cluster.leader("probe", 0)?;
            let victim = match round % 2 {
                0 => leader,
                _ => 1 + u32::try_from(self.random.below(3))?,
            };
            thread::sleep(self.random.millis(0, 300));
            let killed = Instant::now();
            self.cluster.kill(victim)?;
            let gap = probe.longest_gap(killed)?;
            if victim == leader {
                leader_gaps.push(gap);
            } else {
                follower_gaps.push(gap);
            }
            if round == 1 {
                self.doctor_names(victim);
            }
            self.cluster.start(victim)?;
            let healed = self.cluster.in_sync(HEAL);
            heals.push(healed.with_context(|| format!("round {round}, node {victim} killed"))?);
        }
        // Generous: the figures are printed, and machines of many tenants are slow at times.
        let bound = Duration::from_secs(10);
        self.gaps("writes stop when a leader is killed", leader_gaps, bound);
        self.gaps(
            "writes stop when a follower is killed",
            follower_gaps,
            bound,
        );
        self.gaps("time to heal after a restart", heals, HEAL);
        Ok(())
    }

    fn gaps(&mut self, name: &str, mut times: Vec<Duration>, bound: Duration) {
        times.sort();
        let (Some(median), Some(longest)) = (times.get(times.len() / 2), times.last()) else {
            return;
        };
        let text = format!(
            "median {median:.0?}, longest {longest:.0?} of {}",
            times.len()
        );
        let outcome = match *longest <= bound {
            true => Ok(text),
            false => Err(anyhow::anyhow!("{text}, above {bound:?}")),
        };
        self.claims.claim(name, outcome);
    }

    /// While a node is down, doctor says that replicas on it cannot be reached, and exits with 11.
    fn doctor_names(&mut self, victim: u32) {
        let deadline = Instant::now() + Duration::from_secs(10);
        let named = loop {
            let outcome = self.cluster.doctor().and_then(|(code, text)| {
                let node = format!("node {victim}");
                ensure!(code == 11, "exit code {code}, not 11: {text}");
                ensure!(text.contains(&node), "{node} is not named: {text}");
                ensure!(
                    text.contains("R002"),
                    "peer-unreachable is not named: {text}"
                );
                Ok(text.lines().next().unwrap_or_default().to_owned())
            });
            if outcome.is_ok() || Instant::now() > deadline {
                break outcome;
            }
            thread::sleep(Duration::from_millis(100));
        };
        self.claims.claim("doctor names a killed node", named);
    }

    /// SIGSTOP, short and long, of a leader and of another node.
    fn pauses(&mut self, loads: &mut [Load]) -> Result<()> {
        for (millis, of_leader) in [(500, false), (2_000, false), (6_000, true), (6_000, false)] {
            for load in loads.iter_mut() {
                load.progress(PROGRESS_RECORDS)?;
            }
            let leader = self.cluster.leader("probe", 0)?;
            let victim = match of_leader {
                true => leader,
                false => 1 + leader % 3,
            };
            self.cluster.pause(victim, Duration::from_millis(millis))?;
            let whose = if of_leader { "a leader" } else { "a follower" };
            let healed = self.cluster.in_sync(HEAL);
            self.claims.claim(
                &format!("{whose} paused for {millis} ms"),
                healed.map(|took| format!("healed in {took:.1?}")),
            );
        }
        Ok(())
    }

    /// TERM and start again, one node after the other.
    fn rolling_restart(&mut self, loads: &mut [Load]) -> Result<()> {
        let probe = Probe::start(&self.cluster.bootstrap(), "probe")?;
        probe.ready()?;
        let mut gaps = Vec::new();
        for id in self.cluster.ids() {
            for load in loads.iter_mut() {
                load.progress(PROGRESS_RECORDS)?;
            }
            let begun = Instant::now();
            self.cluster.terminate(id)?;
            gaps.push(probe.longest_gap(begun)?);
            self.cluster.start(id)?;
            self.cluster
                .in_sync(HEAL)
                .with_context(|| format!("node {id} restarted"))?;
        }
        self.gaps("a rolling restart", gaps, Duration::from_secs(10));
        Ok(())
    }

    /// The founding failure: a follower is down while batches far above every window are written,
    /// limits are lowered, and it comes back.
    fn oversize(&mut self) -> Result<()> {
        let bootstrap = self.cluster.bootstrap();
        let config = ["min.insync.replicas=2", "max.message.bytes=41943040"];
        load::create(&bootstrap, "large", 1, 3, &config)?;
        let follower = 1 + self.cluster.leader("large", 0)? % 3;
        self.cluster.kill(follower)?;
        let written = load::large(&bootstrap, "large", 4, 33_000_000);
        self.claims.claim("batches of 33 MB are taken", written);
        let lowered = self
            .cluster
            .verb(&["topic", "set", "large", "max.message.bytes=100000"])
            .status()?;
        ensure!(lowered.success(), "max.message.bytes cannot be lowered");
        self.cluster.start(follower)?;
        let healed = self.cluster.healed(HEAL);
        self.claims.claim(
            "a follower that missed large batches catches up after limits were lowered",
            healed.map(|took| format!("{took:.1?}")),
        );
        self.claims
            .claim("every offset is read", load::count(&bootstrap, "large"));
        Ok(())
    }

    /// A node comes back with an empty directory: it is filled again and no record is lost.
    fn emptied_directory(&mut self) -> Result<()> {
        let victim = 1 + u32::try_from(self.random.below(3))?;
        self.cluster.kill(victim)?;
        std::fs::remove_dir_all(&self.cluster.place(victim).data)?;
        self.cluster.start(victim)?;
        let healed = self.cluster.healed(2 * HEAL);
        self.claims.claim(
            "an emptied directory is filled again",
            healed.map(|took| format!("{took:.1?}")),
        );
        Ok(())
    }

    /// A bit flipped on a follower's disk while it is down is repaired from another replica.
    fn flipped_bit(&mut self, topic: &Topic) -> Result<()> {
        let follower = 1 + self.cluster.leader(&topic.name, 0)? % 3;
        self.cluster.terminate(follower)?;
        let sequence = topic.sent(0)? / 2;
        let found = find(
            &self.cluster.place(follower).data,
            &topic.marker(0, sequence),
        )?;
        flip_bit(&found, 40)?;
        self.cluster.start(follower)?;
        let deadline = Instant::now() + 2 * HEAL;
        let repaired = loop {
            let equal = self.cluster.healed(HEAL).and_then(|_| self.bytes());
            if equal.is_ok() || Instant::now() > deadline {
                break equal;
            }
            thread::sleep(Duration::from_millis(500));
        };
        self.claims.claim("a flipped bit is repaired", repaired);
        Ok(())
    }

    fn bytes(&self) -> Result<String> {
        let places = self.cluster.ids().map(|id| {
            let data = self.cluster.place(id).data.as_path();
            (id, data)
        });
        bytes::compare(&places.collect::<Vec<_>>())
    }
}
