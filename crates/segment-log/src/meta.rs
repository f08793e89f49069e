//! The `partition.meta` file: whose log the directory is.
//!
//! ```text
//! frame "META" (see `format`), body:  0 topic id 16 bytes   16 partition u32
//! ```
//! Durable before the first batch is written, never changed. An idle partition has no directory
//! and no such file: its identity is whoever asks for it, and nothing can contradict.

use std::io;
use std::path::Path;

use plimsoll_types::TopicId;

use crate::config::Identity;
use crate::disk::{Disk, replace};
use crate::format::{self, Unreadable};
use crate::layout;

const KIND: [u8; 4] = *b"META";
const VERSION: u32 = 1;

/// Writes the identity of the log in `dir`. Its name is durable once the directory is synced.
pub(crate) fn write(disk: &dyn Disk, dir: &Path, identity: &Identity) -> io::Result<()> {
    let mut body = identity.topic_id.to_bytes().to_vec();
    body.extend_from_slice(&identity.partition.to_be_bytes());
    let bytes = format::frame(KIND, VERSION, &body);
    replace(disk, &dir.join(layout::META), &bytes)
}

/// The identity of the log in `dir`; `None` if it has none yet.
pub(crate) fn read(
    disk: &dyn Disk,
    dir: &Path,
) -> io::Result<Option<Result<Identity, Unreadable>>> {
    match disk.read(&dir.join(layout::META)) {
        Ok(bytes) => Ok(Some(decode(&bytes))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn decode(bytes: &[u8]) -> Result<Identity, Unreadable> {
    let mut fields = format::unframe(KIND, VERSION, bytes)?;
    let identity = Identity {
        topic_id: TopicId::from_bytes(fields.id()?),
        partition: fields.u32()?,
    };
    fields.end()?;
    Ok(identity)
}
