//! A partition's append from many threads, and rivals of its combining lock.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{JoinHandle, Thread};

use parking_lot::Mutex;
use plimsoll_segment_log::{LogWriter, ToAppend};
use plimsoll_types::{LeaderEpoch, Offset};
use plimsoll_watermark::Watermarks;

use crate::logs::TempPartition;
use crate::marks::start;

/// How many batches may wait for the shard thread.
const INBOX: usize = 1024;

/// Something that many threads append to, one batch a call, which returns when the batch is
/// readable.
pub trait Appends: Send + Sync {
    /// What distinguishes it in a bench's name; empty for ours.
    const RIVAL: &'static str;

    /// An empty log.
    fn empty() -> Self;
    /// Appends, and tells the log end.
    fn append(&self, batch: ToAppend) -> Offset;
}

impl Appends for TempPartition {
    const RIVAL: &'static str = "";

    fn empty() -> Self {
        Self::empty()
    }

    fn append(&self, batch: ToAppend) -> Offset {
        block_on(self.partition.append(batch))
            .expect("room on the disk")
            .end
    }
}

/// Each caller appends its own batch, in turn.
pub struct Locked {
    writer: Mutex<LogWriter>,
    marks: Watermarks,
    _log: LogRest,
}

impl Appends for Locked {
    const RIVAL: &'static str = "mutex";

    fn empty() -> Self {
        let (writer, rest) = log();
        Self {
            writer: Mutex::new(writer),
            marks: Watermarks::new(start(0)),
            _log: rest,
        }
    }

    fn append(&self, batch: ToAppend) -> Offset {
        let mut writer = self.writer.lock();
        let appended = writer
            .append(LeaderEpoch::ZERO, &[batch])
            .expect("room on the disk");
        self.marks.publish_log_end(appended.log_end);
        appended.log_end
    }
}

/// A thread of its own with an inbox, which appends all that waits in one write.
pub struct Shard {
    inbox: Option<SyncSender<(ToAppend, SyncSender<Offset>)>>,
    thread: Option<JoinHandle<()>>,
    _log: LogRest,
}

impl Appends for Shard {
    const RIVAL: &'static str = "shard_thread";

    fn empty() -> Self {
        let (mut writer, rest) = log();
        let (inbox, waiting) = sync_channel::<(ToAppend, SyncSender<Offset>)>(INBOX);
        let thread = std::thread::spawn(move || {
            let marks = Watermarks::new(start(0));
            while let Ok(first) = waiting.recv() {
                let (batches, callers): (Vec<_>, Vec<_>) = std::iter::once(first)
                    .chain(waiting.try_iter().take(INBOX))
                    .unzip();
                let appended = writer.append(LeaderEpoch::ZERO, &batches);
                let end = appended.expect("room on the disk").log_end;
                marks.publish_log_end(end);
                for caller in callers {
                    // Each caller waits for its answer.
                    let _ = caller.send(end);
                }
            }
        });
        Self {
            inbox: Some(inbox),
            thread: Some(thread),
            _log: rest,
        }
    }

    fn append(&self, batch: ToAppend) -> Offset {
        let (answer, answered) = sync_channel(1);
        let inbox = self.inbox.as_ref().expect("open until dropped");
        inbox.send((batch, answer)).expect("the shard lives");
        answered.recv().expect("the shard answers")
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        self.inbox = None;
        if let Some(thread) = self.thread.take() {
            // A panic in there would have shown on standard error.
            let _ = thread.join();
        }
    }
}

/// What keeps a log's folder alive while another holds its writer.
struct LogRest {
    _dir: tempfile::TempDir,
}

fn log() -> (LogWriter, LogRest) {
    let dir = tempfile::TempDir::new().expect("a temporary folder");
    let opened = crate::logs::open_log(dir.path(), 256 << 20);
    (opened.writer, LogRest { _dir: dir })
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future on this thread, which sleeps while it waits.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    // Nearly all are ready at once, and then no waker is made.
    if let Poll::Ready(output) = future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        return output;
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
