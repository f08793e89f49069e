//! The `<offset>.producers` file: the idempotent producers as the log knew them at that offset.
//!
//! ```text
//! frame "PROD" (see `format`), body:
//!  0 offset i64   8 log time i64   16 producers u32, each:
//!    id i64, epoch i16, heard i64, batches u8, each:
//!      first sequence i32, last sequence i32, base i64, last offset i64, timestamp i64
//! ```

use std::io;
use std::path::Path;
use std::time::Duration;

use plimsoll_types::{Offset, ProducerEpoch, ProducerId, Timestamp};

use crate::disk::{Disk, replace};
use crate::format::{self, Fields, Unreadable};
use crate::layout::Name;
use crate::producers::{ProducerState, ProducerStates, Remembered, WINDOW};

const KIND: [u8; 4] = *b"PROD";
const VERSION: u32 = 1;
const LEAST_PRODUCER_BYTES: usize = 19;

fn encode(states: &ProducerStates, at: Offset) -> Vec<u8> {
    let mut body = Vec::with_capacity(20 + states.producers.len() * 64);
    body.extend_from_slice(&at.to_wire().to_be_bytes());
    body.extend_from_slice(&states.log_time.as_millis().to_be_bytes());
    let producers = u32::try_from(states.producers.len()).expect("memory holds fewer than 2^32");
    body.extend_from_slice(&producers.to_be_bytes());
    for (id, state) in &states.producers {
        body.extend_from_slice(&id.to_wire().to_be_bytes());
        body.extend_from_slice(&state.epoch.0.to_be_bytes());
        body.extend_from_slice(&state.heard.as_millis().to_be_bytes());
        let batches = state.batches().count();
        body.push(u8::try_from(batches).expect("at most WINDOW"));
        for batch in state.batches() {
            body.extend_from_slice(&batch.first_sequence.to_be_bytes());
            body.extend_from_slice(&batch.last_sequence.to_be_bytes());
            body.extend_from_slice(&batch.base.to_wire().to_be_bytes());
            body.extend_from_slice(&batch.last.to_wire().to_be_bytes());
            body.extend_from_slice(&batch.timestamp.as_millis().to_be_bytes());
        }
    }
    format::frame(KIND, VERSION, &body)
}

fn decode(bytes: &[u8], at: Offset, expiry: Duration) -> Result<ProducerStates, Unreadable> {
    let mut fields = format::unframe(KIND, VERSION, bytes)?;
    if fields.offset()? != at {
        return Err(Unreadable::Field);
    }
    let mut states = ProducerStates::new(expiry);
    states.log_time = Timestamp::from_millis(fields.i64()?);
    for _ in 0..fields.count(LEAST_PRODUCER_BYTES)? {
        let id = ProducerId::from_wire(fields.i64()?).ok_or(Unreadable::Field)?;
        states.producers.insert(id, decode_state(&mut fields)?);
    }
    fields.end()?;
    Ok(states)
}

fn decode_state(fields: &mut Fields<'_>) -> Result<ProducerState, Unreadable> {
    let epoch = ProducerEpoch(fields.i16()?);
    let heard = Timestamp::from_millis(fields.i64()?);
    let mut state = ProducerState::new(epoch, heard);
    let batches = usize::from(fields.u8()?);
    if batches > WINDOW {
        return Err(Unreadable::Field);
    }
    for _ in 0..batches {
        state.remember(Remembered {
            first_sequence: fields.i32()?,
            last_sequence: fields.i32()?,
            base: fields.offset()?,
            last: fields.offset()?,
            timestamp: Timestamp::from_millis(fields.i64()?),
        });
    }
    Ok(state)
}

/// Writes the snapshot of offset `at`. Its name is durable once the directory is synced.
pub(crate) fn write(
    disk: &dyn Disk,
    dir: &Path,
    states: &ProducerStates,
    at: Offset,
) -> io::Result<()> {
    replace(disk, &Name::Producers(at).path(dir), &encode(states, at))
}

/// Reads the snapshot of offset `at`; `None` if there is none that can be believed.
pub(crate) fn read(
    disk: &dyn Disk,
    dir: &Path,
    at: Offset,
    expiry: Duration,
) -> io::Result<Option<ProducerStates>> {
    match disk.read(&Name::Producers(at).path(dir)) {
        Ok(bytes) => Ok(decode(&bytes, at, expiry).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn producers_round_trip_and_belong_to_their_offset() {
        let expiry = Duration::from_secs(9);
        let mut states = ProducerStates::new(expiry);
        states.log_time = Timestamp::from_millis(50);
        for id in 0..20u64 {
            let mut state = ProducerState::new(ProducerEpoch(3), Timestamp::from_millis(40));
            for n in 0..i32::try_from(id % 7).unwrap() {
                state.remember(Remembered {
                    first_sequence: n,
                    last_sequence: n,
                    base: Offset::new(id),
                    last: Offset::new(id + 1),
                    timestamp: Timestamp::from_millis(30),
                });
            }
            states.producers.insert(ProducerId::new(id).unwrap(), state);
        }
        let at = Offset::new(100);
        let bytes = encode(&states, at);
        assert_eq!(decode(&bytes, at, expiry), Ok(states));
        assert_eq!(decode(&bytes, Offset::ZERO, expiry), Err(Unreadable::Field));
    }
}
