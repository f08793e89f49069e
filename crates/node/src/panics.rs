//! What a panic ends.
//!
//! On a thread of the runtime it ends the connection or task that it happened in, and that is
//! counted. Anywhere else (a flusher, housekeeping) something that everybody relies on would be
//! missing from then on without anyone noticing, so there it ends the process.

use std::io::Write as _;

use crate::peers::PEER_THREAD;
use crate::run::RUNTIME_THREAD;

/// Installs the rule for this process.
pub(crate) fn end_the_process_where_needed() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        let thread = std::thread::current();
        if !is_survivable(thread.name()) {
            let _ = writeln!(
                std::io::stderr(),
                "a panic outside a connection ends the node"
            );
            std::process::abort();
        }
    }));
}

fn is_survivable(thread: Option<&str>) -> bool {
    thread.is_some_and(|name| name == RUNTIME_THREAD || name == PEER_THREAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_runtimes_threads_survive_a_panic() {
        assert!(is_survivable(Some("plimsoll-net")) && is_survivable(Some("plimsoll-peer")));
        for thread in [Some("plimsoll-upkeep"), Some("main"), None] {
            assert!(!is_survivable(thread));
        }
    }
}
