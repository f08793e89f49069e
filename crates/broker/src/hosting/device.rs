//! The disk under the logs, watched: whether it is slow, and whether there is room.
//!
//! [`WatchedDisk`] is a layer over the file system: it measures each write and sync, and refuses
//! blocks for records while there is less room than the node keeps in reserve. The reserve is for
//! what must go on: metadata, checkpoints, committed offsets. Not here: what follows from a sick
//! disk; the controller and the replicas decide that.
//!
//! What always holds: an operation that is under way is seen while it lasts, not when it is over;
//! a disk that was full takes records again by itself, once there is twice the room.

use std::collections::BTreeSet;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use plimsoll_health::{Disk as Health, Stall, StallConfig, StallVerdict};
use plimsoll_segment_log::disk::{Disk, DiskFile, DiskSpace, OpenFile};
use plimsoll_segment_log::map::SegmentMap;
use plimsoll_types::Monotonic;

use crate::clock::Clock;
use crate::counters::Latencies;

/// What takes longer is slow; and what is slow again and again for so long is a slow disk, until
/// nothing was slow for as long.
const STALL: StallConfig = StallConfig {
    limit: Duration::from_secs(1),
    sustain: Duration::from_secs(5),
};
/// After the system said that there is no room, it is not tried again for so long.
const REST: Duration = Duration::from_secs(5);
/// Operations that are seen while they last.
const SLOTS: usize = 64;
/// The mark of a free slot.
const FREE: u64 = 0;

/// What is known of the disk. Shared by all its files.
#[derive(Debug)]
pub struct Device {
    clock: Watch,
    stall: Mutex<Stall>,
    /// When the operations that are under way began, in nanoseconds plus one.
    under_way: [AtomicU64; SLOTS],
    next_slot: AtomicUsize,
    room: Mutex<Room>,
    /// As `room` says; read before blocks are taken.
    full: AtomicBool,
    /// Directories of logs that may use the reserve.
    favoured: Mutex<BTreeSet<String>>,
    /// Syncs, by how long they took.
    pub syncs: Latencies,
}

/// A clock that says no more than its name in a debugger.
struct Watch(Arc<dyn Clock>);

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

impl Device {
    /// A disk of which `reserve_bytes` are not for records.
    pub(crate) fn new(clock: Arc<dyn Clock>, reserve_bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            clock: Watch(clock),
            stall: Mutex::new(Stall::new(STALL)),
            under_way: std::array::from_fn(|_| AtomicU64::new(FREE)),
            next_slot: AtomicUsize::new(0),
            room: Mutex::new(Room::new(reserve_bytes)),
            full: AtomicBool::new(false),
            favoured: Mutex::default(),
            syncs: Latencies::default(),
        })
    }

    /// Lets the log in the directory called `name` use the reserve.
    pub(crate) fn favour(&self, name: String) {
        self.favoured.lock().insert(name);
    }

    /// How the disk does.
    #[must_use]
    pub fn health(&self) -> Health {
        let room = *self.room.lock();
        if room.full {
            return Health::Full {
                free_bytes: room.usable,
                needs_bytes: room.enough(),
            };
        }
        let now = self.clock.0.now();
        let mut stall = self.stall.lock().clone();
        if let Some(oldest) = self.oldest() {
            stall.began(oldest);
        }
        match stall.verdict(now) {
            StallVerdict::Healthy => Health::Healthy,
            StallVerdict::Slow { worst, lasting } => Health::Slow {
                sync: worst,
                lasting,
            },
        }
    }

    /// Looks how much room there is. Blocks on the machine.
    pub(crate) fn look(&self, disk: &dyn Disk, dir: &Path) {
        if let Ok(space) = disk.space(dir) {
            let mut room = self.room.lock();
            room.looked(space.usable_bytes, self.clock.0.now());
            self.full.store(room.full, Ordering::Release);
        }
    }

    fn refused(&self) {
        let mut room = self.room.lock();
        room.refused(self.clock.0.now());
        self.full.store(true, Ordering::Release);
    }

    /// Passes a result on, and notes it if it says that there is no room.
    fn noting<T>(&self, done: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &done
            && matches!(
                error.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            )
        {
            self.refused();
        }
        done
    }

    /// Does something that takes as long as the disk takes.
    fn timed<T>(&self, operation: impl FnOnce() -> io::Result<T>) -> (io::Result<T>, Duration) {
        let began = self.clock.0.now();
        // Relaxed: only tells the threads apart.
        let slot = self.next_slot.fetch_add(1, Ordering::Relaxed) % SLOTS;
        let mark = u64::try_from(began.since_start().as_nanos()).unwrap_or(u64::MAX - 1) + 1;
        let slot = self.under_way.get(slot).filter(|slot| {
            // One that is taken by an operation that lasts is not taken over.
            slot.compare_exchange(FREE, mark, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        });
        let done = operation();
        if let Some(slot) = slot {
            slot.store(FREE, Ordering::Relaxed);
        }
        let now = self.clock.0.now();
        let took = now.since(began);
        if took > STALL.limit {
            self.stall.lock().took(began, now);
        }
        (self.noting(done), took)
    }

    fn oldest(&self) -> Option<Monotonic> {
        let marks = self.under_way.iter();
        let marks = marks.map(|slot| slot.load(Ordering::Relaxed));
        let oldest = marks.filter(|mark| *mark != FREE).min()?;
        Some(Monotonic::from_start(Duration::from_nanos(oldest - 1)))
    }
}

