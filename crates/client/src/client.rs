//! The cluster as a client sees it: connections by node, metadata kept fresh, calls that find
//! their way to a leader, the controller or a coordinator.
//!
//! Not here: what requests mean. What always holds: at most one connection is being opened for
//! each node and lane; a connection that ended is replaced at the next use; retries end.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use plimsoll_types::{LeaderEpoch, NodeId, TopicName, TopicPartition};
use plimsoll_wire::find_coordinator::{Coordinator, FindCoordinatorRequest};
use plimsoll_wire::metadata::{MetadataRequest, MetadataRequestTopic};
use plimsoll_wire::{ApiKey, ErrorCode};
use tokio::sync::OnceCell;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::error::check;
use crate::metadata::{self, Metadata, Topic};
use crate::retry::Retry;
use crate::{Ask, ClientConfig, ClientError, Connection};

/// After so long without a word the next address is tried as well.
const SILENT: Duration = Duration::from_millis(300);

/// A handle on a cluster; clones share connections and what is known.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

/// What a connection is used for. Brokers answer one after another on each, so requests that are
/// answered late have connections of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Requests that are answered at once.
    Requests,
    /// Produce requests.
    Produce,
    /// The fetches of one consumer, which may wait for records.
    Fetch(Owner),
    /// A member's requests to its group but for the next.
    Group(Owner),
    /// Its joining and syncing, which wait for other members.
    Join(Owner),
}

/// Whose a lane is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owner(u64);

impl Lane {
    fn owner(self) -> Option<Owner> {
        match self {
            Self::Requests | Self::Produce => None,
            Self::Fetch(owner) | Self::Group(owner) | Self::Join(owner) => Some(owner),
        }
    }
}

/// A client with lanes of its own, which close with this.
#[derive(Debug)]
pub(crate) struct Owned {
    client: Client,
    owner: Owner,
}

impl Owned {
    pub(crate) fn new(client: Client) -> Self {
        // Relaxed: only uniqueness matters.
        let owner = Owner(client.shared.next_owner.fetch_add(1, Ordering::Relaxed));
        Self { client, owner }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn owner(&self) -> Owner {
        self.owner
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let mut connections = self.client.shared.connections.lock();
        connections.retain(|(_, lane), _| lane.owner() != Some(self.owner));
    }
}

struct Shared {
    config: ClientConfig,
    metadata: RwLock<Arc<Metadata>>,
    connections: Mutex<HashMap<(String, Lane), Arc<OnceCell<Connection>>>>,
    next_owner: AtomicU64,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("bootstrap", &self.shared.config.bootstrap)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Reaches the cluster through any of the addresses in `config`, and learns its nodes.
    ///
    /// # Errors
    /// When none of them answers; the error names each, and how long it was tried.
    pub async fn connect(config: ClientConfig) -> Result<Self, ClientError> {
        if config.bootstrap.is_empty() {
            return Err(ClientError::NoAddress);
        }
        let client = Self {
            shared: Arc::new(Shared {
                config,
                metadata: RwLock::new(Arc::new(Metadata::empty())),
                connections: Mutex::new(HashMap::new()),
                next_owner: AtomicU64::new(0),
            }),
        };
        client.refresh(Some(&[])).await?;
        Ok(client)
    }

    /// How it was made.
    #[must_use]
    pub fn config(&self) -> &ClientConfig {
        &self.shared.config
    }

    /// What is known, however old.
    #[must_use]
    pub fn known(&self) -> Arc<Metadata> {
        self.shared.metadata.read().clone()
    }

    /// All nodes and topics, asked now.
    ///
    /// # Errors
    /// When no broker answers.
    pub async fn metadata(&self) -> Result<Arc<Metadata>, ClientError> {
        self.refresh(None).await?;
        Ok(self.known())
    }

    /// A topic: as known if that is fresh, else asked, again and again if the broker says that
    /// it may know later.
    ///
    /// # Errors
    /// When the topic does not exist, or no broker answers in time.
    pub async fn topic(&self, name: &TopicName) -> Result<Topic, ClientError> {
        match self.fresh(name) {
            Some(topic) => Ok(topic),
            None => self.topic_anew(name).await,
        }
    }

    /// A topic, asked now. After an error that [`ClientError::is_stale`].
    ///
    /// # Errors
    /// As [`Client::topic`].
    pub async fn topic_anew(&self, name: &TopicName) -> Result<Topic, ClientError> {
        let mut retry = Retry::new(self.config());
        let begun = Instant::now();
        loop {
            let asked = self.refresh(Some(std::slice::from_ref(name))).await;
            let error = match asked {
                Ok(mut errors) => match errors.pop() {
                    None => match self.fresh(name) {
                        Some(topic) => return Ok(topic),
                        None => return Err(missing("the topic asked for is not in it")),
                    },
                    Some(error) => error,
                },
                Err(error) => error,
            };
            let unknown = error.code() == Some(ErrorCode::UnknownTopicOrPartition);
            // If asking makes topics, it may take as long as anything else.
            let hopeless = unknown
                && !self.config().auto_create_topics
                && begun.elapsed() >= self.config().unknown_topic_grace;
            if !error.is_retriable() || hopeless {
                return Err(error);
            }
            retry.pause("the topic", error).await?;
        }
    }

