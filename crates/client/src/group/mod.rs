//! Reading as a member of a classic consumer group.
//!
//! The group's coordinator decides who is in; the member it makes leader shares out the
//! partitions. Every rebalance takes all partitions from all members and gives them anew. What
//! always holds: records are handed out of partitions assigned in the current generation only, and
//! what is committed of its own accord was handed out by an earlier poll.

mod assignor;
mod config;
mod member;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub use assignor::{Assignment, Assignor, Subscriber};
pub use config::GroupConfig;
use member::Member;
use plimsoll_types::{Offset, TopicPartition};
use plimsoll_wire::{ErrorCode, Str};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout_at};

use crate::client::Owned;
use crate::{Client, ClientError, ConsumedRecord, Consumer, ConsumerConfig, StartAt};

/// A consumer that shares topics with the other members of its group.
pub struct GroupConsumer {
    consumer: Consumer,
    /// The connections to the coordinator.
    own: Arc<Owned>,
    config: GroupConfig,
    standing: Standing,
    /// The id that the group knows this member by, kept for joining again.
    member_id: Str,
    /// What polls before the current one handed out: what a commit of its own accord may say.
    handed_out: BTreeMap<TopicPartition, Offset>,
    committed: BTreeMap<TopicPartition, Offset>,
    next_commit: Option<Instant>,
}

/// Where the member stands with its group.
enum Standing {
    Outside,
    /// One task, which ends with this.
    Joining(JoinSet<Result<(Member, BTreeMap<TopicPartition, StartAt>), ClientError>>),
    Inside(Box<Inside>),
}

/// A member with its heartbeat.
struct Inside {
    member: Member,
    heart: JoinHandle<()>,
    /// Why the heartbeat stopped.
    stopped: watch::Receiver<Option<Lost>>,
}

/// Why a generation is over for a member.
#[derive(Clone, Debug)]
enum Lost {
    /// The group says so, or cannot be told that the member lives.
    Refused(ClientError),
    /// As the leader it has seen that topics have other partitions than those shared out.
    PartitionsChanged,
}

impl Lost {
    /// Whether the group still takes commits of the generation.
    fn may_commit(&self) -> bool {
        match self {
            Self::Refused(error) => error.code() == Some(ErrorCode::RebalanceInProgress),
            Self::PartitionsChanged => true,
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.heart.abort();
    }
}

impl GroupConsumer {
    /// A consumer that joins its group at the first poll.
    #[must_use]
    pub fn new(client: Client, consumer: ConsumerConfig, config: GroupConfig) -> Self {
        Self {
            consumer: Consumer::new(client.clone(), consumer),
            own: Arc::new(Owned::new(client)),
            config,
            standing: Standing::Outside,
            member_id: Str::default(),
            handed_out: BTreeMap::new(),
            committed: BTreeMap::new(),
            next_commit: None,
        }
    }

    /// Its generation, while it is in the group. It changes with every rebalance.
    #[must_use]
    pub fn generation(&self) -> Option<i32> {
        self.inside().map(|inside| inside.member.generation)
    }

    /// The id that the group knows it by, while it is in.
    #[must_use]
    pub fn member_id(&self) -> Option<&str> {
        self.inside().map(|inside| inside.member.member_id.as_str())
    }

    /// Whether it shares out the partitions in this generation.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.inside().is_some_and(|inside| inside.member.is_leader)
    }

    /// The partitions it was given, and where it stands in them.
    #[must_use]
    pub fn consumer(&self) -> &Consumer {
        &self.consumer
    }

    fn inside(&self) -> Option<&Inside> {
        match &self.standing {
            Standing::Inside(inside) => Some(inside),
            Standing::Outside | Standing::Joining(_) => None,
        }
    }

