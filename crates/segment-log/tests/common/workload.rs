//! A random workload on a recorded disk, and what it was promised.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_record_batch::{BatchBuilder, Compression, Producer};
use plimsoll_segment_log::{
    CompactionConfig, EpochEntry, LogConfig, LogHost, Opened, Retention, ToAppend, open,
};
use plimsoll_types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};

use super::disk::TestDisk;
use super::{Random, config, finish, identity, offset, record, time};

pub const ROOT: &str = "/data";
pub const DIR: &str = "/data/log";

/// Key and value.
pub type Content = (Vec<u8>, Vec<u8>);

/// What the workload was promised, or is about to ask for.
#[derive(Clone, Debug)]
pub enum Event {
    /// These records are about to be appended.
    Appending(Vec<(u64, Content)>),
    Durable(u64),
    Starting(u64),
    StartDurable(u64),
    Cutting(u64),
    Cut(u64),
    Compacting,
    /// The log is about to be dropped, to begin anew here.
    Resetting(u64),
    Reset(u64),
}

pub fn layout() -> LogConfig {
    LogConfig {
        segment_bytes: 600,
        index_interval_bytes: 150,
        ..config()
    }
}

pub fn open_on(disk: &TestDisk<Event>) -> Opened {
    let host = LogHost::on(Arc::new(disk.clone()), 6);
    open(Path::new(DIR), identity(), layout(), &host).unwrap()
}

pub struct Workload {
    pub disk: TestDisk<Event>,
    random: Random,
    log: Option<Opened>,
    epoch: u32,
    written: u64,
    /// What was compacted was committed, and a cut never goes below that.
    committed: u64,
}

impl Workload {
    pub fn new(seed: u64) -> Self {
        let disk = TestDisk::new(ROOT);
        Self {
            log: Some(open_on(&disk)),
            disk,
            random: Random(seed),
            epoch: 1,
            written: 0,
            committed: 0,
        }
    }

    fn log(&mut self) -> &mut Opened {
        self.log.as_mut().unwrap()
    }

    pub fn step(&mut self) {
        match self.random.below(21) {
            0..=8 => self.append(),
            9..=11 => {
                let end = self.log().sync.sync().unwrap().get();
                self.disk.note(Event::Durable(end));
            }
            12 => self.log().writer.roll(),
            13 => {
                let upkeep = self.log().writer.checkpoint(Offset::ZERO);
                upkeep.run().unwrap();
                self.note_durable();
            }
            14 => self.retain(),
            15 => self.delete(),
            16 => self.cut(),
            17 => self.compact(),
            18 => self.epoch += 1,
            19 => self.reset(),
            _ => self.reopen(),
        }
    }

    fn note_durable(&mut self) {
        let end = self.log().reader.durable_end().get();
        self.disk.note(Event::Durable(end));
    }

    fn append(&mut self) {
        let mut next = self.log().reader.log_end().get();
        let mut records = Vec::new();
        let mut batches = Vec::new();
        for _ in 0..=self.random.below(4) {
            let contents: Vec<Content> =
                (0..=self.random.below(3)).map(|_| self.content()).collect();
            batches.push(self.batch(&contents, batches.len()));
            records.extend((next..).zip(contents.iter().cloned()));
            next += contents.len() as u64;
        }
        self.disk.note(Event::Appending(records));
        let epoch = LeaderEpoch::new(self.epoch);
        self.log().writer.append(epoch, &batches).unwrap();
    }

    fn content(&mut self) -> Content {
        self.written += 1;
        let key = format!("k{}", self.random.below(6));
        let length = usize::try_from(self.random.below(90)).unwrap();
        (
            key.into_bytes(),
            format!("{:_<length$}", self.written).into_bytes(),
        )
    }

