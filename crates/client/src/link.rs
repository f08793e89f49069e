//! The two tasks of a connection, and the queue between them and whoever asks.
//!
//! Not here: what requests mean, versions, deadlines. What always holds (the queue's lock orders
//! it): a request is put among the awaited in the same step as it is given to the writer, so
//! answers match by position; the queue holds at most as many as there are places.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use plimsoll_wire::frame::Splitter;
use plimsoll_wire::{ApiKey, Encoded, Request, correlation_id, encode_request};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc, oneshot};
use tokio::task::AbortHandle;

use crate::{ClientError, socket};

/// Frames written at once at most.
const FRAMES_PER_WRITE: usize = 64;

type Answer = oneshot::Sender<Result<Bytes, ClientError>>;

/// A handle on the two tasks; they end with the last.
#[derive(Clone)]
pub(crate) struct Link {
    shared: Arc<Shared>,
    _alive: Arc<Alive>,
}

/// Ends the link when the last handle goes. The tasks hold none.
struct Alive(Arc<Shared>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.end(&ClientError::Closed);
    }
}

struct Shared {
    address: Arc<str>,
    places: Arc<Semaphore>,
    next_correlation: AtomicI32,
    queue: Mutex<Queue>,
}

struct Queue {
    /// To the writer; `None` once ended.
    outgoing: Option<mpsc::Sender<Outgoing>>,
    /// Requests without an answer yet, in the order of submission.
    awaiting: VecDeque<Awaiting>,
    /// Why it ended.
    ended: Option<ClientError>,
    tasks: Vec<AbortHandle>,
}

/// A place among the requests without an answer.
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
}

impl From<OwnedSemaphorePermit> for Place {
    fn from(permit: OwnedSemaphorePermit) -> Self {
        Self { _permit: permit }
    }
}

/// A request about to be written.
pub(crate) struct Frame<'r> {
    pub(crate) version: i16,
    pub(crate) client_id: &'r str,
    pub(crate) request: &'r Request,
    pub(crate) answered: bool,
}

struct Outgoing {
    frame: Encoded,
    /// Told once written, for a request that gets no answer.
    unanswered: Option<(Answer, Place)>,
}

struct Awaiting {
    correlation_id: i32,
    answer: Answer,
    _place: Place,
}

impl Link {
    /// Starts the tasks on `socket`.
    pub(crate) fn over(
        socket: TcpStream,
        address: &str,
        max_in_flight: usize,
        max_response_bytes: usize,
    ) -> Self {
        let max_in_flight = max_in_flight.clamp(1, Semaphore::MAX_PERMITS);
        let (outgoing, frames) = mpsc::channel(max_in_flight);
        let shared = Arc::new(Shared {
            address: address.into(),
            places: Arc::new(Semaphore::new(max_in_flight)),
            next_correlation: AtomicI32::new(0),
            queue: Mutex::new(Queue {
                outgoing: Some(outgoing),
                awaiting: VecDeque::new(),
                ended: None,
                tasks: Vec::new(),
            }),
        });
        let (read_half, write_half) = socket.into_split();
        let reader = tokio::spawn(read(shared.clone(), read_half, max_response_bytes));
        let writer = tokio::spawn(write(shared.clone(), write_half, frames));
        shared.queue.lock().tasks = vec![reader.abort_handle(), writer.abort_handle()];
        let alive = Arc::new(Alive(shared.clone()));
        Self {
            shared,
            _alive: alive,
        }
    }

    pub(crate) fn address(&self) -> &str {
        &self.shared.address
    }

    pub(crate) fn shared_address(&self) -> Arc<str> {
        self.shared.address.clone()
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.shared.queue.lock().ended.is_some()
    }

    /// Ends it: all that wait are told `error`, all later ones too.
    pub(crate) fn end(&self, error: &ClientError) {
        self.shared.end(error);
    }

    /// Ends it because a request was not answered in its time, and says so.
    pub(crate) fn time_out(&self, api: ApiKey, waited: Duration) -> ClientError {
        let address = self.shared_address();
        let error = ClientError::TimedOut {
            address,
            api,
            waited,
        };
        self.end(&error);
        error
    }

    /// Why it ended.
    pub(crate) fn why(&self) -> ClientError {
        self.shared.why()
    }

    /// Waits for a place.
    pub(crate) async fn place(&self) -> Result<Place, ClientError> {
        let permit = self.shared.places.clone().acquire_owned().await;
        permit.map(Place::from).map_err(|_| self.shared.why())
    }

    /// A place, if one is free.
    pub(crate) fn try_place(&self) -> Result<Option<Place>, ClientError> {
        match self.shared.places.clone().try_acquire_owned() {
            Ok(permit) => Ok(Some(permit.into())),
            Err(TryAcquireError::NoPermits) => Ok(None),
            Err(TryAcquireError::Closed) => Err(self.shared.why()),
        }
    }

