//! `cargo xtask failover`: unmodified clients at work while nodes are killed, or told to end.
//!
//! Every client has a topic of three partitions, three replicas each, two of which must have a
//! record before it is acknowledged. Four of its drivers are at work at once: one produces numbered
//! records, one reads them without a group, two share a group. Then nodes are killed and started
//! again, one at a time, until every client has lost a leader of its partitions, the coordinator of
//! its group and the cluster's controller at least once; and at the end every node is told to end
//! by TERM, one after the other, which no client may notice.
//!
//! What is claimed of it is in [`claims`].

mod claims;
mod journal;
mod killer;
mod racks;
mod traffic;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use self::journal::Phase;
use self::killer::Killer;
use self::traffic::{PARTITIONS, Traffic};
use super::cluster::Cluster;
use super::programs::Program;
use super::report::Report;
use super::{for_each, missing, named, sum_up};
use crate::node::scratch;
use crate::random::{Random, seed_or_now};
use crate::run::run_logged;
use crate::steps::Done;
use crate::suites::cluster::bytes;
use crate::workspace;

/// How many nodes, and replicas of everything.
const NODES: u32 = 3;
/// The longest that replicas may take to be in sync again after a fault has ended.
const HEAL: Duration = Duration::from_secs(90);
/// The longest that a client may take to have records acknowledged again after a fault.
const PROGRESS: Duration = Duration::from_secs(90);
/// The longest that consumers may take to read what is there.
const CATCH_UP: Duration = Duration::from_secs(90);
/// How many times a node is killed by default, at least: each once, or whom clients have not lost yet.
const ROUNDS: u32 = 3;
const POLL: Duration = Duration::from_millis(50);

/// Which clients, how often, and with which choices.
#[derive(Args)]
pub(crate) struct FailoverArgs {
    /// Only these clients
    names: Vec<String>,
    /// How many times a node is killed, at least
    #[arg(long, default_value_t = ROUNDS)]
    rounds: u32,
    /// Repeats the random choices of an earlier run
    #[arg(long)]
    seed: Option<u64>,
    /// The binary to hurt; built with `--release` if left out
    #[arg(long)]
    binary: Option<PathBuf>,
}

impl Default for FailoverArgs {
    fn default() -> Self {
        Self {
            names: Vec::new(),
            rounds: ROUNDS,
            seed: None,
            binary: None,
        }
    }
}

/// `cargo xtask failover`.
pub(crate) fn failover(args: &FailoverArgs) -> Result<()> {
    // A mistyped name is told before a long build, not after it.
    named(&args.names)?;
    if args.binary.is_none() {
        workspace::build_release()?;
    }
    match suite(args)? {
        Done::Without(what) if workspace::is_ci() => bail!("nothing may be skipped, but {what}"),
        Done::Without(what) => println!("!! NOT CHECKED: {what}"),
        Done::Fully => {}
    }
    Ok(())
}

/// The suite as a step of the test command.
pub(crate) fn suite(args: &FailoverArgs) -> Result<Done> {
    let (programs, missing) = missing(named(&args.names)?);
    let seed = seed_or_now(args.seed);
    println!("seed {seed}");
    let binary = match &args.binary {
        Some(binary) => binary.clone(),
        None => workspace::binary("release")?,
    };
    run(&binary, &programs, args.rounds, seed).with_context(|| format!("seed {seed}"))?;
    Ok(missing)
}

