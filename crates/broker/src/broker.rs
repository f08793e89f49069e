//! The broker: what a node is once its threads and sockets are taken away.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use plimsoll_controller::{Image, Listener, Record, Refusal, rules};
use plimsoll_record_batch::DecodeLimits;
use plimsoll_replicator::Replicas;
use plimsoll_segment_log::{DataDir, DataDirError, FlushPool, LogHost};
use plimsoll_types::NodeId;

use crate::api::init_producer_id::ProducerIds;
use crate::catalog::Catalog;
use crate::clock::{Clock, Workers};
use crate::cluster::{Member, Membership};
use crate::config::BrokerConfig;
use crate::counters::Counters;
use crate::groups::GroupService;
use crate::hosting::{Host, Queue, RecoveryProgress};
use crate::metadata::{ChangeError, METADATA_DIR, Metadata, MetadataError};

/// One node's broker. Shared by all connections.
pub struct Broker {
    pub(crate) config: BrokerConfig,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) workers: Arc<dyn Workers>,
    pub(crate) metadata: Arc<Metadata>,
    /// In a cluster.
    pub(crate) member: Option<Member>,
    pub(crate) host: Arc<Host>,
    pub(crate) groups: GroupService,
    pub(crate) counters: Counters,
    pub(crate) producer_ids: ProducerIds,
    data_dir: PathBuf,
    recovery: RecoveryProgress,
    recovered: AtomicBool,
}

