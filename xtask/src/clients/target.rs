//! What the clients talk to: a node or a cluster of ours, or the reference.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::cluster::Cluster;
use super::flaky::Flaky;
use super::reference;
use crate::node::{Node, Place, free_ports, scratch};
use crate::random::{Random, seed_or_now};

/// What to start for the clients.
pub(crate) enum Target {
    /// This binary of the product, as so many nodes. More than one keep three replicas of
    /// everything, two of which must have a record before acks=all is answered.
    Plimsoll {
        /// The binary.
        binary: PathBuf,
        /// How many nodes.
        nodes: u32,
    },
    /// The reference, one node.
    Kafka,
}

/// As the reference has it: a group's first member does not wait for others.
pub(super) fn settings() -> Vec<String> {
    ["--set", "group.initial.rebalance.delay.ms=0"]
        .map(str::to_owned)
        .into()
}

/// What was started; dropping it ends it.
pub(super) enum Started {
    One(Node),
    Several(Cluster),
}

impl Started {
    /// How many nodes.
    pub(super) fn count(&self) -> u32 {
        match self {
            Started::One(_) => 1,
            Started::Several(cluster) => *cluster.ids().end(),
        }
    }

    /// The addresses for clients.
    pub(super) fn bootstrap(&self) -> String {
        match self {
            Started::One(node) => node.bootstrap(),
            Started::Several(cluster) => cluster.bootstrap(),
        }
    }
}

/// Starts nodes of either kind in empty folders.
pub(super) fn start(target: &Target, name: &str) -> Result<Started> {
    match target {
        Target::Plimsoll { nodes: 0, .. } => bail!("there is nothing to talk to without a node"),
        Target::Plimsoll { binary, nodes: 1 } => one(binary, name, None).map(Started::One),
        Target::Plimsoll { binary, nodes } => {
            let dir = scratch(&format!("{name}-cluster"))?;
            Cluster::form(binary, &dir, *nodes, |_| settings()).map(Started::Several)
        }
        Target::Kafka => kafka(name, None).map(Started::One),
    }
}

fn one(binary: &Path, name: &str, advertised: Option<u16>) -> Result<Node> {
    let mut place = Place::new(binary, &scratch(&format!("{name}-plimsoll"))?)?;
    place.extra = settings();
    place
        .extra
        .extend(advertised.into_iter().flat_map(advertise));
    place.start()
}

fn kafka(name: &str, advertised: Option<u16>) -> Result<Node> {
    reference::fetch()?;
    reference::start(&scratch(&format!("{name}-kafka"))?, advertised)
}

fn advertise(port: u16) -> [String; 2] {
    ["--advertise".to_owned(), format!("127.0.0.1:{port}")]
}

/// Nodes that clients reach only through proxies that lose replies.
pub(super) struct BehindProxy {
    /// The proxies' addresses.
    pub(super) bootstrap: String,
    proxies: Vec<Flaky>,
    _nodes: Started,
}

impl BehindProxy {
    pub(super) fn start(target: &Target) -> Result<Self> {
        const NAME: &str = "clients-flaky";
        let ports: [u16; 3] = free_ports()?;
        let (nodes, behind) = match target {
            Target::Plimsoll { binary, nodes } if *nodes > 1 => {
                let dir = scratch(&format!("{NAME}-cluster"))?;
                let extra = |id: u32| {
                    let mut extra = settings();
                    let port = ports.get(id as usize - 1).copied();
                    extra.extend(port.into_iter().flat_map(advertise));
                    extra
                };
                let cluster = Cluster::form(binary, &dir, 3, extra)?;
                let behind = cluster.ids().map(|id| cluster.place(id).kafka).collect();
                (Started::Several(cluster), behind)
            }
            Target::Plimsoll { binary, .. } => {
                let node = one(binary, NAME, Some(ports[0]))?;
                let behind = vec![node.kafka];
                (Started::One(node), behind)
            }
            Target::Kafka => {
                let node = kafka(NAME, Some(ports[0]))?;
                let behind = vec![node.kafka];
                (Started::One(node), behind)
            }
        };
        let seed = seed_or_now(None);
        println!("replies are lost by seed {seed}");
        let mut random = Random::new(seed);
        let pairs: Vec<(u16, u16)> = ports.into_iter().zip(behind).collect();
        let proxies = pairs
            .iter()
            .map(|(port, node)| Flaky::start(*port, *node, random.next()))
            .collect::<Result<_>>()?;
        let addresses: Vec<_> = pairs
            .iter()
            .map(|(port, _)| format!("127.0.0.1:{port}"))
            .collect();
        Ok(Self {
            bootstrap: addresses.join(","),
            proxies,
            _nodes: nodes,
        })
    }

    /// How many replies were lost so far.
    pub(super) fn cuts(&self) -> u64 {
        self.proxies.iter().map(Flaky::cuts).sum()
    }
}