    /// Gives the request its turn; what comes back is its answer's frame.
    pub(crate) fn send(
        &self,
        place: Place,
        frame: &Frame<'_>,
    ) -> Result<oneshot::Receiver<Result<Bytes, ClientError>>, ClientError> {
        // Relaxed: only uniqueness matters.
        let correlation_id = self.shared.next_correlation.fetch_add(1, Ordering::Relaxed);
        let client_id = Some(frame.client_id);
        let encoded = encode_request(frame.version, correlation_id, client_id, frame.request);
        let (answer, receiver) = oneshot::channel();
        let mut queue = self.shared.queue.lock();
        let Queue {
            outgoing: Some(outgoing),
            awaiting,
            ..
        } = &mut *queue
        else {
            drop(queue);
            return Err(self.why());
        };
        let unanswered = if frame.answered {
            awaiting.push_back(Awaiting {
                correlation_id,
                answer,
                _place: place,
            });
            None
        } else {
            Some((answer, place))
        };
        let sent = outgoing.try_send(Outgoing {
            frame: encoded,
            unanswered,
        });
        drop(queue);
        // As many fit as there are places, so it is never full; closed means that the writer met
        // an error and is about to tell all that wait.
        debug_assert!(!matches!(sent, Err(mpsc::error::TrySendError::Full(_))));
        Ok(receiver)
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("address", &self.shared.address)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn end(&self, error: &ClientError) {
        let mut queue = self.queue.lock();
        if queue.ended.is_some() {
            return;
        }
        queue.ended = Some(error.clone());
        queue.outgoing = None;
        let awaiting = std::mem::take(&mut queue.awaiting);
        let tasks = std::mem::take(&mut queue.tasks);
        drop(queue);
        self.places.close();
        for request in awaiting {
            // Nobody may be waiting any more.
            let _ = request.answer.send(Err(error.clone()));
        }
        for task in tasks {
            task.abort();
        }
    }

    fn why(&self) -> ClientError {
        let ended = self.queue.lock().ended.clone();
        ended.unwrap_or(ClientError::Closed)
    }

    /// Hands the frame to whoever's turn it is.
    fn deliver(&self, frame: Bytes) -> Result<(), ClientError> {
        let got = correlation_id(&frame).unwrap_or(-1);
        let next = self.queue.lock().awaiting.pop_front();
        match next {
            Some(request) if request.correlation_id == got => {
                let _ = request.answer.send(Ok(frame));
                Ok(())
            }
            other => {
                let address = self.address.clone();
                let expected = other.as_ref().map(|request| request.correlation_id);
                let error = ClientError::OutOfTurn {
                    address,
                    got,
                    expected,
                };
                if let Some(request) = other {
                    let _ = request.answer.send(Err(error.clone()));
                }
                Err(error)
            }
        }
    }

    fn lost(&self, cause: Option<std::io::Error>) -> ClientError {
        ClientError::Disconnected {
            address: self.address.clone(),
            cause: cause.map(Arc::new),
        }
    }
}

/// Reads frames until the socket ends or a frame is wrong; either ends the link.
async fn read(shared: Arc<Shared>, mut socket: OwnedReadHalf, max_response_bytes: usize) {
    let mut splitter = Splitter::new(max_response_bytes);
    let mut buffer = BytesMut::new();
    let error = loop {
        if let Err(error) = deliver_all(&shared, &mut splitter, &mut buffer) {
            break error;
        }
        match splitter.wanted(&buffer) {
            Ok(bytes) => buffer.reserve(bytes),
            Err(cause) => break frame_error(&shared, cause),
        }
        match socket.read_buf(&mut buffer).await {
            Ok(0) => break shared.lost(None),
            Ok(_) => {}
            Err(cause) => break shared.lost(Some(cause)),
        }
    };
    shared.end(&error);
}

fn deliver_all(
    shared: &Shared,
    splitter: &mut Splitter,
    buffer: &mut BytesMut,
) -> Result<(), ClientError> {
    loop {
        match splitter.next(buffer) {
            Ok(Some(frame)) => shared.deliver(frame)?,
            Ok(None) => return Ok(()),
            Err(cause) => return Err(frame_error(shared, cause)),
        }
    }
}

fn frame_error(shared: &Shared, cause: plimsoll_wire::frame::FrameError) -> ClientError {
    ClientError::Frame {
        address: shared.address.clone(),
        cause,
    }
}

/// Writes what is submitted, several frames at a time, until the link or the socket ends.
async fn write(
    shared: Arc<Shared>,
    mut socket: OwnedWriteHalf,
    mut frames: mpsc::Receiver<Outgoing>,
) {
    let mut batch = Vec::with_capacity(FRAMES_PER_WRITE);
    while frames.recv_many(&mut batch, FRAMES_PER_WRITE).await > 0 {
        let chunks = batch.iter().flat_map(|outgoing| &outgoing.frame.chunks);
        let written = socket::write_all(&mut socket, chunks).await;
        if let Err(cause) = written {
            let error = shared.lost(Some(cause));
            for (answer, _) in batch.drain(..).filter_map(|sent| sent.unanswered) {
                let _ = answer.send(Err(error.clone()));
            }
            return shared.end(&error);
        }
        for (answer, _) in batch.drain(..).filter_map(|sent| sent.unanswered) {
            let _ = answer.send(Ok(Bytes::new()));
        }
    }
}
