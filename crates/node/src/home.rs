//! The node's data directory, held for as long as the node runs.

use std::io;
use std::path::Path;
use std::sync::Arc;

use plimsoll_cli::{Code, Failure};
use plimsoll_segment_log::{DataDir, DataDirError, NodeIdentity, Shutdown};
use plimsoll_types::NodeId;
use tracing::{info, warn};

use crate::node::describe;

/// A locked data directory, and the cluster that it belongs to.
pub(crate) struct Home {
    data: Arc<DataDir>,
    cluster_id: String,
}

impl Home {
    /// The cluster that the directory belongs to; `None` if it is new. Blocks.
    pub(crate) fn cluster_of(path: &Path) -> Result<Option<String>, Failure> {
        DataDir::cluster_id_of(path).map_err(|error| failure(path, &error))
    }

    /// Locks the directory, making it if it is not there. Blocks.
    pub(crate) fn enter(path: &Path, node_id: NodeId, cluster_id: String) -> Result<Self, Failure> {
        let node = NodeIdentity {
            cluster_id,
            node_id,
        };
        let data = DataDir::open(path, &node).map_err(|error| failure(path, &error))?;
        let last_shutdown = match data.last_shutdown() {
            Shutdown::First => "none",
            Shutdown::Clean(_) => "clean",
            Shutdown::Crash { .. } => "crash",
        };
        let (starts, path) = (data.starts(), path.display());
        info!(event = "data_dir_locked", %path, starts, last_shutdown);
        Ok(Self {
            data: Arc::new(data),
            cluster_id: node.cluster_id,
        })
    }

    /// The directory, for whoever keeps logs in it.
    pub(crate) fn data(&self) -> &Arc<DataDir> {
        &self.data
    }

    /// Whether no process used the directory before this one.
    pub(crate) fn is_first_start(&self) -> bool {
        matches!(self.data.last_shutdown(), Shutdown::First)
    }

    /// The cluster's id.
    pub(crate) fn cluster_id(&self) -> String {
        self.cluster_id.clone()
    }

    /// Leaves word that everything was closed, unless `unclosed` logs were not. Blocks.
    pub(crate) fn leave(self, unclosed: usize) -> Result<(), Failure> {
        if unclosed > 0 {
            warn!(
                event = "unclean_shutdown",
                unclosed, "the next start recovers these logs"
            );
            return Ok(());
        }
        let path = self.data.path().to_owned();
        match Arc::try_unwrap(self.data) {
            Ok(data) => data.close_clean().map_err(|error| failure(&path, &error)),
            Err(_) => {
                warn!(
                    event = "unclean_shutdown",
                    "the data directory is still in use"
                );
                Ok(())
            }
        }
    }
}

/// Why the directory cannot be used, and what to do.
fn failure(dir: &Path, error: &DataDirError) -> Failure {
    let (code, todo) = match error {
        DataDirError::Locked { .. } => (
            Code::DataDirLocked,
            "Stop that process, or choose another directory with --data-dir".to_owned(),
        ),
        DataDirError::WrongNode { found, .. } => (
            Code::DataDir,
            format!("Use --node-id {found}, or another directory"),
        ),
        DataDirError::WrongCluster { .. } => (Code::DataDir, "Use another directory".to_owned()),
        DataDirError::NoState { .. } => (
            Code::DataDir,
            "Restore that file; without it nobody can tell whose logs these are".to_owned(),
        ),
        DataDirError::Io { source, .. } => (Code::DataDir, advice(source.kind(), dir)),
        _ => (
            Code::DataDir,
            "Restore that file, or use another directory".to_owned(),
        ),
    };
    Failure::new(code, format!("{}. {todo}", describe(error)))
}

fn advice(kind: io::ErrorKind, dir: &Path) -> String {
    match kind {
        io::ErrorKind::PermissionDenied => {
            format!("Give this user the right to write {}", dir.display())
        }
        io::ErrorKind::StorageFull => "Free some space there".to_owned(),
        _ => "Choose another directory with --data-dir".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u32) -> NodeId {
        NodeId::new(id).expect("in range")
    }

    fn enter(path: &Path, id: u32) -> Result<Home, Failure> {
        let cluster_id = Home::cluster_of(path)?.unwrap_or_else(|| format!("drawn-by-{id}"));
        Home::enter(path, node(id), cluster_id)
    }

    fn refused(path: &Path, id: u32) -> Failure {
        enter(path, id).err().expect("refused")
    }

    #[test]
    fn a_directory_in_use_is_told_in_words_and_exit_code() {
        let dir = tempfile::tempdir().expect("a directory");
        let _home = enter(dir.path(), 1).expect("free");
        let failure = refused(dir.path(), 1);
        assert_eq!(failure.code, Code::DataDirLocked);
        assert!(failure.message.contains("--data-dir"), "{failure}");
    }

    #[test]
    fn a_cluster_keeps_its_id_and_a_node_its_number() {
        let dir = tempfile::tempdir().expect("a directory");
        let home = enter(dir.path(), 1).expect("new");
        let cluster_id = home.cluster_id();
        home.leave(0).expect("closed");
        assert!(refused(dir.path(), 2).message.contains("--node-id 1"));
        let again = enter(dir.path(), 1).expect("free");
        assert_eq!(again.cluster_id(), cluster_id);
    }

    #[test]
    fn a_file_is_no_directory() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("file");
        std::fs::write(&file, "x").expect("written");
        assert_eq!(refused(&file, 1).code, Code::DataDir);
    }
}
