//! Asking the other nodes, and answering them. Questions and answers are JSON.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use plimsoll_broker::{Broker, PeerError};
use plimsoll_types::{NodeId, PartitionKey, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::sighting::Report;
use crate::admin::Admin;
use crate::orders::{Order, Orders};

/// The way to the other nodes.
#[async_trait]
pub trait Colleagues: Send + Sync {
    /// The other nodes that can be asked.
    fn nodes(&self) -> Vec<NodeId>;

    /// One question, which [`Admin::answer_query`] answers there, and the answer to it.
    ///
    /// # Errors
    /// Why there is none, for people.
    async fn ask(&self, node: NodeId, query: Bytes) -> Result<Bytes, String>;
}

/// The broker's links.
pub(crate) struct Linked(pub(crate) Arc<Broker>);

#[async_trait]
impl Colleagues for Linked {
    fn nodes(&self) -> Vec<NodeId> {
        let me = self.0.config().node;
        let image = self.0.image();
        let nodes = image.nodes().map(|node| node.id);
        nodes.filter(|node| *node != me).collect()
    }

    async fn ask(&self, node: NodeId, query: Bytes) -> Result<Bytes, String> {
        let answer = self.0.ask(node, query, PATIENCE).await;
        answer.map_err(|error| match error {
            PeerError::Unreachable(why) | PeerError::Lost(why) => why,
            other => other.to_string(),
        })
    }
}

#[async_trait]
impl Orders for Linked {
    async fn carry_out(&self, order: Order, node: NodeId) -> Result<String, String> {
        if self.0.image().node(node).is_none() {
            return Err(format!("there is no node {node}"));
        }
        let (done, told) = match order {
            Order::Drain => (
                self.0.drain_node(node).await,
                format!("node {node} leads nothing, and is given nothing to lead"),
            ),
            Order::Resume => (
                self.0.resume_node(node).await,
                format!("node {node} may lead again"),
            ),
            Order::Decommission => (
                self.0.remove_node(node).await,
                format!("node {node} is out of the cluster"),
            ),
            // Those of `chaos`.
            _ => {
                return Err("this is no order to a node that is in use".to_owned());
            }
        };
        done.map(|()| told).map_err(|error| error.to_string())
    }
}

/// How long a node may take to answer; beyond it counts as silent.
const PATIENCE: Duration = Duration::from_millis(500);

/// A question to a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "query", rename_all = "snake_case")]
pub(crate) enum Asked {
    /// How are your replicas?
    Report,
    /// What happened to your replica of this partition?
    History {
        topic: String,
        partition: u32,
        since_ms: u64,
    },
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
enum Answered {
    Report(Report),
    History { events: Vec<EventView> },
    Failed { why: String },
}

/// Something that happened to a replica.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct EventView {
    /// When, in milliseconds since 1970, by that node's clock.
    pub(crate) at_ms: i64,
    pub(crate) node: u32,
    pub(crate) leader_epoch: u32,
    pub(crate) high_watermark: u64,
    pub(crate) log_end: u64,
    pub(crate) what: String,
}

impl Admin {
    /// Answers what another node asks. May block, shortly.
    #[must_use]
    pub fn answer_query(&self, query: &[u8]) -> Bytes {
        let answer = match serde_json::from_slice(query) {
            Ok(asked) => self.answer(&asked),
            Err(error) => Answered::Failed {
                why: format!("the question was not understood: {error}"),
            },
        };
        // Nothing in it can fail to be written down; if it did, the asker would be told nothing.
        serde_json::to_vec(&answer).unwrap_or_default().into()
    }

    fn answer(&self, asked: &Asked) -> Answered {
        match (self.view(), asked) {
            (None, _) => Answered::Failed {
                why: "the node is starting".to_owned(),
            },
            (Some(_), Asked::Report) => match self.own_report() {
                Some(report) => Answered::Report(report),
                None => Answered::Failed {
                    why: "the node is starting".to_owned(),
                },
            },
            (
                Some(_),
                Asked::History {
                    topic,
                    partition,
                    since_ms,
                },
            ) => Answered::History {
                events: self.own_history(topic, *partition, Duration::from_millis(*since_ms)),
            },
        }
    }

    /// What this node says of itself and its followers.
    pub(crate) fn own_report(&self) -> Option<Report> {
        let view = self.view()?;
        Some(Report::of(view.as_ref(), self.now()))
    }

    /// What happened here in the last `span`.
    pub(crate) fn own_history(
        &self,
        topic: &str,
        partition: u32,
        span: Duration,
    ) -> Vec<EventView> {
        let Some(view) = self.view() else {
            return Vec::new();
        };
        let image = view.image();
        let Some(topic) = image.topic(topic) else {
            return Vec::new();
        };
        let key = PartitionKey {
            topic: topic.id,
            index: partition,
        };
        let (now, wall) = (self.now(), self.wall());
        let span = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        let since = Timestamp::from_millis(wall.as_millis().saturating_sub(span));
        let events = view.history(key, since, (wall, now)).into_iter();
        let views = events.map(|event| EventView {
            at_ms: event.at.as_millis(),
            node: view.node().get(),
            leader_epoch: event.leader_epoch.get(),
            high_watermark: event.high_watermark.get(),
            log_end: event.log_end.get(),
            what: event.what,
        });
        views.collect()
    }
}

/// Asks `node` how it is.
pub(crate) async fn ask_report(
    colleagues: &Arc<dyn Colleagues>,
    node: NodeId,
) -> Result<Report, String> {
    match ask(colleagues, node, &Asked::Report).await? {
        Answered::Report(report) => Ok(report),
        other => Err(astray(other)),
    }
}

/// Asks `node` what happened to a replica of it.
pub(crate) async fn ask_history(
    colleagues: &Arc<dyn Colleagues>,
    node: NodeId,
    asked: &Asked,
) -> Result<Vec<EventView>, String> {
    match ask(colleagues, node, asked).await? {
        Answered::History { events } => Ok(events),
        other => Err(astray(other)),
    }
}

async fn ask<T: DeserializeOwned>(
    colleagues: &Arc<dyn Colleagues>,
    node: NodeId,
    asked: &Asked,
) -> Result<T, String> {
    let query = serde_json::to_vec(asked).map_err(|error| error.to_string())?;
    let answer = colleagues.ask(node, query.into());
    let answer = tokio::time::timeout(PATIENCE, answer)
        .await
        .map_err(|_| format!("no answer within {} ms", PATIENCE.as_millis()))??;
    serde_json::from_slice(&answer)
        .map_err(|error| format!("its answer was not understood: {error}"))
}

fn astray(answer: Answered) -> String {
    match answer {
        Answered::Failed { why } => why,
        _ => "it answered another question".to_owned(),
    }
}
