//! The node's HTTP side: health, metrics and a read-only JSON view of what the broker holds.
//!
//! | path | answers |
//! | --- | --- |
//! | `/livez` | whether this process's loops beat; true while logs are recovered |
//! | `/readyz` | whether this node may take traffic, with its gates and the recovery's progress |
//! | `/metrics` | OpenMetrics, read from the components' own counters at each scrape |
//! | `/v1/cluster`, `/v1/topics[/{topic}]`, `/v1/partitions`, `/v1/groups[/{group}]` | JSON, `"schema": 1` |
//!
//! [`serve()`] opens before there is a broker, so that a long recovery can be watched; the broker is
//! handed in when there is one ([`Admin::attach`]).
//!
//! Always: nothing here changes anything; connections, their time and the size of what they send
//! are bounded ([`Bounds`]), so that a flood of scrapes costs the broker nothing but these bounds.
//!
//! Not here: what is healthy for a cluster, authentication (the listener is on loopback unless the
//! operator says otherwise), files, the console.

mod admin;
mod health;
mod listener;
mod metrics;
mod problem;
mod serve;
mod v1;

pub use admin::{Admin, Build, Gate, Pulse};
pub use listener::Bounds;
pub use metrics::{Family, Kind, Sample, Source};
pub use serve::serve;
