//! What must hold of a client that worked while nodes were killed.

use std::collections::BTreeMap;

use super::super::driver::{Driver, Outcome, Stop, ensure};
use super::super::report::Report;
use super::journal::{Fault, Journal, Phase};
use super::traffic::{AT_LEAST_ONCE, ENDED, Ends, Traffic, partitions};

/// Checks one client: the claims in the order of their weight.
pub(super) fn check(
    client: &Traffic,
    driver: Option<&mut Driver>,
    ends: &Ends,
    report: &mut Report,
) {
    let journal = client.journal();
    let mut logs = Logs::new();
    report.check("the final log is read", || {
        let driver = driver.ok_or_else(|| Stop::Wrong("the producer was lost".to_owned()))?;
        logs = read(client, driver, ends)?;
        Ok(())
    });
    let mut duplicates = 0;
    report.check("what was acknowledged is there, once and in order", || {
        for partition in partitions() {
            duplicates += acknowledged(&journal, &logs, partition)?;
        }
        Ok(())
    });
    report.check("the reader read the log and nothing else", || {
        for partition in partitions() {
            let read = journal.read.get(&partition).map_or(&[][..], Vec::as_slice);
            prefix(
                partition,
                read.iter().copied().enumerate(),
                log(&logs, partition)?,
            )?;
        }
        Ok(())
    });
    report.check("the group read the log and nothing else", || {
        for partition in partitions() {
            let seen = journal.seen.range((partition, 0)..(partition + 1, 0));
            let seen = seen.map(|((_, offset), number)| {
                (usize::try_from(*offset).unwrap_or(usize::MAX), *number)
            });
            prefix(partition, seen, log(&logs, partition)?)?;
        }
        Ok(())
    });
    report.check("nothing went wrong on the way", || {
        match journal.wrong.first() {
            None => Ok(()),
            Some(first) => Err(Stop::Wrong(format!("{first} (of {})", journal.wrong.len()))),
        }
    });
    for (name, phases) in [
        (
            "no error while nodes are killed",
            &[Phase::Kills, Phase::Calm][..],
        ),
        ("no error while nodes end by TERM", &[Phase::Controlled]),
    ] {
        report.check(name, || {
            let name = client.program.name;
            let of_phase = |fault: &&Fault| phases.contains(&fault.phase) && !may_be(name, fault);
            let faults: Vec<_> = journal.faults.iter().filter(of_phase).collect();
            match faults.first() {
                None => Ok(()),
                Some(first) => Err(Stop::Wrong(format!("{first} (of {})", faults.len()))),
            }
        });
    }
    let acknowledged: usize = journal
        .sent
        .values()
        .flatten()
        .filter_map(|sent| sent.acknowledged.as_ref())
        .map(Vec::len)
        .sum();
    let name = client.program.name;
    let mut forgiven: BTreeMap<String, usize> = BTreeMap::new();
    for fault in journal.faults.iter().filter(|fault| may_be(name, fault)) {
        let code = fault.code.map_or(String::new(), |code| format!(" {code}"));
        let kind = format!("{:?} {}{code}", fault.phase, fault.op);
        *forgiven.entry(kind).or_default() += 1;
    }
    println!(
        "     {}: {acknowledged} acknowledged, {duplicates} of them twice where that may be, {} \
         read again by the group, calls to be made again {forgiven:?}, longest call {:.1?}",
        name, journal.again, journal.longest
    );
}

/// By partition: the numbers of its records, from offset 0 on.
type Logs = BTreeMap<i32, Vec<u64>>;

fn log(logs: &Logs, partition: i32) -> Outcome<&[u64]> {
    let log = logs.get(&partition);
    log.map(Vec::as_slice)
        .ok_or_else(|| Stop::Wrong("the final log was not read".to_owned()))
}

fn read(client: &Traffic, driver: &mut Driver, ends: &Ends) -> Outcome<Logs> {
    let mut logs = Logs::new();
    for partition in partitions() {
        let end = ends
            .get(&(client.topic.clone(), partition))
            .copied()
            .unwrap_or(0);
        let count = usize::try_from(end).unwrap_or(0);
        ensure(count > 0, || format!("partition {partition} is empty"))?;
        let records = driver.consume((&client.topic, partition), 0, count)?;
        let mut log = Vec::with_capacity(count);
        for (at, record) in (0..).zip(&records) {
            let number = client.number(partition, record);
            let number = number
                .filter(|_| record.offset == Some(at))
                .ok_or_else(|| {
                    Stop::Wrong(format!(
                        "{partition}/{at} holds {:?}: {record:?}",
                        record.offset
                    ))
                })?;
            log.push(number);
        }
        logs.insert(partition, log);
    }
    Ok(logs)
}

