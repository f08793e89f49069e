//! The causes for which a replica is not in sync, each with a code that never changes.
//!
//! What always holds: a code, once given, keeps its meaning; codes and names are unique.

use std::fmt;

/// What a code means, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The code, such as `R001`.
    pub code: &'static str,
    /// The name, such as `follower-disk-full`.
    pub name: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// How it heals, without anybody doing anything.
    pub heals: &'static str,
    /// What a person may do.
    pub person: &'static str,
}

macro_rules! causes {
    ($( $code:literal $name:literal $variant:ident {
        meaning: $meaning:literal,
        heals: $heals:literal,
        person: $person:literal $(,)?
    } )*) => {
        /// Why a replica is not in sync, or its partition does not take writes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Cause { $(
            #[doc = concat!("`", $code, " ", $name, "`: ", $meaning)]
            $variant,
        )* }

        impl Cause {
            /// All of them, by code.
            pub const ALL: &'static [Self] = &[$( Self::$variant, )*];

            /// What it means, how it heals, and what a person may do.
            #[must_use]
            pub const fn explanation(self) -> Explanation {
                match self { $(
                    Self::$variant => Explanation {
                        code: $code,
                        name: $name,
                        meaning: $meaning,
                        heals: $heals,
                        person: $person,
                    },
                )* }
            }
        }
    };
}

causes! {
    "R001" "follower-disk-full" FollowerDiskFull {
        meaning: "the disk of this replica has no room for more records.",
        heals: "The replica has left those in sync, so writes go on without it. Retention keeps running, and once enough is free the replica goes on by itself from where it stopped.",
        person: "Free space on the node's data volume, enlarge it, or lower retention.bytes or retention.ms of large topics. Nothing has to be restarted.",
    }
    "R002" "peer-unreachable" PeerUnreachable {
        meaning: "there is no connection between the leader and this replica's node.",
        heals: "Both sides connect again for ever, at most two seconds apart. Once connected, the replica states its position and goes on from there.",
        person: "See whether the node runs (plimsoll node list) and whether its peer address can be reached from the leader's machine: firewalls, routes, the advertised address.",
    }
    "R003" "diverged" Diverged {
        meaning: "the log of this replica ends in records that were never committed and that the leader does not have, as happens after a leader dies.",
        heals: "The uncommitted end is cut off and the replica copies on from the leader. No acknowledged record is concerned.",
        person: "Nothing. It is over within seconds.",
    }
    "R004" "corrupt-range" CorruptRange {
        meaning: "bytes on this replica's disk have changed: a batch does not match its checksum.",
        heals: "The replica has left those in sync and does not serve the range. It copies the records anew from a replica that was verified.",
        person: "Nothing for the data. Bytes do not change on a healthy disk or in healthy memory: look at SMART values, ECC errors and the kernel log, and replace what fails.",
    }
    "R005" "slow-disk" SlowDisk {
        meaning: "syncs of this replica's disk take so long that they hold up others.",
        heals: "A leader on such a disk hands leadership over; a follower leaves those in sync and comes back once its disk has kept up for a while.",
        person: "Look at what else uses the disk (iostat), at RAID rebuilds, throttled cloud volumes and failing drives. Draining the node takes it out of the way: plimsoll node drain.",
    }
    "R006" "stalled-stream" StalledStream {
        meaning: "the leader has records to send, the connection is up, and yet the log of this replica does not grow.",
        heals: "A watchdog begins the stream anew after two seconds; if that does not help it sends one batch at a time, and at last has the log copied from the start.",
        person: "If it comes back, keep the logs of both nodes and what plimsoll partition history says, and report it: this should not happen.",
    }
    "R007" "throttled" Throttled {
        meaning: "this replica catches up, held to the configured rate so that it does not disturb the others.",
        heals: "It arrives at the time given in the estimate. The rate never falls to nothing.",
        person: "Raise the catch-up rate if the disks and the network have room.",
    }
    "R008" "fenced" Fenced {
        meaning: "the controller does not let this replica's node take part, though it is connected.",
        heals: "The node is let in as soon as its signs of life arrive in time and it knows the metadata of its own registration.",
        person: "If it lasts: see whether the node is overloaded or its path to the controller is cut (plimsoll doctor on the node).",
    }
    "R009" "metadata-lag" MetadataLag {
        meaning: "this replica's node does not know the newest metadata, so it cannot know whom to follow.",
        heals: "The node fetches what it misses, as a snapshot if it is far behind.",
        person: "If it lasts: look at the node's connection to the controllers and at the disk of its metadata log.",
    }
    "R010" "io-error" IoError {
        meaning: "an operation of this replica's disk failed. What the system has not written then is not known, so nothing is tried again on it.",
        heals: "The node has left leaderships and those in sync for what lies on the disk. The log is opened anew after all of it was read and verified; what is damaged is copied from the leader.",
        person: "Look at the kernel log. Replace the disk if it fails again; an empty one is filled by itself.",
    }
    "R011" "lost-log" LostLog {
        meaning: "the log of this replica, or a part of it, is gone: its disk was replaced, or files were deleted or cut.",
        heals: "The replica counts for nothing until all has been copied from the leader.",
        person: "Nothing, if that was intended. If not, look for the missing mount.",
    }
    "R012" "behind-log-start" BehindLogStart {
        meaning: "the leader has already dropped, by retention, the records that come next on this replica.",
        heals: "The replica starts an empty log where the leader's begins, and copies from there.",
        person: "Nothing. If it recurs, retention is shorter than replicas are away: raise retention.ms or retention.bytes.",
    }
    "R013" "catching-up" CatchingUp {
        meaning: "this replica was away or is new, and copies what it misses.",
        heals: "It joins those in sync once it has caught up.",
        person: "Nothing. See the estimate.",
    }
    "R014" "self-fenced" SelfFenced {
        meaning: "this node has had no answer from a controller for so long that others may lead in its place; it stopped acknowledging by itself.",
        heals: "It goes on as soon as a controller answers.",
        person: "See whether a majority of the controllers runs and can be reached from this node.",
    }
    "R015" "no-leader" NoLeader {
        meaning: "nobody leads the partition: no replica that is known to hold everything committed is up.",
        heals: "The first such replica to come back is elected at once.",
        person: "Bring back one of the nodes named. Only if they are lost for good: the topic config unclean.recovery.strategy lets another replica lead with what it has, and loses the rest.",
    }
    "R016" "below-min-isr" BelowMinIsr {
        meaning: "fewer replicas are in sync than min.insync.replicas asks for, so nothing is committed.",
        heals: "Writes with acks=all go on once enough replicas are back in sync; each of them tells its own cause.",
        person: "See to the replicas that are out of sync. Lowering min.insync.replicas lets writes go on at the price of safety.",
    }
    "R017" "join-hold" JoinHold {
        meaning: "this replica has caught up, and is held back for a while because it came and went.",
        heals: "It joins when the time is over, if it keeps up until then.",
        person: "Look for what makes it come and go: a flapping link, a disk at its limit.",
    }
    "R018" "paused-process" PausedProcess {
        meaning: "the process of this replica's node stood still: it was stopped, swapped out, or its machine was suspended or overloaded.",
        heals: "It goes on where it was, or registers anew if it was fenced meanwhile.",
        person: "Look for a stopped process, swapping, a suspended or overcommitted virtual machine.",
    }
    "R019" "draining" Draining {
        meaning: "this replica's node is being drained so that it can be shut down.",
        heals: "It takes part again after it is started again, or after plimsoll node resume.",
        person: "Nothing, if that was intended.",
    }
    "R020" "lost-history" LostHistory {
        meaning: "the leader's log differs from this one in records that were committed, and no unclean election explains it. Some node has lost acknowledged records.",
        heals: "Not by itself: nothing is cut, and the differing end is kept aside, because it may be the only copy.",
        person: "Compare both logs (plimsoll partition history) and decide which to keep. Look for a disk that acknowledges writes it does not keep.",
    }
    "R021" "attach-refused" AttachRefused {
        meaning: "the leader does not take this replica's connection for the partition.",
        heals: "The replica asks again, with a pause, and learns from the metadata what has changed.",
        person: "If it lasts: the evidence names the leader's reason.",
    }
    "R022" "isr-change-pending" IsrChangePending {
        meaning: "this replica has caught up, and the controller has not yet confirmed that it counts again.",
        heals: "The leader asks again every second, whoever the controller is by then.",
        person: "If it lasts: see whether the controllers have a leader (plimsoll status).",
    }
    "R023" "no-news" NoNews {
        meaning: "nobody has told about this replica for a while, so its state is not known.",
        heals: "It is known again with the next report of its leader or of its node.",
        person: "See whether this node itself is cut off from the others.",
    }
}

