//! `/metrics`: OpenMetrics text, made at each scrape from what the components counted.
//!
//! Counters live where the counting is done and are only read here; nothing is kept between two
//! scrapes. One scrape runs at a time, off the runtime's threads: with ten thousand partitions its
//! text is megabytes.

mod broker;
mod cluster;
mod encode;
mod groups;
mod partitions;
mod replication;

use crate::admin::Admin;
use crate::problem::Problem;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::Arc;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Metrics of a component outside the broker; read at each scrape.
pub trait Source: Send + Sync {
    /// What it counted so far.
    fn families(&self) -> Vec<Family>;
}

/// One metric with all its labels' values.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// Its name without `_total`, as [`Kind::Counter`] adds that.
    pub name: &'static str,
    /// What it says, for people.
    pub help: &'static str,
    /// Whether it only grows.
    pub kind: Kind,
    /// Its values.
    pub samples: Vec<Sample>,
}

/// How a metric moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, from zero at the process's start.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Label names and values.
    pub labels: Vec<(&'static str, String)>,
    /// The value, in base units.
    pub value: f64,
}

pub(crate) async fn handle(State(admin): State<Arc<Admin>>) -> Result<Response, Problem> {
    let scrape = Arc::clone(&admin);
    // The permit travels along: a scraper that hangs up does not let the next one in early.
    let turn = admin.scrape_turn().await;
    let text = tokio::task::spawn_blocking(move || {
        let text = render(&scrape);
        drop(turn);
        text
    });
    let text = text
        .await
        .ok()
        .and_then(Result::ok)
        .ok_or(Problem::Metrics)?;
    Ok(([(CONTENT_TYPE, OPEN_METRICS)], text).into_response())
}

fn render(admin: &Arc<Admin>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape(Arc::clone(admin))));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

struct Scrape(Arc<Admin>);

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scrape")
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let admin = &self.0;
        encode::build(&mut encoder, admin.build)?;
        for source in admin.sources() {
            for family in source.families() {
                encode::family(&mut encoder, &family)?;
            }
        }
        let Some(broker) = admin.broker() else {
            return Ok(());
        };
        let counters = admin.view().map_or_else(Vec::new, |view| view.counters());
        let sightings = admin
            .own_report()
            .map_or_else(Vec::new, |own| own.sightings);
        let details = admin.partition_metrics;
        broker::encode(&mut encoder, broker, &counters)?;
        partitions::encode(&mut encoder, broker, &sightings, details)?;
        replication::encode(&mut encoder, broker, &sightings, &counters, details)?;
        cluster::encode(&mut encoder, admin, broker)?;
        groups::encode(&mut encoder, admin, broker, details)
    }
}
