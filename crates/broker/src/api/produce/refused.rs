//! Why a batch is not taken, as a client is told.

use plimsoll_partition::{AppendError, Partition};
use plimsoll_record_batch::BatchError;
use plimsoll_wire::ErrorCode;
use plimsoll_wire::produce::BatchIndexAndErrorMessage;

use crate::catalog::{Leadership, LookupError};
use crate::context::Context;
use crate::error_code::Coded;

/// Why a batch was not taken, in the client's terms.
pub(super) struct Refused {
    pub(super) code: ErrorCode,
    pub(super) message: Option<String>,
    pub(super) records: Vec<BatchIndexAndErrorMessage>,
    /// Who leads instead, if that is why.
    pub(super) leader: Option<Leadership>,
}

impl Refused {
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: Some(message.into()),
            records: Vec::new(),
            leader: None,
        }
    }
}

/// The term in which the batch was, or was to be, appended is over: who leads now, as far as this
/// node knows.
pub(super) fn moved(context: &Context, partition: &Partition) -> Refused {
    if let Some(why) = partition.offline() {
        return LookupError::Offline { why }.into();
    }
    let id = partition.id();
    let topic = context.catalog().topic_by_id(id.topic_id);
    let leader = topic.and_then(|topic| topic.leadership(id.index));
    Refused {
        // The metadata may be behind what ended the term; then it names no successor.
        leader: leader.filter(|now| now.leader != Some(context.node())),
        ..ErrorCode::NotLeaderOrFollower.into()
    }
}

impl From<ErrorCode> for Refused {
    fn from(code: ErrorCode) -> Self {
        Self {
            code,
            message: None,
            records: Vec::new(),
            leader: None,
        }
    }
}

impl From<LookupError> for Refused {
    fn from(error: LookupError) -> Self {
        let leader = match &error {
            LookupError::NotLeader(leadership) => Some(*leadership),
            _ => None,
        };
        Self {
            leader,
            ..Self::new(error.code(), error.to_string())
        }
    }
}

impl From<AppendError> for Refused {
    fn from(error: AppendError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

impl From<BatchError> for Refused {
    fn from(error: BatchError) -> Self {
        let records = match &error {
            BatchError::Record { index, problem } => vec![BatchIndexAndErrorMessage {
                batch_index: i32::try_from(*index).unwrap_or(i32::MAX),
                batch_index_error_message: Some(problem.to_string().into()),
            }],
            _ => Vec::new(),
        };
        Self {
            code: error.code(),
            message: Some(error.to_string()),
            records,
            leader: None,
        }
    }
}
