//! A place for one answer, filled by whoever drives the coordinator and awaited by one request.

use parking_lot::Mutex;
use plimsoll_watermark::Signal;

/// Filled once. A request that is gone leaves it to be filled for nobody.
pub(super) struct Slot<T> {
    signal: Signal,
    answer: Mutex<Option<T>>,
}

impl<T> Slot<T> {
    pub(super) fn new() -> Self {
        Self {
            signal: Signal::new(),
            answer: Mutex::new(None),
        }
    }

    pub(super) fn fill(&self, answer: T) {
        *self.answer.lock() = Some(answer);
        self.signal.notify();
    }

    pub(super) async fn filled(&self) -> T {
        loop {
            if let Some(answer) = self.take() {
                return answer;
            }
            self.signal.notified().await;
        }
    }

    fn take(&self) -> Option<T> {
        self.answer.lock().take()
    }
}
