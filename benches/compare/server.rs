//! Servers under measurement: each on a directory and ports of its own, gone with its value.

use std::{
    error::Error,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use rand::Rng;

use crate::{
    process::{self, Owned},
    record::System,
};

/// Where programs and data are.
pub(crate) struct Tools {
    /// Folder with `load` and `tenonmq`.
    pub(crate) binaries: PathBuf,
    /// Folder with Apache's `start`.
    pub(crate) apache: PathBuf,
    /// Folder with `nats-server` and `nats`, its publisher.
    pub(crate) nats: PathBuf,
    /// Folder with `classes` and `lib` of the driver in Java.
    pub(crate) java: PathBuf,
    /// Data of the servers.
    pub(crate) work: PathBuf,
}

impl Tools {
    /// What needs nothing but our own programs.
    pub(crate) fn beside_this_program(work: &Path) -> Result<Self, Box<dyn Error>> {
        let own = std::env::current_exe()?;
        let none = PathBuf::new;
        let binaries = own.parent().map(PathBuf::from).unwrap_or_default();
        Ok(Self { binaries, apache: none(), nats: none(), java: none(), work: work.to_owned() })
    }

    pub(crate) fn load(&self) -> Command {
        Command::new(self.binaries.join("load"))
    }

    pub(crate) fn broker(&self) -> PathBuf {
        self.binaries.join("tenonmq")
    }
}

/// Data directory in the folder of a server; Apache's script calls it so.
const STORE: &str = "store";
const START: Duration = Duration::from_secs(60);
/// Apache refuses what waited in its queues for longer than some hundred milliseconds; these make it a minute.
const PATIENCE: &[&str] = &["Send", "Pull", "LitePull", "Ack", "Transaction", "AdminBroker", "Heartbeat"];

/// A running server.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// Where clients look brokers up.
    pub(crate) name_server: SocketAddr,
    pub(crate) pid: u32,
    folder: PathBuf,
    process: Option<Owned>,
}

impl Server {
    /// Starts it on an empty directory and waits until it listens. `patient` is for Apache alone: without it, its limits
    /// of waiting are its own.
    pub(crate) fn start(
        tools: &Tools,
        system: System,
        settings: &[(&str, &str)],
        patient: bool,
    ) -> Result<Self, Box<dyn Error>> {
        Self::start_prepared(tools, system, settings, patient, |_| Ok(()))
    }

    /// The same, on a directory that `prepare` has put something into.
    pub(crate) fn start_prepared(
        tools: &Tools,
        system: System,
        settings: &[(&str, &str)],
        patient: bool,
        prepare: impl FnOnce(&Path) -> Result<(), Box<dyn Error>>,
    ) -> Result<Self, Box<dyn Error>> {
        let port = free_ports()?;
        let folder = tools.work.join(format!("{system:?}-{port}").to_lowercase());
        fs::create_dir_all(folder.join(STORE))?;
        prepare(&folder.join(STORE))?;
        if system == System::Apache {
            return Self::apache(tools, port, folder, settings, patient);
        }
        let mut command = match system {
            System::Ours => ours(tools, port, &folder, settings),
            System::Nats => nats(tools, port, &folder),
            System::Baseline => sendfile(tools, port, &folder),
            System::Null | System::Apache => null(tools, port),
        };
        let log = folder.join("log");
        let process = Owned::start(&mut command, &log)?;
        let mut server = Self {
            address: local(port),
            name_server: local(port + NAME_SERVER),
            pid: process.id(),
            folder,
            process: Some(process),
        };
        server.wait(&log)?;
        Ok(server)
    }

    fn apache(
        tools: &Tools,
        port: u16,
        folder: PathBuf,
        settings: &[(&str, &str)],
        patient: bool,
    ) -> Result<Self, Box<dyn Error>> {
        let mut command = Command::new(tools.apache.join("start"));
        command.arg(&folder).args(["--as-shipped", "--broker-port", &port.to_string()]);
        command.args(["--namesrv-port", &(port + NAME_SERVER).to_string()]);
        command.args(settings.iter().map(|(key, value)| format!("{key}={value}")));
        if patient {
            command.args(PATIENCE.iter().map(|queue| format!("waitTimeMillsIn{queue}Queue=60000")));
        }
        let (address, name_server) = (local(port), local(port + NAME_SERVER));
        let mut server = Self { address, name_server, pid: 0, folder, process: None };
        process::run(&mut command, Duration::from_secs(900), &server.folder)?; // the first start may fetch Apache
        server.pid =
            process::detached(&server.folder.join("broker.pid"), &server.folder).ok_or("Apache has no process")?;
        Ok(server)
    }

    /// CPU time of all threads so far; one that ends takes its time with it.
    pub(crate) fn cpu_nanos(&self) -> Result<u64, Box<dyn Error>> {
        let mut nanos = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.pid))? {
            let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
            nanos += text.split(' ').next().unwrap_or_default().parse::<u64>()?;
        }
        if nanos > 0 { Ok(nanos) } else { Err("this kernel does not say what threads used (schedstat)".into()) }
    }

    /// Until something listens.
    fn wait(&mut self, log: &Path) -> Result<(), Box<dyn Error>> {
        let end = Instant::now() + START;
        while TcpStream::connect_timeout(&self.address, Duration::from_secs(1)).is_err() {
            let ended = self.process.as_mut().map(Owned::ended).transpose()?.flatten();
            if ended.is_some() || Instant::now() > end {
                let text = fs::read_to_string(log).unwrap_or_default();
                let last = text.lines().last().unwrap_or("no word of why");
                return Err(format!("it does not listen on {}: {last}", self.address).into());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process = None;
        process::end_detached(&self.folder);
        let _ = fs::remove_dir_all(&self.folder); // the next server has a folder of its own
    }
}

/// From a broker's port to its name server's; the broker itself has the ports from two below to one above.
pub(crate) const NAME_SERVER: u16 = 2;

/// A port that is free, with two below and two above.
pub(crate) fn free_ports() -> Result<u16, Box<dyn Error>> {
    let mut random = rand::rng();
    for _ in 0..100 {
        let port = random.random_range(15_000..30_000);
        let taken: Result<Vec<_>, _> =
            (port - 2..=port + NAME_SERVER).map(|port| TcpListener::bind(local(port))).collect();
        if taken.is_ok() {
            return Ok(port);
        }
    }
    Err("no free ports".into())
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn null(tools: &Tools, port: u16) -> Command {
    let mut command = tools.load();
    command.args(["null", "--listen", &local(port).to_string()]);
    command
}

fn sendfile(tools: &Tools, port: u16, folder: &Path) -> Command {
    let mut command = tools.load();
    command.args(["baseline", "sendfile", "--listen", &local(port).to_string()]).arg("--dir").arg(folder);
    command
}

fn ours(tools: &Tools, port: u16, folder: &Path, settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(tools.broker());
    command.args(["--listen-port", &port.to_string(), "--namesrv-port", &(port + NAME_SERVER).to_string()]);
    command.args(["--broker-ip", "127.0.0.1", "--set", "bindAddress=127.0.0.1"]);
    command.arg("--set").arg(format!("storePathRootDir={}", folder.join(STORE).display()));
    command.args(settings.iter().flat_map(|(key, value)| ["--set".to_owned(), format!("{key}={value}")]));
    command
}

fn nats(tools: &Tools, port: u16, folder: &Path) -> Command {
    let mut command = Command::new(tools.nats.join("nats-server"));
    command.args(["--addr", "127.0.0.1", "--port", &port.to_string(), "--jetstream"]).arg("--store_dir").arg(folder);
    command
}
