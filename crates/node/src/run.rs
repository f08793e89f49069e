//! The command that runs a node: `plimsoll serve`.

use plimsoll_cli::{Code, Failure};
use tokio::runtime::{Builder, Runtime};
use tracing::{info, warn};

use crate::args::Serve;
use crate::config::{Config, Layers, Threads};
use crate::logging::Logging;
use crate::node::Node;
use crate::report;
use crate::signals::{Asked, Signals};

/// What the runtime's threads are called; see `panics`.
pub(crate) const RUNTIME_THREAD: &str = "plimsoll-net";

/// `plimsoll serve`
///
/// # Errors
/// Why it did not start, or stopped.
pub fn serve(args: &Serve) -> Result<(), Failure> {
    run(|| args.layers())
}

/// Runs a node until a signal ends it.
fn run(layers: impl Fn() -> Result<Layers, Failure>) -> Result<(), Failure> {
    let config = Config::new(&layers()?)?;
    let logging = Logging::start(&config.logging)?;
    crate::panics::end_the_process_where_needed();
    let runtime = runtime(config.threads)?;
    let done = runtime.block_on(until_stopped(&config, &logging, layers));
    // Whoever stops a node during a long recovery, or twice, does not wait for the disk.
    runtime.shutdown_background();
    done
}

async fn until_stopped(
    config: &Config,
    logging: &Logging,
    layers: impl Fn() -> Result<Layers, Failure>,
) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let node = tokio::select! {
        node = Node::start(config) => node?,
        // Nothing is under way that could be finished; recovery starts over next time.
        () = signals.stop() => return Ok(()),
    };
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

pub(crate) fn reload(logging: &Logging, layers: Result<Layers, Failure>) {
    let level = layers.map(|layers| layers.get("logging.level").value);
    match level.and_then(|level| logging.reload(&level).map(|()| level)) {
        Ok(level) => info!(event = "log_level_reloaded", level),
        Err(error) => warn!(event = "log_level_kept", code = %error.code, %error),
    }
}
