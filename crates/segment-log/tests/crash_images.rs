//! Crashes at every step of a workload.
//!
//! A random workload (append, sync, roll, checkpoint, retain, DeleteRecords, cut, compact, close)
//! is recorded; for each prefix of its disk operations several images of what a crash may leave
//! are built, opened and checked: what was promised is there, nothing else is, offsets are
//! continuous, a second opening changes nothing, and the log goes on. Some images crash again
//! while they are recovered and written on.
//!
//! `PLIMSOLL_CRASH_SEEDS=n` runs n workloads instead of a few, `PLIMSOLL_CRASH_FIRST=m` from seed m.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that cannot go on says where; how long to look is the caller's choice"
)]

mod common;

use common::disk::{Op, TestDisk};
use common::image::{Loss, Replay};
use common::model::{Model, check_image};
use common::workload::{Event, ROOT, Workload, open_on};
use common::{Random, keyed};
use plimsoll_types::{LeaderEpoch, Offset};

const STEPS: u64 = 45;
const IMAGES_OF_SOME: u64 = 2;

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
            let twin = (random.below(40) == 0).then(|| image.copy(ROOT));
            let goes_on = random.below(3) == 0;
            let checked = || check_image(&image, &model, goes_on);
            let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(checked));
            let checked = checked.unwrap_or_else(|_| Err("it panicked".into()));
            if let Err(problem) = checked {
                let around: Vec<_> = ops[at.saturating_sub(12)..=at].iter().map(brief).collect();
                panic!("seed {seed}, operation {at}, {loss:?}: {problem}\nafter {around:#?}");
            }
            images += 1;
            images += twin.map_or(0, |twin| crash_again(&twin, &model, &mut random));
        }
    }
    images
}

/// Recovers an image and writes on, and crashes that at a few steps.
fn crash_again(image: &TestDisk<Event>, model: &Model, random: &mut Random) -> u64 {
    let mut replay = Replay::of(image);
    let mut model = model.clone();
    let image = image.copy(ROOT);
    let mut log = open_on(&image);
    let end = log.reader.log_end().get();
    // What the first crash left is what there is now.
    model.cut_to(end);
    let content = (b"again".to_vec(), vec![b'x'; 40]);
    image.note(Event::Appending(vec![(end, content.clone())]));
    let batch = keyed(1_000, &[("again", Some(&"x".repeat(40)))]);
    let epoch = log
        .reader
        .epochs()
        .latest()
        .map_or(LeaderEpoch::new(1), LeaderEpoch::next);
    log.writer.append(epoch, &[batch]).unwrap();
    let durable = log.sync.sync().unwrap().get();
    image.note(Event::Durable(durable));
    log.writer.checkpoint(Offset::ZERO).run().unwrap();
    drop(log);
    let mut images = 0;
    for (at, op) in image.take_ops().iter().enumerate() {
        match op {
            Op::Note(event) => model.apply(event),
            op => replay.apply(op),
        }
        if random.below(2) == 0 {
            let again = replay.image(ROOT, Loss::Some, random);
            let checked = check_image(&again, &model, false);
            checked.unwrap_or_else(|problem| panic!("second crash, step {at}: {problem}"));
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
    let seeds: u64 = chosen("PLIMSOLL_CRASH_SEEDS").unwrap_or(4);
    let mut images = 0;
    for seed in first..first + seeds {
        println!("seed {seed}");
        images += crash_everywhere(seed);
    }
    println!("{images} images");
}