fn run(binary: &Path, programs: &[&'static Program], rounds: u32, seed: u64) -> Result<()> {
    let fetched = std::sync::Mutex::new(Ok(()));
    for_each(programs, |program| {
        if let Err(error) = program.fetch() {
            let error = error.context(format!("fetch {}", program.name));
            *fetched.lock().expect("nobody panics with the lock") = Err(error);
        }
    });
    fetched.into_inner().expect("nobody panics with the lock")?;

    let dir = scratch("failover")?;
    let mut cluster = Cluster::form(binary, &dir, NODES, racks::settings)?;
    let mut reports = racks::check(&mut cluster, &dir, programs)?;
    let mut clients = Vec::new();
    for program in programs {
        let topic = format!("failover-{}", program.name);
        create(&cluster, &dir, &topic, PARTITIONS)?;
        clients.push(Arc::new(Traffic::new(program, topic, cluster.bootstrap())));
    }
    let running: Vec<_> = clients.iter().map(Traffic::start).collect();
    let outcome = hurt(&mut cluster, &clients, rounds, &mut Random::new(seed));
    for client in &clients {
        client.end_producing();
    }
    let drivers: Vec<_> = running
        .into_iter()
        .map(traffic::Running::join_producer)
        .collect();
    outcome?;
    // Everybody has said what they had to say, so the logs end where they will be read to.
    let healed = cluster.healed(HEAL)?;
    println!("all replicas equal {healed:.1?} after the last record");
    let ends = ends(&cluster)?;
    for (client, (mut driver, running)) in clients.iter().zip(drivers) {
        let caught_up = client.caught_up(&ends, CATCH_UP);
        client.end();
        running.join();
        let mut report = Report::new(client.program.name);
        report.check("consumers caught up", || caught_up);
        claims::check(client, driver.as_mut(), &ends, &mut report);
        reports.push(report);
    }
    let data = cluster.stop()?;
    let data: Vec<_> = data.iter().map(|(id, dir)| (*id, dir.as_path())).collect();
    println!("ok   {}", bytes::compare(&data)?);
    sum_up(reports)
}

/// Makes a topic that acknowledges what two of three replicas have.
fn create(cluster: &Cluster, dir: &Path, topic: &str, partitions: u32) -> Result<()> {
    let (partitions, replicas) = (partitions.to_string(), NODES.to_string());
    let args = ["topic", "create", topic, "-p", &partitions, "-r", &replicas];
    let mut create = cluster.verb(&args);
    create.args(["--config", "min.insync.replicas=2"]);
    run_logged(&mut create, &dir.join("topic.log"))
}

/// Kills nodes, then has each of them end by TERM.
fn hurt(
    cluster: &mut Cluster,
    clients: &[Arc<Traffic>],
    rounds: u32,
    random: &mut Random,
) -> Result<()> {
    let begun = Instant::now();
    progress(clients).context("before anything was hurt")?;
    println!("all clients at work after {:.1?}", begun.elapsed());
    cluster.in_sync(HEAL)?;

    let mut killer = Killer::new(clients);
    let mut round = 0;
    phase(clients, Phase::Kills);
    while round < rounds || !killer.is_done() {
        round += 1;
        ensure!(
            round <= rounds * 4,
            "in {round} rounds nodes were killed, and yet {}",
            killer.missing()
        );
        let (victim, roles) = killer.choose(cluster, random)?;
        let begun = Instant::now();
        cluster.kill(victim)?;
        thread::sleep(random.millis(0, 2_500));
        cluster.start(victim)?;
        if round == 2 {
            // In the middle of it all one of each group's members leaves and another one joins.
            clients.iter().for_each(|client| client.replace_member());
        }
        let context = || format!("round {round}, node {victim} killed ({roles})");
        cluster.in_sync(HEAL).with_context(context)?;
        let healed = begun.elapsed();
        progress(clients).with_context(context)?;
        println!(
            "round {round}: node {victim} killed ({roles}), in sync after {healed:.1?}, all at work \
             after {:.1?}",
            begun.elapsed()
        );
        thread::sleep(random.millis(0, 1_000));
    }

    phase(clients, Phase::Calm);
    progress(clients).context("after the last kill")?;
    phase(clients, Phase::Controlled);
    for id in cluster.ids() {
        let begun = Instant::now();
        cluster.terminate(id)?;
        let ended = begun.elapsed();
        thread::sleep(random.millis(0, 1_000));
        cluster.start(id)?;
        let context = || format!("node {id} ended by TERM");
        cluster.in_sync(HEAL).with_context(context)?;
        progress(clients).with_context(context)?;
        println!(
            "node {id} ended by TERM in {ended:.1?}, all at work after {:.1?}",
            begun.elapsed()
        );
    }
    phase(clients, Phase::Calm);
    Ok(())
}

fn phase(clients: &[Arc<Traffic>], phase: Phase) {
    clients.iter().for_each(|client| client.enter(phase));
}

/// Waits until every client has had records of every partition acknowledged that it sent from now
/// on, and has read some.
fn progress(clients: &[Arc<Traffic>]) -> Result<()> {
    let deadline = Instant::now() + PROGRESS;
    let before: Vec<_> = clients.iter().map(|client| client.progress()).collect();
    for (client, before) in clients.iter().zip(before) {
        while !client.progress().is_beyond(&before) {
            ensure!(
                Instant::now() < deadline,
                "{} did not get on within {PROGRESS:?}: {:?}, before {before:?}; {}",
                client.program.name,
                client.progress(),
                client.last_faults()
            );
            thread::sleep(POLL);
        }
    }
    Ok(())
}

/// Where the partitions of all clients end.
fn ends(cluster: &Cluster) -> Result<traffic::Ends> {
    let mut ends = traffic::Ends::new();
    for replica in cluster.replicas()? {
        let end = replica
            .high_watermark
            .context("the replica has no high watermark")?;
        let (partition, end) = (i32::try_from(replica.partition)?, i64::try_from(end)?);
        ends.insert((replica.topic, partition), end);
    }
    Ok(ends)
}
