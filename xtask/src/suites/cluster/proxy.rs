//! What stands between nodes where links are to be cut, slowed down or made to flap.
//!
//! One listener a node: the port that the others are told. Who connects is read from the first
//! frame, whose fields stand in `crates/server/src/peer/frame.rs`; from then on bytes are passed on
//! and never looked at. A cut link holds what is sent on it, and passes it on late when it is
//! mended, as TCP does after a loss; that a connection was closed is held back, too.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// How often a held byte looks whether it may go on.
const POLL: Duration = Duration::from_millis(2);
/// How long a stranger may take to say who it is.
const HELLO: Duration = Duration::from_secs(10);
/// Chunks that may wait in one direction of a connection: the socket buffers of a slow network.
const WAITING: usize = 64;
const CHUNK: usize = 64 << 10;

/// One direction between two nodes.
#[derive(Default)]
struct Way {
    cut: AtomicBool,
    delay_us: AtomicU64,
}

type Ways = Arc<Mutex<HashMap<(u32, u32), Arc<Way>>>>;

/// The listeners, and the state of every way between two nodes.
pub(super) struct Proxy {
    ways: Ways,
    ended: Arc<AtomicBool>,
    ports: Vec<u16>,
}

impl Proxy {
    /// Listens for each node: its number, the port that others are told, its own port.
    pub(super) fn start(routes: &[(u32, u16, u16)]) -> Result<Self> {
        let proxy = Self {
            ways: Arc::default(),
            ended: Arc::default(),
            ports: routes.iter().map(|(_, told, _)| *told).collect(),
        };
        for (node, told, own) in routes.iter().copied() {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, told))
                .with_context(|| format!("listen on port {told}"))?;
            let (ways, ended) = (Arc::clone(&proxy.ways), Arc::clone(&proxy.ended));
            thread::spawn(move || {
                for caller in listener.incoming().map_while(Result::ok) {
                    if ended.load(Ordering::Relaxed) {
                        break;
                    }
                    let (ways, ended) = (Arc::clone(&ways), Arc::clone(&ended));
                    // A connection that cannot be made is closed, which is all there is to say.
                    thread::spawn(move || carry(caller, node, own, &ways, &ended));
                }
            });
        }
        Ok(proxy)
    }

    fn way(&self, from: u32, to: u32) -> Arc<Way> {
        way(&self.ways, from, to)
    }

    /// Holds everything that one node sends to the other, or passes it on again.
    pub(super) fn cut(&self, from: u32, to: u32, cut: bool) {
        self.way(from, to).cut.store(cut, Ordering::Relaxed);
    }

    /// Cuts a node from others, both ways, or mends that.
    pub(super) fn isolate(&self, node: u32, others: impl IntoIterator<Item = u32>, cut: bool) {
        for other in others.into_iter().filter(|other| *other != node) {
            self.cut(node, other, cut);
            self.cut(other, node, cut);
        }
    }

    /// Delays everything between two nodes, each way by so much.
    pub(super) fn delay(&self, one: u32, other: u32, by: Duration) {
        let micros = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
        for (from, to) in [(one, other), (other, one)] {
            self.way(from, to).delay_us.store(micros, Ordering::Relaxed);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        for port in &self.ports {
            // Wakes the listener, which then ends.
            let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, *port));
        }
    }
}

fn way(ways: &Ways, from: u32, to: u32) -> Arc<Way> {
    let mut ways = ways.lock().expect("nobody panics with it");
    Arc::clone(ways.entry((from, to)).or_default())
}

/// One connection, until both directions have ended.
fn carry(
    mut caller: TcpStream,
    node: u32,
    own: u16,
    ways: &Ways,
    ended: &Arc<AtomicBool>,
) -> Result<()> {
    let (first, from) = hello(&mut caller)?;
    let target = TcpStream::connect((Ipv4Addr::LOCALHOST, own))?;
    for socket in [&caller, &target] {
        socket.set_nodelay(true)?;
    }
    let (out, back) = (way(ways, from, node), way(ways, node, from));
    let (back_from, back_to) = (target.try_clone()?, caller.try_clone()?);
    let stop = Arc::clone(ended);
    let returning = thread::spawn(move || pass(Vec::new(), back_from, back_to, &back, &stop));
    pass(first, caller, target, &out, ended);
    // Neither direction has anything to tell at its end.
    let _ = returning.join();
    Ok(())
}

