//! One connection to one broker: requests pipelined, answers matched in order.
//!
//! Not here: which broker to ask, and asking again. What always holds: requests go out in the
//! order in which they were submitted; at most `max_in_flight` have no answer; answers come back
//! in turn or the connection ends; whoever waits is told within its time. A request whose time is
//! up ends the connection: answers come in order, so none after it could come either.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use plimsoll_wire::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use plimsoll_wire::produce::ProduceResponse;
use plimsoll_wire::{ApiKey, ErrorCode, Request, Response, decode_response};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::error::check;
use crate::link::{Frame, Link};
use crate::{Ask, ClientConfig, ClientError, Versions, socket, versions};

/// The version to ask in before it is known what the broker speaks: old enough for all, and a
/// broker that does not know it says what it does know.
const FIRST_API_VERSIONS: i16 = 3;

/// A connection to a broker that has said what it speaks. Clones share it; it closes with the
/// last, or with [`Connection::close`].
#[derive(Clone, Debug)]
pub struct Connection {
    link: Link,
    versions: Arc<Versions>,
    client_id: Arc<str>,
    request_timeout: Duration,
}

/// A request that has its place in the connection's order. Its answer may be awaited or not.
#[derive(Debug)]
#[must_use = "an answer that nobody awaits is thrown away"]
pub struct Pending {
    link: Link,
    api: ApiKey,
    version: i16,
    /// Whether a frame is to come back; acks=0 gets none, and is done when written.
    answered: bool,
    answer: oneshot::Receiver<Result<Bytes, ClientError>>,
    timeout: Duration,
    deadline: Instant,
}

impl Connection {
    /// Connects to `address`, `HOST:PORT`, and asks what it speaks.
    ///
    /// # Errors
    /// When nobody answers there in time, or not in Kafka's protocol.
    pub async fn open(address: &str, config: &ClientConfig) -> Result<Self, ClientError> {
        let begun = Instant::now();
        let socket = socket::connect(address, config.connect_timeout).await?;
        let link = Link::over(
            socket,
            address,
            config.max_in_flight,
            config.max_response_bytes,
        );
        let mut connection = Self {
            link,
            versions: Arc::new(Versions::default()),
            client_id: config.client_id.as_str().into(),
            request_timeout: config.request_timeout,
        };
        let ask = Request::from(ApiVersionsRequest {
            client_software_name: "plimsoll".into(),
            client_software_version: env!("CARGO_PKG_VERSION").into(),
        });
        let left = config.connect_timeout.saturating_sub(begun.elapsed());
        let answer = async {
            let pending = connection.submit(FIRST_API_VERSIONS, &ask, left);
            pending.await?.answer().await
        };
        // Who accepts and says nothing was asked for nothing yet: it is as good as not there.
        let answer = answer.await.map_err(|error| match error {
            ClientError::TimedOut { .. } => ClientError::Unreachable {
                address: address.to_owned(),
                waited: begun.elapsed(),
                cause: Arc::new(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "it accepts connections and says nothing",
                )),
            },
            error => error,
        })?;
        let answer = take::<ApiVersionsRequest>(answer)?;
        connection.versions = Arc::new(offered(&answer)?);
        tracing::debug!(address, "connected");
        Ok(connection)
    }

    /// The broker's address.
    #[must_use]
    pub fn address(&self) -> &str {
        self.link.address()
    }

    /// What the broker speaks.
    #[must_use]
    pub fn versions(&self) -> &Versions {
        &self.versions
    }

    /// Whether it has ended; every call would fail.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.link.is_ended()
    }

    /// Ends it; whoever waits for an answer is told.
    pub fn close(&self) {
        self.link.end(&ClientError::Closed);
    }

    /// Asks, in the greatest version that both speak, and awaits the answer. The answer to a
    /// Produce request with acks=0, which gets none, is an empty one once it is written.
    ///
    /// # Errors
    /// When no answer comes in time, or none that can be read. What the answer says is not
    /// looked at.
    pub async fn call(&self, request: impl Into<Request>) -> Result<Response, ClientError> {
        self.call_within(request, self.request_timeout).await
    }

    /// [`Connection::call`] with a time of its own.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub async fn call_within(
        &self,
        request: impl Into<Request>,
        timeout: Duration,
    ) -> Result<Response, ClientError> {
        let request = request.into();
        let version = self.version_of(request.api())?;
        let pending = self.submit(version, &request, timeout).await?;
        pending.answer().await
    }

    /// Asks, and takes the answer to what it must be.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub async fn ask<A: Ask>(&self, request: A) -> Result<A::Answer, ClientError> {
        self.ask_within(request, self.request_timeout).await
    }

    /// [`Connection::ask`] with a time of its own.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub async fn ask_within<A: Ask>(
        &self,
        request: A,
        timeout: Duration,
    ) -> Result<A::Answer, ClientError> {
        take::<A>(self.call_within(request, timeout).await?)
    }

    /// The greatest version of `api` that both speak.
    ///
    /// # Errors
    /// When there is none.
    pub fn version_of(&self, api: ApiKey) -> Result<i16, ClientError> {
        self.versions
            .best(api)
            .ok_or_else(|| ClientError::Unsupported {
                address: self.link.shared_address(),
                api,
                offered: self.versions.offered(api),
                ours: versions::spoken(api),
            })
    }

    /// Gives `request`, in any version, its place in the connection's order, waiting for a place
    /// if too many have no answer. For pipelining: the answer is awaited on the [`Pending`], for
    /// up to `timeout` from now.
    ///
    /// # Errors
    /// When the connection has ended, or no place becomes free in time.
    pub async fn submit(
        &self,
        version: i16,
        request: &Request,
        timeout: Duration,
    ) -> Result<Pending, ClientError> {
        let deadline = Instant::now() + timeout;
        let place = self.link.place();
        let Ok(place) = timeout_at(deadline, place).await else {
            return Err(self.link.time_out(request.api(), timeout));
        };
        self.link
            .send(place?, &self.frame(version, request))
            .map(|answer| self.pending(version, request, answer, timeout, deadline))
    }

    /// [`Connection::submit`] that does not wait: `None` if too many have no answer.
    ///
    /// # Errors
    /// When the connection has ended.
    pub fn try_submit(
        &self,
        version: i16,
        request: &Request,
        timeout: Duration,
    ) -> Result<Option<Pending>, ClientError> {
        let Some(place) = self.link.try_place()? else {
            return Ok(None);
        };
        let deadline = Instant::now() + timeout;
        let answer = self.link.send(place, &self.frame(version, request))?;
        Ok(Some(
            self.pending(version, request, answer, timeout, deadline),
        ))
    }

    fn frame<'r>(&'r self, version: i16, request: &'r Request) -> Frame<'r> {
        Frame {
            version,
            client_id: &self.client_id,
            request,
            answered: is_answered(request),
        }
    }

    fn pending(
        &self,
        version: i16,
        request: &Request,
        answer: oneshot::Receiver<Result<Bytes, ClientError>>,
        timeout: Duration,
        deadline: Instant,
    ) -> Pending {
        Pending {
            link: self.link.clone(),
            api: request.api(),
            version,
            answered: is_answered(request),
            answer,
            timeout,
            deadline,
        }
    }
}

