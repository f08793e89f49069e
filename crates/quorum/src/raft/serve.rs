//! What this node's own callers and other nodes ask of it.

use super::codec::{Data, LogEntry, Meta, Vote, weight};
use super::face::{MAX_PROPOSAL_BYTES, QuorumError};
use super::node::{Command, Consensus, Shared};
use super::rpc::{Call, Inquired, Reply, Request};
use super::storage::RaftSnapshot;
use super::store::Fence;
use super::{Target, TransportError};
use crate::Room;
use crate::journal::CommitError;
use bytes::{Bytes, BytesMut};
use openraft::ReadPolicy;
use openraft::errors::{ClientWriteError, LinearizableReadError, RaftError};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Most bytes of a snapshot that is taken from another node.
const MAX_SNAPSHOT_BYTES: u64 = 1 << 30;

/// A snapshot of which a part has come.
#[derive(Debug)]
pub(crate) struct Incoming {
    from: u64,
    vote: Vote,
    meta: Meta,
    bytes: BytesMut,
}

/// What a request came to at a node that may lead.
pub(crate) enum Outcome {
    Done(u64),
    NotLeader,
    Failed(QuorumError),
}

impl Shared {
    pub(crate) async fn execute(self: Arc<Self>, command: Command) {
        let request = self.timing.request;
        // Dropped answers are nobody's loss.
        match command {
            Command::Propose {
                entry,
                room,
                charge,
                reply,
            } => {
                let bytes = entry;
                let millis = in_millis(request);
                let request = Request::Propose {
                    bytes,
                    room,
                    millis,
                };
                drop(reply.send(self.lead_or_forward(request).await));
                drop(charge);
            }
            Command::Barrier { reply } => {
                drop(reply.send(self.barrier().await));
            }
            Command::Change { change, reply } => {
                let millis = in_millis(request);
                let request = Request::Change { change, millis };
                drop(reply.send(self.lead_or_forward(request).await.map(drop)));
            }
            Command::Handle { request, reply } => {
                let answer = match Call::decode(request) {
                    Some(call) if call.to.is_none_or(|to| to == self.me) => self.answer(call).await,
                    _ => Reply::NotReady,
                };
                drop(reply.send(answer.encode()));
            }
            Command::Suspect(node) => self.suspect(node).await,
            Command::Kept => {
                if let Some(raft) = self.raft.get() {
                    drop(raft.trigger().snapshot().await);
                    // The library puts off what a request to a follower is being made of.
                    let kept = self.store.snapshot().map_or(0, |kept| kept.index());
                    let upto = kept.saturating_sub(super::start::KEPT_ENTRIES);
                    drop(raft.trigger().purge_log(upto).await);
                }
            }
        }
    }

    /// Does `request` if this node leads, or lets the leader do it; looks for one until the
    /// deadline.
    async fn lead_or_forward(&self, request: Request) -> Result<u64, QuorumError> {
        let deadline = Instant::now() + self.timing.request;
        let mut led = self.led.subscribe();
        loop {
            if let Some(stopped) = self.stream.stopped() {
                return Err(stopped.into());
            }
            led.mark_unchanged();
            let leader = self.leader();
            // Where a leader lives that is known may be told later.
            let is_led = self.led.borrow().0.is_some();
            let pause = match is_led {
                true => Instant::now() + self.timing.heartbeat / 2,
                false => deadline,
            };
            let outcome = match leader {
                Some((id, _)) if id == self.me => {
                    let done = timeout_at(deadline, self.lead(request.clone())).await;
                    let late = |_| Outcome::Failed(QuorumError::unknown(&"no answer in time"));
                    done.unwrap_or_else(late)
                }
                Some((id, address)) => self.forward(id, address, request.clone(), deadline).await,
                None => Outcome::NotLeader,
            };
            match outcome {
                Outcome::Done(index) => return Ok(index),
                Outcome::Failed(error) => return Err(error),
                Outcome::NotLeader => {}
            }
            if Instant::now() >= deadline {
                return Err(QuorumError::NoLeader);
            }
            drop(timeout_at(pause.min(deadline), led.changed()).await);
        }
    }

