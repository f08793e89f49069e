//! A bit that flips in what was synced, and then the power goes: damage is told, never cut.
//!
//! The batches that the last sync made durable are the exception: nothing on the disk says yet that
//! it went through (see `Recovery` in `docs/on-disk-format.md`).
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::disk::{Op, TestDisk};
use common::image::{Loss, Replay};
use common::{Random, batch, identity, offset, small};
use plimsoll_record_batch::Batches;
use plimsoll_segment_log::{LogHost, Minimum, Opened, ReadError, open};
use plimsoll_types::{LeaderEpoch, Offset};

const ROOT: &str = "/data";
const DIR: &str = "/data/log";

/// What a workload was told.
#[derive(Clone, Copy, Debug)]
enum Told {
    /// Everything below is durable.
    Durable(u64),
}

fn open_on(disk: &TestDisk<Told>) -> Opened {
    let host = LogHost::on(Arc::new(disk.clone()), 6);
    open(Path::new(DIR), identity(), small(), &host).unwrap()
}

/// Appends, syncs, rolls, kills of the process, and checkpoints so rare that much lies above the last.
fn record(seed: u64) -> Vec<Op<Told>> {
    let disk = TestDisk::new(ROOT);
    let mut random = Random(seed);
    let mut log = open_on(&disk);
    for _ in 0..60 {
        match random.below(24) {
            0..12 => {
                let value = vec![0x55; 20 + usize::try_from(random.below(120)).unwrap()];
                let epoch = LeaderEpoch::new(1);
                log.writer.append(epoch, &[batch(&[&value])]).unwrap();
            }
            12..21 => {
                let end = log.sync.sync().unwrap().get();
                disk.note(Told::Durable(end));
            }
            21 => log.writer.roll(),
            22 => {
                drop(log);
                log = open_on(&disk);
            }
            _ if random.below(4) == 0 => {
                log.writer.checkpoint(Offset::ZERO).run().unwrap();
                disk.note(Told::Durable(log.reader.durable_end().get()));
            }
            _ => {}
        }
    }
    disk.take_ops()
}

/// The offsets that can be read, and those that reading is told are damaged.
fn read_around(log: &Opened, what: &str) -> (Vec<u64>, Vec<(u64, u64)>) {
    let (mut read, mut damaged) = (Vec::new(), Vec::new());
    let mut from = log.reader.log_start();
    while from < log.reader.log_end() {
        match log
            .reader
            .read(from, Offset::MAX, 1 << 20, Minimum::OneBatch)
        {
            Ok(slices) => {
                assert!(slices.next > from, "{what}: stuck at {from}");
                let batches = slices.chunks.iter().flat_map(|chunk| Batches::new(chunk));
                read.extend(batches.map(|batch| batch.unwrap().header().base.get()));
                from = slices.next;
            }
            Err(ReadError::Damaged(damage)) => {
                damaged.push((damage.from.get(), damage.until.get()));
                from = damage.until;
            }
            Err(error) => panic!("{what}: {error}"),
        }
    }
    (read, damaged)
}

/// Checks that each offset below `promised` is there or said to be damaged.
fn check(image: &TestDisk<Told>, promised: u64, what: &str) {
    let log = open_on(image);
    let end = log.reader.log_end().get();
    assert!(
        end >= promised,
        "{what}: cut to {end}, {promised} was synced"
    );
    let (read, damaged) = read_around(&log, what);
    for offset in 0..promised {
        let told = damaged
            .iter()
            .any(|(from, until)| (*from..*until).contains(&offset));
        assert!(
            told || read.contains(&offset),
            "{what}: {offset} is gone in silence, {damaged:?}"
        );
    }
    let recovered = log.recovery.damage.clone();
    drop(log);
    // What was told once is told again.
    let again = open_on(image);
    assert_eq!(again.recovery.damage, recovered, "{what}: forgotten");
    assert!(again.reader.log_end() >= offset(promised), "{what}");
}

fn flip(files: &BTreeMap<PathBuf, Vec<u8>>, random: &mut Random) -> Option<(PathBuf, usize)> {
    let used = |content: &Vec<u8>| content.iter().rposition(|byte| *byte != 0);
    let logs: Vec<_> = files
        .iter()
        .filter(|(path, _)| path.extension().is_some_and(|end| end == "log"))
        .filter_map(|(path, content)| Some((path, used(content)?)))
        .collect();
    let (path, last) = logs.get(usize::try_from(random.below(logs.len() as u64)).unwrap())?;
    let at = random.below(*last as u64 + 1);
    Some(((*path).clone(), usize::try_from(at).unwrap()))
}

#[test]
fn a_bit_that_flips_below_the_last_sync_is_damage_after_a_power_loss() {
    let mut flipped = 0;
    for seed in 1..=6 {
        let mut random = Random(!seed);
        let mut replay = Replay::default();
        // What the sync before the last made durable.
        let (mut promised, mut latest) = (0, 0);
        for (number, op) in record(seed).iter().enumerate() {
            replay.apply(op);
            if let Op::Note(Told::Durable(end)) = op
                && *end > latest
            {
                (promised, latest) = (latest, *end);
            }
            for loss in [Loss::Process, Loss::Everything, Loss::Some] {
                // A killed process loses no note at all, but may be killed before it writes one.
                let image: TestDisk<Told> = replay.image(ROOT, loss, &mut random);
                let files = image.files();
                let Some((path, at)) = flip(&files, &mut random) else {
                    continue;
                };
                let mut content = files[&path].clone();
                let bit = random.below(8);
                content[at] ^= 1 << bit;
                image.put(&path, &content);
                let what = format!(
                    "seed {seed}, operation {number}, {loss:?}, {} byte {at} bit {bit}",
                    path.display()
                );
                check(&image, promised, &what);
                flipped += 1;
            }
        }
    }
    assert!(flipped > 1000, "{flipped} bits only");
}
