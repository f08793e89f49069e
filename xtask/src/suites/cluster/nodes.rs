//! Three nodes in processes of their own, as one cluster.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde::Deserialize;

use crate::node::{Node, Place, http_status};
use crate::run::output;

const POLL: Duration = Duration::from_millis(50);

/// Places of nodes, and the nodes that run there. Node numbers begin at 1.
pub(crate) struct Cluster {
    binary: PathBuf,
    places: Vec<Place>,
    nodes: Vec<Option<Node>>,
}

/// A replica, as `plimsoll replica list -o json` tells it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Replica {
    pub(crate) topic: String,
    pub(crate) partition: u32,
    pub(crate) node: u32,
    pub(crate) state: String,
    pub(crate) log_end: Option<u64>,
    pub(crate) high_watermark: Option<u64>,
    pub(crate) in_sync: bool,
    pub(crate) cause: Option<String>,
    pub(crate) action: Option<String>,
}

#[derive(Deserialize)]
struct Replicas {
    replicas: Vec<Replica>,
}

impl Cluster {
    /// Starts `count` voters below `dir` and waits until all are ready.
    pub(crate) fn form(binary: &Path, dir: &Path, count: u32, extra: &[&str]) -> Result<Self> {
        let mut places = Vec::new();
        for id in 1..=count {
            let mut place = Place::new(binary, &dir.join(format!("node-{id}")))?;
            place.id = id;
            places.push(place);
        }
        let voter = |place: &Place| format!("{}@127.0.0.1:{}", place.id, place.peer);
        let voters = places.iter().map(voter).collect::<Vec<_>>().join(",");
        for place in &mut places {
            place.extra = vec!["--voters".to_owned(), voters.clone()];
            place
                .extra
                .extend(extra.iter().map(|arg| (*arg).to_owned()));
        }
        let mut cluster = Self {
            binary: binary.to_owned(),
            nodes: places.iter().map(|_| None).collect(),
            places,
        };
        for id in cluster.ids() {
            cluster.spawn(id)?;
        }
        for id in cluster.ids() {
            cluster.wait_until_ready(id)?;
        }
        Ok(cluster)
    }

    /// Every node's number.
    pub(crate) fn ids(&self) -> std::ops::RangeInclusive<u32> {
        1..=u32::try_from(self.places.len()).expect("a handful of nodes")
    }

    /// Where a node lives.
    pub(crate) fn place(&self, id: u32) -> &Place {
        &self.places[index(id)]
    }

    /// The addresses of all nodes, for clients.
    pub(crate) fn bootstrap(&self) -> String {
        let address = |place: &Place| format!("127.0.0.1:{}", place.kafka);
        self.places
            .iter()
            .map(address)
            .collect::<Vec<_>>()
            .join(",")
    }

    /// Whether the node's process was started and not ended here.
    pub(crate) fn runs(&self, id: u32) -> bool {
        self.nodes[index(id)].is_some()
    }

    /// Starts a node without waiting for it.
    pub(crate) fn spawn(&mut self, id: u32) -> Result<()> {
        let node = self.place(id).spawn()?;
        self.nodes[index(id)] = Some(node);
        Ok(())
    }

    /// Starts a node and waits until it is ready.
    pub(crate) fn start(&mut self, id: u32) -> Result<()> {
        self.spawn(id)?;
        self.wait_until_ready(id)
    }

    fn wait_until_ready(&mut self, id: u32) -> Result<()> {
        let at = index(id);
        let node = self.nodes[at].as_mut().context("the node does not run")?;
        self.places[at].wait_until_ready(node)
    }

    /// Ends a node as a crash does.
    pub(crate) fn kill(&mut self, id: u32) -> Result<()> {
        self.take(id)?.kill()
    }

    /// Ends a node by TERM.
    pub(crate) fn terminate(&mut self, id: u32) -> Result<()> {
        let status = self.take(id)?.terminate()?;
        ensure!(status.success(), "node {id} ended with {status}");
        Ok(())
    }

    /// Stops a node's process in its tracks for a while.
    pub(crate) fn pause(&self, id: u32, time: Duration) -> Result<()> {
        let node = self.nodes[index(id)].as_ref();
        let node = node.context("the node does not run")?;
        node.signal(Signal::STOP)?;
        thread::sleep(time);
        node.signal(Signal::CONT)
    }

