//! What a run counts.

use std::time::Duration;

use hdrhistogram::Histogram;
use plimsoll_wire::ErrorCode;

/// Latencies from a microsecond to this are told apart to three digits; longer ones count as this.
const MAX_LATENCY: Duration = Duration::from_secs(120);

/// Latencies, in nanoseconds.
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(crate) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1_000, nanos(MAX_LATENCY), 3);
        Self(histogram.expect("the bounds are constants in order"))
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        self.0.saturating_record(nanos(latency));
    }

    fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("both have the same bounds");
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Microseconds that `percent` of the latencies do not exceed.
    pub(crate) fn micros_at(&self, percent: f64) -> f64 {
        as_micros(self.0.value_at_percentile(percent))
    }

    pub(crate) fn mean_micros(&self) -> f64 {
        self.0.mean() / 1e3
    }

    pub(crate) fn max_micros(&self) -> f64 {
        as_micros(self.0.max())
    }
}

/// What was counted within the measured time.
pub(crate) struct Tally {
    /// Requests answered without an error.
    pub(crate) requests: u64,
    /// Records in them.
    pub(crate) records: u64,
    /// Bytes of batches in them, headers and all.
    pub(crate) bytes: u64,
    /// Requests refused.
    pub(crate) refused: u64,
    /// The first refusal's reason.
    pub(crate) first_refusal: Option<ErrorCode>,
    /// From when a request was, or should have been, sent to its answer.
    pub(crate) latencies: Latencies,
    /// From when a request should have been sent to when it was.
    pub(crate) lateness: Latencies,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            requests: 0,
            records: 0,
            bytes: 0,
            refused: 0,
            first_refusal: None,
            latencies: Latencies::new(),
            lateness: Latencies::new(),
        }
    }

    pub(crate) fn count(&mut self, records: u64, bytes: u64, latency: Duration) {
        self.requests += 1;
        self.records += records;
        self.bytes += bytes;
        self.latencies.record(latency);
    }

    pub(crate) fn refuse(&mut self, error: ErrorCode) {
        self.refused += 1;
        self.first_refusal.get_or_insert(error);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.records += other.records;
        self.bytes += other.bytes;
        self.refused += other.refused;
        self.first_refusal = self.first_refusal.or(other.first_refusal);
        self.latencies.add(&other.latencies);
        self.lateness.add(&other.lateness);
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn as_micros(nanos: u64) -> f64 {
    Duration::from_nanos(nanos).as_secs_f64() * 1e6
}
