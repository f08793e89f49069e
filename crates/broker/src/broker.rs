//! The broker: what a node is once its threads and sockets are taken away.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use plimsoll_controller::{Image, Listener, Record, Refusal, rules};
use plimsoll_record_batch::DecodeLimits;
use plimsoll_replicator::Replicas;
use plimsoll_segment_log::{DataDir, DataDirError, LogHost};
use plimsoll_types::NodeId;

use crate::api::init_producer_id::ProducerIds;
use crate::catalog::Catalog;
use crate::clock::{Clock, Machine, Workers};
use crate::cluster::{Member, Membership};
use crate::config::BrokerConfig;
use crate::counters::Counters;
use crate::groups::GroupService;
use crate::hosting::{Device, Host, Queue, RecoveryProgress, Roster, WatchedDisk};
use crate::metadata::{self, ChangeError, Changed, METADATA_DIR, Metadata, MetadataError};

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
        machine: Machine,
    ) -> Result<Arc<Self>, StartError> {
        let (clock, workers) = (Arc::clone(&machine.clock), Arc::clone(&machine.workers));
        let metadata = metadata::open_lone(data.path(), config.node, clock, workers)?;
        if metadata.image().version() == 0 && !data.partitions()?.is_empty() {
            let dir = data.path().join(METADATA_DIR);
            return Err(StartError::MetadataMissing { dir });
        }
        let incarnation = machine.clock.fresh_id();
        let register = rules::RegisterNode {
            rack: config.rack.clone(),
            listeners: vec![Listener {
                name: "PLAINTEXT".to_owned(),
                host: config.advertised.host.clone(),
                port: config.advertised.port,
            }],
            ..rules::RegisterNode::new(config.node, incarnation, [0; 16], rules::Shutdown::Clean)
        };
        let registered = metadata.change(|image| Ok((rules::register_node(image, &register)?, ())));
        metadata::block_on(registered)?;
        // Alone in its cluster, it is its own judge.
        let unfenced = metadata.change(|image| {
            let epoch = image.node(config.node).map(|node| node.broker_epoch);
            let epoch = epoch.unwrap_or_default();
            Ok((rules::unfence_node(image, config.node, epoch)?, ()))
        });
        metadata::block_on(unfenced)?;
        Ok(Self::build(config, data, machine, metadata, None))
    }

    /// As [`Broker::open`], as one node of a cluster: it registers in [`Broker::join`], once it
    /// reaches the others, and takes part in [`Broker::run_cluster`].
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn open_in_cluster(
        config: BrokerConfig,
        data: &Arc<DataDir>,
        machine: Machine,
        membership: Membership,
    ) -> Result<Arc<Self>, StartError> {
        let Membership {
            log,
            snapshot,
            peers,
            peer_address,
        } = membership;
        let (clock, workers) = (Arc::clone(&machine.clock), Arc::clone(&machine.workers));
        let metadata = Metadata::new(log, snapshot.as_ref(), config.node, clock, workers)?;
        let dir_id = data.dir_id().0;
        let member = Member::new(
            peers,
            peer_address,
            dir_id,
            data.last_shutdown(),
            config.cluster.session,
        );
        let broker = Self::build(config, data, machine, metadata, Some(member));
        Ok(broker)
    }

    fn build(
        config: BrokerConfig,
        data: &Arc<DataDir>,
        machine: Machine,
        metadata: Arc<Metadata>,
        member: Option<Member>,
    ) -> Arc<Self> {
        let Machine {
            clock,
            workers,
            disk,
            flushers,
        } = machine;
        let groups = GroupService::new(&config.groups);
        let device = Device::new(Arc::clone(&clock), config.disk_reserve_bytes);
        let watched = Arc::new(WatchedDisk::new(Arc::clone(&disk), Arc::clone(&device)));
        let roster = Roster::read(&*disk, data.path());
        let host = Host {
            node: config.node,
            logs: LogHost::on(watched, config.max_open_segments),
            disk,
            device,
            data: Arc::downgrade(data),
            defaults: config.topic_defaults.clone(),
            flushers,
            decode: DecodeLimits {
                max_decompressed_bytes: config.max_decompressed_bytes,
                max_records: u32::MAX,
            },
            producer_id_expiration: config.producer_id_expiration,
            catalog: Catalog::default(),
            bell: Arc::clone(groups.signal()),
            queue: Queue::default(),
            clock: Arc::clone(&clock),
            replicas: Replicas::new(config.node, config.cluster.replication),
            in_cluster: member.is_some(),
            shape: Mutex::default(),
            rounds: AtomicU64::new(0),
            losses: Mutex::default(),
            shortened: Mutex::default(),
            unusable: Mutex::default(),
            reopened: AtomicU64::new(0),
            roster: Mutex::new(roster),
            healing: Mutex::default(),
            scrubbing: Mutex::default(),
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
        broker
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
        if let Some(member) = &self.member {
            // The controller waits for this to let the node have its partitions.
            member.hurry();
        }
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

    /// The disk under the logs.
    #[must_use]
    pub fn device(&self) -> &Arc<Device> {
        &self.host.device
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

    /// Changes the metadata by a rule; see [`Metadata::change`]. When
    /// it returns, this node's partitions are as the new image says.
    ///
    /// # Errors
    /// The rule's own refusal, or a failed metadata log.
    pub(crate) async fn change<T, R>(
        self: &Arc<Self>,
        rule: impl Fn(&Image) -> Result<(Vec<Record>, T), R> + Send,
    ) -> Result<T, ChangeError<R>>
    where
        T: Send,
        R: Send,
    {
        let Changed { outcome, version } = self.metadata.change(rule).await?;
        self.host.settled(version).await;
        Ok(outcome)
    }

    /// As [`Broker::change`], without waiting for what follows from it on this node.
    pub(crate) async fn commit<T, R>(
        self: &Arc<Self>,
        rule: impl Fn(&Image) -> Result<(Vec<Record>, T), R> + Send,
    ) -> Result<T, ChangeError<R>>
    where
        T: Send,
        R: Send,
    {
        let changed = self.metadata.change(rule).await?;
        Ok(changed.outcome)
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