impl Pending {
    /// Awaits the answer.
    ///
    /// # Errors
    /// When the connection ends first, the time is up, or the answer cannot be read.
    pub async fn answer(self) -> Result<Response, ClientError> {
        let Ok(came) = timeout_at(self.deadline, self.answer).await else {
            return Err(self.link.time_out(self.api, self.timeout));
        };
        let frame = came.unwrap_or_else(|_| Err(self.link.why()))?;
        if !self.answered {
            return Ok(ProduceResponse::default().into());
        }
        let (_, response) = decode_response(self.api, self.version, frame).map_err(|refused| {
            let error = ClientError::Malformed {
                address: self.link.shared_address(),
                api: self.api,
                malformed: refused.malformed,
            };
            self.link.end(&error);
            error
        })?;
        Ok(response)
    }
}

/// The answer as what it must be.
fn take<A: Ask>(response: Response) -> Result<A::Answer, ClientError> {
    let api = response.api();
    let what = "it is of another API";
    A::answer(response).ok_or(ClientError::Nonsense { api, what })
}

/// Kafka's brokers answer everything but acks=0.
fn is_answered(request: &Request) -> bool {
    !matches!(request, Request::Produce(produce) if produce.acks == 0)
}

fn offered(answer: &ApiVersionsResponse) -> Result<Versions, ClientError> {
    // A broker that does not know our version says so, and still what it speaks.
    if answer.error_code != ErrorCode::UnsupportedVersion.code() {
        let subject = || "the connection".to_owned();
        check(ApiKey::ApiVersions, answer.error_code, None, subject)?;
    }
    Ok(Versions::new(&answer.api_keys))
}
