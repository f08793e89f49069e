//! What only a comparison of two moments tells: elections, replicas that left and came back, how
//! long that took, and how old a consumer's next record is.
//!
//! The node looks about once a second; a look at unchanged metadata costs nothing. Events of a
//! partition are counted by the node that leads it afterwards, so that sums over nodes are right.
//!
//! What always holds: no more is kept than one entry a replica, and [`SAMPLES`] a partition that
//! some group reads.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use plimsoll_controller::Image;
use plimsoll_types::{LeaderEpoch, Monotonic, NodeId, PartitionKey};

/// Upper bounds of the buckets of heal durations, in seconds; the last one is open.
pub(crate) const HEAL_BOUNDS: [u64; 11] = [1, 2, 5, 10, 30, 60, 300, 900, 3_600, 14_400, 86_400];
/// Between two samples of a high watermark.
const SAMPLE: Duration = Duration::from_secs(5);
/// Ten minutes of samples; who is further behind is told at least that.
const SAMPLES: usize = 120;

/// What was counted since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Times that this node was made leader of a partition.
    pub(crate) elections: u64,
    /// Replicas that left the ISR of a partition led here.
    pub(crate) shrinks: u64,
    /// Replicas that came in.
    pub(crate) expands: u64,
    /// Those that came back, by how long they had been out.
    pub(crate) heals: [u64; HEAL_BOUNDS.len() + 1],
    /// All of that time.
    pub(crate) heal_time: Duration,
}

/// What was seen last, and what was counted.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    version: u64,
    partitions: HashMap<PartitionKey, Seen>,
    out_since: HashMap<(PartitionKey, NodeId), Monotonic>,
    counted: Counted,
    marks: HashMap<(String, u32), VecDeque<(Monotonic, u64)>>,
    sampled: Option<Monotonic>,
}

#[derive(Debug)]
struct Seen {
    leader_epoch: LeaderEpoch,
    isr: Vec<NodeId>,
}

impl Watch {
    /// Compares `image` with the one before.
    pub(crate) fn look(&mut self, image: &Image, me: NodeId, now: Monotonic) {
        if image.version() == self.version {
            return;
        }
        let first = std::mem::replace(&mut self.version, image.version()) == 0;
        let mut partitions = HashMap::with_capacity(image.partition_count());
        let mut out = HashMap::new();
        for topic in image.topics() {
            for (index, partition) in (0_u32..).zip(&topic.partitions) {
                let key = PartitionKey {
                    topic: topic.id,
                    index,
                };
                let leads = partition.leader == Some(me);
                let before = self.partitions.get(&key);
                let elected = before.is_none_or(|b| b.leader_epoch != partition.leader_epoch);
                self.counted.elections += u64::from(leads && elected && !first);
                for node in partition.replicas.iter() {
                    let was_in = before.is_some_and(|before| before.isr.contains(node));
                    let is_in = partition.isr.contains(node);
                    let since = self.out_since.get(&(key, *node)).copied();
                    if !is_in {
                        out.insert((key, *node), since.unwrap_or(now));
                    }
                    if !leads || before.is_none() {
                        continue;
                    }
                    self.counted.shrinks += u64::from(was_in && !is_in);
                    self.counted.expands += u64::from(!was_in && is_in);
                    if let Some(since) = since.filter(|_| is_in) {
                        self.counted.healed(now.since(since));
                    }
                }
                let seen = Seen {
                    leader_epoch: partition.leader_epoch,
                    isr: partition.isr.to_vec(),
                };
                partitions.insert(key, seen);
            }
        }
        (self.partitions, self.out_since) = (partitions, out);
    }

    /// Whether it is time for [`Watch::sample`].
    pub(crate) fn samples_at(&self, now: Monotonic) -> bool {
        self.sampled.is_none_or(|at| now.since(at) >= SAMPLE)
    }

    /// Takes the high watermarks of the partitions that groups read.
    pub(crate) fn sample(&mut self, marks: Vec<((String, u32), u64)>, now: Monotonic) {
        self.sampled = Some(now);
        let read: HashSet<_> = marks.iter().map(|(of, _)| of.clone()).collect();
        self.marks.retain(|of, _| read.contains(of));
        for (of, high_watermark) in marks {
            let samples = self.marks.entry(of).or_default();
            if samples.len() >= SAMPLES {
                samples.pop_front();
            }
            samples.push_back((now, high_watermark));
        }
    }

