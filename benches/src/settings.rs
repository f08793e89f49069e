//! One criterion setting for all benches.
//!
//! Modest on purpose: the whole of `cargo bench -p plimsoll-benches` takes some minutes. For a
//! figure to keep, ask criterion for more (`-- --measurement-time 10 --sample-size 100`).

use std::time::Duration;

use criterion::{BenchmarkId, Criterion};

/// Settings of every bench here; criterion's own flags override them.
#[must_use]
pub fn modest() -> Criterion {
    Criterion::default()
        .sample_size(15)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1_200))
}

/// `parameter/value` of ours, or `parameter_rival/value`.
#[must_use]
pub fn id(parameter: &str, rival: &str, value: impl std::fmt::Display) -> BenchmarkId {
    if rival.is_empty() {
        BenchmarkId::new(parameter, value)
    } else {
        BenchmarkId::new(format!("{parameter}_{rival}"), value)
    }
}