    async fn forward(
        &self,
        id: u64,
        address: String,
        request: Request,
        deadline: Instant,
    ) -> Outcome {
        let left = deadline.saturating_duration_since(Instant::now());
        let request = with_deadline(request, left);
        let target = Target::of(id, address);
        match self.call(target, Some(id), request, left).await {
            Ok(Reply::Done(index)) => Outcome::Done(index),
            Ok(Reply::Failed(error)) => Outcome::Failed(error),
            Ok(Reply::NotLeader(_) | Reply::NotReady) | Err(TransportError::Unreachable(_)) => {
                Outcome::NotLeader
            }
            Ok(_) => Outcome::Failed(QuorumError::unknown(&"an answer of another kind")),
            Err(error) => Outcome::Failed(QuorumError::unknown(&error)),
        }
    }

    /// Does `request` here, if this node leads.
    pub(crate) async fn lead(&self, request: Request) -> Outcome {
        let Some(raft) = self.raft.get() else {
            return Outcome::NotLeader;
        };
        match request {
            Request::Propose { bytes, room, .. } => self.lead_entry(raft, bytes, room).await,
            Request::Change { change, .. } => self.lead_change(raft, change).await,
            Request::Barrier => self.lead_barrier(raft).await,
            _ => Outcome::Failed(QuorumError::refused(&"not a request for a leader")),
        }
    }

