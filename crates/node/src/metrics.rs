//! What the Kafka listener counted, as `/metrics` tells it.

use std::sync::Arc;

use plimsoll_admin::{Family, Kind, Sample, Source};
use plimsoll_server::{Count, End, Refusal, Server, Stats};

/// The metrics of a listener.
pub(crate) fn of(server: &Server) -> Arc<dyn Source> {
    Arc::new(Listener(server.stats()))
}

struct Listener(Stats);

impl Source for Listener {
    fn families(&self) -> Vec<Family> {
        let counters = self.0.counters();
        let one = |value| {
            vec![Sample {
                labels: Vec::new(),
                value,
            }]
        };
        let counter = |name, help, count: &Count| Family {
            name,
            help,
            kind: Kind::Counter,
            samples: one(number(count.get())),
        };
        let gauge = |name, help, value| Family {
            name,
            help,
            kind: Kind::Gauge,
            samples: one(value),
        };
        let by_reason = |name, help, samples| Family {
            name,
            help,
            kind: Kind::Counter,
            samples,
        };
        let refused = Refusal::ALL
            .iter()
            .map(|reason| sample(reason.label(), counters.refused(*reason)));
        let ended = End::ALL
            .iter()
            .map(|reason| sample(reason.label(), counters.ended(*reason)));
        let held = u64::try_from(self.0.inflight_request_bytes()).unwrap_or(u64::MAX);
        vec![
            gauge(
                "plimsoll_connections",
                "Client connections open now.",
                number(counters.open.get()),
            ),
            counter(
                "plimsoll_connections_accepted",
                "Connections accepted.",
                &counters.accepted,
            ),
            by_reason(
                "plimsoll_connections_refused",
                "Connections closed before a byte was read.",
                refused.collect(),
            ),
            by_reason(
                "plimsoll_connections_ended",
                "Connections that ended.",
                ended.collect(),
            ),
            counter(
                "plimsoll_accept_errors",
                "Times that accepting a connection failed.",
                &counters.accept_errors,
            ),
            counter(
                "plimsoll_network_in_bytes",
                "Bytes read from clients.",
                &counters.bytes_in,
            ),
            counter(
                "plimsoll_network_out_bytes",
                "Bytes written to clients.",
                &counters.bytes_out,
            ),
            counter(
                "plimsoll_requests_starved",
                "Times that reading paused because request memory was used up.",
                &counters.starved,
            ),
            gauge(
                "plimsoll_request_memory_bytes",
                "Request bytes that have arrived and are not answered yet.",
                number(held),
            ),
        ]
    }
}

fn sample(reason: &str, value: u64) -> Sample {
    Sample {
        labels: vec![("reason", reason.to_owned())],
        value: number(value),
    }
}

/// Metrics are floating-point numbers; above 2^53 the last digits go.
#[expect(
    clippy::cast_precision_loss,
    reason = "a metric needs no more than 53 bits"
)]
fn number(count: u64) -> f64 {
    count as f64
}
