//! A node in a process of its own: started on free ports, watched, stopped or killed.
//!
//! Either the product's binary or, as the reference, an Apache Kafka broker
//! (`crate::clients::reference`). Dropping a [`Node`] kills it.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::run::tail;

/// How long a node may take until it is ready.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// How long a node may take to end after TERM.
const STOP_DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// Where a node of ours lives: its binary, its folder, its ports. The same place can be started
/// again after the node in it died.
#[derive(Clone)]
pub(crate) struct Place {
    /// The product's binary.
    pub(crate) binary: PathBuf,
    /// The node's data directory.
    pub(crate) data: PathBuf,
    /// Standard output and error of every node started here, one after the other.
    pub(crate) log: PathBuf,
    /// The Kafka port.
    pub(crate) kafka: u16,
    /// The HTTP port.
    pub(crate) http: u16,
    /// The peer port.
    pub(crate) peer: u16,
    /// The peer port that other nodes are told, if it is another one.
    pub(crate) peer_told: Option<u16>,
    /// The node's number.
    pub(crate) id: u32,
    /// Further arguments of `serve`.
    pub(crate) extra: Vec<String>,
}

impl Place {
    /// An empty place below `dir` with three free ports.
    pub(crate) fn new(binary: &Path, dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let [kafka, http, peer] = free_ports()?;
        Ok(Self {
            binary: binary.to_owned(),
            data: dir.join("data"),
            log: dir.join("node.log"),
            kafka,
            http,
            peer,
            peer_told: None,
            id: 1,
            extra: Vec::new(),
        })
    }

    /// Starts a node here without waiting for it.
    pub(crate) fn spawn(&self) -> Result<Node> {
        let mut command = Command::new(&self.binary);
        command
            .args(["serve", "--node-id", &self.id.to_string(), "--data-dir"])
            .arg(&self.data)
            .args(["--kafka-listen", &format!("127.0.0.1:{}", self.kafka)])
            .args(["--peer-listen", &format!("127.0.0.1:{}", self.peer)])
            .args(["--http-listen", &format!("127.0.0.1:{}", self.http)])
            .args(&self.extra);
        if let Some(port) = self.peer_told {
            command.args(["--peer-advertise", &format!("127.0.0.1:{port}")]);
        }
        Node::spawn(command, self.kafka, &self.log)
    }

    /// Starts a node here and waits until it is ready.
    pub(crate) fn start(&self) -> Result<Node> {
        let mut node = self.spawn()?;
        self.wait_until_ready(&mut node)?;
        Ok(node)
    }

    /// Waits until the node that was started here is ready.
    pub(crate) fn wait_until_ready(&self, node: &mut Node) -> Result<()> {
        let http = self.http;
        node.wait_until(START_DEADLINE, "ready", || {
            http_status(http, "/readyz") == Some(200)
        })
    }
}

/// A running node.
pub(crate) struct Node {
    child: Child,
    log: PathBuf,
    /// Its Kafka port.
    pub(crate) kafka: u16,
}

impl Node {
    /// Starts a command as a node whose output goes to the end of `log`.
    pub(crate) fn spawn(mut command: Command, kafka: u16, log: &Path) -> Result<Self> {
        let output = OpenOptions::new().create(true).append(true).open(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("start {}", command.get_program().to_string_lossy()))?;
        Ok(Self {
            child,
            log: log.to_owned(),
            kafka,
        })
    }

    /// Waits until `holds`; an error when the node ends first or the deadline passes.
    pub(crate) fn wait_until(
        &mut self,
        within: Duration,
        what: &str,
        mut holds: impl FnMut() -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + within;
        while !holds() {
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "the node ended with {status} before it was {what}:\n{}",
                    self.log_tail()
                );
            }
            if Instant::now() > deadline {
                bail!(
                    "the node was not {what} within {within:?}:\n{}",
                    self.log_tail()
                );
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// Waits until the Kafka port takes connections.
    pub(crate) fn wait_for_port(&mut self, within: Duration) -> Result<()> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.kafka));
        self.wait_until(within, "listening", || TcpStream::connect(address).is_ok())
    }

    /// `host:port` for clients.
    pub(crate) fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.kafka)
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its status if it has ended.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Ends it at once, as a crash does.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Sends it a signal, such as the one that stops or continues it.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        let pid = pid.context("the process id is a positive number")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Asks it to end with TERM and waits for that.
    pub(crate) fn terminate(mut self) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        let deadline = Instant::now() + STOP_DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!(
                    "TERM did not end the node in {STOP_DEADLINE:?}:\n{}",
                    self.log_tail()
                );
            }
            thread::sleep(POLL);
        }
    }

    /// The end of what it printed.
    pub(crate) fn log_tail(&self) -> String {
        tail(&self.log, 30)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Ended already, or ended here; either way nothing is left to report to.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Resident memory of a process, from `/proc`; None once it is gone.
pub(crate) fn rss_bytes(pid: u32) -> Option<u64> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * u64::try_from(rustix::param::page_size()).ok()?)
}

/// The status of a GET on a node's HTTP port; None when nobody answers.
pub(crate) fn http_status(port: u16, path: &str) -> Option<u16> {
    let (head, _) = http_get(port, path)?;
    head.split_whitespace().nth(1)?.parse().ok()
}

/// Head and body of a GET on a node's HTTP port.
pub(crate) fn http_get(port: u16, path: &str) -> Option<(String, String)> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.to_owned(), body.to_owned()))
}

/// Ports nobody listens on now, each another one. They lie below the range from which the kernel
/// takes the ports of outgoing connections: while a node is down, such a connection must not take
/// its port.
pub(crate) fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut ports = [0; N];
    for port in &mut ports {
        *port = free_port()?;
    }
    Ok(ports)
}

fn free_port() -> Result<u16> {
    /// The next port to try; each is tried once a process.
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const RANGE: Range<u16> = 18_000..32_000;
    let count = RANGE.end - RANGE.start;
    // Processes begin at different places, so that suites side by side do not meet.
    let start = std::process::id() % u32::from(count);
    let start = u16::try_from(start).expect("a remainder is below its divisor");
    for _ in 0..count {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = RANGE.start + (start + step % count) % count;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port in {RANGE:?}")
}

/// A new empty folder below the build folder, for one run of a suite.
pub(crate) fn scratch(name: &str) -> Result<PathBuf> {
    let dir = crate::workspace::target_dir().join("runs").join(name);
    match fs::remove_dir_all(&dir) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("clear {}", dir.display())),
    }
    fs::create_dir_all(&dir)?;
    File::create(dir.join("node.log"))?;
    Ok(dir)
}
