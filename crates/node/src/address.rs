//! Addresses: what a listener binds to, and what clients are told.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use plimsoll_broker::Advertised;
use plimsoll_cli::{Code, Failure};

use crate::config::{Address, Config};

/// The socket address that `key` names, IPv4 first where a name has both: most clients try that
/// first, and a node listens on one.
pub(crate) async fn resolve(key: &str, address: &Address) -> Result<SocketAddr, Failure> {
    if address.host.is_empty() {
        return Ok((Ipv4Addr::UNSPECIFIED, address.port).into());
    }
    let fail = |why: String| {
        let todo = format!("Give {key} an address of this machine, or 0.0.0.0 for all");
        Failure::new(Code::Listen, format!("{key} = \"{address}\" {why}. {todo}"))
    };
    let found = tokio::net::lookup_host((address.host.as_str(), address.port)).await;
    let found: Vec<SocketAddr> = found
        .map_err(|error| fail(format!("cannot be resolved: {error}")))?
        .collect();
    let first = found.iter().find(|found| found.is_ipv4()).or(found.first());
    first
        .copied()
        .ok_or_else(|| fail("resolves to nothing".to_owned()))
}

/// Where clients are told to come back to.
pub(crate) fn advertised(config: &Config, listening: SocketAddr) -> Advertised {
    let told = config.kafka_advertise.as_ref();
    reachable(told, &config.kafka_listen.host, listening)
}

/// Where other nodes are told to come back to.
pub(crate) fn advertised_to_peers(config: &Config, listening: SocketAddr) -> String {
    let told = config.peer_advertise.as_ref();
    let told = reachable(told, &config.peer_listen.host, listening);
    join(&told.host, told.port)
}

/// The address others are told: `told` if somebody chose one, else what is listened on.
fn reachable(told: Option<&Address>, named: &str, listening: SocketAddr) -> Advertised {
    let port = |port| if port == 0 { listening.port() } else { port };
    if let Some(told) = told {
        return Advertised {
            host: told.host.clone(),
            port: port(told.port),
        };
    }
    let ip = listening.ip();
    let host = if ip.is_unspecified() {
        host_name()
    } else if ip.is_loopback() || named.is_empty() {
        // A name such as localhost may mean ::1 to a client, where nobody listens.
        ip.to_string()
    } else {
        named.to_owned()
    };
    Advertised {
        host,
        port: listening.port(),
    }
}

fn host_name() -> String {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy();
    if name.is_empty() {
        "localhost".to_owned()
    } else {
        name.into_owned()
    }
}

/// `HOST:PORT`, with brackets around IPv6.
pub(crate) fn join(host: &str, port: u16) -> String {
    Address {
        host: host.to_owned(),
        port,
    }
    .to_string()
}

/// The address to connect to from this machine, where `listening` may be all interfaces.
pub(crate) fn local(listening: SocketAddr) -> SocketAddr {
    let ip = match listening.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    (ip, listening.port()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Layers, Origin};

    fn told(set: &[(&str, &str)], listening: &str) -> String {
        let mut layers = Layers::default();
        for (key, value) in set {
            let origin = Origin::Flag {
                flag: "--set".to_owned(),
            };
            layers.set(key, value, origin).expect("legal");
        }
        let config = Config::new(&layers).expect("legal");
        let told = advertised(&config, listening.parse().expect("an address"));
        join(&told.host, told.port)
    }

    #[test]
    fn clients_are_told_what_is_listened_on_with_its_real_port() {
        assert_eq!(
            told(&[("kafka.listen", "localhost:0")], "127.0.0.1:4242"),
            "127.0.0.1:4242"
        );
        assert_eq!(
            told(&[("kafka.listen", "log1:9092")], "10.0.0.1:9092"),
            "log1:9092"
        );
        assert_eq!(
            told(&[("kafka.listen", "[::1]:0")], "[::1]:4242"),
            "[::1]:4242"
        );
    }

    #[test]
    fn all_interfaces_are_told_as_the_host_name() {
        let expected = join(&host_name(), 9092);
        assert_eq!(told(&[("kafka.listen", ":9092")], "0.0.0.0:9092"), expected);
    }

    #[test]
    fn an_advertised_address_wins_and_may_leave_the_port_open() {
        let set = [("kafka.listen", "0.0.0.0:0"), ("kafka.advertise", "log1:0")];
        assert_eq!(told(&set, "0.0.0.0:4242"), "log1:4242");
    }

    #[tokio::test]
    async fn names_are_resolved_and_nonsense_is_told() {
        let name = |host: &str| Address {
            host: host.to_owned(),
            port: 1,
        };
        let found = resolve("kafka.listen", &name("localhost"))
            .await
            .expect("loopback");
        assert!(found.ip().is_loopback());
        let failure = resolve("kafka.listen", &name("no.such.host.invalid")).await;
        assert!(
            failure
                .expect_err("reserved")
                .message
                .contains("kafka.listen")
        );
    }
}
