//! `plimsoll dev`: where the nodes of a cluster in one process live, and what is said of them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

use plimsoll_cli::{Code, Failure};
use tracing::warn;

use crate::args::{Dev, Place};
use crate::config::Config;
use crate::dev_cluster::{DevCluster, DevNode};
use crate::logging::Logging;
use crate::run::reload;
use crate::signals::{Asked, Signals};
use crate::temporary::Temporary;

/// Ports of one node and the next are so far apart.
const STEP: u16 = 1000;

/// `plimsoll dev`
///
/// # Errors
/// Why it did not start, or stopped.
pub fn dev(args: &Dev) -> Result<(), Failure> {
    let temporary = Temporary::reserve();
    let root = args.data_dir.as_deref().map_or(temporary.path(), Path::new);
    let places = places(args, root)?;
    let configs: Vec<Config> = places
        .iter()
        .map(|place| Config::new(&args.layers(place)?))
        .collect::<Result<_, _>>()?;
    let logging = Logging::start(&configs[0].logging)?;
    crate::panics::end_the_process_where_needed();
    let waiting = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Code::Start, format!("cannot start threads: {error}")))?;
    let done = waiting.block_on(async {
        let mut signals = Signals::listen()?;
        let starting = tokio::task::spawn_blocking(move || DevCluster::start(configs));
        let cluster = tokio::select! {
            started = starting => started.unwrap_or_else(|_| {
                Err(Failure::new(Code::Start, "a bug: starting the nodes panicked"))
            })?,
            () = signals.stop() => return Ok(()),
        };
        cluster.let_harm();
        greet(&cluster.nodes(), args, root);
        loop {
            match signals.next().await {
                Asked::Stop => break,
                Asked::Report => cluster.report(),
                Asked::Reload => reload(&logging, args.layers(&places[0])),
            }
        }
        let stopping = tokio::task::spawn_blocking(move || cluster.stop());
        tokio::select! {
            stopped = stopping => stopped.unwrap_or(Ok(())),
            () = signals.stop() => {
                warn!(event = "node_killed", "a second signal: stopped at once");
                Err(Failure::new(Code::Stopped, "stopped at once by a second signal"))
            }
        }
    });
    waiting.shutdown_background();
    done
}

/// Where the nodes live.
fn places(args: &Dev, root: &Path) -> Result<Vec<Place>, Failure> {
    let fail = |error| Failure::new(Code::Listen, format!("there is no free port: {error}"));
    let too_high = || {
        let what = format!(
            "{} nodes, {STEP} ports apart, do not fit above that port",
            args.nodes
        );
        Failure::usage(what)
    };
    // Held until all are known, so that none is given twice.
    let mut held = Vec::new();
    let mut port = |first: u16, at: u16, offset: u16| -> Result<u16, Failure> {
        if first == 0 {
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(fail)?;
            let address: SocketAddr = free.local_addr().map_err(fail)?;
            held.push(free);
            return Ok(address.port());
        }
        let port = at
            .checked_mul(STEP)
            .and_then(|step| first.checked_add(step));
        port.and_then(|port| port.checked_add(offset))
            .ok_or_else(too_high)
    };
    let mut places = Vec::new();
    for at in 0..args.nodes {
        let dir = match args.nodes {
            1 => root.to_owned(),
            _ => root.join(format!("node-{}", at + 1)),
        };
        places.push(Place {
            node: at + 1,
            dir: dir.to_string_lossy().into_owned(),
            kafka: port(args.kafka_port, at, 0)?,
            peer: port(args.kafka_port, at, 1)?,
            http: port(args.http_port, at, 0)?,
            voters: String::new(),
        });
    }
    if args.nodes > 1 {
        let voters: Vec<String> = places
            .iter()
            .map(|place| format!("{}@127.0.0.1:{}", place.node, place.peer))
            .collect();
        for place in &mut places {
            place.voters = voters.join(",");
        }
    }
    Ok(places)
}

/// What `plimsoll dev` says once the nodes run.
fn greet(nodes: &[DevNode], args: &Dev, root: &Path) {
    let bold = anstyle::Style::new().bold();
    anstream::println!("{bold}NODE  STATE    KAFKA            PEERS            HTTP{bold:#}");
    for node in nodes {
        let state = if node.is_up { "● ready" } else { "○ down " };
        let (id, kafka, peer, http) = (node.node, &node.kafka, &node.peer, &node.http);
        anstream::println!("{id:<5} {state}  {kafka:<15}  {peer:<15}  http://{http}");
    }
    let all: Vec<&str> = nodes.iter().map(|node| node.kafka.as_str()).collect();
    let (bootstrap, first) = (all.join(","), all.first().copied().unwrap_or_default());
    let option = match first {
        "127.0.0.1:9092" => String::new(),
        first => format!(" -b {first}"),
    };
    let fate = match &args.data_dir {
        Some(_) => "kept",
        None => "gone when you stop it",
    };
    let (data, http) = (root.display(), nodes.first().map_or("", |node| &node.http));
    let replicas = nodes.len().min(3);
    anstream::println!(
        "
bootstrap  {bootstrap}
health     http://{http}/readyz
metrics    http://{http}/metrics
data       {data} ({fate})

Try in another terminal:
  plimsoll topic create hello -p 3 -r {replicas}{option}
  echo hello, log | plimsoll produce hello{option}
  plimsoll consume hello -o beginning -e{option}

Ctrl-C stops it."
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    fn args(line: &str) -> Dev {
        let line = format!("plimsoll dev {line}");
        let arguments = crate::args::Arguments::try_parse_from(line.split_whitespace());
        match arguments.expect("legal").command {
            crate::args::Command::Dev(dev) => dev,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn nodes_are_a_thousand_ports_apart_and_know_each_other() {
        let places = places(&args(""), Path::new("/d")).expect("fits");
        let ports: Vec<_> = places.iter().map(|p| (p.kafka, p.peer, p.http)).collect();
        let expected = [
            (9092, 9093, 9644),
            (10092, 10093, 10644),
            (11092, 11093, 11644),
        ];
        assert_eq!(ports, expected);
        assert_eq!(places[2].dir, "/d/node-3");
        let config = Config::new(&args("").layers(&places[1]).expect("legal")).expect("legal");
        assert_eq!(config.cluster.voters().len(), 3);
        assert_eq!(config.peer_listen.port, 10093);
    }

    #[test]
    fn ports_that_do_not_exist_are_refused() {
        let refused = places(&args("--kafka-port 64000"), Path::new("/d"));
        assert!(refused.is_err());
    }
}
