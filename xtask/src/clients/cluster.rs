//! Nodes in processes of their own, as the one cluster that clients come to.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::node::{Node, Place, http_status};
use crate::run::output;

const POLL: Duration = Duration::from_millis(50);
/// What a node tells of all replicas may be half a second old.
const NEWS: Duration = Duration::from_millis(600);

/// Places of nodes, and the nodes that run there. Node numbers begin at 1.
pub(super) struct Cluster {
    binary: PathBuf,
    places: Vec<Place>,
    nodes: Vec<Option<Node>>,
}

/// A replica, as `plimsoll replica list -o json` tells it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Replica {
    pub(super) topic: String,
    pub(super) partition: u32,
    pub(super) node: u32,
    pub(super) state: String,
    pub(super) log_end: Option<u64>,
    pub(super) high_watermark: Option<u64>,
    pub(super) in_sync: bool,
    pub(super) cause: Option<String>,
    pub(super) action: Option<String>,
}

#[derive(Deserialize)]
struct Replicas {
    replicas: Vec<Replica>,
}

/// A row of `plimsoll node list -o json`.
#[derive(Deserialize)]
struct NodeRow {
    id: u32,
    quorum_leader: bool,
}

#[derive(Deserialize)]
struct NodeRows {
    nodes: Vec<NodeRow>,
}

impl Cluster {
    /// Starts `count` voters below `dir` with the arguments that `extra` has for each, and waits
    /// until all are ready.
    pub(super) fn form(
        binary: &Path,
        dir: &Path,
        count: u32,
        extra: impl Fn(u32) -> Vec<String>,
    ) -> Result<Self> {
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
            place.extra.extend(extra(place.id));
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
    pub(super) fn ids(&self) -> std::ops::RangeInclusive<u32> {
        1..=u32::try_from(self.places.len()).expect("a handful of nodes")
    }

    /// Where a node lives.
    pub(super) fn place(&self, id: u32) -> &Place {
        &self.places[index(id)]
    }

    /// The addresses of all nodes, for clients.
    pub(super) fn bootstrap(&self) -> String {
        let address = |place: &Place| format!("127.0.0.1:{}", place.kafka);
        self.places
            .iter()
            .map(address)
            .collect::<Vec<_>>()
            .join(",")
    }

    /// Whether the node was started and not ended here.
    pub(super) fn runs(&self, id: u32) -> bool {
        self.nodes[index(id)].is_some()
    }

    fn spawn(&mut self, id: u32) -> Result<()> {
        let node = self.place(id).spawn()?;
        self.nodes[index(id)] = Some(node);
        Ok(())
    }

    /// Starts a node and waits until it is ready.
    pub(super) fn start(&mut self, id: u32) -> Result<()> {
        self.spawn(id)?;
        self.wait_until_ready(id)
    }

    fn wait_until_ready(&mut self, id: u32) -> Result<()> {
        let at = index(id);
        let node = self.nodes[at].as_mut().context("the node does not run")?;
        self.places[at].wait_until_ready(node)
    }

    /// Ends a node as a crash does.
    pub(super) fn kill(&mut self, id: u32) -> Result<()> {
        self.take(id)?.kill()
    }

    /// Ends a node by TERM.
    pub(super) fn terminate(&mut self, id: u32) -> Result<()> {
        let status = self.take(id)?.terminate()?;
        ensure!(status.success(), "node {id} ended with {status}");
        Ok(())
    }

    fn take(&mut self, id: u32) -> Result<Node> {
        self.nodes[index(id)]
            .take()
            .context("the node does not run")
    }

    /// Ends every node by TERM; the data directories that are left.
    pub(super) fn stop(mut self) -> Result<Vec<(u32, PathBuf)>> {
        for id in self.ids() {
            if self.runs(id) {
                self.terminate(id)?;
            }
        }
        let places = self.places.into_iter();
        Ok(places.map(|place| (place.id, place.data)).collect())
    }

    /// Runs a verb of the command line against the nodes' HTTP port or Kafka port.
    pub(super) fn verb(&self, args: &[&str]) -> Command {
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

    fn told<T: DeserializeOwned>(&self, args: &[&str]) -> Result<T> {
        let text = output(&mut self.verb(args))?;
        serde_json::from_str(&text).with_context(|| format!("{args:?} gave {text}"))
    }

    /// Every replica, as the cluster tells it.
    pub(super) fn replicas(&self) -> Result<Vec<Replica>> {
        let answer: Replicas = self.told(&["replica", "list", "-o", "json"])?;
        Ok(answer.replicas)
    }

    /// The active controller, if one is known.
    pub(super) fn controller(&self) -> Result<Option<u32>> {
        let rows: NodeRows = self.told(&["node", "list", "-o", "json"])?;
        let leader = rows.nodes.iter().find(|row| row.quorum_leader);
        Ok(leader.map(|row| row.id))
    }

    /// Waits until every replica is in sync; tells how long that took. For a cluster under load,
    /// whose log ends move.
    pub(super) fn in_sync(&self, within: Duration) -> Result<Duration> {
        self.holds(within, in_sync)
    }

    /// Waits until every replica is in sync and every replica of a partition has the same log end,
    /// which is its high watermark; tells how long that took. For a cluster at rest.
    pub(super) fn healed(&self, within: Duration) -> Result<Duration> {
        thread::sleep(NEWS);
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
    let mut ends = std::collections::BTreeMap::new();
    for replica in replicas {
        let (topic, partition) = (&replica.topic, replica.partition);
        let first = ends.entry((topic, partition)).or_insert(replica);
        ensure!(
            replica.log_end == first.log_end && replica.high_watermark == replica.log_end,
            "{topic}/{partition}: node {} ends at {:?}, node {} at {:?}, high watermark {:?}",
            first.node,
            first.log_end,
            replica.node,
            replica.log_end,
            replica.high_watermark
        );
    }
    Ok(())
}

fn index(id: u32) -> usize {
    id as usize - 1
}
