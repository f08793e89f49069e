//! `/v1/replicas[?unhealthy=true][&topic=name]`: every replica of the cluster, and what is wrong
//! with it.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};

use super::SCHEMA;
use super::status::Informed;
use crate::admin::Admin;
use crate::cluster::Row;
use crate::problem::Problem;

#[derive(Deserialize)]
pub(crate) struct Selection {
    /// `?unhealthy`, `?unhealthy=1` and `?unhealthy=true` ask for those that are not well.
    unhealthy: Option<String>,
    topic: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct Replicas {
    schema: u32,
    /// The cluster's; see `/v1/doctor`.
    verdict: &'static str,
    #[serde(flatten)]
    informed: Informed,
    replicas: Vec<Row>,
}

pub(crate) async fn list(
    State(admin): State<Arc<Admin>>,
    Query(selection): Query<Selection>,
) -> Result<Json<Replicas>, Problem> {
    let gathered = admin.gathered().await?;
    let asked = selection.unhealthy.as_deref();
    let all = asked.is_none_or(|word| matches!(word, "0" | "false"));
    let wanted = |row: &&Row| {
        let topic = selection.topic.as_ref();
        (all || !row.is_well()) && topic.is_none_or(|topic| *topic == row.topic)
    };
    Ok(Json(Replicas {
        schema: SCHEMA,
        verdict: gathered.verdict.level.as_str(),
        informed: Informed::of(&gathered),
        replicas: gathered.rows.iter().filter(wanted).cloned().collect(),
    }))
}
