//! Rare events that runs must have met: a simulation that never comes to them proves nothing of
//! what is done then.
//!
//! They are read from what the brokers count and note of themselves, when a process ends, and from
//! the changes of the metadata.

use std::collections::BTreeMap;

use plimsoll_controller::Partition;
use plimsoll_types::{Monotonic, NodeId, PartitionKey};

use crate::net::Process;
use crate::world::{TOPIC, World};

/// Every mark, and what it stands for.
const MARKS: &[(&str, &str)] = &[
    ("cut-tail", "a follower cut what was never committed"),
    ("begun-anew", "a follower threw its log away and copied it"),
    (
        "damage-told",
        "a replica said that its log is not to be believed",
    ),
    (
        "scrubbed-out",
        "damage was found by reading in the background",
    ),
    (
        "opened-again",
        "a log was opened again after its storage failed",
    ),
    ("repeated", "a producer's retry was answered from the log"),
    ("watchdog", "a replica that did not move was noticed"),
    (
        "left-behind",
        "a leader took out who lagged, or alone held back the rest",
    ),
    (
        "left-for-disk",
        "a leader took out whose disk was full or failed",
    ),
    ("attach-refused", "a leader refused a follower"),
    ("frame-refused", "a changed byte on the way was noticed"),
    (
        "led-from-elr",
        "one that was eligible and not in sync was elected",
    ),
    ("nobody-led", "a partition had no leader for a while"),
    ("isr-of-one", "one replica alone was in sync"),
    (
        "handed-over",
        "leadership went over from one that was up and in sync",
    ),
    ("joined-again", "a replica came back in sync"),
    ("moved", "a partition came to lie on other nodes"),
    ("trimmed", "records were deleted"),
    (
        "rebalanced",
        "a consumer group shared its partitions out anew",
    ),
];

/// What of a counter is a mark.
const COUNTED: &[(&str, &str)] = &[
    ("truncations", "cut-tail"),
    ("resets", "begun-anew"),
    ("stalls", "watchdog"),
    ("refusals", "attach-refused"),
    ("bad_runs", "frame-refused"),
];

/// What of a note is a mark, by words in it.
const NOTED: &[(&str, &str)] = &[
    ("not to be believed", "damage-told"),
    ("gets nothing past", "watchdog"),
    ("it lacks what was there", "left-behind"),
    ("it alone holds back", "left-behind"),
    ("is to leave: its disk", "left-for-disk"),
];

/// Every mark, by name, and what it stands for.
#[must_use]
pub fn marks() -> BTreeMap<&'static str, &'static str> {
    MARKS.iter().copied().collect()
}

/// The marks that lie between two states of a partition; `runs` says who is up.
pub(crate) fn between(
    before: &Partition,
    now: &Partition,
    runs: impl Fn(NodeId) -> bool,
) -> Vec<&'static str> {
    let mut found = Vec::new();
    let mut mark = |there: bool, name| found.extend(there.then_some(name));
    let elected = now.leader.filter(|_| now.leader != before.leader);
    mark(
        elected.is_some_and(|node| before.elr.contains(&node) && !before.isr.contains(&node)),
        "led-from-elr",
    );
    mark(
        before.leader.is_some() && now.leader.is_none(),
        "nobody-led",
    );
    mark(now.isr.len() == 1 && before.isr.len() != 1, "isr-of-one");
    let gave = before.leader.filter(|node| runs(*node));
    mark(
        elected.is_some() && gave.is_some_and(|node| now.isr.contains(&node)),
        "handed-over",
    );
    let joined = now.isr.iter().any(|node| !before.isr.contains(node));
    mark(joined && !before.isr.is_empty(), "joined-again");
    mark(!before.adding.is_empty() && now.adding.is_empty(), "moved");
    found
}

impl World {
    /// Takes the marks of a process that is about to end.
    pub(crate) fn take_marks(&self, process: &Process) {
        let broker = &process.broker;
        let counters = broker.counters();
        self.marks.add("scrubbed-out", read(&counters.scrub_damage));
        self.marks.add("opened-again", read(&counters.reopened));
        self.marks.add("repeated", read(&counters.duplicates));
        let Some(replicas) = broker.replicas() else {
            return;
        };
        for (name, count) in replicas.counters().rows() {
            if let Some((_, mark)) = COUNTED.iter().find(|(counter, _)| *counter == name) {
                self.marks.add(mark, count);
            }
        }
        let image = broker.image();
        let Some(topic) = image.topic(TOPIC) else {
            return;
        };
        for index in (0..).take(topic.partitions.len()) {
            let key = PartitionKey {
                topic: topic.id,
                index,
            };
            for event in replicas.history(key, Monotonic::from_start(Default::default())) {
                for (words, mark) in NOTED {
                    self.marks.add(mark, u64::from(event.what.contains(words)));
                }
            }
        }
    }
}

fn read(counter: &std::sync::atomic::AtomicU64) -> u64 {
    counter.load(std::sync::atomic::Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_is_of_a_mark_that_there_is() {
        let known = marks();
        assert_eq!(known.len(), MARKS.len(), "each once");
        for (_, mark) in COUNTED.iter().chain(NOTED) {
            assert!(known.contains_key(mark), "{mark}");
        }
    }
}
