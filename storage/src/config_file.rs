//! The files of `config/`: written whole, with the previous content in `<file>.bak`.
//!
//! Invariant: at any moment, a crash included, at least one of `<file>` and `<file>.bak` is a whole older or newer
//! content. The new content goes to `<file>.tmp`, is synced, and only then takes the place of the old one, whose bytes
//! become the backup. What is left on disk is what Apache writes; leftovers ending in `.tmp` mean nothing.

use std::hash::BuildHasher;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rustc_hash::FxBuildHasher;

use crate::error::FileError;
use crate::fs::{FileSystem, OpenMode, read_if_there};

/// Held while a file is saved, so that two saves of one file, perhaps by different handles, do not mix. Which one is
/// chosen by the path: files seldom wait for each other.
static SAVING: [Mutex<()>; 16] = [const { Mutex::new(()) }; 16];

/// Why the content of a file cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ContentError<E> {
    /// The disk does not give it.
    #[error(transparent)]
    File(#[from] FileError),
    /// It makes no sense, nor does that of the backup.
    #[error(transparent)]
    Refused(E),
}

/// One file of `<root>/config`. Cheap to make.
pub struct ConfigFile {
    fs: Arc<dyn FileSystem>,
    path: PathBuf,
}

impl ConfigFile {
    /// The file `<root>/config/<name>`. Nothing is read or written yet.
    pub fn new(fs: Arc<dyn FileSystem>, root: &Path, name: &str) -> Self {
        Self::at(fs, root.join("config").join(name))
    }

    /// A file at any place that is kept in the same way.
    pub fn at(fs: Arc<dyn FileSystem>, path: PathBuf) -> Self {
        Self { fs, path }
    }

    /// Where the file lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The content, or that of `.bak` when the file is missing, empty or cannot be read; `None` when both are.
    pub fn load(&self) -> Option<Vec<u8>> {
        self.candidates().next()
    }

    /// What `parse` makes of the content, or of `.bak` when the file is missing, empty or refused by `parse`.
    ///
    /// `Ok(None)` when neither file has content: a new directory. An error is that of the newest content that `parse`
    /// refused, and says that no copy is usable; or that of the disk, which must not bring back an older content.
    pub fn load_with<T, E>(&self, mut parse: impl FnMut(&[u8]) -> Result<T, E>) -> Result<Option<T>, ContentError<E>> {
        let mut refused = None;
        for path in [self.path.clone(), self.backup()] {
            let content = read_if_there(&*self.fs, &path).map_err(FileError::of("read", &path))?;
            let Some(content) = content.filter(|content| !content.is_empty()) else { continue };
            match parse(&content) {
                Ok(value) => return Ok(Some(value)),
                Err(error) => {
                    tracing::warn!(file = %self.path.display(), "config file cannot be parsed, trying its backup");
                    refused.get_or_insert(error);
                }
            }
        }
        refused.map_or(Ok(None), |error| Err(ContentError::Refused(error)))
    }

    /// Replaces the content durably; the previous content becomes `.bak`. After an error the old content is still there.
    pub fn save(&self, content: &[u8]) -> Result<(), FileError> {
        let _one_at_a_time = saving(&self.path).lock();
        let fresh = with_suffix(&self.path, ".tmp");
        if let Some(directory) = self.path.parent() {
            self.fs.create_dir_all(directory).map_err(FileError::of("create", directory))?;
        }
        self.fs.write(&fresh, content).map_err(FileError::of("write", &fresh))?;
        let file = self.fs.open(&fresh, OpenMode::ReadWrite).map_err(FileError::of("open", &fresh))?;
        self.fs.sync_data(&file, &fresh).map_err(FileError::of("sync", &fresh))?;

        let previous = self.stage_backup()?;
        self.fs.rename(&fresh, &self.path).map_err(FileError::of("rename", &fresh))?;
        if let Some(staged) = previous {
            self.fs.rename(&staged, &self.backup()).map_err(FileError::of("rename", &staged))?;
        }
        let Some(directory) = self.path.parent() else { return Ok(()) };
        self.fs.sync_dir(directory).map_err(FileError::of("sync", directory))
    }

    /// Copies the current content beside the backup, without touching either. `None` when there is nothing worth keeping.
    fn stage_backup(&self) -> Result<Option<PathBuf>, FileError> {
        if !self.fs.exists(&self.path) {
            return Ok(None);
        }
        let current = self.fs.read(&self.path).map_err(FileError::of("read", &self.path))?;
        if current.is_empty() {
            return Ok(None);
        }
        let staged = with_suffix(&self.path, ".bak.tmp");
        self.fs.write(&staged, &current).map_err(FileError::of("write", &staged))?;
        Ok(Some(staged))
    }

    /// The contents of the file and its backup, those that exist and are not empty.
    fn candidates(&self) -> impl Iterator<Item = Vec<u8>> {
        [self.path.clone(), self.backup()].into_iter().filter_map(|path| {
            if !self.fs.exists(&path) {
                return None;
            }
            match self.fs.read(&path) {
                Ok(content) => Some(content).filter(|content| !content.is_empty()),
                Err(error) => {
                    tracing::warn!(file = %path.display(), %error, "config file cannot be read");
                    None
                }
            }
        })
    }

