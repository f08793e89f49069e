//! A Plimsoll node: configuration, start and stop, and the `plimsoll` program's own verbs.
//!
//! Composition only. What a request means, how a log is kept, how sockets are served is in the
//! other crates; this one alone holds defaults, reads the environment, and decides the order in
//! which things begin and end.
//!
//! For tests there is [`Broker::ephemeral`], a real node inside the test's process:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let broker = plimsoll::Broker::ephemeral().await?;
//! println!("point any Kafka client at {}", broker.bootstrap());
//! # Ok(())
//! # }
//! ```

mod address;
pub mod args;
mod cluster;
pub mod config;
mod descriptors;
mod dev;
mod dev_cluster;
mod ephemeral;
mod flip;
mod formation;
mod home;
mod http;
mod logging;
mod maintenance;
mod metrics;
mod node;
mod panics;
mod peers;
mod report;
mod run;
mod signals;
mod sim;
mod temporary;
pub mod usage;

pub use dev::dev;
pub use dev_cluster::{DevCluster, DevNode, Ways};
pub use ephemeral::{Broker, StartError};
pub use run::serve;
pub use sim::sim;
