//! `/livez`, `/readyz` and `/healthz`. Kept apart: a node that recovers is alive and not ready, and whoever
//! restarts it for not being ready makes it recover for ever. A node whose metadata log has stopped
//! is alive and not ready either: it serves what it has, and its operator has a disk to look at.

use crate::admin::{Admin, Gate};
use crate::problem::Problem;
use crate::v1::status::VerdictView;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use plimsoll_health::Level;
use serde::Serialize;
use std::sync::Arc;

#[derive(Serialize)]
pub(crate) struct Live {
    schema: u32,
    live: bool,
    /// Loops that are silent for too long.
    stalled: Vec<String>,
}

pub(crate) async fn livez(State(admin): State<Arc<Admin>>) -> (StatusCode, Json<Live>) {
    let stalled = admin.stalled();
    let live = stalled.is_empty();
    let body = Live {
        schema: 1,
        live,
        stalled,
    };
    (status(live), Json(body))
}

#[derive(Serialize)]
pub(crate) struct Ready {
    schema: u32,
    ready: bool,
    gates: Vec<Gate>,
}

pub(crate) async fn readyz(State(admin): State<Arc<Admin>>) -> (StatusCode, Json<Ready>) {
    let gates = admin.gates();
    let ready = gates.iter().all(|gate| gate.open);
    let body = Ready {
        schema: 1,
        ready,
        gates,
    };
    (status(ready), Json(body))
}

#[derive(Serialize)]
pub(crate) struct Health {
    schema: u32,
    #[serde(flatten)]
    verdict: VerdictView,
}

/// The cluster's verdict. It is no reason to restart this node: the status is that of an error only
/// where something is not served, or nothing is known.
pub(crate) async fn healthz(
    State(admin): State<Arc<Admin>>,
) -> Result<(StatusCode, Json<Health>), Problem> {
    let verdict = admin.cluster_verdict().await?;
    let served = matches!(verdict.level, Level::Ok | Level::Degraded);
    let body = Health {
        schema: 1,
        verdict: VerdictView::of(&verdict),
    };
    Ok((status(served), Json(body)))
}

const fn status(good: bool) -> StatusCode {
    if good {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}