/// Every record that was acknowledged is there, where the client was told; records are in the
/// order they were sent in. Only where the producer was not idempotent may one be there twice;
/// says how many are.
fn acknowledged(journal: &Journal, logs: &Logs, partition: i32) -> Outcome<usize> {
    let log = log(logs, partition)?;
    let mut places: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (at, number) in log.iter().enumerate() {
        places.entry(*number).or_default().push(at);
    }
    let once = partition != AT_LEAST_ONCE;
    let mut duplicates = 0;
    for sent in journal.sent.get(&partition).into_iter().flatten() {
        let Some(offsets) = &sent.acknowledged else {
            continue;
        };
        for (number, told) in (sent.first..).zip(offsets) {
            let there = places.get(&number).map_or(&[][..], Vec::as_slice);
            ensure(!there.is_empty(), || {
                format!("partition {partition} lost record {number}, acknowledged at {told:?}")
            })?;
            duplicates += there.len() - 1;
            ensure(!once || there.len() == 1, || {
                format!("partition {partition} has record {number} at {there:?}")
            })?;
            let told = told.and_then(|told| usize::try_from(told).ok());
            ensure(told.is_none_or(|told| there.contains(&told)), || {
                format!("partition {partition}: {number} was to be at {told:?}, is at {there:?}")
            })?;
        }
    }
    if once {
        let pair = log.windows(2).find(|pair| pair[0] >= pair[1]);
        ensure(pair.is_none(), || {
            format!("partition {partition} has {pair:?} next to each other")
        })?;
    }
    Ok(duplicates)
}

/// What was read at an offset is what the log holds there in the end, and all of it was read.
fn prefix(partition: i32, read: impl Iterator<Item = (usize, u64)>, log: &[u64]) -> Outcome<()> {
    let mut next = 0;
    for (offset, number) in read {
        ensure(offset == next, || {
            format!("partition {partition}: after {next} records came offset {offset}")
        })?;
        ensure(log.get(offset) == Some(&number), || {
            let holds = log.get(offset);
            format!("{partition}/{offset} was read as {number} and holds {holds:?}")
        })?;
        next += 1;
    }
    ensure(next == log.len(), || {
        format!("partition {partition}: {next} of {} were read", log.len())
    })
}

/// What a client leaves to who uses it, after retries of its own:
/// - a commit that meets a rebalance is refused by design, and the member commits again after it; one
///   of the members goes and comes all the time;
/// - librdkafka gives a commit up after three tries, which a coordinator that has just begun may
///   need for loading;
/// - KafkaJS gives a commit up when the coordinator is another one, and looks for that only with
///   its next heartbeat (<https://github.com/tulios/kafkajs/pull/1779>), also when the coordinator
///   has handed its groups over, or when the coordinator's connection is refused; and it may spin
///   (see `Traffic::crashes`);
/// - @platformatic/kafka gives a group's call up after four tries; it asks the old coordinator for as
///   long as a consumer lives
///   (<https://github.com/platformatic/kafka/issues/290>), and throws when that is not in the
///   metadata (<https://github.com/platformatic/kafka/issues/319>): then its process is another;
/// - aiokafka cancels the calls of a connection that closes while a consumer starts, and raises that;
///   its commit that meets a rebalance of its own finds that nothing is assigned;
/// - admin clients in Python and JavaScript ask once; what they are asked here is the suite's own
///   look at what is committed, which looks again.
fn may_be(client: &str, fault: &Fault) -> bool {
    const LOADING: i16 = 14;
    const NOT_AVAILABLE: i16 = 15;
    const NOT_COORDINATOR: i16 = 16;
    const ILLEGAL_GENERATION: i16 = 22;
    const UNKNOWN_MEMBER_ID: i16 = 25;
    const REBALANCE_IN_PROGRESS: i16 = 27;
    let killed = fault.phase != Phase::Controlled;
    let moved = fault.code == Some(NOT_COORDINATOR);
    let ended = fault.code.is_none() && fault.text.contains(ENDED);
    let of_the_client = match client {
        "kafkajs" => {
            let refused = killed && fault.text.contains("KafkaJSConnectionError");
            fault.op == "commit" && (moved || refused) || ended
        }
        // Its readers have a group too.
        "platformatic-kafka" => {
            let of_group = ["consume", "subscribe", "poll", "commit", "unsubscribe"];
            // Where it is thrown into a call that can tell it.
            let threw = fault.text.contains("reading 'host'");
            let gave_up = fault.code == Some(NOT_AVAILABLE);
            ended || (of_group.contains(&fault.op) && (moved || gave_up || threw))
        }
        "aiokafka" => {
            let cancelled = fault.op == "consume" && fault.text.contains("CancelledError");
            let rebalances = fault.op == "commit" && fault.text.contains("No partitions assigned");
            killed && (cancelled || rebalances)
        }
        _ => false,
    };
    if of_the_client {
        return true;
    }
    match (fault.op, fault.code) {
        ("committed", _) => true,
        ("commit", Some(ILLEGAL_GENERATION | UNKNOWN_MEMBER_ID | REBALANCE_IN_PROGRESS)) => true,
        ("commit", Some(LOADING | NOT_COORDINATOR)) => killed,
        _ => false,
    }
}
