//! The nodes, and what their disks hold.

use plimsoll_types::{NodeId, TopicPartition};
use plimsoll_wire::ApiKey;
use plimsoll_wire::describe_cluster::DescribeClusterRequest;
use plimsoll_wire::describe_log_dirs::{DescribeLogDirsRequest, DescribeLogDirsResult};

use super::Admin;
use crate::error::check;
use crate::offsets::topic_partition;
use crate::{ClientError, Lane, metadata};

/// The cluster and its nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterDescription {
    /// Its id.
    pub cluster_id: String,
    /// The node that decides about it.
    pub controller: Option<NodeId>,
    /// Its nodes.
    pub nodes: Vec<ClusterNode>,
}

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterNode {
    /// Its id.
    pub id: NodeId,
    /// Where clients reach it.
    pub address: String,
    /// Its rack, if it was given one.
    pub rack: Option<String>,
    /// Whether it is fenced.
    pub is_fenced: bool,
}

/// One directory of a node's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDir {
    /// Its path.
    pub path: String,
    /// The size of its file system, if told.
    pub total_bytes: Option<u64>,
    /// What is free of it, if told.
    pub usable_bytes: Option<u64>,
    /// The partitions in it.
    pub partitions: Vec<LogDirPartition>,
}

/// A partition on a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDirPartition {
    /// Which.
    pub partition: TopicPartition,
    /// How large it is.
    pub bytes: u64,
    /// How many records it is behind its high watermark.
    pub behind: u64,
}

impl Admin {
    /// The cluster and its nodes, those that are fenced too where the cluster tells of them.
    ///
    /// # Errors
    /// When no broker answers.
    pub async fn cluster(&self) -> Result<ClusterDescription, ClientError> {
        let api = ApiKey::DescribeCluster;
        let request = DescribeClusterRequest {
            include_fenced_brokers: true,
            ..DescribeClusterRequest::default()
        };
        let answer = self.client.ask_any(request).await?;
        let message = answer.error_message.as_ref();
        check(api, answer.error_code, message, || "the cluster".to_owned())?;
        let mut nodes = Vec::new();
        for broker in &answer.brokers {
            let what = "a node's id or port is none";
            let nonsense = || ClientError::Nonsense { api, what };
            let port = u16::try_from(broker.port).map_err(|_| nonsense())?;
            nodes.push(ClusterNode {
                id: NodeId::from_wire(broker.broker_id).ok_or_else(nonsense)?,
                address: metadata::address(&broker.host, port),
                rack: broker.rack.as_ref().map(ToString::to_string),
                is_fenced: broker.is_fenced,
            });
        }
        Ok(ClusterDescription {
            cluster_id: answer.cluster_id.to_string(),
            controller: NodeId::from_wire(answer.controller_id),
            nodes,
        })
    }

    /// What a node's disks hold.
    ///
    /// # Errors
    /// When the node is not known, or does not answer.
    pub async fn log_dirs(&self, node: NodeId) -> Result<Vec<LogDir>, ClientError> {
        let connection = self.client.node(node, Lane::Requests).await?;
        let all = DescribeLogDirsRequest { topics: None };
        let answer = connection.ask(all).await?;
        let subject = || format!("disks of node {node}");
        check(ApiKey::DescribeLogDirs, answer.error_code, None, subject)?;
        answer.results.iter().map(log_dir).collect()
    }
}

fn log_dir(dir: &DescribeLogDirsResult) -> Result<LogDir, ClientError> {
    let api = ApiKey::DescribeLogDirs;
    check(api, dir.error_code, None, || dir.log_dir.to_string())?;
    let mut partitions = Vec::new();
    for topic in &dir.topics {
        for partition in &topic.partitions {
            let what = "it names a partition that cannot be one";
            let name = topic_partition(&topic.name, partition.partition_index);
            partitions.push(LogDirPartition {
                partition: name.ok_or(ClientError::Nonsense { api, what })?,
                bytes: u64::try_from(partition.partition_size).unwrap_or(0),
                behind: u64::try_from(partition.offset_lag).unwrap_or(0),
            });
        }
    }
    Ok(LogDir {
        path: dir.log_dir.to_string(),
        total_bytes: u64::try_from(dir.total_bytes).ok(),
        usable_bytes: u64::try_from(dir.usable_bytes).ok(),
        partitions,
    })
}
