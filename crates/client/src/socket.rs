//! Sockets: connecting within a time, writing chunks without joining them.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};

use crate::ClientError;

/// Connects to `address`, trying each address that its name stands for, all within `timeout`.
pub(crate) async fn connect(address: &str, timeout: Duration) -> Result<TcpStream, ClientError> {
    if !is_host_and_port(address) {
        return Err(ClientError::Address {
            address: address.to_owned(),
        });
    }
    let begun = Instant::now();
    let connecting = timeout_at(begun + timeout, try_each(address, timeout)).await;
    let timed_out = || Err(io::Error::new(io::ErrorKind::TimedOut, "no answer"));
    connecting
        .unwrap_or_else(|_| timed_out())
        .map_err(|cause| ClientError::Unreachable {
            address: address.to_owned(),
            waited: begun.elapsed(),
            cause: Arc::new(cause),
        })
}

fn is_host_and_port(address: &str) -> bool {
    address
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

async fn try_each(address: &str, timeout: Duration) -> io::Result<TcpStream> {
    let found: Vec<_> = lookup_host(address).await?.collect();
    // Each gets its share of the time: a name's first address may be one where nobody listens
    // and no refusal comes back.
    let share = timeout / u32::try_from(found.len().max(1)).unwrap_or(u32::MAX);
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for candidate in found {
        let deadline = Instant::now() + share;
        match timeout_at(deadline, TcpStream::connect(candidate)).await {
            Ok(Ok(socket)) => {
                socket.set_nodelay(true)?;
                return Ok(socket);
            }
            Ok(Err(error)) => last = error,
            Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, "no answer"),
        }
    }
    Err(last)
}

/// Writes all of `chunks`, as few system calls as the socket allows.
pub(crate) async fn write_all<'c>(
    socket: &mut (impl AsyncWrite + Unpin),
    chunks: impl Iterator<Item = &'c Bytes>,
) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'c>> = chunks.map(|chunk| IoSlice::new(chunk)).collect();
    let mut left = slices.as_mut_slice();
    IoSlice::advance_slices(&mut left, 0); // drops empty ones
    while !left.is_empty() {
        match socket.write_vectored(left).await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => IoSlice::advance_slices(&mut left, written),
        }
    }
    Ok(())
}
