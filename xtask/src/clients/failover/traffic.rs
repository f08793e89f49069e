//! One client at work: its producer, its reader without a group, and two members of its group.
//!
//! Each is a driver in a process of its own with a thread here that tells it what to do, one thing
//! after the other, and writes down what came of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::driver::{Driver, Outcome, PLAIN, Settings, Stop, ensure};
use super::super::programs::Program;
use super::super::record::{Feature, Record};
use super::journal::{Fault, Journal, Phase, Progress, Sent};

/// Partitions of a client's topic.
pub(super) const PARTITIONS: u32 = 3;
/// To this one the client produces without idempotence.
pub(super) const AT_LEAST_ONCE: i32 = 2;
/// Records of one call of the producer: several batches, for most clients.
const CALL: u64 = 120;
/// Most records of one call of the reader.
const READ: u64 = 2_000;
const PADDING: usize = 200;
/// What is told of a driver whose process has ended.
pub(super) const ENDED: &str = "the driver ended";

/// Where partitions end.
pub(super) type Ends = BTreeMap<(String, i32), i64>;

/// A client at work.
pub(super) struct Traffic {
    pub(super) program: &'static Program,
    pub(super) topic: String,
    pub(super) group: String,
    bootstrap: String,
    phase: AtomicU8,
    /// How many times the second member is to have been replaced.
    replaced: AtomicU32,
    producing_over: AtomicBool,
    over: AtomicBool,
    journal: Mutex<Journal>,
}

/// The threads of a client.
pub(super) struct Running {
    producer: JoinHandle<Option<Driver>>,
    others: Others,
}

/// Those that read.
pub(super) struct Others(Vec<JoinHandle<()>>);

impl Running {
    /// Waits for the producer's last call; gives its driver back.
    pub(super) fn join_producer(self) -> (Option<Driver>, Others) {
        let driver = self
            .producer
            .join()
            .expect("the producer's thread does not panic");
        (driver, self.others)
    }
}

impl Others {
    pub(super) fn join(self) {
        for thread in self.0 {
            thread.join().expect("a consumer's thread does not panic");
        }
    }
}

impl Traffic {
    pub(super) fn new(program: &'static Program, topic: String, bootstrap: String) -> Self {
        Self {
            program,
            group: format!("{topic}-group"),
            topic,
            bootstrap,
            phase: AtomicU8::new(Phase::Calm as u8),
            replaced: AtomicU32::new(0),
            producing_over: AtomicBool::new(false),
            over: AtomicBool::new(false),
            journal: Mutex::default(),
        }
    }

