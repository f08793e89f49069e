//! How large a volume is and how much of it is left.

use std::io;
use std::path::Path;

/// A volume's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// All of it.
    pub total_bytes: u64,
    /// What this process may still fill.
    pub usable_bytes: u64,
}

/// Asks about the volume that `path` is on. Blocks on the machine.
///
/// # Errors
/// The machine's refusal.
pub fn disk_space(path: &Path) -> io::Result<DiskSpace> {
    let volume = rustix::fs::statvfs(path)?;
    Ok(DiskSpace {
        total_bytes: volume.f_blocks.saturating_mul(volume.f_frsize),
        usable_bytes: volume.f_bavail.saturating_mul(volume.f_frsize),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_usable_is_part_of_the_whole() {
        let dir = tempfile::tempdir().expect("a directory");
        let space = disk_space(dir.path()).expect("it is there");
        assert!(space.usable_bytes <= space.total_bytes && space.total_bytes > 0);
        assert!(disk_space(&dir.path().join("none")).is_err());
    }
}
