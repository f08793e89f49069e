//! Flipping a bit of a log under a running node of a dev cluster, as a disk may do by itself.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use plimsoll_broker::{Broker, Hosted};
use plimsoll_segment_log::FRONT_BYTES;

/// What was done, or why not.
type Told = Result<String, String>;

/// An order to flip a bit.
pub(crate) struct Flip {
    topic: String,
    partition: u32,
    told: SyncSender<Told>,
}

impl Flip {
    /// An order, and where its outcome is told.
    pub(crate) fn new(topic: &str, partition: u32) -> (Self, Receiver<Told>) {
        let (told, telling) = sync_channel(1);
        let topic = topic.to_owned();
        let this = Self {
            topic,
            partition,
            told,
        };
        (this, telling)
    }

    /// Carries it out on what lies in the middle of the log's first segment. Blocks, shortly.
    pub(crate) fn carry_out(self, broker: &Broker) {
        let done = self.flip(broker);
        // Whoever asked may be gone.
        let _ = self.told.try_send(done);
    }

    fn flip(&self, broker: &Broker) -> Told {
        let (topic, partition) = (&self.topic, self.partition);
        let node = broker.config().node;
        let absent = || format!("node {node} has no open log of {topic}/{partition}");
        let hosted = broker.catalog().topic(topic).ok_or_else(absent)?;
        let at = usize::try_from(partition).unwrap_or(usize::MAX);
        let Some(Hosted::Online(replica)) = hosted.partitions.get(at) else {
            return Err(absent());
        };
        let segments = replica.reader().segments();
        let segment = segments.iter().find(|segment| segment.bytes > 0);
        let segment = segment.ok_or_else(|| {
            format!("{topic}/{partition} is empty on node {node}: produce something first")
        })?;
        let dir = format!("{}-{partition}", hosted.id);
        let name = format!("{:020}.log", segment.base.get());
        let path = broker.data_dir().join(dir).join(name);
        let position = FRONT_BYTES + segment.bytes / 2;
        let flip = || {
            let file = File::options().read(true).write(true).open(&path)?;
            let mut byte = [0];
            file.read_exact_at(&mut byte, position)?;
            let flipped = byte.map(|byte| byte ^ 0x10);
            file.write_all_at(&flipped, position)
        };
        let file = path.display();
        flip().map_err(|error: std::io::Error| format!("{file}: {error}"))?;
        Ok(format!(
            "a bit of {topic}/{partition} was flipped on node {node}: byte {position} of {file}"
        ))
    }
}
