//! A place for one answer, filled by whoever drives the coordinator and awaited by one request.

use parking_lot::Mutex;
use plimsoll_group_coordinator::Response;
use plimsoll_watermark::Signal;

/// Filled once. A request that is gone leaves it to be filled for nobody.
pub(super) struct Slot {
    signal: Signal,
    response: Mutex<Option<Response>>,
}

impl Slot {
    pub(super) fn new() -> Self {
        Self {
            signal: Signal::new(),
            response: Mutex::new(None),
        }
    }

    pub(super) fn fill(&self, response: Response) {
        *self.response.lock() = Some(response);
        self.signal.notify();
    }

    pub(super) async fn filled(&self) -> Response {
        loop {
            if let Some(response) = self.take() {
                return response;
            }
            self.signal.notified().await;
        }
    }

    fn take(&self) -> Option<Response> {
        self.response.lock().take()
    }
}
