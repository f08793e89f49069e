//! What may and must be in a log after a crash, and checking it.

use std::collections::BTreeMap;

use plimsoll_record_batch::Batch;
use plimsoll_segment_log::{Opened, Recovery, Verdict};
use plimsoll_types::{LeaderEpoch, Offset};

use super::disk::TestDisk;
use super::workload::{Content, Event, open_on};
use super::{LIMITS, keyed, read_all};

/// What may and must be in the log, from the events so far.
#[derive(Clone, Debug, Default)]
pub struct Model {
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
    pub fn apply(&mut self, event: &Event) {
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
            Event::Resetting(start) => {
                self.durable = 0;
                self.start_least = 0;
                self.start_most = self.start_most.max(*start);
            }
            Event::Reset(start) => {
                self.possible.clear();
                self.live.clear();
                self.durable = *start;
                self.start_least = *start;
                self.start_most = *start;
            }
            Event::Compacting => self.compacting = true,
        }
    }

    /// The log ends here now, and what is in it is what may be.
    pub fn cut_to(&mut self, end: u64) {
        self.possible.retain(|offset, _| *offset < end);
        self.live.retain(|offset, _| *offset < end);
    }

    pub fn check(&self, log: &Opened) -> Result<(), String> {
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

pub fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    holds.then_some(()).ok_or_else(what)
}

pub fn contents(log: &Opened) -> Result<BTreeMap<u64, Content>, String> {
    let mut found = BTreeMap::new();
    let mut expected = None;
    for (header, bytes) in read_all(&log.reader).map_err(|error| error.to_string())? {
        let epoch = log.reader.epochs().epoch_at(header.base);
        ensure(epoch == header.leader_epoch, || {
            format!("epoch {epoch:?} at {}", header.base)
        })?;
        // Compaction, too, leaves no gap.
        ensure(expected.is_none_or(|end| end == header.base), || {
            format!("a gap from {expected:?} to {}", header.base)
        })?;
        expected = Some(header.end());
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
pub fn check_producer(log: &Opened) -> Result<(), String> {
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
pub fn check_image(image: &TestDisk<Event>, model: &Model, goes_on: bool) -> Result<(), String> {
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
