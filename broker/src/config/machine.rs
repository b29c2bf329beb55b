//! What the defaults take from the machine.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use super::keys::{Default as Fallback, Key};
use super::load::Input;
use crate::route::address::Candidates;

/// What the defaults take from the machine.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The default broker name.
    pub host_name: String,
    /// Processors that this process may use.
    pub cpus: i64,
    /// The address that clients are told unless `brokerIP1` names another.
    pub address: IpAddr,
    /// The default of `storePathRootDir`, see [`data_directory`].
    pub data_directory: PathBuf,
}

impl Machine {
    /// This machine, for a process that is started with `input`.
    #[must_use]
    pub fn here(input: &Input) -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let host_name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let anywhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Self {
            host_name: if host_name.is_empty() { "localhost".to_owned() } else { host_name },
            cpus: i64::try_from(cpus).unwrap_or(1),
            address: Candidates::of_this_machine().choose(anywhere).0,
            data_directory: data_directory(input, std::env::home_dir().as_deref()),
        }
    }

    /// A machine that does not depend on where a test runs.
    #[must_use]
    pub fn for_tests() -> Self {
        Self {
            host_name: "localhost".to_owned(),
            cpus: 2,
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            data_directory: PathBuf::from("data"),
        }
    }

    /// The text of a key that nobody set; `None` when it then has no value at all.
    pub(super) fn default_of(&self, key: &Key) -> Option<String> {
        match key.default {
            Fallback::Fixed(text) => Some(text.to_owned()),
            Fallback::Cpus(size) => Some(size(self.cpus).to_string()),
            Fallback::HostName => Some(self.host_name.clone()),
            Fallback::Address => Some(self.address.to_string()),
            Fallback::DataDirectory => Some(self.data_directory.display().to_string()),
            Fallback::Unset => None,
        }
    }
}

/// Where the data is when nobody says so.
///
/// A configuration file in upstream's format may belong to an installation with data in upstream's place, so it
/// means `$HOME/store`. Otherwise it is `./data`: trying the program out touches nothing that was there before.
fn data_directory(input: &Input, home: Option<&Path>) -> PathBuf {
    let is_upstream = input.file.as_ref().is_some_and(|file| !file.is_toml());
    match home {
        Some(home) if is_upstream => home.join("store"),
        _ => PathBuf::from("data"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::FileText;

    #[test]
    fn only_a_file_in_upstreams_format_makes_upstreams_data_directory_the_default() {
        let home = Some(Path::new("/home/u"));
        let with =
            |path: &str| Input { file: Some(FileText { path: path.into(), text: String::new() }), ..Input::default() };
        assert_eq!(data_directory(&Input::default(), home), Path::new("data"));
        assert_eq!(data_directory(&with("x.toml"), home), Path::new("data"));
        assert_eq!(data_directory(&with("broker.conf"), home), Path::new("/home/u/store"));
        assert_eq!(data_directory(&with("broker.conf"), None), Path::new("data"));
    }
}
