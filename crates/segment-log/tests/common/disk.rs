//! A file system in memory that records what is done to it and fails when told to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard};

use plimsoll_segment_log::disk::{Disk, DiskFile, OpenFile};
use plimsoll_segment_log::map::SegmentMap;
use rustix::fs::MemfdFlags;

/// A file whatever its names.
pub type Inode = usize;

/// Something done to the disk, or noted by a test in between.
#[derive(Clone, Debug)]
pub enum Op<E> {
    CreateDir(PathBuf),
    Create {
        inode: Inode,
        path: PathBuf,
    },
    Truncated {
        inode: Inode,
    },
    Write {
        inode: Inode,
        at: u64,
        bytes: Vec<u8>,
    },
    Allocate {
        inode: Inode,
        to: u64,
    },
    SetBytes {
        inode: Inode,
        bytes: u64,
    },
    Sync {
        inode: Inode,
    },
    /// The system dropped what it had not written, and takes it for written.
    FailedSync {
        inode: Inode,
    },
    Rename {
        inode: Inode,
        from: PathBuf,
        to: PathBuf,
    },
    Remove {
        path: PathBuf,
    },
    SyncDir(PathBuf),
    Note(E),
}

/// What is about to be done, for whoever wants it to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Create,
    Write,
    Allocate,
    Sync,
    SyncDir,
    Rename,
}

/// How it goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Errno(i32),
    /// Only so many bytes are written.
    Short(usize),
}

type Injector = Box<dyn FnMut(Step, &str) -> Option<Fault> + Send>;

struct State<E> {
    inodes: Vec<Arc<File>>,
    names: BTreeMap<PathBuf, Inode>,
    dirs: BTreeSet<PathBuf>,
    ops: Vec<Op<E>>,
    injector: Option<Injector>,
}

/// The disk. Clones are the same one.
pub struct TestDisk<E>(Arc<Mutex<State<E>>>);

impl<E> Clone for TestDisk<E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<E> std::fmt::Debug for TestDisk<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TestDisk")
    }
}

pub fn memory_file() -> File {
    rustix::fs::memfd_create("segment", MemfdFlags::CLOEXEC)
        .expect("memory for a file")
        .into()
}

