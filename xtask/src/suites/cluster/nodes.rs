//! Nodes in processes of their own, as one cluster.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use super::answers::{Broker, Brokers, Replica, Replicas};
use super::proxy::Proxy;
use crate::node::{Node, Place, free_ports, http_get, http_status};

const POLL: Duration = Duration::from_millis(50);
/// What a node tells of all replicas may be half a second old.
const NEWS: Duration = Duration::from_millis(600);
/// How long something that is only a matter of asking again may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Places of nodes, and the nodes that run there. Node numbers begin at 1.
pub(super) struct Cluster {
    binary: PathBuf,
    dir: PathBuf,
    places: Vec<Place>,
    nodes: Vec<Option<Node>>,
    /// Nodes that answer nothing although they run: stopped ones.
    mute: Vec<u32>,
    /// Who is asked how the cluster does; the first that answers, if nobody.
    asked: Option<u32>,
    /// What stands between the nodes, if anything.
    pub(super) proxy: Option<Proxy>,
    /// When the last fault was over: a node was started or went on, a link was mended.
    mended: Instant,
}

/// How a cluster is made.
#[derive(Clone, Default)]
pub(super) struct Form {
    /// Further arguments of every node.
    pub(super) extra: Vec<String>,
    /// Whether a proxy of ours stands between the nodes.
    pub(super) proxied: bool,
}

impl Cluster {
    /// Starts `count` voters below `dir` and waits until all are ready. `prepare` may do something
    /// with each place before its node starts.
    pub(super) fn form(
        binary: &Path,
        dir: &Path,
        count: u32,
        form: &Form,
        prepare: impl Fn(&Place) -> Result<()>,
    ) -> Result<Self> {
        let mut places = Vec::new();
        for id in 1..=count {
            let mut place = Place::new(binary, &dir.join(format!("node-{id}")))?;
            place.id = id;
            prepare(&place)?;
            places.push(place);
        }
        let mut proxy = None;
        if form.proxied {
            let mut routes = Vec::new();
            for place in &mut places {
                let [told] = free_ports()?;
                place.peer_told = Some(told);
                routes.push((place.id, told, place.peer));
            }
            proxy = Some(Proxy::start(&routes)?);
        }
        let voter = |place: &Place| {
            let told = place.peer_told.unwrap_or(place.peer);
            format!("{}@127.0.0.1:{told}", place.id)
        };
        let voters = places.iter().map(voter).collect::<Vec<_>>().join(",");
        for place in &mut places {
            place.extra = vec!["--voters".to_owned(), voters.clone()];
            place.extra.extend(form.extra.iter().cloned());
        }
        let mut cluster = Self {
            binary: binary.to_owned(),
            dir: dir.to_owned(),
            nodes: places.iter().map(|_| None).collect(),
            places,
            mute: Vec::new(),
            asked: None,
            proxy,
            mended: Instant::now(),
        };
        for id in cluster.ids() {
            cluster.spawn(id)?;
        }
        for id in cluster.ids() {
            cluster.wait_until_ready(id)?;
        }
        Ok(cluster)
    }

