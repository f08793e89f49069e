//! `/v1/partitions/{topic}/{partition}/history[?since=1h]`: what happened to its replicas.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};

use super::SCHEMA;
use crate::admin::Admin;
use crate::cluster::EventView;
use crate::problem::Problem;

/// How far back, if nobody says.
const HOUR: Duration = Duration::from_secs(3600);

#[derive(Deserialize)]
pub(crate) struct Since {
    since: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct History {
    schema: u32,
    topic: String,
    partition: u32,
    /// Oldest first.
    events: Vec<EventView>,
    /// Nodes that did not tell.
    silent: Vec<Silent>,
}

#[derive(Serialize)]
struct Silent {
    node: u32,
    reason: String,
}

pub(crate) async fn show(
    State(admin): State<Arc<Admin>>,
    Path((topic, partition)): Path<(String, String)>,
    Query(since): Query<Since>,
) -> Result<Json<History>, Problem> {
    let span = match since.since.as_deref() {
        None => HOUR,
        Some(text) => span(text).ok_or_else(|| Problem::BadRequest {
            what: format!("since={text}: not a span of time such as 90s, 30m, 2h, 1d"),
        })?,
    };
    let image = admin.view().ok_or(Problem::Starting)?.image();
    let missing = || Problem::NotFound {
        what: format!("partition {topic}/{partition}"),
    };
    let index: u32 = partition.parse().map_err(|_| missing())?;
    image.partition(&topic, index).ok_or_else(missing)?;
    let (events, silent) = admin.history(&topic, index, span).await;
    let silent = silent.into_iter();
    Ok(Json(History {
        schema: SCHEMA,
        topic,
        partition: index,
        events,
        silent: silent
            .map(|(node, reason)| Silent { node, reason })
            .collect(),
    }))
}

/// `90s`, `30m`, `2h`, `1d`; a number alone is seconds.
fn span(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..)? {
        "" | "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    let number: u64 = digits.parse().ok()?;
    Some(Duration::from_secs(number.checked_mul(unit)?))
}
