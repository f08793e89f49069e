//! A proxy that loses replies.
//!
//! It stands between a node and its clients; the node advertises the proxy's address, so that
//! every connection goes through it. After some replies it swallows one and cuts the connection:
//! the node has done what it was asked, and the client cannot know. A client must ask again, and
//! an idempotent producer's records must still be there once.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use anyhow::Result;

use crate::random::Random;

/// Replies that a connection gets through at least: it takes some to begin to write.
const MIN_REPLIES: u64 = 2;
/// A connection is cut after fewer replies than this beyond the least.
const MORE_REPLIES: u64 = 10;

/// A running proxy; it ends with the process, and takes no connections once dropped.
pub(super) struct Flaky {
    port: u16,
    over: Arc<AtomicBool>,
    cuts: Arc<AtomicU64>,
}

impl Flaky {
    /// Listens on `port` and passes on to the node at `node`; where it cuts follows from `seed`.
    pub(super) fn start(port: u16, node: u16, seed: u64) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let flaky = Self {
            port,
            over: Arc::default(),
            cuts: Arc::default(),
        };
        let (over, cuts) = (Arc::clone(&flaky.over), Arc::clone(&flaky.cuts));
        thread::spawn(move || {
            let mut random = Random::new(seed);
            for client in listener.incoming().map_while(Result::ok) {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let replies = MIN_REPLIES + random.below(MORE_REPLIES);
                // A node that refuses is told to the client by closing its connection.
                if let Ok(node) = TcpStream::connect((Ipv4Addr::LOCALHOST, node)) {
                    let cuts = Arc::clone(&cuts);
                    thread::spawn(move || pass_on(&client, &node, replies, &cuts));
                }
            }
        });
        Ok(flaky)
    }

    /// How many replies were lost so far.
    pub(super) fn cuts(&self) -> u64 {
        self.cuts.load(Ordering::Relaxed)
    }
}

impl Drop for Flaky {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // Wakes the listener; if that fails it waits until the process ends.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

/// Passes requests on, and as many replies; swallows the next reply and cuts both connections.
fn pass_on(client: &TcpStream, node: &TcpStream, replies: u64, cuts: &AtomicU64) {
    thread::scope(|scope| {
        scope.spawn(|| {
            // Ends when either side does.
            let _ = std::io::copy(&mut &*client, &mut &*node);
            let _ = node.shutdown(Shutdown::Both);
        });
        for left in (0..=replies).rev() {
            let Some(reply) = next_reply(node) else { break };
            if left == 0 {
                cuts.fetch_add(1, Ordering::Relaxed);
            } else if { client }.write_all(&reply).is_err() {
                break;
            }
        }
        let _ = client.shutdown(Shutdown::Both);
        let _ = node.shutdown(Shutdown::Both);
    });
}

/// The next frame of a node, its size in front; None at the end.
fn next_reply(mut node: &TcpStream) -> Option<Vec<u8>> {
    let mut reply = vec![0; 4];
    node.read_exact(&mut reply).ok()?;
    let size = u32::from_be_bytes(reply[..4].try_into().expect("the slice has four bytes"));
    reply.resize(4 + usize::try_from(size).ok()?, 0);
    node.read_exact(&mut reply[4..]).ok()?;
    Some(reply)
}
