//! Every replica's log compared byte for byte, from the files.
//!
//! Knows of the files only what docs/on-disk-format.md says: a segment is a front, if it has one,
//! and one batch after the other up to where the next segment begins, and zeros behind the last one.
//! What is neither is an error, so that files that were not understood are not found equal.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

/// What a segment's front begins with, and its length.
const FRONT: (&[u8], usize) = (b"PLIMSEGM", 4096);

/// A partition's batches on one node, by base offset.
type Log = BTreeMap<u64, Vec<u8>>;

/// Compares the logs below the data directories of nodes that have nothing in flight, none of a
/// compacted topic: each replica cleans those at its own time.
pub(crate) fn compare(data: &[(u32, &Path)]) -> Result<String> {
    let mut partitions = BTreeSet::new();
    for (_, dir) in data {
        for entry in fs::read_dir(dir)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if is_partition(&name) {
                partitions.insert(name);
            }
        }
    }
    let (mut batches, mut bytes, mut compared) = (0, 0, 0);
    for partition in &partitions {
        let mut logs = Vec::new();
        for (id, dir) in data {
            let path = dir.join(partition);
            if path.is_dir() {
                let log = read(&path).with_context(|| format!("node {id}, {}", path.display()))?;
                logs.push((*id, log));
            }
        }
        let Some(((first_id, first), others)) = logs.split_first() else {
            continue;
        };
        for (id, other) in others {
            // Retention may have moved one replica's start further than another's.
            let start = [first, other]
                .iter()
                .filter_map(|log| log.keys().next())
                .max()
                .copied();
            let Some(start) = start else { continue };
            let tail = |log: &Log| {
                log.range(start..)
                    .map(|(at, batch)| (*at, batch.clone()))
                    .collect::<Vec<_>>()
            };
            let (mine, theirs) = (tail(first), tail(other));
            if mine != theirs {
                bail!(
                    "{partition} differs between nodes {first_id} and {id}: {}",
                    difference(&mine, &theirs)
                );
            }
            batches += mine.len();
            bytes += mine.iter().map(|(_, batch)| batch.len()).sum::<usize>();
            compared += 1;
        }
    }
    ensure!(compared > 0, "no partition has two replicas with files");
    Ok(format!(
        "{compared} pairs of replicas, {batches} batches, {bytes} bytes, all equal"
    ))
}

/// Where two logs part, and how.
fn difference(mine: &[(u64, Vec<u8>)], theirs: &[(u64, Vec<u8>)]) -> String {
    let (here, there) = (mine.len(), theirs.len());
    let parted = mine.iter().zip(theirs).position(|(a, b)| a != b);
    let Some(((at, one), (also_at, other))) = parted.map(|at| (&mine[at], &theirs[at])) else {
        let from = mine.iter().chain(theirs).nth(here.min(there));
        let from = from.map_or(0, |(at, _)| *at);
        return format!("{here} and {there} batches, the same up to about {from}");
    };
    let byte = one.iter().zip(other).position(|(a, b)| a != b);
    let epoch = |batch: &[u8]| {
        batch
            .get(12..16)
            .map(|bytes| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    };
    format!(
        "at {at} and {also_at}, {} and {} bytes long, of epochs {:?} and {:?}, in byte {byte:?}; \
         {here} and {there} batches in all",
        one.len(),
        other.len(),
        epoch(one),
        epoch(other),
    )
}

/// `<topic id>-<partition>`: 22 characters of base64 or a uuid, then a number.
fn is_partition(name: &str) -> bool {
    name.rsplit_once('-').is_some_and(|(topic, index)| {
        topic.len() >= 22 && !index.is_empty() && index.bytes().all(|b| b.is_ascii_digit())
    })
}

/// A segment ends where the next begins: what a cut left behind that in its file is not the log's.
fn read(dir: &Path) -> Result<Log> {
    let mut segments = Vec::new();
    for path in super::tools::segments(dir)? {
        let base = path.file_stem().and_then(|name| name.to_str());
        let base = base.and_then(|name| name.parse::<u64>().ok());
        segments.push((base.context("a segment is named by its offset")?, path));
    }
    let mut log = Log::new();
    for (number, (first, path)) in segments.iter().enumerate() {
        let next = segments.get(number + 1).map_or(u64::MAX, |(base, _)| *base);
        let file = fs::read(path)?;
        let mut at = if file.starts_with(FRONT.0) {
            FRONT.1
        } else {
            0
        };
        let mut expected = *first;
        while let Some(head) = file.get(at..at + 12) {
            let base = u64::from_be_bytes(head[..8].try_into().expect("eight bytes"));
            let length = u32::from_be_bytes(head[8..].try_into().expect("four bytes"));
            if length == 0 || base >= next {
                break;
            }
            let end = at + 12 + length as usize;
            let batch = file.get(at..end);
            let batch = batch.with_context(|| format!("{} ends within a batch", path.display()))?;
            ensure!(
                base == expected,
                "{}: what begins at byte {at} is not the batch at offset {expected}",
                path.display()
            );
            expected = base + 1 + last_delta(batch);
            log.insert(base, batch.to_vec());
            at = end;
        }
    }
    Ok(log)
}

/// How many offsets a batch's last record is after its first.
fn last_delta(batch: &[u8]) -> u64 {
    let delta = batch.get(23..27);
    delta.map_or(0, |bytes| {
        u32::from_be_bytes(bytes.try_into().expect("four bytes")).into()
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::read;
    use crate::node::scratch;

    #[test]
    fn what_a_cut_left_behind_is_not_of_the_log() {
        let dir = scratch("bytes-test").expect("the build folder can be written to");
        let dir = dir.join("partition");
        fs::create_dir(&dir).expect("it can be written");
        let batch = |base: u64, byte: u8| {
            let mut batch = base.to_be_bytes().to_vec();
            batch.extend(5_u32.to_be_bytes());
            batch.extend([byte; 5]);
            batch
        };
        let first = [batch(0, 1), batch(1, 2), vec![0; 64]].concat();
        fs::write(dir.join("00000000000000000000.log"), first).expect("it can be written");
        let mut second = vec![0; 4096];
        second[..8].copy_from_slice(b"PLIMSEGM");
        second.extend([batch(1, 3), vec![0; 64]].concat());
        fs::write(dir.join("00000000000000000001.log"), second).expect("it can be written");
        let log = read(&dir).expect("it is a log");
        assert_eq!(log.len(), 2);
        assert_eq!(log[&1], batch(1, 3));
        let strange = [b"STRANGER".to_vec(), vec![0, 0, 0, 1, 0]].concat();
        fs::write(dir.join("00000000000000000001.log"), strange).expect("it can be written");
        assert!(read(&dir).is_err(), "that is no segment");
    }
}
