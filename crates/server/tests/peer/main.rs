//! The links between nodes, over loopback, with a stub for what they serve.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod calls;
mod hostile;
mod links;
mod node;
mod quorum;
