//! A directory that goes away with its owner.

use std::io;
use std::path::{Path, PathBuf};

/// A new directory under the system's temporary one, removed with all it holds on drop.
#[derive(Debug)]
pub(crate) struct Temporary {
    path: PathBuf,
}

impl Temporary {
    /// A path that nobody else has; the directory is made by who uses it.
    pub(crate) fn reserve() -> Self {
        let name = format!("plimsoll-{}", uuid::Uuid::new_v4().simple());
        Self {
            path: std::env::temp_dir().join(name),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        match std::fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let path = self.path.display();
                tracing::warn!(event = "temporary_directory_left", %path, %error);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_directory_goes_with_its_owner() {
        let temporary = Temporary::reserve();
        let path = temporary.path().to_owned();
        std::fs::create_dir_all(path.join("a/b")).expect("a temporary directory");
        drop(temporary);
        assert!(!path.exists());
    }
}
