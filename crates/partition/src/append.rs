//! Appending: from batches that gathered to one vectored write, with the producers' sequences checked.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use plimsoll_segment_log::{AppendError as LogAppendError, LogWriter, ToAppend, Verdict};
use plimsoll_types::{LeaderEpoch, Monotonic, Offset, ProducerEpoch, Timestamp};

use crate::combine::{Combine, Submitted};
use crate::role::Role;
use crate::shared::{Shared, describe};

/// Where a batch went. It is acknowledged when the watermark that its durability asks for has
/// reached `end`, not before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The offset of its first record.
    pub base: Offset,
    /// The offset after its last record.
    pub end: Offset,
    /// The term in which it was written.
    pub leader_epoch: LeaderEpoch,
    /// The log already held it (an idempotent producer's retry) with this greatest timestamp, and
    /// nothing was written.
    pub duplicate_of: Option<Timestamp>,
}

/// Why a batch was not appended. Nothing of it is in the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The producer's sequence has a hole: a batch before this one is missing.
    #[error("the producer's next sequence is {expected}, not {got}")]
    OutOfOrder {
        /// The sequence that continues what the log holds.
        expected: i32,
        /// The sequence of the batch.
        got: i32,
    },
    /// A newer life of the same producer wrote already.
    #[error("the producer's epoch {} is in use, this batch is from an older one", current.0)]
    Fenced {
        /// The newer epoch.
        current: ProducerEpoch,
    },
    /// The replica does not lead.
    #[error("the replica is {role}")]
    NotLeader {
        /// What it is.
        role: Role,
    },
    /// The machine has no space, descriptor or memory for it just now. The log is whole and takes
    /// the batch once there is.
    #[error("{why}")]
    Refused {
        /// What is short.
        why: Arc<str>,
    },
    /// The replica is offline after a storage error.
    #[error("the replica is offline: {why}")]
    Offline {
        /// The error that took it offline.
        why: Arc<str>,
    },
}

/// The outcome of an append that was begun; a future that needs no runtime. The append itself was
/// done or queued, in order, by the call that returned this.
#[must_use = "the outcome of the append is in it"]
pub struct Append(pub(crate) Submitted<Result<Appended, AppendError>>);

impl Future for Append {
    type Output = Result<Appended, AppendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context)
    }
}

/// The log's one writer and what it needs at each step.
pub(crate) struct Writer {
    /// `None` once the partition is closed.
    pub(crate) log: Option<LogWriter>,
    pub(crate) shared: Arc<Shared>,
    /// When the last checkpoint was staged.
    pub(crate) checkpointed: Monotonic,
    run: Vec<ToAppend>,
    /// The last term it led: never again in that epoch once it is over (I7).
    pub(crate) led: Option<LeaderEpoch>,
}

type Outcome = Result<Appended, AppendError>;

impl Writer {
    pub(crate) fn new(log: LogWriter, shared: Arc<Shared>) -> Self {
        Self {
            log: Some(log),
            shared,
            checkpointed: Monotonic::default(),
            run: Vec::new(),
            led: None,
        }
    }

    /// Judges each batch by its producer's sequence, those before it in `inputs` counted in. What
    /// is to be written gathers in the run; the outcomes are what they will be once it is.
    fn judge(
        &mut self,
        leader_epoch: LeaderEpoch,
        inputs: &mut VecDeque<ToAppend>,
        outcomes: &mut Vec<Outcome>,
    ) {
        let mut next = self.shared.parts.load().reader.log_end();
        let Some(log) = &self.log else {
            outcomes.extend(inputs.drain(..).map(|_| Err(closed())));
            return;
        };
        let mut admission = log.producers().admission(next);
        for batch in inputs.drain(..) {
            let verdict = admission.check(&batch.header);
            if verdict == Verdict::UnknownProducer {
                // Forgotten, by age or because the topic is another one now: its sequence goes on
                // from here, as in Kafka (KIP-360). Refused, it would never come to an end.
                admission.append_anyway(&batch.header);
            }
            outcomes.push(match verdict {
                Verdict::Append | Verdict::UnknownProducer => {
                    let base = next;
                    next = base + u64::from(batch.header.last_offset_delta) + 1;
                    self.run.push(batch);
                    Ok(Appended {
                        base,
                        end: next,
                        leader_epoch,
                        duplicate_of: None,
                    })
                }
                Verdict::Duplicate {
                    base,
                    last,
                    timestamp,
                } => Ok(Appended {
                    base,
                    end: last + 1,
                    leader_epoch,
                    duplicate_of: Some(timestamp),
                }),
                Verdict::OutOfOrder { expected, got } => {
                    Err(AppendError::OutOfOrder { expected, got })
                }
                Verdict::Fenced { current } => Err(AppendError::Fenced { current }),
            });
        }
    }

    /// Writes the run; returns the log end then.
    fn write_run(&mut self, epoch: LeaderEpoch) -> Result<Offset, AppendError> {
        let Some(log) = &mut self.log else {
            return Err(closed());
        };
        // Costs nothing but in the first append of a term.
        let written = log
            .assign_epoch(epoch)
            .and_then(|()| log.append(epoch, &self.run));
        written
            .map(|appended| appended.log_end)
            .map_err(|error| match error {
                LogAppendError::Poisoned(poisoned) => AppendError::Offline {
                    why: self.shared.fail(&poisoned),
                },
                other => AppendError::Refused {
                    why: describe(&other).into(),
                },
            })
    }
}

fn closed() -> AppendError {
    AppendError::Offline {
        why: "the partition is closed".into(),
    }
}

impl Combine for Writer {
    type Input = ToAppend;
    type Output = Outcome;

    fn apply(&mut self, inputs: &mut VecDeque<ToAppend>, outputs: &mut Vec<Outcome>) {
        if let Some(why) = self.shared.offline() {
            let refused = AppendError::Offline { why };
            outputs.extend(inputs.drain(..).map(|_| Err(refused.clone())));
            return;
        }
        // As the writer: the role cannot change before this is over.
        let role = **self.shared.role.load();
        let Role::Leader { leader_epoch, .. } = role else {
            outputs.extend(
                inputs
                    .drain(..)
                    .map(|_| Err(AppendError::NotLeader { role })),
            );
            return;
        };
        let before = self.shared.parts.load().reader.log_end();
        self.judge(leader_epoch, inputs, outputs);
        if self.run.is_empty() {
            return;
        }
        match self.write_run(leader_epoch) {
            Ok(log_end) => self.shared.written(log_end),
            // What was not written falls, and with it each duplicate of what was not written.
            Err(error) => {
                for outcome in outputs.iter_mut() {
                    if outcome.as_ref().is_ok_and(|appended| appended.end > before) {
                        *outcome = Err(error.clone());
                    }
                }
            }
        }
        self.run.clear();
    }
}