/// Whether there is room for records.
#[derive(Clone, Copy, Debug)]
struct Room {
    reserve: u64,
    usable: u64,
    full: bool,
    /// When the system last refused something for lack of room.
    refused_at: Option<Monotonic>,
}

impl Room {
    fn new(reserve: u64) -> Self {
        Self {
            reserve: reserve.max(1),
            usable: u64::MAX,
            full: false,
            refused_at: None,
        }
    }

    /// Room from which on a disk that was full is not any more.
    fn enough(&self) -> u64 {
        self.reserve.saturating_mul(2)
    }

    fn refused(&mut self, now: Monotonic) {
        self.full = true;
        self.refused_at = Some(now);
    }

    fn looked(&mut self, usable: u64, now: Monotonic) {
        self.usable = usable;
        let rests = self.refused_at.is_some_and(|at| now.since(at) < REST);
        if usable < self.reserve {
            self.full = true;
        } else if usable >= self.enough() && !rests {
            self.full = false;
            self.refused_at = None;
        }
    }
}

/// A file system whose operations are measured.
#[derive(Clone, Debug)]
pub(crate) struct WatchedDisk {
    disk: Arc<dyn Disk>,
    device: Arc<Device>,
}

impl WatchedDisk {
    pub(crate) fn new(disk: Arc<dyn Disk>, device: Arc<Device>) -> Self {
        Self { disk, device }
    }
}

#[derive(Debug)]
struct WatchedFile {
    file: Box<dyn DiskFile>,
    device: Arc<Device>,
    /// It may use the reserve.
    favoured: bool,
}