    /// Sets all to work.
    pub(super) fn start(self: &Arc<Self>) -> Running {
        let spawn = |work: fn(&Traffic)| {
            let traffic = Arc::clone(self);
            thread::spawn(move || work(&traffic))
        };
        let producer = Arc::clone(self);
        Running {
            producer: thread::spawn(move || producer.produce()),
            others: Others(vec![
                spawn(Traffic::read),
                spawn(|traffic| traffic.consume(false)),
                spawn(|traffic| traffic.consume(true)),
            ]),
        }
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::SeqCst);
    }

    /// Has the second member leave and another one join.
    pub(super) fn replace_member(&self) {
        self.replaced.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn end_producing(&self) {
        self.producing_over.store(true, Ordering::SeqCst);
    }

    pub(super) fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    pub(super) fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().expect("nobody panics with the journal")
    }

    pub(super) fn progress(&self) -> Progress {
        let journal = self.journal();
        let calls = |partition| {
            let sent = journal.sent.get(&partition).map_or(&[][..], Vec::as_slice);
            sent.iter()
                .filter(|sent| sent.acknowledged.is_some())
                .count()
        };
        Progress {
            calls: partitions().map(calls).collect(),
            seen: journal.seen.len(),
        }
    }

    /// The newest faults, for an error message.
    pub(super) fn last_faults(&self) -> String {
        let journal = self.journal();
        let shown = journal.faults.iter().rev().take(3);
        let shown: Vec<_> = shown.map(ToString::to_string).collect();
        format!("{} faults: {}", journal.faults.len(), shown.join("; "))
    }

    /// Waits until the reader and the group have read all that there is.
    pub(super) fn caught_up(&self, ends: &Ends, within: Duration) -> Outcome<()> {
        let deadline = Instant::now() + within;
        loop {
            let behind = self.behind(ends);
            match behind {
                None => return Ok(()),
                Some(behind) => ensure(Instant::now() < deadline, || {
                    format!(
                        "{behind}, {within:?} after the last record; {}",
                        self.last_faults()
                    )
                })?,
            }
            thread::sleep(super::POLL);
        }
    }

    fn behind(&self, ends: &Ends) -> Option<String> {
        let journal = self.journal();
        partitions().find_map(|partition| {
            let end = ends.get(&(self.topic.clone(), partition)).copied().unwrap_or(0);
            let read = journal.read.get(&partition).map_or(0, Vec::len);
            let seen = journal.seen.range((partition, 0)..(partition, end)).count();
            let all = usize::try_from(end).unwrap_or(0);
            (read < all || seen < all).then(|| {
                format!(
                    "partition {partition} ends at {end}, the reader read {read} and the group {seen}"
                )
            })
        })
    }

    fn now(&self) -> Phase {
        match self.phase.load(Ordering::SeqCst) {
            phase if phase == Phase::Kills as u8 => Phase::Kills,
            phase if phase == Phase::Controlled as u8 => Phase::Controlled,
            _ => Phase::Calm,
        }
    }

    /// One operation; what goes wrong is written down. `None`: it did, and `Err`: the driver is
    /// lost.
    fn attempt<T>(
        &self,
        op: &'static str,
        action: impl FnOnce() -> Outcome<T>,
    ) -> Result<Option<T>, ()> {
        let before = self.now();
        let outcome = action();
        // What was done to the nodes at its beginning or at its end may be the reason.
        let phase = match before {
            Phase::Calm => self.now(),
            hurt => hurt,
        };
        let fault = |code, text: &str| Fault {
            phase,
            op,
            code,
            text: text.to_owned(),
        };
        match outcome {
            Ok(value) => Ok(Some(value)),
            Err(Stop::Error { code, text }) => {
                self.journal().faults.push(fault(code, &text));
                Ok(None)
            }
            Err(Stop::Skip(_)) => Ok(None),
            Err(Stop::Wrong(text)) if self.crashes() && text.contains(ENDED) => {
                self.journal().faults.push(fault(None, &text));
                Err(())
            }
            Err(Stop::Wrong(text)) => {
                self.journal().wrong.push(format!("{op}: {text}"));
                Err(())
            }
        }
    }

    /// Whether the client may end its process, and whoever runs it starts another: one throws,
    /// where nobody can catch it, when a node is not in the metadata
    /// (<https://github.com/platformatic/kafka/issues/319>); one may spin for ever when its nodes
    /// went (<https://github.com/tulios/kafkajs/issues/1384>), and its driver ends it then.
    fn crashes(&self) -> bool {
        matches!(self.program.name, "platformatic-kafka" | "kafkajs")
    }

    fn driver(&self) -> Result<Driver, ()> {
        let started = Driver::start(self.program.driver(), &self.bootstrap);
        started.map_err(|stop| {
            let text = format!("the driver does not start: {stop}");
            self.journal().wrong.push(text);
        })
    }

    fn produce(&self) -> Option<Driver> {
        let mut driver = self.driver().ok()?;
        let idempotence = driver.has(&[Feature::Idempotence]);
        for call in 0.. {
            if self.producing_over.load(Ordering::SeqCst) {
                break;
            }
            for partition in partitions() {
                let first = call * CALL;
                let idempotent = idempotence && partition != AT_LEAST_ONCE;
                let settings = Settings {
                    idempotent,
                    ..PLAIN
                };
                let records: Vec<_> = (first..first + CALL)
                    .map(|number| self.record(partition, number))
                    .collect();
                let records: Vec<_> = records.iter().collect();
                let begun = Instant::now();
                let outcome = self.attempt("produce", || {
                    driver.produce((&self.topic, partition), settings, &records)
                });
                let mut journal = self.journal();
                journal.longest = journal.longest.max(begun.elapsed());
                let acknowledged = outcome.ok().flatten();
                let sent = Sent {
                    first,
                    acknowledged,
                };
                journal.sent.entry(partition).or_default().push(sent);
                drop(journal);
                if driver.is_lost() {
                    if !self.crashes() {
                        return None;
                    }
                    driver = self.driver().ok()?;
                }
            }
            // Other processes want the machine too.
            thread::sleep(Duration::from_millis(30));
        }
        Some(driver)
    }

    /// `number` as the client writes it.
    fn record(&self, partition: i32, number: u64) -> Record {
        let mut value = format!("{}:{partition}:{number}:", self.topic);
        value.extend(std::iter::repeat_n('.', PADDING));
        Record::new(None, Some(value.as_bytes()))
    }

    /// The number of a record of this client; `None` if it is none of it.
    pub(super) fn number(&self, partition: i32, record: &Record) -> Option<u64> {
        let value = record.value.as_ref()?;
        let text = std::str::from_utf8(&value.0).ok()?;
        let rest = text.strip_prefix(&format!("{}:{partition}:", self.topic))?;
        let (number, padding) = rest.split_once(':')?;
        let whole = padding.len() == PADDING && padding.bytes().all(|byte| byte == b'.');
        number.parse().ok().filter(|_| whole)
    }

    /// Reads every partition again and again from where it is, and asks for what the group has
    /// committed.
    fn read(&self) {
        while !self.over.load(Ordering::SeqCst) {
            let lost = self.read_on();
            if lost.is_err() && !self.crashes() {
                return;
            }
        }
    }

    /// The same with one driver, until that is lost.
    fn read_on(&self) -> Result<(), ()> {
        let mut driver = self.driver()?;
        while !self.over.load(Ordering::SeqCst) {
            for partition in partitions() {
                let from = self.journal().read.get(&partition).map_or(0, Vec::len);
                let request = json!({
                    "op": "consume", "topic": self.topic, "partition": partition, "from": from,
                    "count": READ, "timeout_ms": 1_500,
                });
                match self.attempt("consume", || driver.call::<Vec<Record>>(&request)) {
                    Ok(Some(records)) => self.note_read(partition, from, &records),
                    Ok(None) => {}
                    Err(()) => return Err(()),
                }
                let request = json!({
                    "op": "committed", "group": self.group, "topic": self.topic,
                    "partition": partition,
                });
                if driver.has(&[Feature::Admin]) {
                    match self.attempt("committed", || driver.call::<Option<i64>>(&request)) {
                        Ok(Some(Some(offset))) => self.note_committed(partition, offset),
                        Ok(_) => {}
                        Err(()) => return Err(()),
                    }
                }
            }
        }
        Ok(())
    }

    fn note_read(&self, partition: i32, from: usize, records: &[Record]) {
        let mut journal = self.journal();
        for (at, record) in (from..).zip(records) {
            match self.number(partition, record) {
                Some(number) if record.offset == i64::try_from(at).ok() => {
                    journal.read.entry(partition).or_default().push(number);
                }
                number => {
                    let offset = record.offset;
                    journal.wrong.push(format!(
                        "the reader of partition {partition} at {at} got record {number:?} of \
                         offset {offset:?}"
                    ));
                    return;
                }
            }
        }
    }

    fn note_committed(&self, partition: i32, offset: i64) {
        let mut journal = self.journal();
        let told = journal.committed.entry(partition).or_default();
        let before = told.last().map_or(0, |(_, offset)| *offset);
        told.push((Instant::now(), offset));
        if offset < before {
            journal.wrong.push(format!(
                "what is committed for partition {partition} went back from {before} to {offset}"
            ));
        }
    }

    /// A member of the group, which commits now and then; the one to be replaced, `second`, leaves
    /// and comes again as another process.
    fn consume(&self, second: bool) {
        let mut replaced = 0;
        'members: while !self.over.load(Ordering::SeqCst) {
            let Ok(mut driver) = self.driver() else {
                return;
            };
            let subscribe =
                self.attempt("subscribe", || driver.subscribe(&self.group, &self.topic));
            match subscribe {
                Ok(Some(())) => {}
                // As an application would, in a new process.
                Ok(None) => continue,
                Err(()) if self.crashes() => continue 'members,
                Err(()) => return,
            }
            let mut polls = 0;
            loop {
                let over = self.over.load(Ordering::SeqCst);
                let leave = second && self.replaced.load(Ordering::SeqCst) > replaced;
                match self.attempt("poll", || driver.poll()) {
                    Ok(Some(polled)) => self.note_seen(&polled.records),
                    Ok(None) => {}
                    Err(()) if self.crashes() => continue 'members,
                    Err(()) => return,
                }
                polls += 1;
                if polls % 4 == 0 || over || leave {
                    let commit = self.attempt("commit", || driver.bare::<Value>("commit"));
                    if commit.is_err() {
                        match self.crashes() {
                            true => continue 'members,
                            false => return,
                        }
                    }
                }
                if over || leave {
                    replaced += u32::from(leave);
                    break;
                }
            }
            let unsubscribe = self.attempt("unsubscribe", || {
                driver.bare::<Option<Vec<Record>>>("unsubscribe")
            });
            match unsubscribe {
                Ok(records) => self.note_seen(&records.flatten().unwrap_or_default()),
                Err(()) if self.crashes() => continue 'members,
                Err(()) => return,
            }
        }
    }

    fn note_seen(&self, records: &[Record]) {
        let mut journal = self.journal();
        for record in records {
            let (Some(partition), Some(offset)) = (record.partition, record.offset) else {
                journal
                    .wrong
                    .push(format!("a record without a place: {record:?}"));
                continue;
            };
            let Some(number) = self.number(partition, record) else {
                journal.wrong.push(format!(
                    "the group was given what nobody wrote at {partition}/{offset}: {record:?}"
                ));
                continue;
            };
            match journal.seen.insert((partition, offset), number) {
                None => {}
                Some(before) if before == number => {
                    journal.again += 1;
                    let settled = journal.settled(partition);
                    if offset < settled {
                        journal.wrong.push(format!(
                            "the group was given {partition}/{offset} again, and {settled} was \
                             committed long before"
                        ));
                    }
                }
                Some(before) => journal.wrong.push(format!(
                    "the group was given record {before} and then {number} at {partition}/{offset}"
                )),
            }
        }
    }
}

/// The numbers of a topic's partitions, as the wire has them.
pub(super) fn partitions() -> impl Iterator<Item = i32> {
    (0..).take(PARTITIONS as usize)
}
