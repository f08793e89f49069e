//! What the Kafka listener and the links between nodes counted, as `/metrics` tells it.

use std::sync::Arc;

use plimsoll_admin::{Family, Kind, Sample, Source};
use plimsoll_server::peer::{PeerCounters, PeerNetwork};
use plimsoll_server::{Count, End, Refusal, Server, Stats};

/// The metrics of a listener.
pub(crate) fn of(server: &Server) -> Arc<dyn Source> {
    Arc::new(Listener(server.stats()))
}

/// The metrics of the links to other nodes.
pub(crate) fn of_links(network: &PeerNetwork) -> Arc<dyn Source> {
    Arc::new(Links(Arc::clone(network.counters())))
}

struct Listener(Stats);

struct Links(Arc<PeerCounters>);

impl Source for Links {
    fn families(&self) -> Vec<Family> {
        let counted = &self.0;
        let named: [(&'static str, &'static str, &Count); 11] = [
            (
                "plimsoll_peer_connections_accepted",
                "Connections accepted from other nodes.",
                &counted.accepted,
            ),
            (
                "plimsoll_peer_connections_denied",
                "Connections from other nodes turned away in words, such as another cluster's.",
                &counted.denied,
            ),
            (
                "plimsoll_peer_connections_refused",
                "Connections closed at once because too many were open.",
                &counted.refused,
            ),
            (
                "plimsoll_peer_connections_made",
                "Connections made to other nodes.",
                &counted.connected,
            ),
            (
                "plimsoll_peer_connect_failures",
                "Attempts to connect to other nodes that failed.",
                &counted.connect_failures,
            ),
            (
                "plimsoll_peer_bad_frames",
                "Frames of other nodes that were malformed or failed their checksum.",
                &counted.bad_frames,
            ),
            (
                "plimsoll_peer_suspicions",
                "Times that another node's process was found gone.",
                &counted.suspicions,
            ),
            (
                "plimsoll_peer_requests",
                "Requests of other nodes answered.",
                &counted.requests,
            ),
            (
                "plimsoll_peer_requests_busy",
                "Requests of other nodes turned away because too many were under way.",
                &counted.busy,
            ),
            (
                "plimsoll_peer_in_bytes",
                "Bytes read from other nodes.",
                &counted.bytes_in,
            ),
            (
                "plimsoll_peer_out_bytes",
                "Bytes written to other nodes.",
                &counted.bytes_out,
            ),
        ];
        let mut families: Vec<Family> = named
            .into_iter()
            .map(|(name, help, count)| Family {
                name,
                help,
                kind: Kind::Counter,
                samples: vec![Sample {
                    labels: Vec::new(),
                    value: number(count.get()),
                }],
            })
            .collect();
        let (silent, stalled) = (counted.silent.get(), counted.stalled.get());
        let other = counted.lost.get().saturating_sub(silent + stalled);
        families.push(Family {
            name: "plimsoll_peer_connections_lost",
            help: "Connections between nodes that ended after they had stood.",
            kind: Kind::Counter,
            samples: vec![
                sample("silent", silent),
                sample("stalled", stalled),
                sample("closed", other),
            ],
        });
        families
    }
}

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
