//! Every replica's log compared byte for byte, from the files.
//!
//! Knows of the files only what docs/on-disk-format.md says: a segment is one batch after the
//! other, and zeros behind the last one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// A partition's batches on one node, by base offset.
type Log = BTreeMap<u64, Vec<u8>>;

/// Compares the logs below the data directories of nodes that have nothing in flight, none of a
/// compacted topic: each replica cleans those at its own time.
pub(super) fn compare(data: &[(u32, &Path)]) -> Result<String> {
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
                let differs = mine.iter().zip(&theirs).find(|(a, b)| a != b);
                let at = differs.map_or(mine.len().min(theirs.len()) as u64, |(a, _)| a.0);
                ensure!(
                    false,
                    "{partition} differs between nodes {first_id} and {id} from {at} on: {} and {} batches",
                    mine.len(),
                    theirs.len()
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

/// `<topic id>-<partition>`: 22 characters of base64 or a uuid, then a number.
fn is_partition(name: &str) -> bool {
    name.rsplit_once('-').is_some_and(|(topic, index)| {
        topic.len() >= 22 && !index.is_empty() && index.bytes().all(|b| b.is_ascii_digit())
    })
}

fn read(dir: &Path) -> Result<Log> {
    let mut log = Log::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "log") {
            continue;
        }
        let file = fs::read(&path)?;
        let mut at = 0;
        while let Some(head) = file.get(at..at + 12) {
            let base = u64::from_be_bytes(head[..8].try_into().expect("eight bytes"));
            let length = u32::from_be_bytes(head[8..].try_into().expect("four bytes"));
            if length == 0 {
                break;
            }
            let end = at + 12 + length as usize;
            let batch = file.get(at..end);
            let batch = batch.with_context(|| format!("{} ends within a batch", path.display()))?;
            log.insert(base, batch.to_vec());
            at = end;
        }
    }
    Ok(log)
}
