//! One at a time, without blocking a thread: a lock that is awaited, given on in the order in which
//! it was asked for.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

/// The lock.
#[derive(Default)]
pub(super) struct Turn(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    taken: bool,
    next: u64,
    waiting: VecDeque<(u64, Waker)>,
}

/// Held by whoever's turn it is.
pub(super) struct Held<'a>(&'a Turn);

/// A place in the queue; leaves it when dropped.
struct Place<'a> {
    turn: &'a Turn,
    number: Option<u64>,
}

impl Turn {
    /// Waits for its turn.
    pub(super) async fn take(&self) -> Held<'_> {
        let mut place = Place {
            turn: self,
            number: None,
        };
        std::future::poll_fn(|cx| place.poll(cx)).await
    }
}

impl<'a> Place<'a> {
    fn poll(&mut self, cx: &Context<'_>) -> Poll<Held<'a>> {
        let mut queue = self.turn.0.lock();
        let first = queue.waiting.front().map(|(number, _)| *number);
        if !queue.taken && (first.is_none() || first == self.number) {
            queue.taken = true;
            if self.number.take().is_some() {
                queue.waiting.pop_front();
            }
            return Poll::Ready(Held(self.turn));
        }
        let waker = cx.waker().clone();
        match self.number {
            Some(number) => {
                let mut places = queue.waiting.iter_mut();
                if let Some((_, known)) = places.find(|(waiting, _)| *waiting == number) {
                    *known = waker;
                }
            }
            None => {
                let number = queue.next;
                queue.next += 1;
                queue.waiting.push_back((number, waker));
                self.number = Some(number);
            }
        }
        Poll::Pending
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        let next = {
            let mut queue = self.turn.0.lock();
            queue.waiting.retain(|(waiting, _)| *waiting != number);
            let free = !queue.taken;
            queue
                .waiting
                .front()
                .filter(|_| free)
                .map(|(_, waker)| waker.clone())
        };
        // It may have been woken in place of this one.
        if let Some(next) = next {
            next.wake();
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let next = {
            let mut queue = self.0.0.lock();
            queue.taken = false;
            queue.waiting.front().map(|(_, waker)| waker.clone())
        };
        if let Some(next) = next {
            next.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Rung(AtomicUsize);

    impl Wake for Rung {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn turns_come_in_order_and_those_who_left_are_passed_over() {
        let turn = Turn::default();
        let rung: [Arc<Rung>; 3] = Default::default();
        let wakers = rung.clone().map(Waker::from);
        let mut cx = wakers.each_ref().map(Context::from_waker);
        let mut first = Box::pin(turn.take());
        let Poll::Ready(held) = first.as_mut().poll(&mut cx[0]) else {
            panic!("it was free")
        };
        let mut second = Box::pin(turn.take());
        let mut third = pin!(turn.take());
        assert!(second.as_mut().poll(&mut cx[1]).is_pending());
        assert!(third.as_mut().poll(&mut cx[2]).is_pending());
        drop(held);
        assert_eq!(rung[1].0.load(Ordering::Relaxed), 1);
        assert!(third.as_mut().poll(&mut cx[2]).is_pending(), "not its turn");
        drop(second);
        assert_eq!(rung[2].0.load(Ordering::Relaxed), 1);
        assert!(third.as_mut().poll(&mut cx[2]).is_ready());
    }
}