impl Disk for WatchedDisk {
    fn open(&self, path: &Path, how: OpenFile) -> io::Result<Box<dyn DiskFile>> {
        let file = self.device.noting(self.disk.open(path, how))?;
        let dir = path.parent().and_then(Path::file_name);
        let dir = dir.and_then(|name| name.to_str());
        let favoured = how != OpenFile::Read
            && dir.is_some_and(|name| self.device.favoured.lock().contains(name));
        Ok(Box::new(WatchedFile {
            file,
            device: Arc::clone(&self.device),
            favoured,
        }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.disk.read(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn file_bytes(&self, path: &Path) -> io::Result<u64> {
        self.disk.file_bytes(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.device.noting(self.disk.create_dir(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.device.timed(|| self.disk.sync_dir(path)).0
    }

    fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        self.disk.space(path)
    }
}

impl DiskFile for WatchedFile {
    fn write_at(&self, parts: &[IoSlice<'_>], at: u64) -> io::Result<usize> {
        self.device.timed(|| self.file.write_at(parts, at)).0
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        self.file.read_at(into, at)
    }

    fn allocate(&self, from: u64, to: u64) -> io::Result<()> {
        if to > from && !self.favoured && self.device.full.load(Ordering::Acquire) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.device.noting(self.file.allocate(from, to))
    }

    fn set_bytes(&self, bytes: u64) -> io::Result<()> {
        self.file.set_bytes(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        let (done, took) = self.device.timed(|| self.file.sync());
        self.device.syncs.took(took);
        done
    }

    fn bytes(&self) -> io::Result<u64> {
        self.file.bytes()
    }

    fn map(&self, bytes: u64, frontier: Arc<AtomicU64>) -> io::Result<SegmentMap> {
        self.file.map(bytes, frontier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;
    use plimsoll_segment_log::disk::{Faults, FaultyDisk, RealDisk};
    use plimsoll_types::Timestamp;

    #[derive(Default)]
    struct Hand(AtomicU64);

    impl Hand {
        fn at(&self, ms: u64) {
            self.0.store(ms, Ordering::Relaxed);
        }
    }

    #[async_trait]
    impl Clock for Hand {
        fn now(&self) -> Monotonic {
            Monotonic::from_start(Duration::from_millis(self.0.load(Ordering::Relaxed)))
        }

        fn wall(&self) -> Timestamp {
            Timestamp::NONE
        }

        async fn sleep_until(&self, _at: Monotonic) {}
    }

    fn device(reserve: u64) -> (Arc<Hand>, Arc<Device>) {
        let clock = Arc::new(Hand::default());
        let device = Device::new(Arc::clone(&clock) as Arc<dyn Clock>, reserve);
        (clock, device)
    }

    #[test]
    fn sync_that_does_not_come_back_is_a_slow_disk_while_it_lasts() {
        let (clock, device) = device(0);
        let (done, _) = device.timed(|| {
            clock.at(4_000);
            assert_eq!(device.health(), Health::Healthy);
            device.timed(|| Ok(())).0?;
            clock.at(6_000);
            assert!(matches!(device.health(), Health::Slow { .. }));
            Ok(())
        });
        done.expect("nothing fails");
        clock.at(10_900);
        assert!(matches!(device.health(), Health::Slow { .. }), "not yet");
        clock.at(11_100);
        assert_eq!(device.health(), Health::Healthy);
    }

    #[test]
    fn slow_syncs_that_recur_are_a_slow_disk_and_one_is_not() {
        let (clock, device) = device(0);
        let sync = |from: u64| {
            let took = device.timed(|| {
                clock.at(from + 1_500);
                Ok(())
            });
            took.0.expect("nothing fails");
        };
        sync(0);
        assert_eq!(device.health(), Health::Healthy);
        (1..4).for_each(|n| sync(n * 1_500));
        let slow = Health::Slow {
            sync: Duration::from_millis(1_500),
            lasting: Duration::from_secs(6),
        };
        assert_eq!(device.health(), slow);
    }

    #[test]
    fn disk_is_full_below_the_reserve_until_there_is_twice_as_much() {
        let at = |ms| Monotonic::from_start(Duration::from_millis(ms));
        let mut room = Room::new(100);
        let full = |room: &mut Room, usable, ms| {
            room.looked(usable, at(ms));
            room.full
        };
        assert!(!full(&mut room, 100, 0));
        assert!(full(&mut room, 99, 1));
        assert!(full(&mut room, 199, 2));
        assert!(!full(&mut room, 200, 3));
        room.refused(at(4));
        assert!(full(&mut room, 10_000, 5_003), "it was just refused");
        assert!(!full(&mut room, 10_000, 5_004));
    }

    #[test]
    fn reserve_is_for_the_favoured_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let faults = Faults::default();
        let (_, device) = device(1);
        let below: Arc<dyn Disk> = Arc::new(FaultyDisk::new(Arc::new(RealDisk), faults.clone()));
        let disk = WatchedDisk::new(below, Arc::clone(&device));
        device.favour("offsets".to_owned());
        let file = |name: &str| {
            disk.create_dir(&dir.path().join(name)).expect("made");
            let path = dir.path().join(name).join("0.log");
            disk.open(&path, OpenFile::Replace).expect("opened")
        };
        let (records, offsets) = (file("orders"), file("offsets"));
        faults.fill(true);
        device.look(&disk, dir.path());
        faults.fill(false);
        assert!(matches!(device.health(), Health::Full { .. }));
        assert!(records.allocate(0, 4096).is_err());
        assert!(offsets.allocate(0, 4096).is_ok());
        device.look(&disk, dir.path());
        assert_eq!(device.health(), Health::Healthy);
        assert!(records.allocate(0, 4096).is_ok());
    }
}
