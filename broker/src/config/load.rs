//! Collects what every source says, from the weakest to the strongest.
//!
//! [`load`] does no I/O: files, environment and flags are handed to it, so tests hand theirs.

use std::path::{Path, PathBuf};

use super::keys::{self, Key};
use super::machine::Machine;
use super::model::Config;
use super::values::{ConfigError, Source, Values};
use super::{properties, toml, updates};

/// What was found outside: nothing in it is checked yet.
#[derive(Debug, Default)]
pub struct Input {
    /// The configuration file, when one was named.
    pub file: Option<FileText>,
    /// What requests changed while the program ran before, see [`super::updates`].
    pub changes: Option<FileText>,
    /// The environment, every variable of it.
    pub environment: Vec<(String, String)>,
    /// `key`, `value` and the flag that said so, in the order of the command line.
    pub flags: Vec<(String, String, String)>,
}

/// A configuration file that has been read.
#[derive(Debug)]
pub struct FileText {
    /// As given on the command line.
    pub path: PathBuf,
    /// Its content.
    pub text: String,
}

impl FileText {
    /// Reads a file as either format needs it.
    ///
    /// # Errors
    /// [`ConfigError::Unreadable`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let path = path.to_owned();
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Self { text: properties::decode(&bytes), path }),
            Err(source) => Err(ConfigError::Unreadable { path, source }),
        }
    }

    /// TOML goes by its name; everything else is upstream's format.
    #[must_use]
    pub fn is_toml(&self) -> bool {
        self.path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("toml"))
    }
}

/// Something that was said and cannot be followed, though the program can go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The key as given.
    pub key: String,
    /// Who gave it.
    pub from: String,
    /// A known key that looks like it.
    pub nearest: Option<&'static str>,
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "unknown key {} ({}) is ignored", self.key, self.from)?;
        match self.nearest {
            Some(nearest) => write!(f, "; did you mean {nearest}?"),
            None => Ok(()),
        }
    }
}

/// The outcome of all sources together.
#[derive(Debug)]
pub struct Loaded {
    /// What the program will do.
    pub config: Config,
    /// What was said, by key.
    pub values: Values,
    /// What nobody understands.
    pub warnings: Vec<Warning>,
    /// Keys that were set, are known upstream, and have no effect here.
    pub without_effect: Vec<&'static str>,
}

/// Applies the sources in order: file, kept changes, environment, flags.
///
/// # Errors
/// [`ConfigError`]: a file that is not what its format allows, a value that its key does not take, a flag
/// with an unknown key.
pub fn load(input: &Input, machine: &Machine) -> Result<Loaded, ConfigError> {
    let mut values = Values::default();
    let mut warnings = Vec::new();
    if let Some(file) = &input.file {
        from_file(file, &mut values, &mut warnings)?;
    }
    if let Some(file) = &input.changes {
        updates::read(file, &mut values)?;
    }
    from_environment(&input.environment, &mut values, &mut warnings);
    from_flags(&input.flags, &mut values)?;
    let (config, without_effect) = Config::build_noting(&values, machine)?;
    Ok(Loaded { config, values, warnings, without_effect })
}

fn from_file(file: &FileText, values: &mut Values, warnings: &mut Vec<Warning>) -> Result<(), ConfigError> {
    let syntax = |reason: String| ConfigError::Syntax { path: file.path.clone(), reason };
    let entries: Vec<(String, String, Option<usize>)> = if file.is_toml() {
        let entries = toml::parse(&file.text).map_err(syntax)?;
        entries.into_iter().map(|(k, v)| (k, v, None)).collect()
    } else {
        let entries = properties::parse(&file.text).map_err(|error| syntax(error.to_string()))?;
        entries.into_iter().map(|entry| (entry.key, entry.value, Some(entry.line))).collect()
    };
    for (key, value, line) in entries {
        let path = file.path.clone();
        let source = Source::File { path, line };
        match keys::find(&key) {
            Some(known) => values.set(known, &value, source),
            None => warnings.push(unknown(key, &source)),
        }
    }
    Ok(())
}

/// `NAMESRV_ADDR`, as every RocketMQ program reads it, and `TENONMQ_` with any key behind.
fn from_environment(environment: &[(String, String)], values: &mut Values, warnings: &mut Vec<Warning>) {
    const PREFIX: &str = "TENONMQ_";
    let mut set = |key: &'static Key, name: &str, value: &str| {
        values.set(key, value, Source::Environment(name.to_owned()));
    };
    for (name, value) in environment {
        if name == "NAMESRV_ADDR"
            && let Some(key) = keys::find("namesrvAddr")
        {
            set(key, name, value);
        }
    }
    for (name, value) in environment {
        let Some(rest) = name.get(..PREFIX.len()).and_then(|start| {
            let matches = start.eq_ignore_ascii_case(PREFIX);
            matches.then(|| &name[PREFIX.len()..])
        }) else {
            continue;
        };
        match keys::find_loosely(rest) {
            Some(key) => set(key, name, value),
            None => {
                let source = Source::Environment(name.clone());
                warnings.push(unknown(rest.to_owned(), &source));
            }
        }
    }
}

/// A flag is typed by somebody who is looking, so an unknown key is an error there.
fn from_flags(flags: &[(String, String, String)], values: &mut Values) -> Result<(), ConfigError> {
    for (name, value, flag) in flags {
        let Some(key) = keys::find(name) else {
            let hint = match keys::nearest(name) {
                Some(nearest) => format!("; did you mean {nearest}?"),
                None => String::new(),
            };
            return Err(ConfigError::Usage(format!("{flag}: unknown key {name}{hint}")));
        };
        values.set(key, value, Source::Flag(flag.clone()));
    }
    Ok(())
}

fn unknown(key: String, source: &Source) -> Warning {
    Warning { nearest: keys::nearest(&key), from: source.to_string(), key }
}
