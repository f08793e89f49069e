//! What the benches of the hot path share: rivals, fixtures, contention and settings.
//!
//! Benches are named `component_operation/parameter/value` and carry a throughput; contention is
//! the parameter. Beside each lock-free piece stand rivals that do the same job with a lock, as
//! `component_operation/parameter_rival/value`, so that a claim is a ratio within one run. The
//! load generator of `cargo xtask perf` is the binary `plimsoll-loadgen` of this package.

pub mod batches;
pub mod contention;
pub mod logs;
pub mod marks;
pub mod replicas;
pub mod settings;
pub mod waiting;
pub mod writers;
