//! A broker of this process whose directory goes with it.

use std::net::SocketAddr;

use tenonmq_broker::{config::LiveConfig, core::clock::Clock, lifecycle::Running};

use crate::broker_process::Failure;

/// A broker on loopback, on ports that the system chooses.
pub struct TemporaryBroker {
    /// What runs.
    pub running: Running,
    /// Where the broker listens.
    pub address: SocketAddr,
    _data: tempfile::TempDir,
}

impl TemporaryBroker {
    /// Starts one over an empty directory, with these settings besides.
    ///
    /// # Errors
    /// A setting is wrong, or the broker does not start.
    pub async fn start(more: &[(&str, &str)]) -> Result<Self, Failure> {
        let data = tempfile::tempdir()?;
        let root = data.path().to_string_lossy().into_owned();
        let mut settings = vec![
            ("storePathRootDir", root.as_str()),
            ("listenPort", "0"),
            ("namesrvListenPort", "0"),
            ("bindAddress", "127.0.0.1"),
            ("brokerIP1", "127.0.0.1"),
        ];
        settings.extend_from_slice(more);
        let running = Running::start(LiveConfig::embedded(settings)?, Clock::system()).await?;
        let address = running.addresses().broker.ok_or("the broker does not listen")?;
        Ok(Self { running, address, _data: data })
    }
}
