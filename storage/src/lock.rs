//! One process per data directory, and the mark of an unclean end.
//!
//! Two locks stand on `<root>/lock`: `flock`, which also keeps a second handle of this process out, and a POSIX record
//! lock, which is what the Java broker takes. The content is the four bytes `lock`; the file is never deleted.
//!
//! `<root>/abort` exists from start to a clean stop. Found at start, it says that the last run ended in the middle.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::FlockOperation;

use crate::error::{FileError, OpenError};
use crate::fs::{FileSystem, OpenMode};

/// Directories this process holds. A POSIX lock is lost when *any* handle to the file is closed, so a second attempt
/// must be turned away before it opens the file.
static HELD: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// The right to use a data directory. Given back when dropped.
#[derive(Debug)]
pub struct DirectoryLock {
    directory: PathBuf,
    _file: File,
}

impl DirectoryLock {
    /// Takes `<root>/lock`, creating the directory and the file when missing. Does not wait: [`OpenError::Locked`] when
    /// another handle, of this process or another, Java's included, has it.
    pub fn acquire(fs: &dyn FileSystem, root: &Path) -> Result<Self, OpenError> {
        let path = root.join("lock");
        fs.create_dir_all(root).map_err(FileError::of("create", root))?;
        let directory = root.canonicalize().map_err(FileError::of("find", root))?;
        let mut held = HELD.lock();
        if held.contains(&directory) {
            return Err(OpenError::Locked { path });
        }
        let file = fs.open(&path, OpenMode::CreateOrOpen).map_err(FileError::of("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::Locked { path }),
            Err(TryLockError::Error(source)) => return Err(FileError::of("lock", &path)(source).into()),
        }
        match rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => return Err(OpenError::Locked { path }),
            Err(errno) => return Err(FileError::of("lock", &path)(errno.into()).into()),
        }
        // Through this handle: opening and closing another one would give the record lock away.
        fs.write_at(&file, &path, b"lock", 0).map_err(FileError::of("write", &path))?;
        held.push(directory.clone());
        Ok(Self { directory, _file: file })
    }
}

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        HELD.lock().retain(|directory| *directory != self.directory);
    }
}

/// The `abort` file.
pub struct AbortFile {
    fs: Arc<dyn FileSystem>,
    path: PathBuf,
}

impl AbortFile {
    /// The mark of the data directory `root`. Nothing is read or written yet.
    pub fn new(fs: Arc<dyn FileSystem>, root: &Path) -> Self {
        Self { fs, path: root.join("abort") }
    }

    /// Whether the last run ended without [`remove`](Self::remove).
    pub fn exists(&self) -> bool {
        self.fs.exists(&self.path)
    }

    /// Marks the directory as in use: the process id in decimal, durable before the first record is written.
    pub fn create(&self) -> Result<(), FileError> {
        let pid = std::process::id().to_string();
        self.fs.write(&self.path, pid.as_bytes()).map_err(FileError::of("write", &self.path))?;
        let file = self.fs.open(&self.path, OpenMode::ReadWrite).map_err(FileError::of("open", &self.path))?;
        self.fs.sync_data(&file, &self.path).map_err(FileError::of("sync", &self.path))?;
        self.sync_directory()
    }

    /// Removes the mark, durably. Call only when log, queues and checkpoint are on disk.
    pub fn remove(&self) -> Result<(), FileError> {
        if self.exists() {
            self.fs.remove_file(&self.path).map_err(FileError::of("remove", &self.path))?;
        }
        self.sync_directory()
    }

    fn sync_directory(&self) -> Result<(), FileError> {
        let Some(root) = self.path.parent() else { return Ok(()) };
        self.fs.sync_dir(root).map_err(FileError::of("sync", root))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::RealFs;

    #[test]
    fn a_directory_that_another_handle_holds_is_refused_by_name() {
        let root = tempfile::tempdir().unwrap();
        let first = DirectoryLock::acquire(&RealFs, root.path()).unwrap();
        let error = DirectoryLock::acquire(&RealFs, root.path()).unwrap_err();
        assert!(matches!(error, OpenError::Locked { .. }));
        assert!(error.to_string().contains(&root.path().display().to_string()), "{error}");
        drop(first);
        DirectoryLock::acquire(&RealFs, root.path()).unwrap();
    }

    #[test]
    fn a_lock_of_another_process_is_respected() {
        let root = tempfile::tempdir().unwrap();
        // Another process is played by a handle that this module does not know of.
        let other = RealFs.open(&root.path().join("lock"), OpenMode::CreateNew).unwrap();
        other.lock().unwrap();
        assert!(matches!(DirectoryLock::acquire(&RealFs, root.path()), Err(OpenError::Locked { .. })));
    }

    #[test]
    fn the_lock_file_holds_its_four_bytes_and_stays() {
        let root = tempfile::tempdir().unwrap();
        drop(DirectoryLock::acquire(&RealFs, root.path()).unwrap());
        assert_eq!(RealFs.read(&root.path().join("lock")).unwrap(), b"lock");
    }

    #[test]
    fn abort_holds_the_process_id_until_it_is_removed() {
        let root = tempfile::tempdir().unwrap();
        let abort = AbortFile::new(Arc::new(RealFs), root.path());
        assert!(!abort.exists());
        abort.create().unwrap();
        let pid = RealFs.read(&root.path().join("abort")).unwrap();
        assert_eq!(pid, std::process::id().to_string().as_bytes());
        abort.remove().unwrap();
        assert!(!abort.exists());
        abort.remove().unwrap();
    }
}