    fn backup(&self) -> PathBuf {
        with_suffix(&self.path, ".bak")
    }
}

fn saving(path: &Path) -> &'static Mutex<()> {
    let stripe = FxBuildHasher.hash_one(path) as usize % SAVING.len();
    // The remainder is inside.
    &SAVING[stripe]
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::fs::{Fault, FaultyFs, Op, RealFs};

    fn parse(content: &[u8]) -> Result<serde_json::Value, serde_json::Error> {
        serde_json::from_slice(content)
    }

    fn file_in(root: &Path) -> ConfigFile {
        ConfigFile::new(Arc::new(RealFs), root, "topics.json")
    }

    #[test]
    fn a_new_directory_has_no_content() {
        let root = tempfile::tempdir().unwrap();
        let file = file_in(root.path());
        assert_eq!(file.load(), None);
        assert!(file.load_with(parse).unwrap().is_none());
    }

    #[test]
    fn the_previous_content_becomes_the_backup() {
        let root = tempfile::tempdir().unwrap();
        let file = file_in(root.path());
        file.save(b"1").unwrap();
        assert!(!file.backup().exists());
        file.save(b"2").unwrap();
        file.save(b"3").unwrap();
        assert_eq!(RealFs.read(file.path()).unwrap(), b"3");
        assert_eq!(RealFs.read(&file.backup()).unwrap(), b"2");
        let names: Vec<_> = RealFs.list(&root.path().join("config")).unwrap().into_iter().map(|e| e.name).collect();
        assert_eq!(names, ["topics.json", "topics.json.bak"]);
    }

    #[test]
    fn a_missing_empty_or_damaged_file_falls_back_to_its_backup() {
        let root = tempfile::tempdir().unwrap();
        let file = file_in(root.path());
        file.save(b"1").unwrap();
        file.save(b"2").unwrap();
        for damaged in [&b"{\"a\":"[..], b"", b"\0\0\0\0"] {
            RealFs.write(file.path(), damaged).unwrap();
            assert_eq!(file.load_with(parse).unwrap(), Some(1.into()), "{damaged:?}");
        }
        RealFs.remove_file(file.path()).unwrap();
        assert_eq!(file.load(), Some(b"1".to_vec()));
    }

    #[test]
    fn a_file_that_the_disk_does_not_give_is_not_replaced_by_its_backup() {
        let root = tempfile::tempdir().unwrap();
        let fs = Arc::new(FaultyFs::new());
        let file = ConfigFile::new(fs.clone(), root.path(), "topics.json");
        file.save(b"1").unwrap();
        file.save(b"2").unwrap();
        fs.fail_with(Op::Read, Fault { after: 0, times: 1, kind: io::ErrorKind::Other });
        let error = file.load_with(parse).unwrap_err().to_string();
        assert!(error.contains("cannot read") && error.ends_with("topics.json"), "{error}");
        assert_eq!(file.load_with(parse).unwrap(), Some(2.into()));
    }

    #[test]
    fn an_error_is_told_only_when_no_copy_is_usable() {
        let root = tempfile::tempdir().unwrap();
        let file = file_in(root.path());
        file.save(b"x").unwrap();
        assert!(file.load_with(parse).is_err());
        file.save(b"y").unwrap();
        assert!(file.load_with(parse).is_err());
        file.save(b"5").unwrap();
        assert_eq!(file.load_with(parse).unwrap(), Some(5.into()));
    }

    #[test]
    fn saves_by_several_handles_leave_whole_contents() {
        let root = tempfile::tempdir().unwrap();
        let content = |n: u8| vec![b'0' + n; 50_000];
        std::thread::scope(|scope| {
            for n in 0..4 {
                let file = file_in(root.path());
                scope.spawn(move || (0..5).for_each(|_| file.save(&content(n)).unwrap()));
            }
        });
        let file = file_in(root.path());
        for found in [RealFs.read(file.path()).unwrap(), RealFs.read(&file.backup()).unwrap()] {
            assert!((0..4).any(|n| found == content(n)));
        }
    }

    #[test]
    fn whatever_step_of_a_save_fails_a_usable_copy_remains() {
        for op in [Op::Write, Op::Open, Op::Sync, Op::Rename, Op::SyncDir, Op::Create] {
            for after in 0..3 {
                for damaged_before in [false, true] {
                    let root = tempfile::tempdir().unwrap();
                    let fs = Arc::new(FaultyFs::new());
                    let file = ConfigFile::new(fs.clone(), root.path(), "topics.json");
                    file.save(b"1").unwrap();
                    file.save(b"2").unwrap();
                    if damaged_before {
                        RealFs.write(file.path(), b"{").unwrap();
                    }
                    fs.fail_with(op, Fault { after, times: u64::MAX, kind: io::ErrorKind::StorageFull });
                    let saved = file.save(b"3").is_ok();
                    fs.heal(op);
                    let found = file.load_with(parse).unwrap().unwrap();
                    let old = if damaged_before { 1 } else { 2 };
                    assert!(found == 3 || !saved && found == old, "{op:?} {after}: {found}");
                }
            }
        }
    }
}
