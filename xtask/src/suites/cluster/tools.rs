//! What machines have to break disks with: strace, small mounts, and files that can be cut.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::nodes::wait;
use crate::run::answers;

/// The calls by which a disk is made to keep what was written.
const SYNCS: &str = "fdatasync,fsync,msync,sync_file_range";

/// Why strace cannot be used here, if it cannot.
pub(super) fn missing_strace() -> Option<String> {
    (!answers("strace", &["-V"])).then(|| "there is no strace".to_owned())
}

/// Faults put into a running process by strace, until it is dropped.
pub(super) struct Injection {
    strace: Child,
    log: PathBuf,
}

impl Injection {
    /// Attaches to a process. `fault` is what strace's `inject` takes, such as `error=EIO:when=1`;
    /// only syncs of `files` are hurt, or all where there are none.
    pub(super) fn into(pid: u32, fault: &str, files: &[PathBuf], log: &Path) -> Result<Self> {
        let mut command = Command::new("strace");
        command.args(["-f", "-q", "-o"]).arg(log);
        command.args(["-e", &format!("trace={SYNCS}")]);
        command.args(["-e", &format!("inject={SYNCS}:{fault}")]);
        for file in files {
            command.arg("-P").arg(file);
        }
        let strace = command
            .args(["-p", &pid.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start strace")?;
        let mut injection = Self {
            strace,
            log: log.to_owned(),
        };
        wait("traced", Duration::from_secs(10), || {
            if let Some(status) = injection.strace.try_wait()? {
                bail!("strace ended with {status}");
            }
            traced(pid)
        })?;
        Ok(injection)
    }

    /// Waits until a fault was put in.
    pub(super) fn done(&self, within: Duration) -> Result<()> {
        wait("injected", within, || {
            let log = fs::read_to_string(&self.log)?;
            ensure!(
                log.contains("(INJECTED)") || log.contains("(DELAYED)"),
                "no call was hurt"
            );
            Ok(())
        })
    }
}

impl Drop for Injection {
    fn drop(&mut self) {
        // TERM lets strace detach; killed, it would take the process with it.
        let pid = i32::try_from(self.strace.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.strace.wait();
    }
}

/// Whether every thread of a process is traced.
fn traced(pid: u32) -> Result<()> {
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = fs::read_to_string(task?.path().join("status"))?;
        let tracer = status.lines().find(|line| line.starts_with("TracerPid:"));
        ensure!(
            tracer.is_some_and(|line| !line.ends_with("\t0")),
            "a thread is not traced"
        );
    }
    Ok(())
}

/// A small disk in memory, mounted until it is dropped.
pub(super) struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    /// Mounts one. Only root may.
    pub(super) fn mount(at: &Path, megabytes: u32) -> Result<Self> {
        fs::create_dir_all(at)?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "none"])
            .arg(at)
            .stderr(Stdio::null())
            .status();
        match mounted {
            Ok(status) if status.success() => Ok(Self { at: at.to_owned() }),
            _ => bail!("a small disk cannot be mounted (not root?)"),
        }
    }

    /// Fills it up with a file.
    pub(super) fn fill(&self) -> Result<()> {
        let mut file = File::create(self.filler())?;
        // Ends with an error, which is what it is for.
        let _ = std::io::copy(&mut std::io::repeat(1), &mut file);
        Ok(())
    }

    /// Takes the file away again.
    pub(super) fn free(&self) -> Result<()> {
        Ok(fs::remove_file(self.filler())?)
    }

    fn filler(&self) -> PathBuf {
        self.at.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that ends at this moment may still hold it.
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

/// The segments of a partition's directory, in order of their offsets.
pub(super) fn segments(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            segments.push(path);
        }
    }
    segments.sort();
    Ok(segments)
}

/// Cuts a file in half.
pub(super) fn cut_in_half(file: &Path) -> Result<()> {
    let bytes = super::super::damage::written_end(file)?;
    let file = OpenOptions::new().write(true).open(file)?;
    Ok(file.set_len(bytes / 2)?)
}
