//! `/v1/groups` and `/v1/groups/{group}`: consumer groups, their members and how far they are.

use super::{SCHEMA, broker};
use crate::admin::Admin;
use crate::problem::Problem;
use axum::Json;
use axum::extract::{Path, State};
use plimsoll_broker::Broker;
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Arc;

#[derive(Serialize)]
pub(crate) struct Groups {
    schema: u32,
    /// Whether every group is in the list; false while some are still being read.
    complete: bool,
    groups: Vec<Summary>,
}

#[derive(Serialize)]
pub(crate) struct Summary {
    group: String,
    /// As Kafka calls it: `Empty`, `PreparingRebalance`, `CompletingRebalance`, `Stable`, `Dead`.
    state: String,
    protocol_type: String,
    pub(crate) members: usize,
    /// Records between what is committed and the high watermarks, of all partitions.
    lag_records: u64,
}

#[derive(Serialize)]
pub(crate) struct Shown {
    schema: u32,
    #[serde(flatten)]
    summary: Summary,
    protocol: String,
    generation: i32,
    member_list: Vec<Member>,
    offsets: Vec<CommittedView>,
}

#[derive(Serialize)]
struct Member {
    member_id: String,
    instance_id: Option<String>,
    client_id: String,
    client_host: String,
}

/// What a group committed for one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct CommittedView {
    pub(crate) topic: String,
    pub(crate) partition: u32,
    /// The next offset to read.
    pub(crate) committed: u64,
    /// Absent when the partition is not here or offline.
    pub(crate) high_watermark: Option<u64>,
    pub(crate) lag_records: Option<u64>,
    metadata: String,
    committed_at_ms: i64,
}

pub(crate) async fn list(State(admin): State<Arc<Admin>>) -> Result<Json<Groups>, Problem> {
    let broker = broker(&admin)?;
    let (complete, groups) = summaries(broker);
    let schema = SCHEMA;
    Ok(Json(Groups {
        schema,
        complete,
        groups,
    }))
}

pub(crate) async fn show(
    State(admin): State<Arc<Admin>>,
    Path(group): Path<String>,
) -> Result<Json<Shown>, Problem> {
    let broker = broker(&admin)?;
    let Ok(described) = broker.groups().describe(&group) else {
        let (_, loading) = broker.groups().list(&Default::default());
        let what = format!("group {group}");
        return Err(match loading {
            Some(_) => Problem::Loading { what },
            None => Problem::NotFound { what },
        });
    };
    let offsets = committed(broker, &group);
    let members = described.members.into_iter().map(|member| Member {
        member_id: member.member.to_string(),
        instance_id: member.instance.map(|instance| instance.to_string()),
        client_id: member.client_id.to_string(),
        client_host: member.client_host.to_string(),
    });
    let member_list: Vec<_> = members.collect();
    Ok(Json(Shown {
        schema: SCHEMA,
        summary: Summary {
            group,
            state: described.state.to_string(),
            protocol_type: described.protocol_type.to_string(),
            members: member_list.len(),
            lag_records: lag(&offsets),
        },
        protocol: described.protocol.to_string(),
        generation: described.generation,
        member_list,
        offsets,
    }))
}

/// Every group by name, and whether that is all there are.
pub(crate) fn summaries(broker: &Broker) -> (bool, Vec<Summary>) {
    let (listed, loading) = broker.groups().list(&Default::default());
    let mut groups: Vec<_> = listed
        .into_iter()
        .map(|group| Summary {
            members: broker
                .groups()
                .describe(&group.group)
                .map_or(0, |d| d.members.len()),
            lag_records: lag(&committed(broker, &group.group)),
            state: group.state.to_string(),
            protocol_type: group.protocol_type.to_string(),
            group: group.group.to_string(),
        })
        .collect();
    groups.sort_unstable_by(|a, b| a.group.cmp(&b.group));
    (loading.is_none(), groups)
}

/// What `group` committed, by topic and partition.
pub(crate) fn committed(broker: &Broker, group: &str) -> Vec<CommittedView> {
    let held = broker.groups().committed(group).unwrap_or_default();
    let views = held.into_iter().map(|(topic, partition, held)| {
        let index = i32::try_from(partition).unwrap_or(i32::MAX);
        let hosted = broker.catalog().partition(topic.as_str(), index).ok();
        let high_watermark = hosted.map(|hosted| hosted.describe().high_watermark);
        CommittedView {
            topic: topic.to_string(),
            partition,
            committed: held.offset.get(),
            high_watermark: high_watermark.map(|end| end.get()),
            lag_records: high_watermark.map(|end| end.since(held.offset)),
            metadata: held.metadata.to_string(),
            committed_at_ms: held.committed_at.as_millis(),
        }
    });
    let mut views: Vec<_> = views.collect();
    views.sort_unstable_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    views
}

/// The high watermarks of the partitions that groups have committed offsets of.
pub(crate) fn marks(broker: &Broker) -> Vec<((String, u32), u64)> {
    let (listed, _) = broker.groups().list(&Default::default());
    let mut marks = HashMap::new();
    for group in listed {
        for offset in committed(broker, &group.group) {
            if let Some(high_watermark) = offset.high_watermark {
                marks.insert((offset.topic, offset.partition), high_watermark);
            }
        }
    }
    marks.into_iter().collect()
}

fn lag(offsets: &[CommittedView]) -> u64 {
    offsets.iter().filter_map(|offset| offset.lag_records).sum()
}

impl Summary {
    pub(crate) fn name(&self) -> &str {
        &self.group
    }
}
