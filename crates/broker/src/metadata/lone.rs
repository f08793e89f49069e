//! The metadata of a node that is alone and takes nobody in.
//!
//! It is the only voter of its quorum, which has no network; a thread of its own drives it. For
//! programs that embed one broker, and for tests; a node of the product is always open to others.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use plimsoll_quorum::raft::{self, Options, Start, Target, Timing, Transport, TransportError};
use plimsoll_quorum::{Limits, OpenError};
use plimsoll_types::NodeId;

use super::{METADATA_DIR, Metadata, MetadataError};
use crate::clock::{Clock, Workers};

/// Where it would live, if anybody asked.
const NOWHERE: &str = "127.0.0.1:9";

struct Nobody;

#[async_trait]
impl Transport for Nobody {
    async fn call(&self, to: Target, _: Bytes, _: Duration) -> Result<Bytes, TransportError> {
        Err(TransportError::Unreachable(to.address))
    }
}

/// Opens the log below `data_dir` and reads all that is committed. Blocks on the disk.
pub(crate) fn open(
    data_dir: &Path,
    node: NodeId,
    clock: Arc<dyn Clock>,
    workers: Arc<dyn Workers>,
) -> Result<Arc<Metadata>, MetadataError> {
    let voters = [(node, NOWHERE.to_owned())].into();
    let options = Options {
        me: node,
        start: Start::Voters { voters, form: true },
        limits: Limits::default(),
        timing: Timing::default(),
        transport: Arc::new(Nobody),
    };
    let mut opened = raft::open(&data_dir.join(METADATA_DIR), options)?;
    let snapshot = opened.snapshot.take();
    let log = Arc::new(opened);
    let metadata = Metadata::new(log, snapshot.as_ref(), node, clock, workers)?;
    let driven = Arc::clone(&metadata);
    std::thread::Builder::new()
        .name("metadata".to_owned())
        .spawn(move || block_on(driven.run()))
        .map_err(|error| MetadataError::Quorum(OpenError::Thread(error)))?;
    // What fails here fails again at the first change, which tells it.
    let _caught_up = block_on(metadata.catch_up());
    Ok(metadata)
}

/// Wakes a thread that is parked for a future.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future to its end on this thread.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
