//! What survives a loss of power, and what does not.

use std::io::IoSlice;

use super::*;

const DIR: &str = "/data";

fn disk() -> SimDisk {
    SimDisk::new(Path::new(DIR))
}

fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

fn write(disk: &SimDisk, name: &str, bytes: &[u8]) -> Box<dyn DiskFile> {
    let file = disk.open(&path(name), OpenFile::CreateNew).expect("new");
    file.write_at(&[IoSlice::new(bytes)], 0).expect("room");
    file
}

#[test]
fn what_was_synced_survives_every_loss_of_power() {
    for seed in 0..200 {
        let (disk, mut rng) = (disk(), Rng::with_seed(seed));
        write(&disk, "a.log", b"synced").sync().expect("it works");
        disk.sync_dir(Path::new(DIR)).expect("it works");
        let open = disk.open(&path("a.log"), OpenFile::Write).expect("there");
        open.write_at(&[IoSlice::new(b"lost?")], 6).expect("room");
        write(&disk, "b.log", b"lost?");
        drop(open);
        disk.lose_power(&mut rng);
        let content = disk.read(&path("a.log")).expect("its name was synced");
        assert_eq!(&content[..6], b"synced");
    }
}

#[test]
fn what_was_not_synced_is_lost_torn_or_kept_by_chance() {
    let (mut names, mut contents) = (BTreeSet::new(), BTreeSet::new());
    for seed in 0..200 {
        let (disk, mut rng) = (disk(), Rng::with_seed(seed));
        drop(write(&disk, "a.log", b"x"));
        disk.sync_dir(Path::new(DIR)).expect("it works");
        drop(write(&disk, "b.log", b"y"));
        disk.lose_power(&mut rng);
        contents.insert(disk.read(&path("a.log")).expect("its name was synced"));
        names.insert(disk.read(&path("b.log")).is_ok());
    }
    assert_eq!(contents.len(), 2, "the byte, or nothing");
    assert_eq!(names.len(), 2, "there, or not");
}

#[test]
fn failed_sync_loses_what_it_was_to_keep() {
    let disk = disk();
    let file = write(&disk, "a.log", b"gone");
    disk.sync_dir(Path::new(DIR)).expect("it works");
    disk.fail_syncs(1);
    assert!(file.sync().is_err());
    file.sync()
        .expect("the second one says nothing, as on Linux");
    drop(file);
    assert_eq!(disk.read(&path("a.log")).expect("cached"), b"gone");
    disk.lose_power(&mut Rng::with_seed(1));
    assert_eq!(disk.read(&path("a.log")).expect("named"), b"");
}

#[test]
fn full_disk_takes_nothing_that_needs_room() {
    let disk = disk();
    let file = write(&disk, "a.log", b"1234");
    disk.set_full(true);
    file.write_at(&[IoSlice::new(b"56")], 1)
        .expect("inside of the file");
    let refused = file.write_at(&[IoSlice::new(b"56")], 3);
    assert_eq!(
        refused.expect_err("no room").kind(),
        io::ErrorKind::StorageFull
    );
    assert!(file.allocate(4, 100).is_err());
    assert!(disk.open(&path("b.log"), OpenFile::CreateNew).is_err());
    disk.set_full(false);
    file.allocate(4, 100).expect("room again");
}

#[test]
fn flipped_bit_is_unhealed_until_its_byte_is_gone_for_good() {
    let (disk, mut rng) = (disk(), Rng::with_seed(1));
    let file = write(&disk, "a.log", &[7; 200]);
    file.sync().expect("it works");
    disk.sync_dir(Path::new(DIR)).expect("it works");
    assert_eq!(disk.flip_bit(&mut rng, 100, |_| false), None);
    let (flipped, at) = disk.flip_bit(&mut rng, 100, |_| true).expect("a segment");
    assert_eq!(disk.unhealed_flips(), std::slice::from_ref(&flipped));
    file.write_at(&[IoSlice::new(&[7])], at).expect("room");
    assert_eq!(disk.unhealed_flips(), [flipped], "not synced");
    file.sync().expect("it works");
    assert!(disk.unhealed_flips().is_empty());
}
