//! A broker in this process, for when none is running; it can be taken away for a while.

use std::error::Error;

use tempfile::TempDir;
use tenonmq_broker::{config::LiveConfig, core::clock::Clock, lifecycle::Running};
use tokio::net::TcpStream;

/// A broker over a temporary directory.
pub struct Broker {
    /// `None` while it is away.
    running: Option<Running>,
    ports: [u16; 2],
    data: TempDir,
}

impl Broker {
    /// Starts one, unless somebody listens at `name_server`.
    pub async fn unless_reachable(name_server: &str) -> Result<Option<Self>, Box<dyn Error>> {
        if TcpStream::connect(name_server).await.is_ok() {
            return Ok(None);
        }
        let mut broker = Some(Self { running: None, ports: [0, 0], data: tempfile::tempdir()? });
        Self::start(&mut broker).await?;
        println!("nobody listens at the name server's address: a broker was started in this process");
        Ok(broker)
    }

    /// Where it is found.
    pub fn name_server(&self) -> String {
        format!("127.0.0.1:{}", self.ports[0])
    }

    /// Starts it, unless it runs; again over the same data, on the same ports.
    pub async fn start(broker: &mut Option<Self>) -> Result<(), Box<dyn Error>> {
        let Some(broker) = broker.as_mut().filter(|broker| broker.running.is_none()) else { return Ok(()) };
        let root = broker.data.path().to_string_lossy().into_owned();
        let [name_server, port] = broker.ports.map(|port| port.to_string());
        let config = LiveConfig::embedded([
            ("storePathRootDir", root.as_str()),
            ("mappedFileSizeCommitLog", "67108864"),
            ("namesrvListenPort", &name_server),
            ("listenPort", &port),
            ("bindAddress", "127.0.0.1"),
            ("brokerIP1", "127.0.0.1"),
            ("transactionTimeOut", "2000"),
            ("transactionCheckInterval", "2000"),
        ])?;
        let running = Running::start(config, Clock::system()).await?;
        let addresses = running.addresses();
        let (name_server, broker_at) = addresses.name_server.zip(addresses.broker).ok_or("it does not listen")?;
        broker.ports = [name_server.port(), broker_at.port()];
        broker.running = Some(running);
        Ok(())
    }

    /// Takes it away.
    pub async fn stop(broker: &mut Option<Self>) {
        if let Some(running) = broker.as_mut().and_then(|broker| broker.running.take()) {
            running.shutdown().await;
        }
    }

    /// Ends it.
    pub async fn shutdown(mut broker: Option<Self>) {
        Self::stop(&mut broker).await;
    }
}
