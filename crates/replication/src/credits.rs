//! How much a leader may have under way to one follower's session.
//!
//! A window of bytes, with one promise: whatever a batch's size, it goes out alone as soon as
//! nothing else is under way. So no limit, not even one lowered after the batch was written, can
//! hold a follower back for ever. Counts bytes; holds none.

use std::collections::VecDeque;

use plimsoll_types::Offset;

/// What may be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Nothing: wait for an ack.
    None,
    /// Whole batches of at most this many bytes together.
    Bytes(u64),
    /// Nothing is under way: at least one whole batch of any size, and more only up to this many
    /// bytes together.
    AtLeastOne(u64),
    /// One whole batch of any size and no more.
    ExactlyOne,
}

/// What is under way to one session. One owner: the link that sends.
#[derive(Debug)]
pub struct Credits {
    window_bytes: u64,
    max_frames: usize,
    one_batch: bool,
    in_flight_bytes: u64,
    /// End offset and bytes of each frame not yet acknowledged, oldest first.
    frames: VecDeque<(Offset, u64)>,
}

impl Credits {
    /// Nothing under way. `window_bytes` is the follower's; `max_frames` bounds the bookkeeping.
    #[must_use]
    pub fn new(window_bytes: u64, max_frames: usize, one_batch: bool) -> Self {
        Self {
            window_bytes,
            max_frames: max_frames.max(1),
            one_batch,
            in_flight_bytes: 0,
            frames: VecDeque::new(),
        }
    }

    /// What may be sent now.
    #[must_use]
    pub fn room(&self) -> Room {
        if self.frames.is_empty() {
            return if self.one_batch {
                Room::ExactlyOne
            } else {
                Room::AtLeastOne(self.window_bytes)
            };
        }
        let left = self.window_bytes.saturating_sub(self.in_flight_bytes);
        if self.one_batch || left == 0 || self.frames.len() >= self.max_frames {
            Room::None
        } else {
            Room::Bytes(left)
        }
    }

    /// Batches up to `end` were sent.
    pub fn sent(&mut self, end: Offset, bytes: u64) {
        debug_assert!(
            self.frames.back().is_none_or(|(last, _)| *last < end),
            "frames are sent in order"
        );
        self.frames.push_back((end, bytes));
        self.in_flight_bytes = self.in_flight_bytes.saturating_add(bytes);
    }

    /// The follower has appended up to `log_end`; whether that makes room.
    pub fn acked(&mut self, log_end: Offset) -> bool {
        let before = self.frames.len();
        while let Some((end, bytes)) = self.frames.front().copied() {
            if end > log_end {
                break;
            }
            self.frames.pop_front();
            self.in_flight_bytes = self.in_flight_bytes.saturating_sub(bytes);
        }
        self.frames.len() < before
    }

    /// From now on one batch a frame and one frame under way, or a window again.
    pub fn set_one_batch(&mut self, one_batch: bool) {
        self.one_batch = one_batch;
    }

    /// Bytes sent and not acknowledged.
    #[must_use]
    pub fn in_flight_bytes(&self) -> u64 {
        self.in_flight_bytes
    }

    /// End of what was sent and not acknowledged; `None` when nothing is under way.
    #[must_use]
    pub fn sent_end(&self) -> Option<Offset> {
        self.frames.back().map(|(end, _)| *end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: u64 = 1 << 20;

    fn at(offset: u64) -> Offset {
        Offset::new(offset)
    }

    #[test]
    fn scenario_35_a_batch_of_any_size_goes_alone_when_nothing_is_under_way() {
        for bytes in [1, WINDOW - 1, WINDOW, WINDOW + 1, 10 * WINDOW, 90 << 20] {
            let mut credits = Credits::new(WINDOW, 16, false);
            assert_eq!(credits.room(), Room::AtLeastOne(WINDOW));
            credits.sent(at(1), bytes);
            let expected = if bytes < WINDOW {
                Room::Bytes(WINDOW - bytes)
            } else {
                Room::None
            };
            assert_eq!(credits.room(), expected);
            assert!(credits.acked(at(1)));
            assert_eq!(credits.room(), Room::AtLeastOne(WINDOW), "{bytes}");
        }
    }

    #[test]
    fn scenario_35_a_window_lowered_to_nothing_still_lets_one_batch_through() {
        let mut credits = Credits::new(0, 16, false);
        assert_eq!(credits.room(), Room::AtLeastOne(0));
        credits.sent(at(1), 500);
        assert_eq!(credits.room(), Room::None);
        credits.acked(at(1));
        assert_eq!(credits.room(), Room::AtLeastOne(0));
    }

    #[test]
    fn one_batch_mode_has_one_frame_under_way() {
        let mut credits = Credits::new(WINDOW, 16, true);
        assert_eq!(credits.room(), Room::ExactlyOne);
        credits.sent(at(3), 10);
        assert_eq!(credits.room(), Room::None);
        credits.set_one_batch(false);
        assert_eq!(credits.room(), Room::Bytes(WINDOW - 10));
    }

    #[test]
    fn an_ack_frees_every_whole_frame_below_it_and_no_other() {
        let mut credits = Credits::new(WINDOW, 2, false);
        credits.sent(at(5), 100);
        credits.sent(at(9), 50);
        assert_eq!(credits.room(), Room::None, "as many frames as are tracked");
        assert!(!credits.acked(at(4)));
        assert!(credits.acked(at(8)));
        assert_eq!(
            (credits.in_flight_bytes(), credits.sent_end()),
            (50, Some(at(9)))
        );
    }
}
