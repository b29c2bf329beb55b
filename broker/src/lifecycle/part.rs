//! What every role is made of: listeners, and tasks that end when they are told to.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::error;

use super::StartError;
use crate::config::Config;
use crate::remoting::Limits;

/// Tasks that stop together.
pub(super) struct Part {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Part {
    pub(super) fn new() -> Self {
        Self { stop: watch::Sender::new(false), tasks: Vec::new() }
    }

    /// Starts a task; what it is given turns true when it shall end.
    pub(super) fn spawn<F>(&mut self, task: impl FnOnce(watch::Receiver<bool>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tasks.push(tokio::spawn(task(self.stop.subscribe())));
    }

    /// Tells all tasks to end and waits until they did.
    pub(super) async fn stop(self) {
        self.stop.send_replace(true);
        for task in self.tasks {
            if let Err(error) = task.await {
                error!(%error, "a task ended badly");
            }
        }
    }
}

/// Takes a port. `SO_REUSEADDR`, so that a restart does not wait for old connections to be forgotten.
pub(super) fn listen(what: &'static str, bind: IpAddr, port: u16, backlog: u32) -> Result<TcpListener, StartError> {
    let address = SocketAddr::new(bind, port);
    let listening = || {
        let socket = if bind.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(backlog)
    };
    listening().map_err(|source| StartError::Listen { what, address, source })
}

/// What the configuration allows each connection.
pub(super) fn limits(settings: &Config) -> Limits {
    Limits {
        max_frame: settings.remoting.max_frame,
        max_connections: settings.remoting.max_connections,
        idle_timeout: settings.remoting.idle,
        write_timeout: settings.remoting.write_timeout,
        max_held_together: settings.remoting.max_held,
        max_stuck: settings.remoting.max_stuck,
        send_wait: settings.remoting.send_wait,
        ..Limits::default()
    }
}
