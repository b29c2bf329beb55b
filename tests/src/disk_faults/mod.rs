//! A disk that fails at any call.
//!
//! A script ([`script`]) lets a real broker, without sockets and with one thread, do one of everything over a
//! [`FaultyFs`](tenonmq_storage::fs::FaultyFs), stop, start, and be killed. A first run counts the calls to the disk; then the script runs anew
//! for every call and every kind of [`Trouble`], which begins at that call. At the end the disk is repaired and a broker is
//! opened on it: what was acknowledged must be there, byte for byte, in its queue and place ([`judge`]).
//!
//! What the script asks for is noted in the [`ledger`] when it is answered with success. What was refused may be there or
//! not. A refusal must say why, and a start that fails must name the file. [`fill`] does the like with a real disk that is full.

mod bench;
mod full;
mod judge;
mod ledger;
mod requests;
mod script;

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

pub use full::{FullDisk, fill};
pub use tenonmq_storage::fs::{Strike, Trouble};

/// One run of the script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Where trouble begins, if it does.
    pub strike: Option<Strike>,
    /// Whether sends wait for the disk (`SYNC_FLUSH`).
    pub is_sync: bool,
}

/// What a run came to.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Calls to the disk until it was repaired.
    pub calls: u64,
    /// The call that failed last: its kind and path.
    pub struck: Option<String>,
    /// Requests that were acknowledged.
    pub acknowledged: usize,
    /// Requests that were refused.
    pub refused: usize,
}

/// A promise that was not kept.
#[derive(Debug, Clone)]
pub struct Broken {
    run: Run,
    struck: Option<String>,
    what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = if self.run.is_sync { "sync" } else { "async" };
        match self.run.strike {
            Some(Strike { at, trouble }) => write!(f, "{trouble:?} at call {at} ({mode})")?,
            None => write!(f, "a whole disk ({mode})")?,
        }
        write!(f, ", {}: {}", self.struck.as_deref().unwrap_or("nothing struck"), self.what)
    }
}

/// What a step of a run comes to.
type Checked<T = ()> = Result<T, String>;

/// Runs the script once, in a directory of its own.
///
/// # Errors
/// [`Broken`].
pub fn run(run: Run) -> Result<Outcome, Broken> {
    let folder =
        tempfile::tempdir_in(crate::tiny_store::memory()).map_err(|error| broken(run, None, error.to_string()))?;
    let mut script = script::Script::new(folder.path(), run);
    let done = catch_unwind(AssertUnwindSafe(|| script.play()));
    let struck = script.struck();
    match done {
        Ok(Ok(())) => Ok(script.outcome()),
        Ok(Err(what)) => Err(broken(run, struck, what)),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text");
            Err(broken(run, struck, format!("panicked: {text}")))
        }
    }
}

fn broken(run: Run, struck: Option<String>, what: String) -> Broken {
    Broken { run, struck, what }
}