    /// Every other batch is one producer's, the rest nobody's.
    fn batch(&mut self, contents: &[Content], number: usize) -> ToAppend {
        let mut builder = BatchBuilder::new(Compression::None);
        if number == 0 {
            let id = ProducerId::new(7).unwrap();
            let known = self.log().writer.producers().iter().find(|p| p.id == id);
            let last = known.and_then(|p| p.last_sequence);
            builder = builder.producer(Producer {
                id,
                epoch: ProducerEpoch(0),
                base_sequence: last.map_or(0, |last| last + 1),
            });
        }
        for (key, value) in contents {
            builder
                .push(&record(1_000, Some(key), Some(value)))
                .unwrap();
        }
        finish(builder)
    }

    fn retain(&mut self) {
        let retention = Retention {
            bytes: Some(2_000),
            age: None,
        };
        self.disk.note(Event::Starting(
            self.log.as_ref().unwrap().reader.log_end().get(),
        ));
        let upkeep = self
            .log()
            .writer
            .retain(&retention, time(0), Offset::MAX)
            .unwrap();
        let start = self.log().reader.log_start().get();
        self.disk.note(Event::Starting(start));
        if let Some(upkeep) = upkeep {
            upkeep.run().unwrap();
            self.disk.note(Event::StartDurable(start));
            self.note_durable();
        }
    }

    fn delete(&mut self) {
        let (start, end) = (
            self.log().reader.log_start().get(),
            self.log().reader.log_end().get(),
        );
        let to = start + self.random.below((end - start) / 3 + 1);
        self.disk.note(Event::Starting(to));
        let upkeep = self.log().writer.delete_before(offset(to)).unwrap();
        upkeep.run().unwrap();
        self.disk.note(Event::StartDurable(to));
        self.note_durable();
    }

    fn cut(&mut self) {
        let (start, end) = (
            self.log().reader.log_start().get(),
            self.log().reader.log_end().get(),
        );
        let start = start.max(self.committed);
        let to = end - self.random.below((end - start) / 2 + 1);
        if to == end {
            return;
        }
        self.disk.note(Event::Cutting(to));
        let end = self.log().writer.truncate_to(offset(to)).unwrap().get();
        self.disk.note(Event::Cut(end));
        // The leader that told to cut has a later epoch.
        self.epoch += 1;
    }

    /// Once in a while, as everything else is forgotten with it.
    fn reset(&mut self) {
        if self.random.below(3) != 0 {
            return;
        }
        let end = self.log().reader.log_end().get();
        let start = self.random.below(end + 50);
        self.disk.note(Event::Resetting(start));
        self.log().writer.reset_keeping(offset(start)).unwrap();
        self.disk.note(Event::Reset(start));
        self.epoch += 1;
        let entry = |epoch, start| EpochEntry {
            epoch: LeaderEpoch::new(epoch),
            start: offset(start),
        };
        let leader = [entry(0, 0), entry(self.epoch, start)];
        self.log().writer.adopt_epochs(&leader).unwrap();
        self.committed = start;
        if self.random.below(2) == 0 {
            self.log().writer.discard_aside().unwrap();
        }
    }

    fn compact(&mut self) {
        let cleaning = CompactionConfig {
            min_dirty_ratio: 0.0,
            min_lag: Duration::ZERO,
            delete_retention: Duration::ZERO,
            map_bytes: 64 * 20,
        };
        let below = self.log().reader.log_end();
        let Some(plan) = self.log().writer.compactor(&cleaning, time(2_000), below) else {
            return;
        };
        self.committed = below.get();
        self.disk.note(Event::Compacting);
        let compacted = plan.run().unwrap();
        self.log().writer.install(compacted).unwrap().run().unwrap();
        self.note_durable();
    }

    fn reopen(&mut self) {
        let log = self.log.take().unwrap();
        if self.random.below(2) == 0 {
            let end = log.reader.log_end().get();
            log.writer.close(Offset::ZERO).unwrap();
            self.disk.note(Event::Durable(end));
        }
        self.log = Some(open_on(&self.disk));
    }
}