    /// For how long the record at `committed` has been there to be read, or at least that long.
    /// Zero if there is none yet; `None` if nothing is known.
    pub(crate) fn lag(
        &self,
        of: &(String, u32),
        committed: u64,
        high_watermark: u64,
        now: Monotonic,
    ) -> Option<Duration> {
        if committed >= high_watermark {
            return Some(Duration::ZERO);
        }
        let samples = self.marks.get(of)?;
        // The first sample that had the record; it came before that, and after the one before.
        let had = samples.iter().find(|(_, mark)| *mark > committed);
        Some(had.map_or(Duration::ZERO, |(at, _)| now.since(*at)))
    }

    pub(crate) const fn counted(&self) -> &Counted {
        &self.counted
    }
}

impl Counted {
    fn healed(&mut self, took: Duration) {
        let bucket = HEAL_BOUNDS.partition_point(|bound| Duration::from_secs(*bound) < took);
        if let Some(bucket) = self.heals.get_mut(bucket) {
            *bucket += 1;
        }
        self.heal_time = self.heal_time.saturating_add(took);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_controller::{Assignment, Record};
    use plimsoll_types::{BrokerEpoch, TopicId, TopicName};

    fn node(id: u32) -> NodeId {
        NodeId::new(id).expect("small")
    }

    fn at(seconds: u64) -> Monotonic {
        Monotonic::from_start(Duration::from_secs(seconds))
    }

    /// Two nodes, and a partition on both that node 1 leads.
    fn image() -> Image {
        let mut image = Image::default();
        for id in 1..=2 {
            let registered = Record::NodeRegistered {
                node: node(id),
                broker_epoch: BrokerEpoch(image.version() + 1),
                incarnation: [1; 16],
                dir_id: [1; 16],
                listeners: Vec::new(),
                peer: String::new(),
                rack: None,
            };
            image.apply(&registered).expect("fits");
        }
        let created = Record::TopicCreated {
            name: TopicName::new("a").expect("legal"),
            id: TopicId::from_bytes([1; 16]),
            partitions: vec![assignment(&[1, 2], 0)],
        };
        image.apply(&created).expect("fits");
        image
    }

    fn assignment(isr: &[u32], version: u32) -> Assignment {
        Assignment {
            replicas: vec![node(1), node(2)],
            isr: isr.iter().copied().map(node).collect(),
            leader: Some(node(1)),
            partition_epoch: plimsoll_types::PartitionEpoch(version),
            ..Assignment::default()
        }
    }

    fn change(image: &mut Image, isr: &[u32], version: u32) {
        let changed = Record::PartitionChanged {
            id: TopicId::from_bytes([1; 16]),
            partition: 0,
            state: assignment(isr, version),
        };
        image.apply(&changed).expect("fits");
    }

    #[test]
    fn a_replica_that_left_and_came_back_is_counted_with_its_time() {
        let (mut leader, mut other) = (Watch::default(), Watch::default());
        let mut image = image();
        let mut look = |image: &Image, seconds| {
            leader.look(image, node(1), at(seconds));
            other.look(image, node(2), at(seconds));
            (*leader.counted(), *other.counted())
        };
        assert_eq!(look(&image, 0), Default::default());
        change(&mut image, &[1], 1);
        look(&image, 10);
        change(&mut image, &[1, 2], 2);
        let (counted, others) = look(&image, 14);
        assert_eq!((counted.shrinks, counted.expands), (1, 1));
        assert_eq!(counted.heals.iter().sum::<u64>(), 1);
        assert_eq!(counted.heals[2], 1, "4 s lie between 2 and 5");
        assert_eq!(counted.heal_time, Duration::from_secs(4));
        assert_eq!(others, Counted::default(), "the leader counts");
    }

    #[test]
    fn a_consumers_lag_is_the_age_of_the_record_that_it_reads_next() {
        let mut watch = Watch::default();
        let of = ("a".to_owned(), 0);
        assert_eq!(watch.lag(&of, 0, 10, at(0)), None);
        for (seconds, mark) in [(0, 10), (5, 20), (10, 20), (15, 30)] {
            watch.sample(vec![(of.clone(), mark)], at(seconds));
        }
        let lag = |committed| {
            watch
                .lag(&of, committed, 31, at(16))
                .map(|lag| lag.as_secs())
        };
        assert_eq!(lag(31), Some(0));
        assert_eq!(lag(30), Some(0), "newer than every sample");
        assert_eq!(lag(20), Some(1));
        assert_eq!(lag(15), Some(11));
        assert_eq!(lag(3), Some(16), "at least");
        watch.sample(Vec::new(), at(20));
        assert_eq!(
            watch.lag(&of, 3, 31, at(20)),
            None,
            "nobody reads it any more"
        );
    }
}
