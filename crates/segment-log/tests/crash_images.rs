//! Crashes at every step of a workload.
//!
//! A random workload (append, sync, roll, checkpoint, retain, DeleteRecords, cut, compact, close)
//! is recorded; for each prefix of its disk operations several images of what a crash may leave
//! are built, opened and checked: what was promised is there, nothing else is, offsets are
//! continuous, a second opening changes nothing, and the log goes on.
//!
//! `PLIMSOLL_CRASH_SEEDS=n` runs n workloads instead of a few, `PLIMSOLL_CRASH_FIRST=m` from seed m.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that cannot go on says where; how long to look is the caller's choice"
)]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::disk::{Op, TestDisk};
use common::image::{Loss, Replay};
use common::*;
use plimsoll_record_batch::{Batch, BatchBuilder, Compression, Producer};
use plimsoll_segment_log::{
    CompactionConfig, LogConfig, LogHost, Opened, Recovery, Retention, ToAppend, Verdict, open,
};
use plimsoll_types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};

const ROOT: &str = "/data";
const DIR: &str = "/data/log";
const STEPS: u64 = 45;
const IMAGES_OF_SOME: u64 = 2;

/// Key and value.
type Content = (Vec<u8>, Vec<u8>);

/// What the workload was promised, or is about to ask for.
#[derive(Clone, Debug)]
enum Event {
    /// These records are about to be appended.
    Appending(Vec<(u64, Content)>),
    Durable(u64),
    Starting(u64),
    StartDurable(u64),
    Cutting(u64),
    Cut(u64),
    Compacting,
}

fn layout() -> LogConfig {
    LogConfig {
        segment_bytes: 600,
        index_interval_bytes: 150,
        ..config()
    }
}

fn open_on(disk: &TestDisk<Event>) -> Opened {
    let host = LogHost::on(Arc::new(disk.clone()), 6);
    open(Path::new(DIR), identity(), layout(), &host).unwrap()
}

struct Workload {
    disk: TestDisk<Event>,
    random: Random,
    log: Option<Opened>,
    epoch: u32,
    written: u64,
    /// What was compacted was committed, and a cut never goes below that.
    committed: u64,
}

