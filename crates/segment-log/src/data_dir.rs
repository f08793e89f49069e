//! A node's data directory: one process at a time, one node for life.
//!
//! Holds the lock, says whose directory it is, tells how the last uptime ended, and names the
//! partitions' directories. Not here: what is in those.
//!
//! ```text
//! <data>/lock                       flock'ed while a process uses the directory
//! <data>/broker.state               frame "NODE": node id u32, directory id 16 bytes,
//!                                   starts u64, boot id u32 length + text, cluster id likewise
//! <data>/clean.shutdown             frame "STOP": starts u64, boot id u32 length + text
//! <data>/<topic id>-<partition>/    a partition's log
//! <data>/<..>.deleted/              one that is being removed
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use plimsoll_types::{NodeId, TopicId};
use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::config::Identity;
use crate::disk::{Disk, RealDisk, replace};
use crate::format::{self, Fields, Unreadable};

const LOCK: &str = "lock";
const STATE: &str = "broker.state";
const CLEAN: &str = "clean.shutdown";
const DELETED: &str = ".deleted";
const STATE_KIND: [u8; 4] = *b"NODE";
const CLEAN_KIND: [u8; 4] = *b"STOP";
const VERSION: u32 = 1;
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Whose data directory it is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeIdentity {
    /// The cluster.
    pub cluster_id: String,
    /// The node in it.
    pub node_id: NodeId,
}

/// A data directory's own identity: another one means another, or an emptied, disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DirId(pub [u8; 16]);

/// What the last clean shutdown left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CleanShutdown {
    /// The start that it ended.
    pub starts: u64,
    /// The kernel's boot id then.
    pub boot_id: String,
}

/// How the last uptime ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// There was none: the directory is new.
    First,
    /// Everything was closed and made durable.
    Clean(CleanShutdown),
    /// It was not.
    Crash {
        /// The machine has not been restarted since, so what was written is there, synced or not.
        same_boot: bool,
    },
}

/// The directory of one partition's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionDir {
    /// Whose it is, by its name.
    pub identity: Identity,
    /// Where it is.
    pub path: PathBuf,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataDirError {
    /// Another process uses it.
    #[error("data directory {} is in use by another process", dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// It is another node's.
    #[error("{} is of node {found}, this is node {expected}", path.display())]
    WrongNode {
        /// The file that says so.
        path: PathBuf,
        /// Whose it is.
        found: NodeId,
        /// Who asked.
        expected: NodeId,
    },
    /// It is another cluster's.
    #[error("{} is of cluster {found:?}, this is cluster {expected:?}", path.display())]
    WrongCluster {
        /// The file that says so.
        path: PathBuf,
        /// Whose it is.
        found: String,
        /// Who asked.
        expected: String,
    },
    /// There are logs in it, but nothing that says whose.
    #[error("{} is missing although there are logs beside it", path.display())]
    NoState {
        /// The file that should be there.
        path: PathBuf,
    },
    /// A file in it cannot be used.
    #[error("{} cannot be used", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Unreadable,
    },
    /// The system could not read or write there.
    #[error("cannot use {}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A data directory, locked for this process until it is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    state: State,
    last_shutdown: Shutdown,
    /// Holds the lock.
    _lock: File,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    node: NodeIdentity,
    dir_id: DirId,
    starts: u64,
    boot_id: String,
}

impl DataDir {
    /// The cluster id that the directory at `path` belongs to, without locking it; `None` if it
    /// is new. For a node whose configuration does not name the cluster.
    ///
    /// # Errors
    /// [`DataDirError::Unreadable`] and [`DataDirError::Io`].
    pub fn cluster_id_of(path: &Path) -> Result<Option<String>, DataDirError> {
        Ok(State::read(path)?.map(|state| state.node.cluster_id))
    }