impl Cause {
    /// Its code, such as `R001`.
    #[must_use]
    pub const fn code(self) -> &'static str {
        self.explanation().code
    }

    /// Its name, such as `follower-disk-full`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.explanation().name
    }
}

/// `R001 follower-disk-full`.
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code(), self.name())
    }
}

/// What a code or a name means, in either case of letters; none if there is no such cause.
#[must_use]
pub fn explain(code: &str) -> Option<Explanation> {
    let code = code.trim();
    Cause::ALL
        .iter()
        .map(|cause| cause.explanation())
        .find(|words| {
            words.code.eq_ignore_ascii_case(code) || words.name.eq_ignore_ascii_case(code)
        })
}

/// Every cause in the words of [`explain`], as one page of Markdown: `docs/causes.md`.
#[must_use]
pub fn causes_page() -> String {
    let mut page = String::from(
        "# Causes\n\nWhy a replica is not in sync, or its partition takes no writes. `plimsoll doctor`, `plimsoll \
         replica list`, the metrics and the API name a cause by its code, which never changes its meaning; `plimsoll \
         explain CODE` prints what stands here. Both are made from one source, `crates/health/src/cause.rs`: after \
         changing it, run `cargo run -p plimsoll-health --example causes > docs/causes.md`.\n\n| code | cause | \
         meaning |\n|---|---|---|\n",
    );
    let all = || Cause::ALL.iter().map(|cause| cause.explanation());
    for words in all() {
        let Explanation {
            code,
            name,
            meaning,
            ..
        } = words;
        page += &format!(
            "| [{code}](#{anchor}-{name}) | {name} | {meaning} |\n",
            anchor = code.to_lowercase()
        );
    }
    for words in all() {
        page += &format!(
            "\n## {} {}\n\n**What it means**: {}\n\n**What Plimsoll does**: {}\n\n**What you may do**: {}\n",
            words.code, words.name, words.meaning, words.heals, words.person
        );
    }
    page
}

/// With a heading before each part, for a terminal.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            code,
            name,
            meaning,
            heals,
            person,
        } = self;
        write!(
            f,
            "{code} {name}\n\nWhat it means: {meaning}\n\nWhat Plimsoll does: {heals}\n\nWhat you may do: {person}"
        )
    }
}