    fn take(&mut self, id: u32) -> Result<Node> {
        self.nodes[index(id)]
            .take()
            .context("the node does not run")
    }

    /// Runs a verb of the command line against the nodes' HTTP port or Kafka port.
    pub(crate) fn verb(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(args);
        let running = self
            .ids()
            .find(|id| self.runs(*id) && http_status(self.place(*id).http, "/livez") == Some(200));
        if let Some(id) = running {
            let http = format!("http://127.0.0.1:{}", self.place(id).http);
            command.env("PLIMSOLL_HTTP", http);
        }
        command.env("PLIMSOLL_BOOTSTRAP_SERVER", self.bootstrap());
        command
    }

    /// Every replica, as the cluster tells it.
    pub(crate) fn replicas(&self) -> Result<Vec<Replica>> {
        let text = output(&mut self.verb(&["replica", "list", "-o", "json"]))?;
        let answer: Replicas =
            serde_json::from_str(&text).with_context(|| format!("not replicas: {text}"))?;
        Ok(answer.replicas)
    }

    /// Who leads a partition.
    pub(crate) fn leader(&self, topic: &str, partition: u32) -> Result<u32> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let leader = self.replicas()?.into_iter().find(|replica| {
                replica.topic == topic
                    && replica.partition == partition
                    && replica.state == "leader"
            });
            if let Some(leader) = leader {
                return Ok(leader.node);
            }
            ensure!(
                Instant::now() < deadline,
                "{topic}/{partition} has no leader"
            );
            thread::sleep(POLL);
        }
    }

    /// Waits until every replica is in sync; tells how long that took. For a cluster under load,
    /// whose log ends move.
    pub(crate) fn in_sync(&self, within: Duration) -> Result<Duration> {
        self.holds(within, in_sync)
    }

    /// Waits until every replica is in sync and every replica of a partition has the same log end,
    /// which is its high watermark; tells how long that took. For a cluster at rest.
    pub(crate) fn healed(&self, within: Duration) -> Result<Duration> {
        self.holds(within, |replicas| {
            in_sync(replicas)?;
            equal_ends(replicas)
        })
    }

    fn holds(
        &self,
        within: Duration,
        check: impl Fn(&[Replica]) -> Result<()>,
    ) -> Result<Duration> {
        let begun = Instant::now();
        loop {
            let outcome = self.replicas().and_then(|replicas| check(&replicas));
            match outcome {
                Ok(()) => return Ok(begun.elapsed()),
                Err(error) if begun.elapsed() > within => {
                    bail!("not healed within {within:?}: {error:#}")
                }
                Err(_) => thread::sleep(POLL),
            }
        }
    }

    /// Exit code and text of `plimsoll doctor`.
    pub(crate) fn doctor(&self) -> Result<(i32, String)> {
        let output = self.verb(&["doctor"]).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok((output.status.code().unwrap_or(-1), text))
    }
}

/// Which replica is not in sync, if any.
fn in_sync(replicas: &[Replica]) -> Result<()> {
    ensure!(!replicas.is_empty(), "there are no replicas");
    for replica in replicas {
        let (topic, partition, node) = (&replica.topic, replica.partition, replica.node);
        ensure!(
            replica.in_sync,
            "{topic}/{partition} on node {node} is {}: {} ({})",
            replica.state,
            replica.cause.as_deref().unwrap_or("no cause given"),
            replica.action.as_deref().unwrap_or("no action given")
        );
    }
    Ok(())
}

/// Which replicas of a partition end elsewhere than their high watermark, if any.
fn equal_ends(replicas: &[Replica]) -> Result<()> {
    for replica in replicas {
        let (topic, partition) = (&replica.topic, replica.partition);
        let others = replicas
            .iter()
            .filter(|other| other.topic == *topic && other.partition == partition);
        for other in others {
            ensure!(
                other.log_end == replica.log_end && other.high_watermark == replica.log_end,
                "{topic}/{partition}: node {} ends at {:?}, node {} at {:?}, high watermark {:?}",
                replica.node,
                replica.log_end,
                other.node,
                other.log_end,
                other.high_watermark
            );
        }
    }
    Ok(())
}

fn index(id: u32) -> usize {
    id as usize - 1
}