    /// Starts one more node, which joins; its number.
    pub(super) fn join(&mut self, extra: &[String]) -> Result<u32> {
        let id = u32::try_from(self.places.len())? + 1;
        let mut place = Place::new(&self.binary, &self.dir.join(format!("node-{id}")))?;
        place.id = id;
        let seeds = self
            .places
            .iter()
            .map(|place| format!("127.0.0.1:{}", place.peer))
            .collect::<Vec<_>>();
        place.extra = vec!["--join".to_owned(), seeds.join(",")];
        place.extra.extend(extra.iter().cloned());
        self.places.push(place);
        self.nodes.push(None);
        self.start(id)?;
        Ok(id)
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

    /// Whether the node's process was started and not ended here.
    pub(super) fn runs(&self, id: u32) -> bool {
        self.nodes[index(id)].is_some()
    }

    /// The process id of a node.
    pub(super) fn pid(&self, id: u32) -> Result<u32> {
        Ok(self.node(id)?.pid())
    }

    fn node(&self, id: u32) -> Result<&Node> {
        self.nodes[index(id)]
            .as_ref()
            .with_context(|| format!("node {id} does not run"))
    }

    /// Starts a node without waiting for it.
    pub(super) fn spawn(&mut self, id: u32) -> Result<()> {
        let node = self.place(id).spawn()?;
        self.nodes[index(id)] = Some(node);
        self.mended();
        Ok(())
    }

    /// Starts a node and waits until it is ready.
    pub(super) fn start(&mut self, id: u32) -> Result<()> {
        self.spawn(id)?;
        self.wait_until_ready(id)
    }

    pub(super) fn wait_until_ready(&mut self, id: u32) -> Result<()> {
        let at = index(id);
        let node = self.nodes[at].as_mut().context("the node does not run")?;
        self.places[at].wait_until_ready(node)
    }

    /// Ends a node as a crash does.
    pub(super) fn kill(&mut self, id: u32) -> Result<()> {
        self.take(id)?.kill()
    }

    /// Ends a node by TERM; how long that took.
    pub(super) fn terminate(&mut self, id: u32) -> Result<Duration> {
        let begun = Instant::now();
        let status = self.take(id)?.terminate()?;
        ensure!(status.success(), "node {id} ended with {status}");
        Ok(begun.elapsed())
    }

    fn take(&mut self, id: u32) -> Result<Node> {
        self.nodes[index(id)]
            .take()
            .with_context(|| format!("node {id} does not run"))
    }

    /// Stops a node's process in its tracks.
    pub(super) fn stop(&mut self, id: u32) -> Result<()> {
        self.mute.push(id);
        self.node(id)?.signal(Signal::STOP)
    }

    /// Lets a stopped process go on.
    pub(super) fn resume(&mut self, id: u32) -> Result<()> {
        self.mute.retain(|mute| *mute != id);
        self.mended();
        self.node(id)?.signal(Signal::CONT)
    }

    /// The fault is over.
    pub(super) fn mended(&mut self) {
        self.mended = Instant::now();
    }

    /// How long the last fault has been over.
    pub(super) fn since_mended(&self) -> Duration {
        self.mended.elapsed()
    }

    /// Who is to tell from now on how the cluster does.
    pub(super) fn ask(&mut self, id: Option<u32>) {
        self.asked = id;
    }

    /// The HTTP port of who tells how the cluster does.
    pub(super) fn speaker(&self) -> Result<u16> {
        let answers = |id: &u32| {
            self.runs(*id)
                && !self.mute.contains(id)
                && http_status(self.place(*id).http, "/livez") == Some(200)
        };
        let id = self.asked.into_iter().chain(self.ids()).find(answers);
        Ok(self.place(id.context("no node answers")?).http)
    }

    /// A verb of the command line, told where the nodes are.
    pub(super) fn verb(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(args);
        if let Ok(http) = self.speaker() {
            command.env("PLIMSOLL_HTTP", format!("http://127.0.0.1:{http}"));
        }
        let able = |id: &u32| self.runs(*id) && !self.mute.contains(id);
        let able = self.ids().filter(able).map(|id| self.place(id).kafka);
        let able = able.map(|port| format!("127.0.0.1:{port}"));
        let able = able.collect::<Vec<_>>().join(",");
        command.env("PLIMSOLL_BOOTSTRAP_SERVER", able);
        command
    }

    /// Runs a verb that must succeed; what it said.
    pub(super) fn order(&self, args: &[&str]) -> Result<String> {
        let output = self.verb(args).output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        let blamed = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "`plimsoll {}` ended with {}: {}{}",
            args.join(" "),
            output.status,
            said.trim(),
            blamed.trim()
        );
        Ok(said.trim().to_owned())
    }

    /// What a node's HTTP port says.
    pub(super) fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T> {
        let (_, body) = http_get(self.speaker()?, path).context("no answer")?;
        serde_json::from_str(&body).with_context(|| format!("{path} gave {body}"))
    }

    /// Every replica, as the cluster tells it.
    pub(super) fn replicas(&self) -> Result<Vec<Replica>> {
        Ok(self.get::<Replicas>("/v1/replicas")?.replicas)
    }

    /// Every node, as the cluster tells it.
    pub(super) fn brokers(&self) -> Result<Vec<Broker>> {
        Ok(self.get::<Brokers>("/v1/status")?.nodes)
    }

    /// Who is the controller.
    pub(super) fn controller(&self) -> Result<u32> {
        wait("a controller", PATIENCE, || {
            let brokers = self.brokers()?;
            let leader = brokers.iter().find(|node| node.quorum_leader);
            Ok(leader.context("nobody is the controller")?.id)
        })
    }

    /// Who leads a partition.
    pub(super) fn leader(&self, topic: &str, partition: u32) -> Result<u32> {
        wait("a leader", PATIENCE, || {
            let replicas = self.replicas()?;
            let leader = replicas
                .into_iter()
                .find(|replica| replica.is(topic, partition) && replica.state == "leader");
            let leader = leader.with_context(|| format!("{topic}/{partition} has no leader"))?;
            Ok(leader.node)
        })
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

    /// Waits until something holds of the replicas; tells how long that took.
    pub(super) fn holds(
        &self,
        within: Duration,
        check: impl Fn(&[Replica]) -> Result<()>,
    ) -> Result<Duration> {
        let begun = Instant::now();
        wait("healed", within, || check(&self.replicas()?))?;
        Ok(begun.elapsed())
    }
}

/// Asks until there is an answer.
pub(super) fn wait<T>(
    what: &str,
    within: Duration,
    mut ask: impl FnMut() -> Result<T>,
) -> Result<T> {
    let deadline = Instant::now() + within;
    loop {
        match ask() {
            Ok(answer) => return Ok(answer),
            Err(error) if Instant::now() > deadline => {
                return Err(error.context(format!("not {what} within {within:?}")));
            }
            Err(_) => thread::sleep(POLL),
        }
    }
}

/// Which replica is not in sync, if any.
fn in_sync(replicas: &[Replica]) -> Result<()> {
    ensure!(!replicas.is_empty(), "there are no replicas");
    for replica in replicas {
        ensure!(replica.in_sync, "{replica}");
    }
    Ok(())
}

/// Which replicas of a partition end elsewhere than their high watermark, if any.
fn equal_ends(replicas: &[Replica]) -> Result<()> {
    for replica in replicas {
        let (topic, partition) = (&replica.topic, replica.partition);
        let others = replicas.iter().filter(|other| other.is(topic, partition));
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
