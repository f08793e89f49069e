//! Routes, and the loop that serves them.

use crate::admin::Admin;
use crate::listener::{BoundedListener, Bounds};
use crate::problem::Problem;
use crate::{health, metrics, v1};
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use std::future::Future;
use std::io;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Answers HTTP on `listener` until `stop` is ready and the answers under way are sent.
///
/// # Errors
/// The listener's.
pub async fn serve(
    admin: Arc<Admin>,
    listener: TcpListener,
    bounds: Bounds,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let listener = BoundedListener::new(listener, bounds);
    axum::serve(listener, router(admin, bounds))
        .with_graceful_shutdown(stop)
        .await
}

pub(crate) fn router(admin: Arc<Admin>, bounds: Bounds) -> Router {
    Router::new()
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/healthz", get(health::healthz))
        .route("/metrics", get(metrics::handle))
        .route("/v1/cluster", get(v1::cluster::show))
        .route("/v1/topics", get(v1::topics::list))
        .route("/v1/topics/{topic}", get(v1::topics::show))
        .route("/v1/partitions", get(v1::partitions::list))
        .route("/v1/status", get(v1::status::show))
        .route("/v1/doctor", get(v1::status::doctor))
        .route("/v1/replicas", get(v1::replicas::list))
        .route(
            "/v1/partitions/{topic}/{partition}/history",
            get(v1::history::show),
        )
        .route("/v1/nodes/{node}/can-stop", get(v1::nodes::can_stop))
        .route("/v1/nodes/{node}/{order}", post(v1::nodes::order))
        .route("/v1/chaos/{order}/{node}", post(v1::nodes::chaos))
        .route("/v1/groups", get(v1::groups::list))
        .route("/v1/groups/{group}", get(v1::groups::show))
        .fallback(no_such_path)
        .method_not_allowed_fallback(|| async { Problem::MethodNotAllowed })
        .layer(from_fn_with_state(bounds, in_time))
        .with_state(admin)
}

async fn no_such_path(request: Request) -> Problem {
    let what = format!("path {}", request.uri().path());
    Problem::NotFound { what }
}

/// Gives up on an answer that takes too long.
async fn in_time(State(bounds): State<Bounds>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(bounds.max_answer, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::TimedOut.into_response(),
    }
}