    /// A topic as known, if that is fresh.
    #[must_use]
    pub fn fresh(&self, name: &TopicName) -> Option<Topic> {
        let known = self.shared.metadata.read();
        let topic = known.topics.get(name)?;
        (topic.asked.elapsed() < self.config().metadata_max_age).then(|| topic.clone())
    }

    /// How many partitions a topic has, if what is known of it is fresh.
    pub(crate) fn fresh_partitions(&self, name: &TopicName) -> Option<u32> {
        let known = self.shared.metadata.read();
        let topic = known.topics.get(name)?;
        let fresh = topic.asked.elapsed() < self.config().metadata_max_age;
        u32::try_from(topic.partitions.len()).ok().filter(|_| fresh)
    }

    /// A partition's leader and its epoch as known, however old.
    pub(crate) fn known_leader(
        &self,
        partition: &TopicPartition,
    ) -> Option<(NodeId, Option<LeaderEpoch>)> {
        let known = self.shared.metadata.read();
        let index = usize::try_from(partition.partition).ok()?;
        let described = known.topics.get(&partition.topic)?.partitions.get(index)?;
        Some((described.leader?, described.leader_epoch))
    }

    /// Takes what is known of a topic for old, so that its next use asks.
    pub(crate) fn forget(&self, name: &TopicName) {
        let mut known = self.shared.metadata.write();
        if known.topics.contains_key(name) {
            Arc::make_mut(&mut *known).topics.remove(name);
        }
    }

    /// Takes what is known of the topics that a node leads for old: it cannot be reached.
    pub(crate) fn forget_led_by(&self, node: NodeId) {
        let mut known = self.shared.metadata.write();
        let led = |topic: &Topic| topic.partitions.iter().any(|one| one.leader == Some(node));
        if known.topics.values().any(led) {
            Arc::make_mut(&mut *known)
                .topics
                .retain(|_, topic| !led(topic));
        }
    }

    /// Asks for the nodes and `topics` (`None`: all there are), and keeps the answer. What comes
    /// back is what is wrong with some of them.
    pub(crate) async fn refresh(
        &self,
        topics: Option<&[TopicName]>,
    ) -> Result<Vec<ClientError>, ClientError> {
        let named = topics.map(|topics| {
            let named = topics.iter().map(|name| MetadataRequestTopic {
                name: Some(name.as_str().into()),
                ..Default::default()
            });
            named.collect()
        });
        let request = MetadataRequest {
            topics: named,
            allow_auto_topic_creation: self.config().auto_create_topics,
            ..Default::default()
        };
        let asked = Instant::now();
        let answer = self.ask_any(request).await?;
        check(ApiKey::Metadata, answer.error_code, None, || {
            "the cluster".to_owned()
        })?;
        let described = metadata::topics(&answer, asked)?;
        let mut known = self.shared.metadata.write();
        let mut updated = known.updated(&answer)?;
        if topics.is_none() {
            updated.topics.clear();
        }
        let mut errors = Vec::new();
        for topic in described {
            match topic {
                Ok(topic) => {
                    updated.topics.insert(topic.name.clone(), topic);
                }
                Err((name, code)) => {
                    updated.topics.remove(&name);
                    let subject = || format!("topic {name}");
                    errors.extend(check(ApiKey::Metadata, code, None, subject).err());
                }
            }
        }
        *known = Arc::new(updated);
        Ok(errors)
    }

    /// A connection to a node.
    ///
    /// # Errors
    /// When the node is not known or cannot be reached.
    pub async fn node(&self, id: NodeId, lane: Lane) -> Result<Connection, ClientError> {
        let address = self.known().nodes.get(&id).map(metadata::Node::address);
        let address = address.ok_or(missing("it names a node that it does not list"))?;
        self.connection(&address, lane).await
    }

    /// A connection to a node, if there is one open.
    pub(crate) fn open_node(&self, id: NodeId, lane: Lane) -> Option<Connection> {
        let address = self.shared.metadata.read().nodes.get(&id)?.address();
        let connections = self.shared.connections.lock();
        let connection = connections.get(&(address, lane))?.get()?;
        (!connection.is_closed()).then(|| connection.clone())
    }

    /// A connection to any broker: an open one, else the first that can be opened, known nodes
    /// before the addresses that were given.
    ///
    /// # Errors
    /// When none can be reached.
    pub async fn any(&self) -> Result<Connection, ClientError> {
        let known = self.known();
        let mut addresses: Vec<_> = known.nodes.values().map(metadata::Node::address).collect();
        for address in &self.config().bootstrap {
            if !addresses.contains(address) {
                addresses.push(address.clone());
            }
        }
        let open = |address: &&String| self.is_open(address, Lane::Requests);
        addresses.sort_by_key(|address| !open(&address));
        self.first_of(addresses).await
    }