impl Workload {
    fn new(seed: u64) -> Self {
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

    fn step(&mut self) {
        match self.random.below(20) {
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

/// What may and must be in the log, from the events so far.
#[derive(Clone, Debug, Default)]
struct Model {
    /// Every version of each offset that may be there.
    possible: BTreeMap<u64, Vec<Content>>,
    /// The newest of them.
    live: BTreeMap<u64, Content>,
    durable: u64,
    start_least: u64,
    start_most: u64,
    compacting: bool,
}

impl Model {
    fn apply(&mut self, event: &Event) {
        match event {
            Event::Appending(records) => {
                for (offset, content) in records {
                    self.possible
                        .entry(*offset)
                        .or_default()
                        .push(content.clone());
                    self.live.insert(*offset, content.clone());
                }
            }
            Event::Durable(end) => self.durable = self.durable.max(*end),
            Event::Starting(offset) => {
                // The first of two is a bound before it is known.
                self.start_most = (*offset).max(self.start_least);
            }
            Event::StartDurable(offset) => {
                self.start_least = self.start_least.max(*offset);
                self.start_most = self.start_most.max(*offset);
            }
            Event::Cutting(to) => {
                let base = to.saturating_sub(3);
                self.durable = self.durable.min(base);
                self.start_least = self.start_least.min(base);
            }
            Event::Cut(end) => {
                self.possible.retain(|offset, _| offset < end);
                self.live.retain(|offset, _| offset < end);
                self.durable = *end;
                self.start_most = self.start_most.min(*end);
                self.start_least = self.start_least.min(*end);
            }
            Event::Compacting => self.compacting = true,
        }
    }

    fn check(&self, log: &Opened) -> Result<(), String> {
        let (start, end) = (log.reader.log_start().get(), log.reader.log_end().get());
        ensure(log.recovery.damage.is_empty(), || {
            format!("damage {:?}", log.recovery.damage)
        })?;
        ensure(end >= self.durable, || {
            format!("ends at {end}, durable is {}", self.durable)
        })?;
        ensure(
            self.start_least <= start && start <= self.start_most.max(self.start_least),
            || {
                format!(
                    "starts at {start}, not {} to {}",
                    self.start_least, self.start_most
                )
            },
        )?;
        let found = contents(log)?;
        for (offset, content) in &found {
            let known = self
                .possible
                .get(offset)
                .is_some_and(|all| all.contains(content));
            ensure(known, || {
                format!("offset {offset} has what was never appended there")
            })?;
        }
        if self.compacting {
            self.check_latest(&found, start)
        } else {
            let offsets = found.keys().copied().filter(|offset| *offset >= start);
            ensure(offsets.eq(start..end), || {
                format!("offsets {start} to {end} have gaps")
            })
        }?;
        check_producer(log)
    }

    /// Of every key, the last durable record or a later one is there.
    fn check_latest(&self, found: &BTreeMap<u64, Content>, start: u64) -> Result<(), String> {
        let mut latest: BTreeMap<&[u8], u64> = BTreeMap::new();
        for (offset, (key, _)) in found {
            latest.insert(key, *offset);
        }
        let from = start.max(self.start_most);
        for (offset, (key, _)) in self.live.range(from.min(self.durable)..self.durable) {
            let there = latest
                .get(key.as_slice())
                .is_some_and(|latest| latest >= offset);
            ensure(there, || {
                format!("no record of {key:?} at or after {offset}")
            })?;
        }
        Ok(())
    }
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    holds.then_some(()).ok_or_else(what)
}

fn contents(log: &Opened) -> Result<BTreeMap<u64, Content>, String> {
    let mut found = BTreeMap::new();
    for (header, bytes) in read_all(&log.reader).map_err(|error| error.to_string())? {
        let epoch = log.reader.epochs().epoch_at(header.base);
        ensure(epoch == header.leader_epoch, || {
            format!("epoch {epoch:?} at {}", header.base)
        })?;
        let batch = Batch::parse(&bytes).unwrap();
        for record in batch.records(&LIMITS).unwrap().iter() {
            let record = record.unwrap();
            let content = (record.key.unwrap().to_vec(), record.value.unwrap().to_vec());
            found.insert(record.offset.get(), content);
        }
    }
    Ok(found)
}

/// The producer's last batch in the log is a duplicate, were it to come again.
fn check_producer(log: &Opened) -> Result<(), String> {
    let all = read_all(&log.reader).map_err(|error| error.to_string())?;
    let last = all
        .iter()
        .rev()
        .find(|(header, _)| header.producer.is_some());
    let Some((header, _)) = last else {
        return Ok(());
    };
    let verdict = log.writer.producers().check(header);
    let known = matches!(verdict, Verdict::Duplicate { base, .. } if base == header.base);
    ensure(known, || {
        format!("{verdict:?} for the batch at {}", header.base)
    })
}

/// Opens an image, twice, and goes on with it.
fn check_image(image: &TestDisk<Event>, model: &Model, goes_on: bool) -> Result<(), String> {
    let first = open_on(image);
    model.check(&first)?;
    let before = (
        contents(&first)?,
        first.reader.log_start(),
        first.reader.log_end(),
    );
    drop(first);
    let mut second = open_on(image);
    let after = (
        contents(&second)?,
        second.reader.log_start(),
        second.reader.log_end(),
    );
    ensure(before == after, || {
        "a second recovery changed the log".into()
    })?;
    let untouched = Recovery {
        scanned_bytes: second.recovery.scanned_bytes,
        ..Recovery::default()
    };
    ensure(second.recovery == untouched, || {
        format!("second recovery: {:?}", second.recovery)
    })?;
    if !goes_on {
        return Ok(());
    }
    let epoch = second
        .reader
        .epochs()
        .latest()
        .map_or(LeaderEpoch::new(1), LeaderEpoch::next);
    let more = [keyed(5_000, &[("more", Some("after"))])];
    second
        .writer
        .append(epoch, &more)
        .map_err(|error| error.to_string())?;
    let expected = contents(&second)?;
    second
        .writer
        .close(Offset::ZERO)
        .map_err(|error| error.to_string())?;
    let third = open_on(image);
    ensure(third.recovery == Recovery::default(), || {
        format!("clean: {:?}", third.recovery)
    })?;
    ensure(contents(&third)? == expected, || {
        "a clean restart changed the log".into()
    })
}

/// Runs one workload and every crash of it; how many images that were.
fn crash_everywhere(seed: u64) -> u64 {
    let mut workload = Workload::new(seed);
    for _ in 0..STEPS {
        workload.step();
    }
    let ops = workload.disk.take_ops();
    let mut random = Random(!seed);
    let (mut replay, mut model) = (Replay::default(), Model::default());
    let mut images = 0;
    for (at, op) in ops.iter().enumerate() {
        if let Op::Note(event) = op {
            model.apply(event);
            continue;
        }
        replay.apply(op);
        let some = std::iter::repeat_n(Loss::Some, usize::try_from(IMAGES_OF_SOME).unwrap());
        for loss in [Loss::Process, Loss::Everything].into_iter().chain(some) {
            let image = replay.image(ROOT, loss, &mut random);
            let goes_on = random.below(3) == 0;
            let checked = || check_image(&image, &model, goes_on);
            let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(checked));
            let checked = checked.unwrap_or_else(|_| Err("it panicked".into()));
            if let Err(problem) = checked {
                let around: Vec<_> = ops[at.saturating_sub(12)..=at].iter().map(brief).collect();
                panic!("seed {seed}, operation {at}, {loss:?}: {problem}\nafter {around:#?}");
            }
            images += 1;
        }
    }
    images
}

fn brief(op: &Op<Event>) -> String {
    match op {
        Op::Write { inode, at, bytes } => format!("Write {inode} at {at}: {} bytes", bytes.len()),
        Op::Note(Event::Appending(records)) => format!("Appending {} records", records.len()),
        other => format!("{other:?}"),
    }
}

#[test]
fn whatever_a_crash_leaves_is_made_whole() {
    let chosen = |name| std::env::var(name).ok().and_then(|n| n.parse().ok());
    let first: u64 = chosen("PLIMSOLL_CRASH_FIRST").unwrap_or(1);
    let seeds: u64 = chosen("PLIMSOLL_CRASH_SEEDS").unwrap_or(6);
    let mut images = 0;
    for seed in first..first + seeds {
        println!("seed {seed}");
        images += crash_everywhere(seed);
    }
    println!("{images} images");
}
