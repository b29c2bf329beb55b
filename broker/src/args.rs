//! The command line as typed. What it means is decided by `config`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Parser};
use tenonmq_broker::config::{ConfigError, FileText, Input};

use crate::desk;

/// What the binary is to do instead of being a broker.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Asks a running broker, or has it do something
    Admin(desk::Admin),
}

/// A transactional message broker that takes the place of Apache RocketMQ.
///
/// Without arguments it is a name server on port 9876 and a broker on port 10911 over one data directory.
/// Configuration comes from the file, then `TENONMQ_KEY` environment variables, then flags; later ones win.
/// Keys are Apache RocketMQ's, and its files can be used as they are.
#[derive(Debug, Parser)]
#[command(name = "tenonmq", version, max_term_width = 100, args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// Configuration file: Apache properties, or TOML if it is named *.toml
    #[arg(short = 'c', long, value_name = "FILE", alias = "configFile")]
    config: Option<PathBuf>,

    /// Name servers elsewhere to register with; the embedded one is then off unless --namesrv-port is given
    #[arg(short = 'n', long, value_name = "HOST:PORT;...", alias = "namesrvAddr")]
    namesrv_addr: Option<String>,

    /// Port of the broker; it also listens two below for old clients [default: 10911]
    #[arg(long, value_name = "PORT", alias = "listenPort")]
    listen_port: Option<String>,

    /// Port of the embedded name server [default: 9876]
    #[arg(long, value_name = "PORT", alias = "namesrvListenPort")]
    namesrv_port: Option<String>,

    /// Where the data is [default: ./data, or $HOME/store with an Apache properties file]
    #[arg(long, value_name = "FOLDER", alias = "storePathRootDir")]
    data_dir: Option<String>,

    /// The address or name that clients are told [default: the address of the default route]
    #[arg(long, value_name = "HOST", alias = "brokerIP1")]
    broker_ip: Option<String>,

    /// Name of this broker [default: the machine's name]
    #[arg(long, value_name = "NAME", alias = "brokerName")]
    broker_name: Option<String>,

    /// Name of the cluster [default: DefaultCluster]
    #[arg(long, value_name = "NAME", alias = "brokerClusterName")]
    cluster: Option<String>,

    /// Sets any key; may be repeated
    #[arg(long, value_name = "KEY=VALUE", action = ArgAction::Append)]
    set: Vec<String>,

    /// Runs without the embedded name server
    #[arg(long, conflicts_with = "no_broker")]
    no_namesrv: bool,

    /// Runs as a name server only
    #[arg(long)]
    no_broker: bool,

    /// Checks the configuration, prints every key with its value, and exits
    #[arg(long, short = 'p', alias = "printConfigItem")]
    pub(crate) check: bool,
}

impl Args {
    /// Everything outside this process that says how it should run.
    ///
    /// # Errors
    /// The file cannot be read, or `--set` is not `key=value`.
    pub(crate) fn input(self, environment: impl Iterator<Item = (OsString, OsString)>) -> Result<Input, ConfigError> {
        let file = self.config.as_deref().map(FileText::read).transpose()?;
        let text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        Ok(Input {
            file,
            environment: environment.filter_map(text).collect(),
            flags: self.flags()?,
            ..Input::default()
        })
    }

    fn flags(self) -> Result<Vec<(String, String, String)>, ConfigError> {
        let named = [
            ("namesrvAddr", self.namesrv_addr, "--namesrv-addr"),
            ("listenPort", self.listen_port, "--listen-port"),
            ("namesrvListenPort", self.namesrv_port.clone(), "--namesrv-port"),
            ("storePathRootDir", self.data_dir, "--data-dir"),
            ("brokerIP1", self.broker_ip, "--broker-ip"),
            ("brokerName", self.broker_name, "--broker-name"),
            ("brokerClusterName", self.cluster, "--cluster"),
            ("namesrvEnable", self.namesrv_port.map(|_| "true".to_owned()), "--namesrv-port"),
            ("namesrvEnable", self.no_namesrv.then(|| "false".to_owned()), "--no-namesrv"),
            ("brokerEnable", self.no_broker.then(|| "false".to_owned()), "--no-broker"),
            ("namesrvEnable", self.no_broker.then(|| "true".to_owned()), "--no-broker"),
        ];
        let mut flags: Vec<(String, String, String)> = named
            .into_iter()
            .filter_map(|(key, value, flag)| Some((key.to_owned(), value?, flag.to_owned())))
            .collect();
        for text in self.set {
            let (key, value) =
                text.split_once('=').ok_or_else(|| ConfigError::Usage(format!("--set {text}: use --set key=value")))?;
            flags.push((key.trim().to_owned(), value.to_owned(), format!("--set {text}")));
        }
        Ok(flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenonmq_broker::config::{Config, Machine, load};

    fn config(words: &[&str]) -> Result<Config, ConfigError> {
        let args = Args::try_parse_from(["tenonmq"].iter().chain(words)).unwrap();
        let input = args.input(std::iter::empty())?;
        Ok(load(&input, &Machine::for_tests())?.config)
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Args::command().debug_assert();
    }

    #[test]
    fn flags_of_apaches_scripts_are_understood() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broker.conf");
        std::fs::write(&path, "brokerName = file\nlistenPort = 7\n").unwrap();
        let config = config(&["-c", path.to_str().unwrap(), "-n", "ns:9876"]).unwrap();
        assert_eq!(config.identity.name, "file");
        assert_eq!(config.identity.port, 7);
        assert_eq!(config.registration.name_servers, ["ns:9876"]);
        assert!(!config.roles.name_server);
    }

    #[test]
    fn set_wins_over_the_flag_of_the_same_key_and_takes_any_key() {
        let config = config(&["--listen-port", "7", "--set", "listenPort=8", "--set", "regionId=a=b"]).unwrap();
        assert_eq!(config.identity.port, 8);
        assert_eq!(config.identity.region, "a=b");
    }

    #[test]
    fn each_role_can_run_alone() {
        let alone = config(&["--no-broker", "--namesrv-port", "19876"]).unwrap();
        assert!(alone.roles.name_server && !alone.roles.broker);
        assert_eq!(alone.name_server.port, 19876);
        let alone = config(&["--no-namesrv"]).unwrap();
        assert!(!alone.roles.name_server && alone.roles.broker);
        let both = config(&["-n", "elsewhere:9876", "--namesrv-port", "19876"]).unwrap();
        assert!(both.roles.name_server && both.roles.broker);
    }

    #[test]
    fn mistakes_are_named() {
        assert!(config(&["--set", "x"]).unwrap_err().to_string().contains("use --set key=value"));
        assert!(config(&["--listen-port", "x"]).unwrap_err().to_string().contains("(--listen-port)"));
        let missing = config(&["-c", "/no/such/file"]).unwrap_err().to_string();
        assert_eq!(missing, "cannot read the configuration file /no/such/file");
    }
}
