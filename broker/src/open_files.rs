//! How many files and connections the process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

/// Files of the store that are open at one time, about: segments, queue files, index files, tables.
const FOR_THE_STORE: u64 = 20_000;

/// Raises the limit on open files to what the system allows, and says so when that is less than `connections` and the
/// store's files may need.
pub(crate) fn raise_limit(connections: usize) {
    let before = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: before.maximum, ..before };
    if let Err(error) = setrlimit(Resource::Nofile, wanted) {
        warn!(%error, limit = before.current, "the limit on open files stays as it is");
    }
    let now = getrlimit(Resource::Nofile).current;
    let needed = FOR_THE_STORE + connections as u64;
    if now.is_some_and(|limit| limit < needed) {
        info!(limit = now, needed, "the limit on open files (ulimit -Hn) may be reached before remotingMaxConnections");
    }
}