    async fn lead_entry(&self, raft: &Consensus, bytes: Bytes, room: Room) -> Outcome {
        if bytes.len() > MAX_PROPOSAL_BYTES {
            let bytes = bytes.len();
            return Outcome::Failed(QuorumError::TooLarge { bytes });
        }
        if let Err(error) = self.room(room, bytes.len()).await {
            return Outcome::Failed(error);
        }
        match raft.client_write(Data(bytes)).await {
            Ok(written) => Outcome::Done(written.log_id.index),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) => Outcome::NotLeader,
            Err(RaftError::APIError(error)) => Outcome::Failed(QuorumError::unknown(&error)),
            Err(RaftError::Fatal(error)) => Outcome::Failed(QuorumError::unknown(&error)),
        }
    }

    async fn room(&self, room: Room, bytes: usize) -> Result<(), QuorumError> {
        let asked = self.store.ask_room(room, bytes);
        let asked = asked.map_err(|_| self.stopped_error())?;
        match asked.await {
            Ok(_) => Ok(()),
            Err(CommitError::Full { reason }) => Err(QuorumError::Full { reason }),
            Err(CommitError::Stopped(stopped)) => Err(stopped.into()),
        }
    }

    async fn lead_barrier(&self, raft: &Consensus) -> Outcome {
        // What is to be applied is waited for by the node that asks.
        match raft.get_read_log_id(ReadPolicy::ReadIndex).await {
            Ok((id, _)) => Outcome::Done(id.log_id().index),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(_))) => {
                Outcome::NotLeader
            }
            Err(RaftError::APIError(_)) => Outcome::NotLeader,
            Err(RaftError::Fatal(error)) => Outcome::Failed(QuorumError::unknown(&error)),
        }
    }

    async fn barrier(&self) -> Result<u64, QuorumError> {
        let deadline = Instant::now() + self.timing.request;
        let index = match self.lead_or_forward(Request::Barrier).await {
            // Nothing was to be done, so nothing is unknown but the answer.
            Err(QuorumError::Unknown { .. }) => Err(QuorumError::NoLeader),
            other => other,
        }?;
        let mut next = self.applied.next.subscribe();
        let reached = timeout_at(deadline, next.wait_for(|next| *next > index)).await;
        match reached {
            Ok(Ok(_)) => Ok(self.stream.last()),
            _ => Err(QuorumError::NoLeader),
        }
    }

    async fn answer(&self, call: Call) -> Reply {
        match &call.request {
            Request::Inquire => return self.inquired(),
            Request::Form => return self.form().await,
            _ => {}
        }
        let Some(raft) = self.raft.get() else {
            return Reply::NotReady;
        };
        match call.request {
            Request::Append {
                vote,
                previous,
                entries,
                committed,
            } => {
                let bytes = entries.iter().map(weight).sum::<usize>();
                // A full disk does not take part; the leader tries again.
                if !entries.is_empty() && self.room(Room::Reserved, bytes).await.is_err() {
                    return Reply::NotReady;
                }
                let reply = append(raft, vote, previous, entries, committed).await;
                if matches!(reply, Reply::Appended | Reply::Conflict) {
                    let (leader, on_the_way) =
                        (vote.leader_id.voted_for, self.timing.heartbeat / 2);
                    self.watchfulness.heard(leader, Instant::now(), on_the_way);
                }
                reply
            }
            Request::Vote {
                vote,
                last,
                transfer,
                only_asks,
            } => {
                let mut request = VoteRequest::new(vote, last);
                request.leadership_transfer = transfer;
                self.vote(raft, request, only_asks).await
            }
            Request::Snapshot {
                vote,
                meta,
                total,
                at,
                chunk,
            } => {
                let whole = self.gather(call.from, vote, &meta, total, at, &chunk);
                match whole {
                    Ok(Some(bytes)) => install(raft, vote, meta, bytes).await,
                    Ok(None) => Reply::Chunk,
                    Err(()) => Reply::NotReady,
                }
            }
            Request::Takeover { vote, to, last } => {
                if to == self.me && self.store.fence() != Fence::Open {
                    return Reply::NotReady;
                }
                let request = TransferLeaderRequest::new(vote, to, last);
                match raft.handle_transfer_leader(request).await {
                    Ok(Ok(())) => Reply::Done(0),
                    Ok(Err(error)) => Reply::Failed(QuorumError::refused(&error)),
                    Err(error) => Reply::Failed(QuorumError::refused(&error)),
                }
            }
            Request::Propose { millis, .. } | Request::Change { millis, .. } => {
                self.led(call.request, Duration::from_millis(millis)).await
            }
            Request::Barrier => self.led(Request::Barrier, self.timing.request).await,
            Request::Inquire | Request::Form => Reply::NotReady,
        }
    }

    /// What came of another node's request to a leader.
    async fn led(&self, request: Request, patience: Duration) -> Reply {
        let admits = matches!(request, Request::Change { .. });
        let deadline = Instant::now() + patience.min(self.timing.request);
        let outcome = match timeout_at(deadline, self.lead(request.clone())).await {
            Ok(Outcome::NotLeader) if admits => match self.leader() {
                // A node that joins knows only its seed.
                Some((id, address)) if id != self.me => {
                    self.forward(id, address, request, deadline).await
                }
                _ => Outcome::NotLeader,
            },
            Ok(outcome) => outcome,
            Err(_) => Outcome::Failed(QuorumError::unknown(&"no answer in time")),
        };
        match outcome {
            Outcome::Done(index) => Reply::Done(index),
            Outcome::NotLeader => Reply::NotLeader(self.leader()),
            Outcome::Failed(error) => Reply::Failed(error),
        }
    }

    fn inquired(&self) -> Reply {
        let status = self.status.borrow();
        let voters = status.voters.iter();
        let voters = voters.map(|(id, address)| (u64::from(id.get()), address.clone()));
        Reply::Inquired(Inquired {
            node: self.me,
            open: self.store.fence() == Fence::Open && self.raft.get().is_some(),
            vote: self.store.vote(),
            last: self.store.last(),
            voters: voters.collect(),
        })
    }

    async fn form(&self) -> Reply {
        if !self.store.is_new() {
            return Reply::NotReady;
        }
        if self.store.fence() != Fence::Open && self.store.open_fence().await.is_err() {
            return Reply::NotReady;
        }
        // So that the first vote is not asked for too early.
        while self.raft.get().is_none() && self.stream.stopped().is_none() {
            tokio::time::sleep(self.timing.heartbeat / 10).await;
        }
        Reply::Done(0)
    }

    async fn vote(
        &self,
        raft: &Consensus,
        request: VoteRequest<super::codec::Types>,
        only_asks: bool,
    ) -> Reply {
        if self.store.fence() != Fence::Open {
            // It may have promised otherwise, and does not know.
            return Reply::NotReady;
        }
        let hears = self
            .watchfulness
            .hears(Instant::now(), self.timing.election_min);
        if hears && !request.leadership_transfer {
            return match self.store.vote() {
                Some(vote) => Reply::Voted {
                    vote,
                    granted: false,
                    last: self.store.last(),
                },
                None => Reply::NotReady,
            };
        }
        let voted = if only_asks {
            raft.pre_vote(request).await
        } else {
            raft.vote(request).await
        };
        match voted {
            Ok(voted) => Reply::Voted {
                vote: voted.vote,
                granted: voted.vote_granted,
                last: voted.last_log_id,
            },
            Err(_) => Reply::NotReady,
        }
    }

    /// Puts a chunk of a snapshot to the others; the whole if it was the last.
    fn gather(
        &self,
        from: u64,
        vote: Vote,
        meta: &Meta,
        total: u64,
        at: u64,
        chunk: &Bytes,
    ) -> Result<Option<Bytes>, ()> {
        let mut slot = self.incoming.lock();
        if at == 0 {
            *slot = Some(Incoming {
                from,
                vote,
                meta: meta.clone(),
                bytes: BytesMut::new(),
            });
        }
        let incoming = slot.as_mut().ok_or(())?;
        let held = incoming.bytes.len() as u64;
        let same = incoming.from == from && incoming.vote == vote && incoming.meta == *meta;
        let fits = held == at && at + chunk.len() as u64 <= total && total <= MAX_SNAPSHOT_BYTES;
        if !same || !fits {
            *slot = None;
            return Err(());
        }
        incoming.bytes.extend_from_slice(chunk);
        if (incoming.bytes.len() as u64) < total {
            return Ok(None);
        }
        Ok(slot.take().map(|whole| whole.bytes.freeze()))
    }
}

