//! What a node knows of its cluster without asking anybody.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_broker::{Broker, LookupError, Trust};
use plimsoll_controller::Image;
use plimsoll_health::{Cause, Diagnosis, QuorumFacts, ReplicaState};
use plimsoll_replicator::{Recorded, ReplicaStatus};
use plimsoll_types::{Monotonic, NodeId, Offset, PartitionKey, Timestamp};

/// One node's knowledge: the broker's, or a test's.
pub trait ClusterView: Send + Sync {
    /// Which node.
    fn node(&self) -> NodeId;

    /// What the cluster is called.
    fn cluster_id(&self) -> String;

    /// The newest metadata here.
    fn image(&self) -> Arc<Image>;

    /// What is known about the controllers.
    fn quorum(&self) -> QuorumFacts;

    /// Why the metadata cannot be changed through this node any more, if so.
    fn stopped(&self) -> Option<Arc<str>>;

    /// Whether no controller has answered this node for so long that others may lead in its place.
    fn is_self_fenced(&self) -> bool;

    /// Whether all logs were opened, or found not to open.
    fn is_recovered(&self) -> bool;

    /// The replicas here, and the followers of those that lead. May block, shortly.
    fn statuses(&self, now: Monotonic) -> Vec<ReplicaStatus>;

    /// What happened to the replica here since `since`, oldest first, before this process began
    /// too; `clock` is the wall clock's reading at a monotonic one. May block, shortly.
    fn history(
        &self,
        key: PartitionKey,
        since: Timestamp,
        clock: (Timestamp, Monotonic),
    ) -> Vec<Recorded>;

    /// What replication counted, by name.
    fn counters(&self) -> Vec<(&'static str, u64)>;
}

/// A voter that its leader has not heard of for so long does not keep up.
const VOTER_SILENT: Duration = Duration::from_secs(3);

impl ClusterView for Broker {
    fn node(&self) -> NodeId {
        self.config().node
    }

    fn cluster_id(&self) -> String {
        self.config().cluster_id.clone()
    }

    fn image(&self) -> Arc<Image> {
        Self::image(self)
    }

    fn quorum(&self) -> QuorumFacts {
        let status = self.quorum_status();
        let voters = status.voters.len();
        let current = match status.leader {
            None => 0,
            Some(leader) if leader == status.me => {
                let others = status.progress.iter().filter(|(node, _, heard)| {
                    let heard = heard.is_some_and(|age| age < VOTER_SILENT);
                    *node != status.me && heard && status.voters.contains_key(node)
                });
                1 + others.count()
            }
            // Only who leads knows; the leader's own report tells.
            Some(_) => voters,
        };
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        QuorumFacts {
            leader: status.leader,
            voters: count(voters),
            current: count(current),
        }
    }

    fn stopped(&self) -> Option<Arc<str>> {
        self.metadata_stopped()
    }

    fn is_self_fenced(&self) -> bool {
        self.trust() == Trust::None
    }

    fn is_recovered(&self) -> bool {
        Self::is_recovered(self)
    }

    fn statuses(&self, now: Monotonic) -> Vec<ReplicaStatus> {
        let mut rows = self
            .replicas()
            .map_or_else(Vec::new, |replicas| replicas.statuses(now));
        let me = self.config().node;
        let own = rows.iter().filter(|row| row.node == me);
        let told: HashSet<PartitionKey> = own.map(|row| row.key).collect();
        let hosted = hosted(self).into_iter();
        rows.extend(hosted.filter(|row| !told.contains(&row.key)));
        rows
    }

    fn history(
        &self,
        key: PartitionKey,
        since: Timestamp,
        clock: (Timestamp, Monotonic),
    ) -> Vec<Recorded> {
        self.replicas()
            .map_or_else(Vec::new, |replicas| replicas.recorded(key, since, clock))
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        self.replicas()
            .map_or_else(Vec::new, |replicas| replicas.counters().rows())
    }
}

/// The replicas of this node by its catalog; replication does not know those that are not open,
/// and knows none where the node is alone.
fn hosted(broker: &Broker) -> Vec<ReplicaStatus> {
    let (image, me) = (broker.image(), broker.config().node);
    let mut rows = Vec::new();
    for key in image.partitions_on(me) {
        let Some(partition) = image.partition_by_key(key) else {
            continue;
        };
        let hosted = broker.catalog().topic_by_id(key.topic);
        let here = match (&hosted, i32::try_from(key.index)) {
            (Some(topic), Ok(index)) => topic.partition(index),
            _ => Err(LookupError::NotHere),
        };
        let (state, cause, evidence, action);
        let mut ends = [Offset::new(0); 4];
        let in_isr = partition.isr.contains(&me);
        let offline = match here {
            Ok(partition) => {
                let now = partition.describe();
                ends = [
                    now.log_start,
                    now.log_end,
                    now.durable_end,
                    now.high_watermark,
                ];
                now.offline.map(|why| why.to_string())
            }
            Err(LookupError::Offline { why }) => Some(why.to_string()),
            // Being opened, or the topic was created only now: what fails to open is offline.
            Err(_) => None,
        };
        if let Some(why) = offline {
            (state, cause) = (ReplicaState::Offline, Some(Cause::IoError));
            evidence = why;
            action = "opening it again and again; it is read in full before it is used";
        } else if !broker.is_recovered() && ends[1] == Offset::new(0) {
            (state, cause) = (ReplicaState::CatchingUp, Some(Cause::CatchingUp));
            evidence = "the node reads its logs after its start".to_owned();
            action = "opening it";
        } else if partition.leader == Some(me) || in_isr {
            let leads = partition.leader == Some(me);
            state = if leads {
                ReplicaState::Leader
            } else {
                ReplicaState::InSync
            };
            (cause, evidence, action) = (None, String::new(), "");
        } else {
            (state, cause) = (ReplicaState::CatchingUp, Some(Cause::CatchingUp));
            (evidence, action) = (String::new(), "copying from the leader");
        }
        let [log_start, log_end, durable_end, high_watermark] = ends;
        rows.push(ReplicaStatus {
            key,
            node: me,
            leader: partition.leader,
            leader_epoch: partition.leader_epoch,
            log_start,
            log_end,
            durable_end,
            high_watermark,
            behind: 0,
            in_isr,
            lag: None,
            verified_end: None,
            diagnosis: Diagnosis {
                state,
                cause,
                evidence,
                action: action.to_owned(),
                next_attempt: None,
                estimate: None,
                advice: None,
            },
        });
    }
    rows
}
