//! What the broker counts, for whoever scrapes it. Plain counters; relaxed, because no decision
//! rests on them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use plimsoll_wire::ApiKey;

/// Upper bounds of the latency buckets, in microseconds; the last one is open.
pub const LATENCY_BOUNDS_US: [u64; 14] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000, 1_000_000,
    5_000_000,
];

/// How long something took, each time.
#[derive(Debug, Default)]
pub struct Latencies {
    /// How many times.
    pub count: AtomicU64,
    /// All of it, in microseconds.
    pub sum_us: AtomicU64,
    /// How many times by how long: one more than [`LATENCY_BOUNDS_US`].
    pub buckets: [AtomicU64; LATENCY_BOUNDS_US.len() + 1],
}

/// One API's requests.
#[derive(Debug, Default)]
pub struct ApiCounters {
    /// From the decoded frame to the answer. Long polls count whole.
    pub total: Latencies,
    /// Of that, the work before the request first had to wait, if ever.
    pub work: Latencies,
    /// The rest of those that had to wait: for their turn, for records, replicas or a disk.
    pub wait: Latencies,
}

/// The broker's counters.
#[derive(Debug)]
pub struct Counters {
    apis: Vec<ApiCounters>,
    /// Batches appended for producers.
    pub batches_in: AtomicU64,
    /// Records appended for producers.
    pub records_in: AtomicU64,
    /// Bytes appended for producers.
    pub bytes_in: AtomicU64,
    /// Record bytes sent to consumers.
    pub bytes_out: AtomicU64,
    /// Idempotent retries answered from the log.
    pub duplicates: AtomicU64,
    /// Requests that were not well formed or of a version not served; each closed its connection.
    pub malformed: AtomicU64,
    /// Wake-ups that the tick had to make up for. A publisher that the machine stopped between its
    /// two steps counts, so more than a few mean a bug.
    pub missed_wakeups: AtomicU64,
    /// Bytes that were read in the background to see whether they still are what was written.
    pub scrubbed_bytes: AtomicU64,
    /// Rounds of that over all logs.
    pub scrub_rounds: AtomicU64,
    /// Damaged ranges that it found.
    pub scrub_damage: AtomicU64,
    /// Replicas that came back after a storage error.
    pub reopened: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            apis: ApiKey::ALL.iter().map(|_| ApiCounters::default()).collect(),
            batches_in: AtomicU64::new(0),
            records_in: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            duplicates: AtomicU64::new(0),
            malformed: AtomicU64::new(0),
            missed_wakeups: AtomicU64::new(0),
            scrubbed_bytes: AtomicU64::new(0),
            scrub_rounds: AtomicU64::new(0),
            scrub_damage: AtomicU64::new(0),
            reopened: AtomicU64::new(0),
        }
    }
}

impl Counters {
    /// Each API with what was counted of it.
    pub fn apis(&self) -> impl Iterator<Item = (ApiKey, &ApiCounters)> {
        ApiKey::ALL.iter().copied().zip(&self.apis)
    }

    /// Counts a request that took so long, of which it worked for `work`; `waited` if it had to.
    pub(crate) fn answered(&self, api: ApiKey, total: Duration, work: Duration, waited: bool) {
        let at = ApiKey::ALL.iter().position(|key| *key == api);
        let Some(counters) = at.and_then(|at| self.apis.get(at)) else {
            return;
        };
        counters.total.took(total);
        counters.work.took(work);
        if waited {
            counters.wait.took(total.saturating_sub(work));
        }
    }
}

impl Latencies {
    pub(crate) fn took(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bucket = LATENCY_BOUNDS_US.partition_point(|bound| *bound < us);
        add(&self.count, 1);
        add(&self.sum_us, us);
        if let Some(bucket) = self.buckets.get(bucket) {
            add(bucket, 1);
        }
    }
}

pub(crate) fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}
