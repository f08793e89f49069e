//! The commands that run a node: `plimsoll serve` and `plimsoll dev`.

use std::path::Path;

use plimsoll_cli::{Code, Failure};
use tokio::runtime::{Builder, Runtime};
use tracing::{info, warn};

use crate::address;
use crate::args::{Dev, Serve};
use crate::config::{Config, Layers, Threads};
use crate::logging::Logging;
use crate::node::Node;
use crate::report;
use crate::signals::{Asked, Signals};
use crate::temporary::Temporary;

/// What the runtime's threads are called; see `panics`.
pub(crate) const RUNTIME_THREAD: &str = "plimsoll-net";

/// `plimsoll serve`
///
/// # Errors
/// Why it did not start, or stopped.
pub fn serve(args: &Serve) -> Result<(), Failure> {
    run(|| args.layers(), |_| {})
}

/// `plimsoll dev`
///
/// # Errors
/// Why it did not start, or stopped.
pub fn dev(args: &Dev) -> Result<(), Failure> {
    if args.nodes != 1 {
        let what = format!(
            "--nodes {}: only one node for now; clusters come later",
            args.nodes
        );
        return Err(Failure::usage(what));
    }
    let temporary = Temporary::reserve();
    let path = temporary.path().to_string_lossy().into_owned();
    run(
        || args.layers(&path),
        |node| greet(node, args, temporary.path()),
    )
}

/// Runs a node until a signal ends it.
fn run(
    layers: impl Fn() -> Result<Layers, Failure>,
    greet: impl FnOnce(&Node),
) -> Result<(), Failure> {
    let config = Config::new(&layers()?)?;
    let logging = Logging::start(&config.logging)?;
    crate::panics::end_the_process_where_needed();
    let runtime = runtime(config.threads)?;
    let done = runtime.block_on(until_stopped(&config, &logging, layers, greet));
    // Whoever stops a node during a long recovery, or twice, does not wait for the disk.
    runtime.shutdown_background();
    done
}

async fn until_stopped(
    config: &Config,
    logging: &Logging,
    layers: impl Fn() -> Result<Layers, Failure>,
    greet: impl FnOnce(&Node),
) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let node = tokio::select! {
        node = Node::start(config) => node?,
        // Nothing is under way that could be finished; recovery starts over next time.
        () = signals.stop() => return Ok(()),
    };
    greet(&node);
    loop {
        match signals.next().await {
            Asked::Stop => break,
            Asked::Report => report::log_partitions(node.broker()),
            Asked::Reload => reload(logging, layers()),
        }
    }
    tokio::select! {
        stopped = node.stop() => stopped,
        () = signals.stop() => {
            warn!(event = "node_killed", "a second signal: stopped at once");
            Err(Failure::new(Code::Stopped, "stopped at once by a second signal"))
        }
    }
}

/// The runtime a node runs on.
pub(crate) fn runtime(threads: Threads) -> Result<Runtime, Failure> {
    Builder::new_multi_thread()
        .worker_threads(threads.network)
        .max_blocking_threads(threads.io)
        .thread_name(RUNTIME_THREAD)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Code::Start, format!("cannot start threads: {error}")))
}

fn reload(logging: &Logging, layers: Result<Layers, Failure>) {
    let level = layers.map(|layers| layers.get("logging.level").value);
    match level.and_then(|level| logging.reload(&level).map(|()| level)) {
        Ok(level) => info!(event = "log_level_reloaded", level),
        Err(error) => warn!(event = "log_level_kept", code = %error.code, %error),
    }
}

/// What `plimsoll dev` says once the node runs.
fn greet(node: &Node, args: &Dev, temporary: &Path) {
    let bold = anstyle::Style::new().bold();
    let http = address::local(node.http_address());
    let bootstrap = node.bootstrap();
    let option = if bootstrap == "127.0.0.1:9092" {
        String::new()
    } else {
        format!(" -b {bootstrap}")
    };
    let (data, fate) = match &args.data_dir {
        Some(dir) => (dir.clone(), "kept"),
        None => (temporary.display().to_string(), "gone when you stop it"),
    };
    anstream::println!(
        "\
{bold}NODE  STATE    KAFKA            HTTP{bold:#}
1     ● ready  {bootstrap:<15}  http://{http}

bootstrap  {bootstrap}
health     http://{http}/readyz
metrics    http://{http}/metrics
data       {data} ({fate})

Try in another terminal:
  plimsoll topic create hello -p 3{option}
  echo hello, log | plimsoll produce hello{option}
  plimsoll consume hello -o beginning -e{option}

Ctrl-C stops it."
    );
}