async fn append(
    raft: &Consensus,
    vote: Vote,
    previous: Option<super::codec::LogId>,
    entries: Vec<LogEntry>,
    committed: Option<super::codec::LogId>,
) -> Reply {
    let appended = raft.append_entries(AppendEntriesRequest {
        vote,
        prev_log_id: previous,
        entries,
        leader_commit: committed,
    });
    match appended.await {
        Ok(AppendEntriesResponse::Success) => Reply::Appended,
        Ok(AppendEntriesResponse::Conflict) => Reply::Conflict,
        Ok(AppendEntriesResponse::HigherVote(vote)) => Reply::HigherVote(vote),
        Ok(AppendEntriesResponse::PartialSuccess(_)) | Err(_) => Reply::NotReady,
    }
}

async fn install(raft: &Consensus, vote: Vote, meta: Meta, snapshot: Bytes) -> Reply {
    let snapshot = RaftSnapshot { meta, snapshot };
    match raft.install_full_snapshot(vote, snapshot).await {
        Ok(installed) => Reply::Installed(installed.vote),
        Err(_) => Reply::NotReady,
    }
}

fn in_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The request with the time that is left for it.
fn with_deadline(request: Request, left: Duration) -> Request {
    // The answer needs a moment to come back.
    let millis = in_millis(left.mul_f32(0.9));
    match request {
        Request::Propose { bytes, room, .. } => Request::Propose {
            bytes,
            room,
            millis,
        },
        Request::Change { change, .. } => Request::Change { change, millis },
        other => other,
    }
}
