//! A whole broker on a machine whose power is cut.
//!
//! The broker runs inside this process, with sockets and by the real clock, and flushes synchronously. Its disk
//! ([`disk`]) knows what was synced. A cut leaves a new directory, in which everything else may be torn or missing; from
//! then on the old broker can make nothing durable, so that it answers nothing that waits for the disk.

mod disk;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tenonmq_broker::{config::LiveConfig, core::clock::Clock, lifecycle::Running};

use self::disk::PowerDisk;
use crate::{broker_process::Failure, simulation::dice::Dice};

/// The machine, its power on.
pub struct Machine {
    running: Option<Running>,
    disk: Arc<PowerDisk>,
    folder: PathBuf,
    cuts: u32,
    dice: Dice,
    settings: Vec<(String, String)>,
    name_server_port: u16,
    broker_port: u16,
}

impl Machine {
    /// Starts a broker with these settings over a new directory below `folder`, on ports that the system chooses. What a
    /// cut leaves is chosen by `seed`.
    ///
    /// # Errors
    /// The broker does not start.
    pub async fn start(folder: &Path, settings: &[(&str, &str)], seed: u64) -> Result<Self, Failure> {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let mut machine = Self {
            running: None,
            disk: Arc::new(PowerDisk::new(&folder.join("0"))),
            folder: folder.to_owned(),
            cuts: 0,
            dice: Dice::of(seed),
            settings: settings.iter().map(own).collect(),
            name_server_port: 0,
            broker_port: 0,
        };
        machine.boot().await?;
        Ok(machine)
    }

    /// `host:port` of the name server.
    pub fn name_server(&self) -> String {
        format!("127.0.0.1:{}", self.name_server_port)
    }

    /// The data directory.
    pub fn root(&self) -> PathBuf {
        self.folder.join(self.cuts.to_string())
    }

    /// Cuts the power.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub async fn cut(&mut self) -> Result<(), Failure> {
        let before = self.root();
        self.cuts += 1;
        self.disk = Arc::new(self.disk.cut(&self.root(), &mut self.dice)?);
        if let Some(running) = self.running.take() {
            running.shutdown().await; // its ports are free then
        }
        std::fs::remove_dir_all(before)?;
        Ok(())
    }

    /// Switches it on again.
    ///
    /// # Errors
    /// The broker does not start.
    pub async fn boot(&mut self) -> Result<(), Failure> {
        let root = self.root().display().to_string();
        let (broker, name_server) = (self.broker_port.to_string(), self.name_server_port.to_string());
        let own = [
            ("storePathRootDir", &*root),
            ("flushDiskType", "SYNC_FLUSH"),
            ("bindAddress", "127.0.0.1"),
            ("brokerIP1", "127.0.0.1"),
            ("brokerName", "broker-a"),
            ("listenPort", &*broker),
            ("namesrvListenPort", &*name_server),
        ];
        let settings = self.settings.iter().map(|(key, value)| (&**key, &**value)).chain(own);
        let config = LiveConfig::embedded(settings)?;
        let running = Running::start_on(Arc::clone(&self.disk) as _, config, Clock::system()).await?;
        let addresses = running.addresses();
        self.broker_port = addresses.broker.ok_or("the broker does not listen")?.port();
        self.name_server_port = addresses.name_server.ok_or("the name server does not listen")?.port();
        self.running = Some(running);
        Ok(())
    }

    /// Stops the broker in order.
    pub async fn shutdown(mut self) {
        if let Some(running) = self.running.take() {
            running.shutdown().await;
        }
    }
}
