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
