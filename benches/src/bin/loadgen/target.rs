//! The topic that is loaded, and connections to those who lead it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use plimsoll_client::admin::NewTopic;
use plimsoll_client::{Admin, Client, ClientConfig, Connection, Topic};
use plimsoll_types::{NodeId, TopicName};

use crate::args::RunArgs;
use crate::load::Load;

/// A topic made for one run.
pub(crate) struct Target {
    pub(crate) topic: Topic,
    client: Client,
    config: ClientConfig,
}

/// One connection, and the partitions that it serves.
pub(crate) struct Lane {
    pub(crate) connection: Connection,
    pub(crate) partitions: Vec<u32>,
}

impl Target {
    /// Makes the topic, and waits until all its partitions have a leader.
    pub(crate) async fn prepare(args: &RunArgs, load: &Load) -> Result<Self> {
        let mut config = ClientConfig::new(args.bootstrap_server.split(','));
        config.client_id = "plimsoll-loadgen".to_owned();
        config.max_in_flight = load.in_flight;
        config.unknown_topic_grace = Duration::from_secs(10);
        let client = Client::connect(config.clone()).await.context("connect")?;
        let name = format!("loadgen-{}-{}", load.scenario.name(), std::process::id());
        let mut new = NewTopic::new(&name);
        new.partitions = Some(load.partitions);
        new.replication_factor = args.replication_factor;
        if let Some(durability) = args.durability {
            new.configs
                .push(("durability".to_owned(), durability.value().to_owned()));
        }
        let made = Admin::new(client.clone()).create_topic(&new, false).await;
        made.with_context(|| format!("create the topic {name}"))?;
        let topic = client
            .topic(&TopicName::new(&name)?)
            .await
            .context("find the topic")?;
        ensure!(
            topic
                .partitions
                .iter()
                .all(|partition| partition.leader.is_some()),
            "a partition of {name} has no leader"
        );
        Ok(Self {
            topic,
            client,
            config,
        })
    }

    /// `connections` of them, dealt out to the leaders in turn, with all partitions of a leader
    /// dealt out to its connections.
    pub(crate) async fn lanes(&self, connections: usize) -> Result<Vec<Lane>> {
        let mut led: BTreeMap<NodeId, Vec<u32>> = BTreeMap::new();
        for partition in &self.topic.partitions {
            let leader = partition.leader.context("a partition without a leader")?;
            led.entry(leader).or_default().push(partition.index);
        }
        let led: Vec<_> = led.into_iter().collect();
        let mut lanes = Vec::with_capacity(connections);
        for nth in 0..connections.max(led.len()) {
            let (leader, partitions) = &led[nth % led.len()];
            let of_leader = connections.max(led.len()).div_ceil(led.len());
            let partitions = share(partitions, nth / led.len(), of_leader);
            lanes.push(Lane {
                connection: self.open(*leader).await?,
                partitions,
            });
        }
        Ok(lanes)
    }

    async fn open(&self, node: NodeId) -> Result<Connection> {
        let known = self.client.known();
        let node = known
            .nodes
            .get(&node)
            .with_context(|| format!("node {node} is unknown"))?;
        let address = node.address();
        let opened = Connection::open(&address, &self.config).await;
        opened.with_context(|| format!("connect to {address}"))
    }

    /// Deletes the topic.
    pub(crate) async fn clean_up(&self) -> Result<()> {
        let admin = Admin::new(self.client.clone());
        Ok(admin.delete_topic(self.topic.name.as_str()).await?)
    }
}

/// The `nth` of `shares` parts of `all`; with more shares than members, one member each.
fn share(all: &[u32], nth: usize, shares: usize) -> Vec<u32> {
    let mine: Vec<u32> = all
        .iter()
        .copied()
        .skip(nth % shares)
        .step_by(shares)
        .collect();
    if mine.is_empty() {
        vec![all[nth % all.len()]]
    } else {
        mine
    }
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn shares_cover_all_and_do_not_overlap() {
        let all = [1, 2, 3, 4, 5];
        let mut together: Vec<u32> = (0..2).flat_map(|nth| share(&all, nth, 2)).collect();
        together.sort_unstable();
        assert_eq!(together, all);
    }

    #[test]
    fn with_more_connections_than_partitions_each_has_one() {
        assert!((0..5).all(|nth| share(&[7, 8], nth, 5).len() == 1));
    }
}