/// The bytes up to the number of who speaks, and that number.
fn hello(caller: &mut TcpStream) -> Result<(Vec<u8>, u32)> {
    /// Length (4), sum (4), kind (1), head length (4), versions (4), purpose (1), number (4).
    const UP_TO_NUMBER: usize = 22;
    caller.set_read_timeout(Some(HELLO))?;
    let mut first = vec![0; UP_TO_NUMBER];
    caller.read_exact(&mut first)?;
    caller.set_read_timeout(None)?;
    ensure!(first[8] == 1, "the first frame is no hello");
    let number = first[UP_TO_NUMBER - 4..].try_into().expect("four bytes");
    Ok((first, u32::from_be_bytes(number)))
}

/// Passes bytes on until there are no more.
fn pass(
    first: Vec<u8>,
    mut from: TcpStream,
    mut to: TcpStream,
    way: &Arc<Way>,
    ended: &AtomicBool,
) {
    let (sender, waiting) = sync_channel(WAITING);
    let timed = Arc::clone(way);
    let Ok(closing) = from.try_clone() else {
        return;
    };
    let reading = thread::spawn(move || read(first, &mut from, &sender, &timed));
    // What is closed already needs no closing.
    match write(&waiting, &mut to, way, ended) {
        true => drop(to.shutdown(Shutdown::Write)),
        false => {
            let _ = to.shutdown(Shutdown::Both);
            let _ = closing.shutdown(Shutdown::Both);
        }
    }
    drop(waiting);
    let _ = reading.join();
}

fn read(first: Vec<u8>, from: &mut TcpStream, sender: &SyncSender<(Instant, Vec<u8>)>, way: &Way) {
    let due = || Instant::now() + Duration::from_micros(way.delay_us.load(Ordering::Relaxed));
    if !first.is_empty() && sender.send((due(), first)).is_err() {
        return;
    }
    let mut chunk = vec![0; CHUNK];
    loop {
        match from.read(&mut chunk) {
            Ok(0) | Err(_) => break,
            Ok(count) => {
                if sender.send((due(), chunk[..count].to_vec())).is_err() {
                    break;
                }
            }
        }
    }
    // The end travels as the bytes do.
    let _ = sender.send((due(), Vec::new()));
}

/// Whether it wrote all there was, rather than fail.
fn write(
    waiting: &Receiver<(Instant, Vec<u8>)>,
    to: &mut TcpStream,
    way: &Way,
    ended: &AtomicBool,
) -> bool {
    while let Ok((due, bytes)) = waiting.recv() {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        while way.cut.load(Ordering::Relaxed) {
            if ended.load(Ordering::Relaxed) {
                return false;
            }
            thread::sleep(POLL);
        }
        if bytes.is_empty() {
            return true;
        }
        if to.write_all(&bytes).is_err() {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpListener, TcpStream};
    use std::time::Duration;

    use super::Proxy;
    use crate::node::free_ports;

    #[test]
    fn a_cut_way_holds_bytes_until_it_is_mended() {
        let [told, own] = free_ports().expect("there are free ports");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, own)).expect("the port is free");
        let proxy = Proxy::start(&[(2, told, own)]).expect("the port is free");
        let mut one = TcpStream::connect((Ipv4Addr::LOCALHOST, told)).expect("it listens");
        let mut hello = vec![0; 22];
        (hello[8], hello[21]) = (1, 1);
        one.write_all(&hello).expect("it reads");
        let (mut two, _) = listener.accept().expect("it connects");
        let mut got = vec![0; 22];
        two.read_exact(&mut got).expect("the hello comes");
        assert_eq!(got, hello);

        proxy.cut(1, 2, true);
        one.write_all(b"a").expect("it reads");
        two.set_read_timeout(Some(Duration::from_millis(100)))
            .expect("it is a socket");
        assert!(two.read(&mut [0]).is_err(), "nothing comes through");
        two.write_all(b"b").expect("it reads");
        let mut other = [0];
        one.read_exact(&mut other).expect("the other way is open");
        assert_eq!(&other, b"b");

        proxy.cut(1, 2, false);
        two.set_read_timeout(None).expect("it is a socket");
        two.read_exact(&mut other).expect("it comes late");
        assert_eq!(&other, b"a");
    }
}
