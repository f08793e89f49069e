//! A proxy that loses replies.
//!
//! It stands between a node and its clients; the node advertises the proxy's address, so that
//! every connection goes through it. Now and then it swallows the reply to a Produce request and
//! cuts the connection: the records are written, and the client cannot know. It must write them
//! again, and an idempotent producer's records must still be there once. Other replies pass, so
//! that what is tested is the node and not how a client bears a bad network.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use anyhow::Result;

use crate::random::Random;

/// One in so many replies to Produce requests is lost.
const ONE_IN: u64 = 5;
/// The API key of Produce.
const PRODUCE: [u8; 2] = [0, 0];

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
                let random = Random::new(random.next());
                // A node that refuses is told to the client by closing its connection.
                if let Ok(node) = TcpStream::connect((Ipv4Addr::LOCALHOST, node)) {
                    let cuts = Arc::clone(&cuts);
                    thread::spawn(move || pass_on(&client, &node, random, &cuts));
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

/// Passes requests and replies on until a reply is lost or a side ends.
fn pass_on(client: &TcpStream, node: &TcpStream, mut random: Random, cuts: &AtomicU64) {
    // Correlation ids of the Produce requests under way.
    let produced = Mutex::new(HashSet::new());
    thread::scope(|scope| {
        scope.spawn(|| {
            while let Some(request) = next_frame(client) {
                if request.get(4..6) == Some(&PRODUCE)
                    && let Some(correlation) = request.get(8..12)
                {
                    let mut produced = produced.lock().expect("nobody panics with the lock");
                    produced.insert(correlation.to_vec());
                }
                if { node }.write_all(&request).is_err() {
                    break;
                }
            }
            // Failing means that it is closed already.
            let _ = node.shutdown(Shutdown::Both);
        });
        while let Some(reply) = next_frame(node) {
            let mut produced = produced.lock().expect("nobody panics with the lock");
            let of_produce = reply.get(4..8).is_some_and(|id| produced.remove(id));
            drop(produced);
            if of_produce && random.below(ONE_IN) == 0 {
                cuts.fetch_add(1, Ordering::Relaxed);
                break;
            }
            if { client }.write_all(&reply).is_err() {
                break;
            }
        }
        let _ = client.shutdown(Shutdown::Both);
        let _ = node.shutdown(Shutdown::Both);
    });
}

/// The next frame of a stream, its size in front; None at the end.
fn next_frame(mut stream: &TcpStream) -> Option<Vec<u8>> {
    let mut frame = vec![0; 4];
    stream.read_exact(&mut frame).ok()?;
    let size = u32::from_be_bytes(frame[..4].try_into().expect("the slice has four bytes"));
    frame.resize(4 + usize::try_from(size).ok()?, 0);
    stream.read_exact(&mut frame[4..]).ok()?;
    Some(frame)
}