/// Why a broker did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The cluster metadata cannot be read.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// There are logs, but no metadata that says whose.
    #[error("{} is empty although there are logs beside it; restore it from a copy", dir.display())]
    MetadataMissing {
        /// Where the metadata log should be.
        dir: PathBuf,
    },
    /// The data directory cannot be listed.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The node cannot register.
    #[error("the node cannot register: {0}")]
    Register(#[from] ChangeError<Refusal>),
    /// The machine gives no thread.
    #[error("no thread for syncing logs")]
    Threads(#[source] std::io::Error),
}

impl Broker {
    /// Reads the metadata in `data` and registers the node under a new broker epoch. The caller
    /// keeps `data`, and with it the lock, until after [`Broker::close`]. Blocks on the disk, shortly; the logs are opened by
    /// [`Broker::recover`].
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn open(
        config: BrokerConfig,
        data: &Arc<DataDir>,
        clock: Arc<dyn Clock>,
        workers: Arc<dyn Workers>,
    ) -> Result<Arc<Self>, StartError> {
        let metadata = Metadata::open(data.path(), config.node, Arc::clone(&clock))?;
        if metadata.image().version() == 0 && !data.partitions()?.is_empty() {
            let dir = data.path().join(METADATA_DIR);
            return Err(StartError::MetadataMissing { dir });
        }
        let incarnation = *uuid::Uuid::new_v4().as_bytes();
        let register = rules::RegisterNode {
            rack: config.rack.clone(),
            listeners: vec![Listener {
                name: "PLAINTEXT".to_owned(),
                host: config.advertised.host.clone(),
                port: config.advertised.port,
            }],
            ..rules::RegisterNode::new(config.node, incarnation, [0; 16], rules::Shutdown::Clean)
        };
        metadata.change(|image| Ok((rules::register_node(image, &register)?, ())))?;
        // Alone in its cluster, it is its own judge.
        metadata.change(|image| {
            let epoch = image.node(config.node).map(|node| node.broker_epoch);
            let epoch = epoch.unwrap_or_default();
            Ok((rules::unfence_node(image, config.node, epoch)?, ()))
        })?;
        Self::build(config, data, clock, workers, metadata, None)
    }

    /// As [`Broker::open`], as one node of a cluster: it registers in [`Broker::join`], once it
    /// reaches the others, and takes part in [`Broker::run_cluster`].
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn open_in_cluster(
        config: BrokerConfig,
        data: &Arc<DataDir>,
        clock: Arc<dyn Clock>,
        workers: Arc<dyn Workers>,
        membership: Membership,
    ) -> Result<Arc<Self>, StartError> {
        let Membership {
            quorum,
            peers,
            peer_address,
        } = membership;
        let metadata = Metadata::join(quorum, config.node, Arc::clone(&clock))?;
        let dir_id = data.dir_id().0;
        let member = Member::new(peers, peer_address, dir_id, data.last_shutdown());
        Self::build(config, data, clock, workers, metadata, Some(member))
    }

    fn build(
        config: BrokerConfig,
        data: &Arc<DataDir>,
        clock: Arc<dyn Clock>,
        workers: Arc<dyn Workers>,
        metadata: Arc<Metadata>,
        member: Option<Member>,
    ) -> Result<Arc<Self>, StartError> {
        let groups = GroupService::new(&config.groups);
        let host = Host {
            node: config.node,
            logs: LogHost::new(config.max_open_segments),
            data: Arc::downgrade(data),
            defaults: config.topic_defaults.clone(),
            flushers: Arc::new(FlushPool::new(config.flush_threads).map_err(StartError::Threads)?),
            decode: DecodeLimits {
                max_decompressed_bytes: config.max_decompressed_bytes,
                max_records: u32::MAX,
            },
            producer_id_expiration: config.producer_id_expiration,
            catalog: Catalog::default(),
            bell: Arc::clone(groups.signal()),
            queue: Queue::default(),
            clock: Arc::clone(&clock),
            replicas: Replicas::new(config.node, plimsoll_replicator::Config::agreed()),
            in_cluster: member.is_some(),
            shape: Mutex::default(),
            rounds: AtomicU64::new(0),
        };
        let broker = Arc::new(Self {
            config,
            clock,
            workers,
            metadata,
            member,
            host: Arc::new(host),
            groups,
            counters: Counters::default(),
            producer_ids: ProducerIds::default(),
            data_dir: data.path().to_owned(),
            recovery: RecoveryProgress::default(),
            recovered: AtomicBool::new(false),
        });
        let follower = Arc::downgrade(&broker);
        broker.metadata.follow_with(move |image, changes| {
            if let Some(broker) = follower.upgrade() {
                broker.host.follow(image, changes);
                broker.groups.follow(changes, broker.group_time());
                if let Some(member) = &broker.member {
                    member.follow(image, changes);
                }
            }
        });
        Ok(broker)
    }

    /// Opens every log. Blocks on the disk; a partition that does not open is offline and does
    /// not stop the others.
    pub fn recover(&self) {
        self.host.report_orphans(&self.metadata.image());
        let threads = self.config.recovery_threads;
        let newest = || self.metadata.image();
        self.host.recover(newest, threads, &self.recovery);
        self.groups.signal().notify();
        self.recovered.store(true, Ordering::Release);
    }

    /// Whether every log was opened or found offline.
    #[must_use]
    pub fn is_recovered(&self) -> bool {
        self.recovered.load(Ordering::Acquire)
    }

    /// How far [`Broker::recover`] is.
    #[must_use]
    pub fn recovery(&self) -> &RecoveryProgress {
        &self.recovery
    }

    /// What it was told at its start.
    #[must_use]
    pub fn config(&self) -> &BrokerConfig {
        &self.config
    }

    /// Where everything durable lives.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The newest metadata.
    #[must_use]
    pub fn image(&self) -> Arc<Image> {
        self.metadata.image()
    }

    /// Why the metadata cannot be changed any more, if so: the node serves on what it knows, until
    /// it is restarted.
    #[must_use]
    pub fn metadata_stopped(&self) -> Option<Arc<str>> {
        self.metadata.stopped().map(|stopped| stopped.reason)
    }

    /// The node that decides for the cluster now, if one is known.
    #[must_use]
    pub fn active_controller(&self) -> Option<NodeId> {
        self.metadata.leader()
    }

    /// The partitions hosted here.
    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        &self.host.catalog
    }

    /// What it counted.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The consumer groups.
    #[must_use]
    pub fn groups(&self) -> &GroupService {
        &self.groups
    }

    /// Changes the metadata by a rule, off the runtime's threads; see [`Metadata::change`]. When
    /// it returns, this node's partitions are as the new image says.
    ///
    /// # Errors
    /// The rule's own refusal, or a failed metadata log.
    pub(crate) async fn change<T, R>(
        self: &Arc<Self>,
        rule: impl Fn(&Image) -> Result<(Vec<Record>, T), R> + Send + 'static,
    ) -> Result<T, ChangeError<R>>
    where
        T: Send + 'static,
        R: Send + 'static,
    {
        let broker = Arc::clone(self);
        self.blocking(move || {
            let changed = broker.metadata.change(rule)?;
            broker.host.settle(changed.version);
            Ok(changed.outcome)
        })
        .await
        .unwrap_or_else(|| {
            Err(ChangeError::Storage {
                why: "the node is stopping".into(),
            })
        })
    }

    /// As [`Broker::change`], without waiting for what follows from it on this node.
    pub(crate) async fn commit<T, R>(
        self: &Arc<Self>,
        rule: impl Fn(&Image) -> Result<(Vec<Record>, T), R> + Send + 'static,
    ) -> Result<T, ChangeError<R>>
    where
        T: Send + 'static,
        R: Send + 'static,
    {
        let metadata = Arc::clone(&self.metadata);
        let changed = self.blocking(move || metadata.change(rule)).await;
        match changed {
            Some(changed) => changed.map(|changed| changed.outcome),
            None => Err(ChangeError::Storage {
                why: "the node is stopping".into(),
            }),
        }
    }

    /// Runs `work` where it may block. `None`: the node is stopping and it may not have run.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let outcome = Arc::new(parking_lot::Mutex::new(None));
        let place = Arc::clone(&outcome);
        self.workers
            .run(Box::new(move || *place.lock() = Some(work())))
            .await;
        outcome.lock().take()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.host.stop();
        self.metadata.close();
    }
}