impl<E> TestDisk<E> {
    /// An empty disk with `dir` in it.
    pub fn new(dir: &str) -> Self {
        Self(Arc::new(Mutex::new(State {
            inodes: Vec::new(),
            names: BTreeMap::new(),
            dirs: BTreeSet::from([PathBuf::from(dir)]),
            ops: Vec::new(),
            injector: None,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State<E>> {
        self.0.lock().expect("no test panics with the disk locked")
    }

    /// Puts a file there without recording it.
    pub fn put(&self, path: &Path, content: &[u8]) {
        let file = memory_file();
        file.write_all_at(content, 0).expect("memory for a file");
        let mut state = self.state();
        let inode = state.inodes.len();
        state.inodes.push(Arc::new(file));
        state.names.insert(path.to_owned(), inode);
        if let Some(dir) = path.parent() {
            state.dirs.insert(dir.to_owned());
        }
    }

    /// Puts a directory there without recording it.
    pub fn put_dir(&self, path: &Path) {
        self.state().dirs.insert(path.to_owned());
    }

    /// The files' names and contents by inode.
    pub fn by_inode(&self) -> (BTreeMap<PathBuf, Inode>, BTreeMap<Inode, Vec<u8>>) {
        let names = self.state().names.clone();
        let files = self.files();
        let contents = names
            .iter()
            .map(|(path, inode)| (*inode, files[path].clone()))
            .collect();
        (names, contents)
    }

    pub fn dirs(&self) -> BTreeSet<PathBuf> {
        self.state().dirs.clone()
    }

    /// Another disk with the same files, the same inodes, and nothing recorded.
    pub fn copy(&self, root: &str) -> Self {
        let (names, contents) = self.by_inode();
        let copy = Self::new(root);
        let next = contents.keys().last().map_or(0, |last| last + 1);
        let mut state = copy.state();
        for inode in 0..next {
            let file = memory_file();
            let content = contents.get(&inode).map(Vec::as_slice).unwrap_or_default();
            file.write_all_at(content, 0).expect("memory for a file");
            state.inodes.push(Arc::new(file));
        }
        state.names = names;
        state.dirs = self.dirs();
        drop(state);
        copy
    }

    /// Every file with its content.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let state = self.state();
        let content = |inode: &Inode| {
            let mut file = state.inodes[*inode].try_clone().expect("a descriptor");
            let mut bytes = Vec::new();
            file.seek(SeekFrom::Start(0))
                .and_then(|_| file.read_to_end(&mut bytes))
                .expect("memory");
            bytes
        };
        state
            .names
            .iter()
            .map(|(path, inode)| (path.clone(), content(inode)))
            .collect()
    }

    pub fn note(&self, event: E) {
        self.state().ops.push(Op::Note(event));
    }

    pub fn take_ops(&self) -> Vec<Op<E>> {
        std::mem::take(&mut self.state().ops)
    }

    /// Asks `injector` before each step from now on, with the file's extension.
    pub fn inject(&self, injector: impl FnMut(Step, &str) -> Option<Fault> + Send + 'static) {
        self.state().injector = Some(Box::new(injector));
    }

    fn ask(&self, step: Step, path: &Path) -> io::Result<Option<usize>> {
        let extension = path
            .extension()
            .and_then(|e| e.to_str())
            .unwrap_or_default()
            .to_owned();
        match self
            .state()
            .injector
            .as_mut()
            .and_then(|ask| ask(step, &extension))
        {
            Some(Fault::Errno(errno)) => Err(io::Error::from_raw_os_error(errno)),
            Some(Fault::Short(bytes)) => Ok(Some(bytes)),
            None => Ok(None),
        }
    }
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl<E: Send + 'static> Disk for TestDisk<E> {
    fn open(&self, path: &Path, how: OpenFile) -> io::Result<Box<dyn DiskFile>> {
        if matches!(how, OpenFile::CreateNew | OpenFile::Replace) {
            self.ask(Step::Create, path)?;
        }
        let mut state = self.state();
        let known = state.names.get(path).copied();
        let inode = match (known, how) {
            (Some(_), OpenFile::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (None, OpenFile::Read | OpenFile::Write) => return Err(not_found()),
            (Some(inode), OpenFile::Replace) => {
                state.inodes[inode].set_len(0)?;
                state.ops.push(Op::Truncated { inode });
                inode
            }
            (Some(inode), OpenFile::Read | OpenFile::Write) => inode,
            (None, OpenFile::CreateNew | OpenFile::Replace) => {
                if !path.parent().is_some_and(|dir| state.dirs.contains(dir)) {
                    return Err(not_found());
                }
                let inode = state.inodes.len();
                state.inodes.push(Arc::new(memory_file()));
                state.names.insert(path.to_owned(), inode);
                state.ops.push(Op::Create {
                    inode,
                    path: path.to_owned(),
                });
                inode
            }
        };
        let file = Arc::clone(&state.inodes[inode]);
        Ok(Box::new(TestFile {
            disk: self.clone(),
            inode,
            file,
            path: path.to_owned(),
        }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.open(path, OpenFile::Read)?;
        let mut bytes = vec![0; usize::try_from(file.bytes()?).expect("small")];
        let read = file.read_at(&mut bytes, 0)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        if !state.dirs.contains(dir) {
            return Err(not_found());
        }
        let inside = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside
            .map(|path| {
                path.file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into()
            })
            .collect())
    }

    fn file_bytes(&self, path: &Path) -> io::Result<u64> {
        self.open(path, OpenFile::Read)?.bytes()
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if state.dirs.insert(path.to_owned()) {
            state.ops.push(Op::CreateDir(path.to_owned()));
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.ask(Step::Rename, to)?;
        let mut state = self.state();
        let inode = state.names.remove(from).ok_or_else(not_found)?;
        state.names.insert(to.to_owned(), inode);
        state.ops.push(Op::Rename {
            inode,
            from: from.to_owned(),
            to: to.to_owned(),
        });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if state.names.remove(path).is_some() {
            state.ops.push(Op::Remove {
                path: path.to_owned(),
            });
        }
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.ask(Step::SyncDir, path)?;
        self.state().ops.push(Op::SyncDir(path.to_owned()));
        Ok(())
    }
}

struct TestFile<E> {
    disk: TestDisk<E>,
    inode: Inode,
    file: Arc<File>,
    path: PathBuf,
}

impl<E> std::fmt::Debug for TestFile<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TestFile({})", self.path.display())
    }
}

impl<E: Send + 'static> DiskFile for TestFile<E> {
    fn write_at(&self, parts: &[IoSlice<'_>], at: u64) -> io::Result<usize> {
        let short = self.disk.ask(Step::Write, &self.path)?;
        let mut bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        bytes.truncate(short.unwrap_or(usize::MAX));
        self.file.write_all_at(&bytes, at)?;
        let written = bytes.len();
        self.disk.state().ops.push(Op::Write {
            inode: self.inode,
            at,
            bytes,
        });
        Ok(written)
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        Ok(rustix::io::preadv(
            &*self.file,
            &mut [IoSliceMut::new(into)],
            at,
        )?)
    }

    fn allocate(&self, from: u64, to: u64) -> io::Result<()> {
        self.disk.ask(Step::Allocate, &self.path)?;
        if to > from && to > self.bytes()? {
            self.file.set_len(to)?;
            self.disk.state().ops.push(Op::Allocate {
                inode: self.inode,
                to,
            });
        }
        Ok(())
    }

    fn set_bytes(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)?;
        self.disk.state().ops.push(Op::SetBytes {
            inode: self.inode,
            bytes,
        });
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let inode = self.inode;
        let asked = self.disk.ask(Step::Sync, &self.path);
        let op = match &asked {
            Ok(_) => Op::Sync { inode },
            Err(_) => Op::FailedSync { inode },
        };
        self.disk.state().ops.push(op);
        asked.map(drop)
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn map(&self, bytes: u64, frontier: Arc<AtomicU64>) -> io::Result<SegmentMap> {
        SegmentMap::new(&self.file, bytes, frontier)
    }
}
