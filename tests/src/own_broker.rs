//! Our own name server and broker, inside the test's process.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tenonmq_broker::{
    config::{Input, LiveConfig, Machine, load},
    core::clock::Clock,
    lifecycle::{Running, StartError},
};

/// A running program on ports of its own.
pub struct OwnBroker {
    running: Running,
    folder: PathBuf,
    name_server_port: u16,
    broker_port: u16,
}

/// Why it does not run.
#[derive(Debug, thiserror::Error)]
pub enum OwnBrokerError {
    /// The settings are wrong.
    #[error(transparent)]
    Config(#[from] tenonmq_broker::config::ConfigError),
    /// It could not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It runs without a name server or a broker.
    #[error("the {0} does not listen")]
    Missing(&'static str),
}

impl OwnBroker {
    /// Starts over a data folder, on ports that the system chooses. Transactions are checked every second.
    ///
    /// # Errors
    /// [`OwnBrokerError`].
    pub async fn start(folder: &Path) -> Result<Self, OwnBrokerError> {
        Self::start_on(folder, 0, 0).await
    }

    async fn start_on(folder: &Path, name_server_port: u16, broker_port: u16) -> Result<Self, OwnBrokerError> {
        let root = folder.display().to_string();
        let settings = [
            ("namesrvListenPort", name_server_port.to_string()),
            ("listenPort", broker_port.to_string()),
            ("bindAddress", "127.0.0.1".to_owned()),
            ("brokerIP1", "127.0.0.1".to_owned()),
            ("storePathRootDir", root),
            ("mappedFileSizeCommitLog", (64 << 20).to_string()),
            ("transactionCheckInterval", "1000".to_owned()),
            ("recallMessageEnable", "true".to_owned()),
            ("transactionTimeOut", "1000".to_owned()),
        ];
        let flags = settings.into_iter().map(|(key, value)| (key.to_owned(), value, "the test".to_owned()));
        let input = Input { flags: flags.collect(), ..Input::default() };
        let machine = Machine::for_tests();
        let loaded = load(&input, &machine)?;
        let config = Arc::new(LiveConfig::new(loaded.config, loaded.values, machine));
        let running = Running::start(config, Clock::system()).await?;
        let port = |address: Option<std::net::SocketAddr>, what| {
            address.map(|at| at.port()).ok_or(OwnBrokerError::Missing(what))
        };
        let name_server_port = port(running.addresses().name_server, "name server")?;
        let broker_port = port(running.addresses().broker, "broker")?;
        Ok(Self { running, folder: folder.to_owned(), name_server_port, broker_port })
    }

    /// `host:port` of the name server.
    pub fn name_server(&self) -> String {
        format!("127.0.0.1:{}", self.name_server_port)
    }

    /// Stops it in order.
    pub async fn shutdown(self) {
        self.running.shutdown().await;
    }

    /// Stops it in order, to be started again.
    pub async fn stop(self) -> StoppedBroker {
        let Self { running, folder, name_server_port, broker_port } = self;
        running.shutdown().await;
        StoppedBroker { folder, name_server_port, broker_port }
    }

    /// Stops it in order and starts it again over the same folder on the same ports.
    ///
    /// # Errors
    /// [`OwnBrokerError`].
    pub async fn restart(self) -> Result<Self, OwnBrokerError> {
        self.stop().await.start().await
    }
}

/// One that was stopped.
pub struct StoppedBroker {
    folder: PathBuf,
    name_server_port: u16,
    broker_port: u16,
}

impl StoppedBroker {
    /// Starts it again over the same folder on the same ports.
    ///
    /// # Errors
    /// [`OwnBrokerError`].
    pub async fn start(self) -> Result<OwnBroker, OwnBrokerError> {
        OwnBroker::start_on(&self.folder, self.name_server_port, self.broker_port).await
    }
}
