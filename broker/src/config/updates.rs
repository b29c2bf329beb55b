//! Changes that requests made to the running configuration, kept for the next start.
//!
//! Upstream rewrites the configuration file itself. That file may be mounted read-only, or under version control, and
//! has comments; so ours is left alone and changes go to a file of their own in the data directory, which counts more
//! than the configuration file and less than environment and flags.

use std::io;
use std::path::{Path, PathBuf};

use tenonmq_storage::fs::{FileSystem, read_if_there, replace};

use super::load::FileText;
use super::values::{ConfigError, Source, Values};
use super::{keys, properties};

/// Where changes are kept, in a folder that is ours and that upstream ignores.
#[must_use]
pub fn path(data_directory: &Path) -> PathBuf {
    data_directory.join("tenonmq").join("changes.properties")
}

/// The file of a data directory; `None` when nothing was changed yet.
///
/// # Errors
/// [`ConfigError::Unreadable`]: it is there, and the disk does not give it.
pub fn kept(disk: &dyn FileSystem, data_directory: &Path) -> Result<Option<FileText>, ConfigError> {
    let path = path(data_directory);
    match read_if_there(disk, &path) {
        Ok(found) => Ok(found.map(|bytes| FileText { text: properties::decode(&bytes), path })),
        Err(source) => Err(ConfigError::Unreadable { path, source }),
    }
}

/// Sets what was kept. Keys that no longer exist are left out.
pub(super) fn read(file: &FileText, values: &mut Values) -> Result<(), ConfigError> {
    let syntax =
        |error: properties::SyntaxError| ConfigError::Syntax { path: file.path.clone(), reason: error.to_string() };
    for entry in properties::parse(&file.text).map_err(syntax)? {
        if let Some(key) = keys::find(&entry.key) {
            values.set(key, &entry.value, Source::Update);
        }
    }
    Ok(())
}

/// Writes every value that a request set, in place of what was kept before, durably.
pub(super) fn write(disk: &dyn FileSystem, path: &Path, values: &Values) -> io::Result<()> {
    let mut text = String::from("# Written by TenonMQ: what requests changed. Delete a line to take a change back.\n");
    for name in values.names() {
        if let Some(given) = values.get(name).filter(|given| given.source == Source::Update) {
            properties::write_line(&mut text, name, &given.text);
        }
    }
    if let Some(folder) = path.parent() {
        disk.create_dir_all(folder)?;
    }
    replace(disk, path, text.as_bytes())
}
