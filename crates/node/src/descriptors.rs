//! The limit on open files: raised as far as the system lets us, and checked against what the
//! configuration may need.

use plimsoll_cli::{Code, Failure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors kept for everything that is neither a connection nor a log: listeners, the HTTP
/// port's connections, the runtime, standard streams.
const RESERVED: usize = 256;
/// The least for logs; with fewer, segments would be opened and closed all the time.
const MIN_FOR_LOGS: usize = 256;

/// What the limit allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptors {
    /// Client connections, at most.
    pub(crate) connections: usize,
    /// Log segments held open, at most.
    pub(crate) segments: usize,
}

/// Raises the soft limit to the hard one and shares it out.
pub(crate) fn share_out(max_connections: usize) -> Result<Descriptors, Failure> {
    let limit = getrlimit(Resource::Nofile);
    // A higher soft limit than this process may have is refused, and the old one stays.
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let _ = setrlimit(Resource::Nofile, raised);
    let limit = getrlimit(Resource::Nofile).current;
    let limit = limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    });
    let shared = divide(limit, max_connections).ok_or_else(|| {
        Failure::new(
            Code::Descriptors,
            format!(
                "this process may open {limit} files and needs at least {}. Raise the limit: \
                 ulimit -n 65536",
                RESERVED + 2 * MIN_FOR_LOGS
            ),
        )
    })?;
    Ok(shared)
}

/// Connections get what they ask for, but at most half of what is not reserved.
fn divide(limit: usize, max_connections: usize) -> Option<Descriptors> {
    let free = limit.checked_sub(RESERVED)?;
    if free < 2 * MIN_FOR_LOGS {
        return None;
    }
    let connections = max_connections.min(free / 2);
    Some(Descriptors {
        connections,
        segments: free - connections,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_no_more_than_the_limit() {
        for limit in [RESERVED + 2 * MIN_FOR_LOGS, 1024, 20_000, 1 << 20] {
            for wanted in [1, 10_000, usize::MAX] {
                let shared = divide(limit, wanted).expect("enough");
                assert!(shared.connections + shared.segments + RESERVED <= limit);
                assert!(shared.segments >= MIN_FOR_LOGS && shared.connections >= 1);
            }
        }
    }

    #[test]
    fn too_few_descriptors_are_refused() {
        assert_eq!(divide(RESERVED + 2 * MIN_FOR_LOGS - 1, 1), None);
    }
}
