//! The node's HTTP side: health, metrics, a JSON view of node and cluster, and orders.
//!
//! | path | answers |
//! | --- | --- |
//! | `/livez` | whether this process's loops beat; true while logs are recovered |
//! | `/readyz` | whether this node may take traffic, with its gates and the recovery's progress |
//! | `/healthz` | the cluster's verdict, its reasons, and the age of what it rests on |
//! | `/metrics` | OpenMetrics, read from the components' own counters at each scrape |
//! | `/v1/cluster`, `/v1/topics[/{topic}]`, `/v1/partitions`, `/v1/groups[/{group}]` | JSON, `"schema": 1` |
//! | `/v1/status`, `/v1/doctor`, `/v1/replicas[?unhealthy]` | the cluster, asked of all its nodes |
//! | `/v1/partitions/{topic}/{partition}/history[?since=1h]` | the flight recorders of its replicas |
//! | `/v1/nodes/{node}/can-stop` | what would not go on without it |
//! | `POST /v1/nodes/{node}/{order}`, `POST /v1/chaos/{order}/{node}` | [`Order`]s |
//!
//! [`serve()`] opens before there is a broker, so that a long recovery can be watched; the broker is
//! handed in when there is one ([`Admin::attach`]).
//!
//! Always: what is read changes nothing; connections, their time and the size of what they send
//! are bounded ([`Bounds`]), so that a flood of scrapes costs the broker nothing but these bounds.
//!
//! Not here: authentication (the listener is on loopback unless the
//! operator says otherwise), files, the console.

mod admin;
mod cluster;
mod health;
mod listener;
mod metrics;
mod orders;
mod problem;
mod serve;
mod v1;
mod watch;

pub use admin::{Admin, Build, Gate, Pulse};
pub use cluster::{ClusterView, Colleagues};
pub use listener::Bounds;
pub use metrics::{Family, Kind, Sample, Source};
pub use orders::{Order, Orders};
pub use serve::serve;
