//! Leader and follower of one partition as state machines; no I/O, no clock.