    /// The first connection there is: each address is tried when the one before has failed or kept
    /// silent for a moment, so that a dead node costs no more than that.
    async fn first_of(&self, addresses: Vec<String>) -> Result<Connection, ClientError> {
        let (mut opening, mut attempts) = (JoinSet::new(), Vec::new());
        let mut left = addresses.into_iter();
        loop {
            if let Some(address) = left.next() {
                let client = self.clone();
                opening.spawn(async move { client.connection(&address, Lane::Requests).await });
            }
            let more = left.len() > 0;
            match timeout(SILENT, opening.join_next()).await {
                Ok(Some(Ok(Ok(connection)))) => return Ok(connection),
                Ok(Some(Ok(Err(error)))) => attempts.push(error),
                // One that panicked has no answer.
                Ok(Some(Err(_))) | Err(_) => {}
                Ok(None) if more => {}
                Ok(None) => return Err(ClientError::NoBroker { attempts }),
            }
        }
    }

    fn is_open(&self, address: &str, lane: Lane) -> bool {
        let connections = self.shared.connections.lock();
        let open = connections.get(&(address.to_owned(), lane));
        open.and_then(|cell| cell.get())
            .is_some_and(|connection| !connection.is_closed())
    }

    /// The connection to `address`, opened if there is none; who else wants it waits for the same.
    async fn connection(&self, address: &str, lane: Lane) -> Result<Connection, ClientError> {
        let cell = {
            let mut connections = self.shared.connections.lock();
            let cell = connections.entry((address.to_owned(), lane)).or_default();
            if cell.get().is_some_and(Connection::is_closed) {
                *cell = Arc::default();
            }
            cell.clone()
        };
        let open = cell.get_or_try_init(|| Connection::open(address, self.config()));
        // One attempt takes the connect timeout; who waits for another's waits no longer than it
        // and one of its own.
        let patience = self.config().connect_timeout * 2;
        let begun = Instant::now();
        let opened = timeout(patience, open).await;
        opened
            .unwrap_or_else(|_| {
                let cause = std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer");
                Err(ClientError::Unreachable {
                    address: address.to_owned(),
                    waited: begun.elapsed(),
                    cause: Arc::new(cause),
                })
            })
            .cloned()
    }

    /// Asks any broker, another if the first falls silent.
    ///
    /// # Errors
    /// When none answers.
    pub async fn ask_any<A: Ask + Clone>(&self, request: A) -> Result<A::Answer, ClientError> {
        let mut retry = Retry::new(self.config());
        // Asking another must not come too late.
        let patience = (self.config().request_timeout).min(self.config().retry_timeout / 3);
        loop {
            let connection = self.any().await?;
            match connection.ask_within(request.clone(), patience).await {
                Err(error) if error.is_transport() => retry.pause("an answer", error).await?,
                answered => return answered,
            }
        }
    }

    /// Asks the node that decides about the cluster; any, if the cluster does not say which.
    ///
    /// # Errors
    /// When it cannot be reached or does not answer within `timeout`.
    pub async fn ask_controller<A: Ask>(
        &self,
        request: A,
        timeout: Duration,
    ) -> Result<A::Answer, ClientError> {
        let connection = match self.known().controller {
            Some(controller) => self.node(controller, Lane::Requests).await?,
            None => self.any().await?,
        };
        connection.ask_within(request, timeout).await
    }

    /// The address of the node that keeps `group`, trying again while there is none.
    ///
    /// # Errors
    /// When there is none in time, or the broker refuses the group's name.
    pub async fn coordinator(&self, group: &str) -> Result<String, ClientError> {
        let mut retry = Retry::new(self.config());
        loop {
            match self.coordinator_now(group).await {
                Err(error) if error.is_retriable() => {
                    retry.pause("the group's coordinator", error).await?;
                }
                found => return found,
            }
        }
    }

    async fn coordinator_now(&self, group: &str) -> Result<String, ClientError> {
        let answer = self
            .ask_any(FindCoordinatorRequest {
                key: group.into(),
                coordinator_keys: vec![group.into()],
                ..Default::default()
            })
            .await?;
        // Before version 4 the one answer stands beside the list.
        let found = answer
            .coordinators
            .into_iter()
            .next()
            .unwrap_or(Coordinator {
                key: group.into(),
                node_id: answer.node_id,
                host: answer.host,
                port: answer.port,
                error_code: answer.error_code,
                error_message: answer.error_message,
            });
        let message = found.error_message.as_ref();
        let api = ApiKey::FindCoordinator;
        check(api, found.error_code, message, || format!("group {group}"))?;
        let what = "a node's port is none";
        let port = u16::try_from(found.port).map_err(|_| ClientError::Nonsense { api, what })?;
        Ok(metadata::address(&found.host, port))
    }

    /// Asks the node at `address`, which [`Client::coordinator`] found.
    ///
    /// # Errors
    /// When it cannot be reached or does not answer within `timeout`.
    pub async fn ask_at<A: Ask>(
        &self,
        address: &str,
        lane: Lane,
        request: A,
        timeout: Duration,
    ) -> Result<A::Answer, ClientError> {
        let connection = self.connection(address, lane).await?;
        connection.ask_within(request, timeout).await
    }
}

fn missing(what: &'static str) -> ClientError {
    let api = ApiKey::Metadata;
    ClientError::Nonsense { api, what }
}
