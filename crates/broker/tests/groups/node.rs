//! A broker whose groups are driven by the test, on a clock that the test turns.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use plimsoll_broker::{Answer, Broker};
use plimsoll_wire::create_topics::{CreatableTopic, CreateTopicsRequest};
use plimsoll_wire::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use plimsoll_wire::find_coordinator::FindCoordinatorRequest;
use plimsoll_wire::{ApiKey, Request, Response};

use crate::support::{Harness, response};

/// The versions of an API, all of them.
pub(crate) fn versions(api: ApiKey) -> Vec<i16> {
    api.served().collect()
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(crate) struct Node {
    harness: Harness,
    driver: Driver,
}

/// A request on its way.
pub(crate) struct Call {
    version: i16,
    request: Request,
    answer: Pin<Box<dyn Future<Output = Answer>>>,
}

impl Node {
    pub(crate) fn new() -> Self {
        Self::of(Harness::new())
    }

    fn of(harness: Harness) -> Self {
        let driver = Box::pin(harness.broker.run_groups());
        Self { harness, driver }
    }

    /// With the topic `orders` of two partitions, and the groups' coordinators loaded.
    pub(crate) fn ready() -> Self {
        let mut node = Self::new();
        node.create_topic("orders");
        node.find_coordinator();
        node
    }

    /// After an end and another start: what was there is loaded again.
    pub(crate) fn restart(self) -> Self {
        let Self { harness, driver } = self;
        drop(driver);
        let mut node = Self::of(harness.restart());
        node.settle();
        node
    }

    pub(crate) fn broker(&self) -> &Broker {
        &self.harness.broker
    }

    pub(crate) fn create_topic(&mut self, name: &str) {
        let topic = CreatableTopic {
            name: name.into(),
            num_partitions: 2,
            replication_factor: 1,
            ..Default::default()
        };
        let request = CreateTopicsRequest {
            topics: vec![topic],
            timeout_ms: 1000,
            ..Default::default()
        };
        let Response::CreateTopics(created) = self.call(7, request) else {
            panic!("another response")
        };
        assert_eq!(created.topics[0].error_code, 0);
    }

    pub(crate) fn delete_topic(&mut self, name: &str) {
        let topic = DeleteTopicState {
            name: Some(name.into()),
            ..Default::default()
        };
        let request = DeleteTopicsRequest {
            topics: vec![topic],
            timeout_ms: 1000,
            ..Default::default()
        };
        let Response::DeleteTopics(deleted) = self.call(6, request) else {
            panic!("another response")
        };
        assert_eq!(deleted.responses[0].error_code, 0);
    }

    pub(crate) fn find_coordinator(&mut self) {
        let request = FindCoordinatorRequest {
            key: "g".into(),
            ..Default::default()
        };
        let Response::FindCoordinator(found) = self.call(3, request) else {
            panic!("another response")
        };
        assert_eq!(found.error_code, 0);
        self.settle();
    }

    /// Puts a request in, as a server would: polled for the first time at once.
    pub(crate) fn begin(&mut self, version: i16, request: impl Into<Request>) -> Call {
        let request = request.into();
        let mut answer: Pin<Box<dyn Future<Output = Answer>>> =
            Box::pin(self.harness.begin(version, &request));
        let first = answer
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(ready) = first {
            answer = Box::pin(std::future::ready(ready));
        }
        Call {
            version,
            request,
            answer,
        }
    }

    pub(crate) fn call(&mut self, version: i16, request: impl Into<Request>) -> Response {
        let call = self.begin(version, request);
        self.end(call)
    }

    pub(crate) fn end(&mut self, mut call: Call) -> Response {
        let answer = self.run(call.answer.as_mut());
        response(&call.request, call.version, answer)
    }

    /// The response, if it is there once everything has settled.
    pub(crate) fn try_end(&mut self, call: &mut Call) -> Option<Response> {
        self.settle();
        match call
            .answer
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(answer) => Some(response(&call.request, call.version, answer)),
            Poll::Pending => None,
        }
    }

    /// Runs the driver until `work` is done.
    pub(crate) fn run<T>(&mut self, work: impl Future<Output = T>) -> T {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut cx = Context::from_waker(&waker);
        let mut work = pin!(work);
        loop {
            assert!(
                self.driver.as_mut().poll(&mut cx).is_pending(),
                "it never ends"
            );
            if let Poll::Ready(done) = work.as_mut().poll(&mut cx) {
                return done;
            }
            std::thread::park();
        }
    }

    /// Lets the driver do what it can until no write is under way.
    fn settle(&mut self) {
        let broker = Arc::clone(&self.harness.broker);
        let settled =
            std::future::poll_fn(move |_| match broker.groups().stats().writes_in_flight {
                0 => Poll::Ready(()),
                _ => Poll::Pending,
            });
        self.run(settled);
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.harness.clock.advance(time);
        self.settle();
    }
}
