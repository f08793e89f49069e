//! Giving producer ids to nodes in blocks, so that a producer's start costs no commit.

use crate::image::Image;
use crate::record::Record;
use crate::refusal::Refusal;
use plimsoll_types::ProducerId;
use std::ops::Range;

/// A block of producer ids and the record that makes it the asker's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReservedProducerIds {
    /// The ids, as plain numbers; free to use once the record is durable.
    pub ids: Range<u64>,
    /// The record.
    pub records: Vec<Record>,
}

/// Reserves the next `count` ids, or as many as are left.
///
/// # Errors
/// None are left.
pub fn reserve_producer_ids(image: &Image, count: u32) -> Result<ReservedProducerIds, Refusal> {
    let first = image.next_producer_id();
    let last = ProducerId::new(i64::MAX.unsigned_abs()).map_or(0, ProducerId::get);
    let next = first.saturating_add(u64::from(count)).min(last);
    if next <= first {
        return Err(Refusal::ProducerIdsExhausted);
    }
    Ok(ReservedProducerIds {
        ids: first..next,
        records: vec![Record::ProducerIdsReserved { next }],
    })
}
