//! InitProducerId: an idempotent producer gets its identity.
//!
//! Ids come from a block that the metadata log gave to this node, so that most producers start
//! without a write; what is left of a block at a restart is never used.

use std::ops::Range;

use parking_lot::Mutex;
use plimsoll_controller::rules;
use plimsoll_types::ProducerId;
use plimsoll_wire::ErrorCode;
use plimsoll_wire::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};

use crate::context::Context;
use crate::error_code::Coded;

/// Ids of one block.
const BLOCK: u32 = 1_000;
/// The longest transaction timeout a client may ask for (Kafka's `transaction.max.timeout.ms`).
const MAX_TRANSACTION_TIMEOUT_MS: i32 = 15 * 60 * 1_000;

/// The ids that this node may give out.
#[derive(Debug, Default)]
pub(crate) struct ProducerIds(Mutex<Range<u64>>);

impl ProducerIds {
    fn take(&self) -> Option<ProducerId> {
        self.0.lock().next().and_then(ProducerId::new)
    }

    /// Takes a block that is now this node's. One that is still in use stays first: two requests
    /// may have found the last block empty at once, and the smaller remainder is given up.
    fn refill(&self, block: Range<u64>) {
        let mut held = self.0.lock();
        if held.is_empty() {
            *held = block;
        }
    }
}

pub(crate) async fn handle(
    context: &Context,
    request: InitProducerIdRequest,
) -> InitProducerIdResponse {
    match check(&request) {
        Ok(()) => match next(context).await {
            Ok(id) => InitProducerIdResponse {
                producer_id: id.to_wire(),
                producer_epoch: 0,
                ..Default::default()
            },
            Err(code) => failure(code),
        },
        Err(code) => failure(code),
    }
}

fn check(request: &InitProducerIdRequest) -> Result<(), ErrorCode> {
    if (request.producer_id == -1) != (request.producer_epoch == -1) {
        return Err(ErrorCode::InvalidRequest);
    }
    match &request.transactional_id {
        // The timeout means nothing without transactions; clients send anything.
        None => Ok(()),
        Some(id) if id.is_empty() => Err(ErrorCode::InvalidRequest),
        Some(_) if !(1..=MAX_TRANSACTION_TIMEOUT_MS).contains(&request.transaction_timeout_ms) => {
            Err(ErrorCode::InvalidTransactionTimeout)
        }
        // There are no transactions yet. Of the codes that clients know here, this is the one that
        // they report at once and do not retry for ever.
        Some(_) => Err(ErrorCode::TransactionalIdAuthorizationFailed),
    }
}

/// A producer that brings an id gets another one all the same: without a transaction to fence, a
/// new identity is as good as the next epoch of the old.
async fn next(context: &Context) -> Result<ProducerId, ErrorCode> {
    let ids = &context.broker.producer_ids;
    loop {
        if let Some(id) = ids.take() {
            return Ok(id);
        }
        let reserved = context.broker.change(|image| {
            let reserved = rules::reserve_producer_ids(image, BLOCK)?;
            Ok::<_, plimsoll_controller::Refusal>((reserved.records, reserved.ids))
        });
        ids.refill(reserved.await.map_err(|error| error.code())?);
    }
}

fn failure(code: ErrorCode) -> InitProducerIdResponse {
    InitProducerIdResponse {
        error_code: code.code(),
        ..Default::default()
    }
}
