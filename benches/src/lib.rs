//! What the benchmarks share: a broker in this process, without clients, and a meter for any process.

mod meter;

use std::{path::Path, sync::Arc};

use tenonmq_broker::{
    config::LiveConfig,
    core::{Core, clock::Clock},
    lifecycle::Running,
};
use tokio::runtime::Runtime;

pub use self::meter::{ServerMeter, ServerUse};

/// A running broker, driven through its core.
pub struct Embedded {
    runtime: Runtime,
    running: Running,
}

impl Embedded {
    /// Starts over `root`, with commit-log files of 256 MiB and what `settings` add, in Apache's keys.
    ///
    /// # Panics
    /// When the broker does not start: there is nothing to measure then.
    pub fn start(root: &Path, settings: &[(&str, &str)]) -> Self {
        let root = root.to_string_lossy();
        let usual = [
            ("storePathRootDir", &*root),
            ("listenPort", "0"),
            ("namesrvListenPort", "0"),
            ("bindAddress", "127.0.0.1"),
            ("brokerIP1", "127.0.0.1"),
            ("mappedFileSizeCommitLog", "268435456"),
        ];
        let config = LiveConfig::embedded(usual.into_iter().chain(settings.iter().copied())).expect("valid settings");
        let runtime = Runtime::new().expect("a runtime");
        let running = runtime.block_on(Running::start(config, Clock::system())).expect("the broker starts");
        Self { runtime, running }
    }

    /// What the broker decides with.
    ///
    /// # Panics
    /// Never: what was started is a broker.
    pub fn core(&self) -> Arc<Core> {
        Arc::clone(self.running.core().expect("it is a broker"))
    }

    /// Stops it in order.
    pub fn stop(self) {
        self.runtime.block_on(self.running.shutdown());
    }
}
