//! `/v1/nodes/{node}/can-stop`, and orders: `POST /v1/nodes/{node}/drain|resume|decommission` and
//! `POST /v1/chaos/{kill|restart|cut|heal|slow-disk|fill-disk|mend-disk|flip-bit}/{node}`, with
//! `?ms=` for how slow, and `?partition=TOPIC/PARTITION` for where to flip a bit.
//!
//! Orders must carry the header `X-Plimsoll-Request`, which a page of another origin cannot send
//! without being allowed to; nobody is.

use std::collections::HashSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use plimsoll_types::NodeId;
use serde::Serialize;

use super::SCHEMA;
use crate::admin::Admin;
use crate::cluster::Gathered;
use crate::orders::{Details, Order, Orders};
use crate::problem::Problem;

const HEADER: &str = "x-plimsoll-request";

#[derive(Serialize)]
pub(crate) struct CanStop {
    schema: u32,
    node: u32,
    can_stop: bool,
    /// Partitions that would have no leader, or take no acks=all writes, without it.
    partitions: Vec<String>,
    reason: String,
}

pub(crate) async fn can_stop(
    State(admin): State<Arc<Admin>>,
    Path(node): Path<String>,
) -> Result<Json<CanStop>, Problem> {
    let gathered = admin.gathered().await?;
    let id = node_id(&node)?;
    gathered.image.node(id).ok_or_else(|| missing(&node))?;
    let partitions = endangered(&gathered, id);
    let reason = match partitions.len() {
        0 => format!("every partition goes on without node {id}"),
        1 => format!("a partition would not go on without node {id}"),
        many => format!("{many} partitions would not go on without node {id}"),
    };
    Ok(Json(CanStop {
        schema: SCHEMA,
        node: id.get(),
        can_stop: partitions.is_empty(),
        partitions,
        reason,
    }))
}

/// What would not be served without `node`. Others count only if they are in sync in fact: one
/// whose link was lost just now is still in the ISR.
fn endangered(gathered: &Gathered, node: NodeId) -> Vec<String> {
    let well = gathered.rows.iter().filter(|row| row.state.is_well());
    let well: HashSet<_> = well
        .map(|row| (row.topic.as_str(), row.partition, row.node))
        .collect();
    let image = &gathered.image;
    let names = image.partitions_on(node).filter_map(|key| {
        let partition = image.partition_by_key(key)?;
        let topic = image.topic_by_id(key.topic)?;
        let others = partition.isr.iter().filter(|id| **id != node);
        let is_well = |id: &&NodeId| well.contains(&(topic.name.as_str(), key.index, id.get()));
        let left = others.filter(is_well).count();
        let goes_on = left > 0 && left >= image.min_isr(key);
        // One that stands still anyway is not stopped by it, unless it waits for this very node.
        let matters = partition.isr.contains(&node);
        (!goes_on && matters).then(|| format!("{}/{}", topic.name, key.index))
    });
    names.collect()
}

#[derive(Serialize)]
pub(crate) struct Done {
    schema: u32,
    node: u32,
    order: String,
    done: String,
}

pub(crate) async fn order(
    State(admin): State<Arc<Admin>>,
    Path((node, word)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Json<Done>, Problem> {
    let order = Order::operators(&word).ok_or_else(|| no_order(&word))?;
    let absent = "this node does not carry out orders";
    let done = carry_out(admin.operator(), absent, order, &word, &node, &headers).await;
    admin.gather_anew();
    done
}

pub(crate) async fn chaos(
    State(admin): State<Arc<Admin>>,
    Path((word, node)): Path<(String, String)>,
    Query(details): Query<Details>,
    headers: HeaderMap,
) -> Result<Json<Done>, Problem> {
    let order = Order::chaos(&word, details).ok_or_else(|| no_order(&word))?;
    let absent = "only a cluster to play with (plimsoll dev) does this";
    let done = carry_out(admin.chaos(), absent, order, &word, &node, &headers).await;
    admin.gather_anew();
    done
}

async fn carry_out(
    orders: Option<&Arc<dyn Orders>>,
    absent: &str,
    order: Order,
    word: &str,
    node: &str,
    headers: &HeaderMap,
) -> Result<Json<Done>, Problem> {
    if !headers.contains_key(HEADER) {
        return Err(Problem::BadRequest {
            what: format!("orders carry the header {HEADER}"),
        });
    }
    let id = node_id(node)?;
    let orders = orders.ok_or_else(|| Problem::Refused {
        why: absent.to_owned(),
    })?;
    let done = orders.carry_out(order, id).await;
    let done = done.map_err(|why| Problem::Refused { why })?;
    Ok(Json(Done {
        schema: SCHEMA,
        node: id.get(),
        order: word.to_owned(),
        done,
    }))
}

fn node_id(text: &str) -> Result<NodeId, Problem> {
    let id = text.parse().ok().and_then(NodeId::new);
    id.ok_or_else(|| missing(text))
}

fn missing(node: &str) -> Problem {
    let what = format!("node {node}");
    Problem::NotFound { what }
}

fn no_order(word: &str) -> Problem {
    let what = format!("order {word}");
    Problem::NotFound { what }
}