    /// The next records, as soon as there are any; none if the time is up first. Joins the group
    /// if it is not in, which may take several polls.
    ///
    /// # Errors
    /// As [`Consumer::poll`]; when the group refuses the member for good; when a commit of its own
    /// accord fails for another reason than a rebalance.
    pub async fn poll(&mut self, timeout: Duration) -> Result<Vec<ConsumedRecord>, ClientError> {
        let deadline = Instant::now() + timeout;
        self.handed_out = self.consumer.positions();
        self.commit_if_due().await?;
        loop {
            if let Some(lost) = self.lost() {
                self.step_out(&lost).await?;
            }
            if self.inside().is_none() && !self.step_in(deadline).await? {
                return Ok(Vec::new());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            // No longer than to the next sign of life: a rebalance must be seen in time.
            let records = self
                .consumer
                .poll(left.min(self.config.heartbeat_interval))
                .await?;
            if !records.is_empty() || Instant::now() >= deadline {
                return Ok(records);
            }
        }
    }

    /// Why the membership is over, if it is.
    fn lost(&self) -> Option<Lost> {
        self.inside()?.stopped.borrow().clone()
    }

    /// Gives up the assignment, committing it if there still is a way.
    async fn step_out(&mut self, lost: &Lost) -> Result<(), ClientError> {
        tracing::info!(group = self.config.group, ?lost, "leaving the generation");
        if lost.may_commit() && self.config.auto_commit.is_some() {
            // The group may be past it: then others begin where the last commit says.
            let committed = self.commit_handed_out().await;
            if let Err(error) = committed {
                tracing::warn!(group = self.config.group, %error, "commit before a rebalance");
            }
        }
        self.consumer.assign([]);
        self.handed_out.clear();
        self.committed.clear();
        self.standing = Standing::Outside;
        let Lost::Refused(error) = lost else {
            return Ok(());
        };
        match error.code() {
            Some(ErrorCode::UnknownMemberId) => self.member_id = Str::default(),
            Some(ErrorCode::FencedInstanceId) => return Err(error.clone()),
            _ => {}
        }
        Ok(())
    }

    /// Joins, or goes on joining, until `deadline`. Whether it is in.
    async fn step_in(&mut self, deadline: Instant) -> Result<bool, ClientError> {
        if matches!(self.standing, Standing::Outside) {
            let mut task = JoinSet::new();
            task.spawn(join(
                self.own.clone(),
                self.config.clone(),
                self.member_id.clone(),
            ));
            self.standing = Standing::Joining(task);
        }
        let Standing::Joining(task) = &mut self.standing else {
            return Ok(true);
        };
        let Ok(joined) = timeout_at(deadline, task.join_next()).await else {
            return Ok(false);
        };
        self.standing = Standing::Outside;
        let joined = joined
            .and_then(Result::ok)
            .unwrap_or(Err(ClientError::Closed));
        let (member, starts) = joined?;
        tracing::info!(
            group = self.config.group,
            generation = member.generation,
            partitions = member.assignment.len(),
            "joined"
        );
        self.member_id = member.member_id.clone();
        self.consumer.assign(starts);
        self.next_commit = self.config.auto_commit.map(|every| Instant::now() + every);
        let (stop, stopped) = watch::channel(None);
        let heart = tokio::spawn(beat(member.clone(), stop));
        self.standing = Standing::Inside(Box::new(Inside {
            member,
            heart,
            stopped,
        }));
        Ok(true)
    }

    async fn commit_if_due(&mut self) -> Result<(), ClientError> {
        let (Some(due), Some(every)) = (self.next_commit, self.config.auto_commit) else {
            return Ok(());
        };
        if Instant::now() < due {
            return Ok(());
        }
        self.next_commit = Some(Instant::now() + every);
        match self.commit_handed_out().await {
            // The heartbeat learns of it too, and the next step is to join again.
            Err(error) if is_rebalance(&error) => Ok(()),
            outcome => outcome,
        }
    }

    /// Commits what earlier polls handed out.
    async fn commit_handed_out(&mut self) -> Result<(), ClientError> {
        self.commit_offsets(self.handed_out.clone()).await
    }

    /// Commits all that was handed out so far.
    ///
    /// # Errors
    /// When it is not in the group, the group has rebalanced, or its coordinator does not answer.
    pub async fn commit(&mut self) -> Result<(), ClientError> {
        self.commit_offsets(self.consumer.positions()).await
    }

    /// Commits these offsets, each the next to be read.
    ///
    /// # Errors
    /// As [`GroupConsumer::commit`].
    pub async fn commit_offsets(
        &mut self,
        offsets: BTreeMap<TopicPartition, Offset>,
    ) -> Result<(), ClientError> {
        let Standing::Inside(inside) = &self.standing else {
            return if offsets.is_empty() {
                Ok(())
            } else {
                Err(ClientError::Closed)
            };
        };
        let news =
            |entry: &(TopicPartition, Offset)| self.committed.get(&entry.0) != Some(&entry.1);
        let offsets: BTreeMap<_, _> = offsets.into_iter().filter(news).collect();
        if offsets.is_empty() {
            return Ok(());
        }
        inside.member.commit(&offsets).await?;
        self.committed.extend(offsets);
        Ok(())
    }

    /// Commits what was handed out, if it does so of its own accord, and leaves the group.
    ///
    /// # Errors
    /// When the commit or the good-bye fails; it is out all the same, once its session ends.
    pub async fn leave(mut self) -> Result<(), ClientError> {
        let committed = match self.config.auto_commit {
            Some(_) => self.commit().await,
            None => Ok(()),
        };
        if let Standing::Inside(inside) = &self.standing {
            inside.member.leave().await?;
        }
        match committed {
            Err(error) if is_rebalance(&error) || matches!(error, ClientError::Closed) => Ok(()),
            outcome => outcome,
        }
    }
}

fn is_rebalance(error: &ClientError) -> bool {
    matches!(
        error.code(),
        Some(
            ErrorCode::RebalanceInProgress
                | ErrorCode::IllegalGeneration
                | ErrorCode::UnknownMemberId
        )
    )
}

/// Joins, and looks up where to begin.
async fn join(
    own: Arc<Owned>,
    config: GroupConfig,
    member_id: Str,
) -> Result<(Member, BTreeMap<TopicPartition, StartAt>), ClientError> {
    let member = member::join(own, config, member_id).await?;
    let committed = if member.assignment.is_empty() {
        BTreeMap::new()
    } else {
        member.committed().await?
    };
    let starts = member.assignment.iter().map(|partition| {
        let committed = committed.get(partition);
        let start = committed.map_or(member.config.start, |at| StartAt::Offset(at.offset));
        (partition.clone(), start)
    });
    let starts = starts.collect();
    Ok((member, starts))
}

/// Gives signs of life until the group no longer takes them, or cannot be told for a session. A
/// leader also looks whether there is something else to share out.
async fn beat(mut member: Member, stop: watch::Sender<Option<Lost>>) {
    let refresh = member.client().config().metadata_max_age;
    let mut last = Instant::now();
    let mut looked = last;
    let lost = loop {
        sleep(member.config.heartbeat_interval).await;
        if member.is_leader && looked.elapsed() >= refresh {
            looked = Instant::now();
            if member.have_partitions_changed().await {
                break Lost::PartitionsChanged;
            }
        }
        let error = match member.heartbeat().await {
            Ok(()) => {
                last = Instant::now();
                continue;
            }
            Err(error) => error,
        };
        let in_session = last.elapsed() < member.config.session_timeout;
        if !(error.is_retriable() && in_session) {
            break Lost::Refused(error);
        }
        // A coordinator that cannot be found now is looked for at the next beat.
        if let Err(error) = member.find_coordinator().await {
            tracing::debug!(%error, "looking for the group's coordinator");
        }
    };
    // Nobody may be listening any more.
    let _ = stop.send(Some(lost));
}