    /// Locks the directory, made if there is none, for `node`. From here on the last clean
    /// shutdown, if it was one, is history, durably: what comes may be appended to.
    ///
    /// # Errors
    /// See [`DataDirError`].
    pub fn open(path: &Path, node: &NodeIdentity) -> Result<Self, DataDirError> {
        create(path)?;
        let lock = lock(path)?;
        let boot_id = boot_id()?;
        let (state, last_shutdown) = match State::read(path)? {
            Some(state) => {
                state.check(path, node)?;
                let shutdown = last_shutdown(path, &state, &boot_id)?;
                let starts = state.starts + 1;
                (
                    State {
                        starts,
                        boot_id,
                        ..state
                    },
                    shutdown,
                )
            }
            None if !partitions(path)?.is_empty() => {
                return Err(DataDirError::NoState {
                    path: path.join(STATE),
                });
            }
            None => (State::new(node, boot_id)?, Shutdown::First),
        };
        state.write(path)?;
        let dir = Self {
            path: path.to_owned(),
            state,
            last_shutdown,
            _lock: lock,
        };
        dir.forget_clean_shutdown()?;
        dir.finish_removals()?;
        Ok(dir)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its own identity.
    #[must_use]
    pub fn dir_id(&self) -> DirId {
        self.state.dir_id
    }

    /// How often it was opened, this time included.
    #[must_use]
    pub fn starts(&self) -> u64 {
        self.state.starts
    }

    /// How the last uptime ended.
    #[must_use]
    pub fn last_shutdown(&self) -> &Shutdown {
        &self.last_shutdown
    }

    /// The directory of a partition's log, whether or not it exists.
    #[must_use]
    pub fn partition_dir(&self, identity: &Identity) -> PathBuf {
        self.path.join(dir_name(identity))
    }

    /// The partitions that have a directory.
    ///
    /// # Errors
    /// [`DataDirError::Io`].
    pub fn partitions(&self) -> Result<Vec<PartitionDir>, DataDirError> {
        partitions(&self.path)
    }

    /// Removes a partition's log; one that has none is fine. Its directory first gets another
    /// name, durably, so that a crash does not bring half of it back. The log must be closed.
    ///
    /// # Errors
    /// [`DataDirError::Io`]. What is left is removed at the next start.
    pub fn remove_partition(&self, identity: &Identity) -> Result<(), DataDirError> {
        let dir = self.partition_dir(identity);
        let doomed = self.path.join(dir_name(identity) + DELETED);
        match fs::rename(&dir, &doomed) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            result => result.map_err(|source| io_error(&dir, source))?,
        }
        self.sync()?;
        fs::remove_dir_all(&doomed).map_err(|source| io_error(&doomed, source))
    }

    /// Notes that everything in it was closed and is durable, and unlocks it. The last thing a
    /// process does with it.
    ///
    /// # Errors
    /// [`DataDirError::Io`]: the next start then takes this for a crash.
    pub fn close_clean(self) -> Result<(), DataDirError> {
        let mut body = self.state.starts.to_be_bytes().to_vec();
        put_text(&mut body, &self.state.boot_id);
        let path = self.path.join(CLEAN);
        replace(&RealDisk, &path, &format::frame(CLEAN_KIND, VERSION, &body))
            .map_err(|source| io_error(&path, source))?;
        self.sync()
    }

    fn forget_clean_shutdown(&self) -> Result<(), DataDirError> {
        let path = self.path.join(CLEAN);
        RealDisk
            .remove(&path)
            .map_err(|source| io_error(&path, source))?;
        self.sync()
    }

    fn finish_removals(&self) -> Result<(), DataDirError> {
        for name in list(&self.path)? {
            if name.ends_with(DELETED) {
                let doomed = self.path.join(name);
                fs::remove_dir_all(&doomed).map_err(|source| io_error(&doomed, source))?;
            }
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), DataDirError> {
        RealDisk
            .sync_dir(&self.path)
            .map_err(|source| io_error(&self.path, source))
    }
}

impl State {
    fn new(node: &NodeIdentity, boot_id: String) -> Result<Self, DataDirError> {
        let source = Path::new("/dev/urandom");
        let mut id = [0; 16];
        File::open(source)
            .and_then(|mut random| random.read_exact(&mut id))
            .map_err(|error| io_error(source, error))?;
        Ok(Self {
            node: node.clone(),
            dir_id: DirId(id),
            starts: 1,
            boot_id,
        })
    }

    fn read(dir: &Path) -> Result<Option<Self>, DataDirError> {
        let path = dir.join(STATE);
        let bytes = match RealDisk.read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            result => result.map_err(|source| io_error(&path, source))?,
        };
        let state = Self::decode(&bytes);
        state
            .map(Some)
            .map_err(|source| DataDirError::Unreadable { path, source })
    }

    fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        let mut fields = format::unframe(STATE_KIND, VERSION, bytes)?;
        let node_id = NodeId::from_wire(fields.i32()?).ok_or(Unreadable::Field)?;
        let dir_id = DirId(fields.id()?);
        let starts = fields.u64()?;
        let boot_id = text(&mut fields)?;
        let cluster_id = text(&mut fields)?;
        fields.end()?;
        Ok(Self {
            node: NodeIdentity {
                cluster_id,
                node_id,
            },
            dir_id,
            starts,
            boot_id,
        })
    }

    fn write(&self, dir: &Path) -> Result<(), DataDirError> {
        let mut body = self.node.node_id.to_wire().to_be_bytes().to_vec();
        body.extend_from_slice(&self.dir_id.0);
        body.extend_from_slice(&self.starts.to_be_bytes());
        put_text(&mut body, &self.boot_id);
        put_text(&mut body, &self.node.cluster_id);
        let path = dir.join(STATE);
        replace(&RealDisk, &path, &format::frame(STATE_KIND, VERSION, &body))
            .and_then(|()| RealDisk.sync_dir(dir))
            .map_err(|source| io_error(&path, source))
    }

    fn check(&self, dir: &Path, node: &NodeIdentity) -> Result<(), DataDirError> {
        let path = dir.join(STATE);
        if self.node.node_id != node.node_id {
            return Err(DataDirError::WrongNode {
                path,
                found: self.node.node_id,
                expected: node.node_id,
            });
        }
        if self.node.cluster_id != node.cluster_id {
            return Err(DataDirError::WrongCluster {
                path,
                found: self.node.cluster_id.clone(),
                expected: node.cluster_id.clone(),
            });
        }
        Ok(())
    }
}

/// Makes the directory, and every new name on the way to it durable.
fn create(path: &Path) -> Result<(), DataDirError> {
    let missing: Vec<_> = path.ancestors().take_while(|dir| !dir.exists()).collect();
    fs::create_dir_all(path).map_err(|source| io_error(path, source))?;
    for dir in missing {
        let parent = dir.parent().filter(|parent| *parent != Path::new(""));
        let parent = parent.unwrap_or(Path::new("."));
        RealDisk
            .sync_dir(parent)
            .map_err(|source| io_error(parent, source))?;
    }
    Ok(())
}

fn lock(dir: &Path) -> Result<File, DataDirError> {
    let path = dir.join(LOCK);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|source| io_error(&path, source))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(DataDirError::Locked {
            dir: dir.to_owned(),
        }),
        Err(error) => Err(io_error(&path, error.into())),
    }
}

fn last_shutdown(dir: &Path, state: &State, boot_id: &str) -> Result<Shutdown, DataDirError> {
    let path = dir.join(CLEAN);
    let crash = Shutdown::Crash {
        same_boot: state.boot_id == boot_id,
    };
    match RealDisk.read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(crash),
        Err(source) => Err(io_error(&path, source)),
        // What it says counts only for the start that it ended.
        Ok(bytes) => Ok(match decode_clean(&bytes) {
            Ok(clean) if clean.starts == state.starts => Shutdown::Clean(clean),
            _ => crash,
        }),
    }
}

fn decode_clean(bytes: &[u8]) -> Result<CleanShutdown, Unreadable> {
    let mut fields = format::unframe(CLEAN_KIND, VERSION, bytes)?;
    let clean = CleanShutdown {
        starts: fields.u64()?,
        boot_id: text(&mut fields)?,
    };
    fields.end()?;
    Ok(clean)
}

fn boot_id() -> Result<String, DataDirError> {
    let path = Path::new(BOOT_ID);
    let text = fs::read_to_string(path).map_err(|source| io_error(path, source))?;
    Ok(text.trim().to_owned())
}

fn dir_name(identity: &Identity) -> String {
    format!("{}-{}", identity.topic_id, identity.partition)
}

fn parse_dir_name(name: &str) -> Option<Identity> {
    let (topic_id, partition) = name.rsplit_once('-')?;
    let identity = Identity {
        topic_id: topic_id.parse::<TopicId>().ok()?,
        partition: partition.parse().ok()?,
    };
    // One spelling a partition.
    (dir_name(&identity) == name).then_some(identity)
}

fn partitions(path: &Path) -> Result<Vec<PartitionDir>, DataDirError> {
    let names = list(path)?.into_iter();
    let mut found: Vec<_> = names
        .filter_map(|name| {
            let identity = parse_dir_name(&name)?;
            let path = path.join(name);
            Some(PartitionDir { identity, path })
        })
        .collect();
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn list(path: &Path) -> Result<Vec<String>, DataDirError> {
    RealDisk.list(path).map_err(|source| io_error(path, source))
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    let bytes = u32::try_from(text.len()).expect("ids are short");
    out.extend_from_slice(&bytes.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn text(fields: &mut Fields<'_>) -> Result<String, Unreadable> {
    let bytes = fields.count(1)?;
    let text = fields.take(bytes)?.to_vec();
    String::from_utf8(text).map_err(|_| Unreadable::Field)
}

fn io_error(path: &Path, source: io::Error) -> DataDirError {
    DataDirError::Io {
        path: path.to_owned(),
        source,
    }
}
