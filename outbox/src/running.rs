//! Tasks that work until they are told to end.

use std::future::Future;

use tokio::{sync::watch, task::JoinSet};

/// Tasks at work. Dropping it ends them as a crash would.
#[derive(Debug)]
pub(crate) struct Running {
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Running {
    /// None yet, and what tells them to end.
    pub(crate) fn new() -> (Self, watch::Receiver<bool>) {
        let (stop, stopped) = watch::channel(false);
        (Self { stop, tasks: JoinSet::new() }, stopped)
    }

    /// One more. It ends by itself when it is told to.
    pub(crate) fn spawn(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(work);
    }

    /// Tells them to end, and waits until they have, whatever way.
    pub(crate) async fn shutdown(mut self) {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

/// What a worker that shall end still tries to write down: what it knows, and no longer than this.
#[derive(Debug)]
pub(crate) struct LastTries(u32);

impl Default for LastTries {
    fn default() -> Self {
        Self(3)
    }
}

impl LastTries {
    /// Counts a failure after the worker was told to end. True when there is nothing left but the lease's end.
    pub(crate) fn are_over(&mut self) -> bool {
        let are_over = self.0 == 0;
        self.0 = self.0.saturating_sub(1);
        are_over
    }
}
