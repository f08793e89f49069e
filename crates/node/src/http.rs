//! The HTTP port: opened before anything else, so that a long start can be watched.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_admin::{Admin, Bounds, Build, Orders, Pulse};
use plimsoll_broker::Broker;
use plimsoll_cli::{Code, Failure};
use plimsoll_server::peer::PeerNetwork;
use plimsoll_server::{Server, TokioClock};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tracing::error;

use crate::address;
use crate::config::Config;

/// The HTTP side of a node.
pub(crate) struct Http {
    pub(crate) address: SocketAddr,
    admin: Arc<Admin>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
    pulse: JoinHandle<()>,
}

/// How often the runtime shows that it lives, and the silence that means it does not.
const BEAT: Duration = Duration::from_secs(1);
const MAX_SILENCE: Duration = Duration::from_secs(30);
/// Housekeeping waits for the disk, and a slow disk is not a dead node.
const MAX_UPKEEP_SILENCE: Duration = Duration::from_secs(600);

impl Http {
    /// Binds the port and begins to answer.
    pub(crate) async fn open(config: &Config) -> Result<Self, Failure> {
        let address = address::resolve("http.listen", &config.http_listen).await?;
        let fail = |error| {
            cannot_listen(
                "http.listen",
                "--http-listen (dev: --http-port)",
                address,
                &error,
            )
        };
        let listener = TcpListener::bind(address).await.map_err(fail)?;
        let address = listener.local_addr().map_err(fail)?;
        let build = Build {
            version: env!("CARGO_PKG_VERSION"),
            commit: option_env!("PLIMSOLL_COMMIT"),
        };
        let admin = Admin::new(build, Arc::new(TokioClock), true);
        let (stop, stopped) = oneshot::channel();
        let serving = plimsoll_admin::serve(
            Arc::clone(&admin),
            listener,
            Bounds::default(),
            // Dropping the sender is a stop as well.
            async move { drop(stopped.await) },
        );
        let serving = tokio::spawn(async move {
            if let Err(error) = serving.await {
                error!(event = "http_stopped", %error);
            }
        });
        let pulse = tokio::spawn(beat(Arc::clone(&admin)));
        Ok(Self {
            address,
            admin,
            stop,
            serving,
            pulse,
        })
    }

    /// There is a broker.
    pub(crate) fn attach(&self, broker: &Arc<Broker>) {
        self.admin.attach(Arc::clone(broker));
    }

    /// There are links to other nodes.
    pub(crate) fn count_links(&self, network: &PeerNetwork) {
        self.admin.add_metrics(crate::metrics::of_links(network));
    }

    /// Clients are served.
    pub(crate) fn ready(&self, kafka: &Server) {
        self.admin.add_metrics(crate::metrics::of(kafka));
        self.admin.set_accepting(true);
    }

    /// The pulse of the housekeeping thread.
    pub(crate) fn upkeep_pulse(&self) -> Arc<Pulse> {
        self.admin.pulse("upkeep", MAX_UPKEEP_SILENCE)
    }

    /// The node is going down.
    pub(crate) fn draining(&self) {
        self.admin.set_stopping();
    }

    /// Takes orders for harm, and hands them on.
    pub(crate) fn obey(&self, master: Arc<dyn Orders>) {
        self.admin.set_chaos(master);
    }

    /// Closes as a killed process does.
    pub(crate) fn kill(self) {
        self.pulse.abort();
        self.serving.abort();
    }

    /// Answers what is being asked, and closes.
    pub(crate) async fn close(mut self) {
        let _ = self.stop.send(());
        self.pulse.abort();
        // A scraper that keeps its connection open must not keep the node.
        if tokio::time::timeout(Duration::from_millis(200), &mut self.serving)
            .await
            .is_err()
        {
            self.serving.abort();
        }
    }
}

async fn beat(admin: Arc<Admin>) {
    let pulse = admin.pulse("runtime", MAX_SILENCE);
    let mut interval = tokio::time::interval(BEAT);
    loop {
        interval.tick().await;
        pulse.beat(TokioClock::monotonic());
        let looking = Arc::clone(&admin);
        // Reading watermarks of many partitions takes a moment; if it panics, the hook has told.
        let _ = tokio::task::spawn_blocking(move || looking.look()).await;
    }
}

/// Why a port could not be had, and what to do.
pub(crate) fn cannot_listen(
    key: &str,
    flag: &str,
    address: SocketAddr,
    error: &std::io::Error,
) -> Failure {
    let todo = match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            format!("Something else listens there; stop it, or choose another with {flag}")
        }
        std::io::ErrorKind::PermissionDenied => {
            "Ports below 1024 need privileges; choose a higher one".to_owned()
        }
        std::io::ErrorKind::AddrNotAvailable => {
            "It is not an address of this machine; 0.0.0.0 stands for all".to_owned()
        }
        _ => format!("Choose another with {flag}"),
    };
    let what = format!("cannot listen on {address} ({key}): {}", reason(error));
    Failure::new(Code::Listen, format!("{what}. {todo}"))
}

/// The error without its number, which people do not need.
fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error")
        .next()
        .unwrap_or_default()
        .to_owned()
}
