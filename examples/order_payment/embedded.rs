//! A broker in this process, for when none is running.

use std::error::Error;

use tenonmq_broker::{config::LiveConfig, core::clock::Clock, lifecycle::Running};
use tokio::net::TcpStream;

/// A broker over a temporary directory.
pub(crate) struct Embedded {
    running: Running,
    name_server: String,
    _data: tempfile::TempDir,
}

impl Embedded {
    /// Starts one, unless somebody listens at `name_server`.
    pub(crate) async fn unless_reachable(name_server: &str) -> Result<Option<Self>, Box<dyn Error>> {
        if TcpStream::connect(name_server).await.is_ok() {
            return Ok(None);
        }
        let data = tempfile::tempdir()?;
        let root = data.path().to_string_lossy().into_owned();
        let config = LiveConfig::embedded([
            ("storePathRootDir", root.as_str()),
            ("mappedFileSizeCommitLog", "67108864"),
            ("namesrvListenPort", "0"),
            ("listenPort", "0"),
            ("bindAddress", "127.0.0.1"),
            ("brokerIP1", "127.0.0.1"),
            ("transactionTimeOut", "2000"),
            ("transactionCheckInterval", "2000"),
        ])?;
        let running = Running::start(config, Clock::system()).await?;
        let name_server = running.addresses().name_server.ok_or("no name server was started")?.to_string();
        println!("nobody listens at the name server's address: a broker was started in this process");
        Ok(Some(Self { running, name_server, _data: data }))
    }

    /// Where it is found.
    pub(crate) fn name_server(&self) -> String {
        self.name_server.clone()
    }

    pub(crate) async fn shutdown(self) {
        self.running.shutdown().await;
    }
}
