//! Failure detection, watchdogs and the diagnosis of replicas; no I/O, no clock.
