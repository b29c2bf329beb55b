//! Reading a file from some place on, through the [`FileSystem`].

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::{FileSystem, OpenMode};

/// The file as [`Read`].
pub struct FileReader<'a> {
    fs: &'a dyn FileSystem,
    path: &'a Path,
    file: File,
    at: u64,
}

impl<'a> FileReader<'a> {
    /// Opens the file at its beginning.
    ///
    /// # Errors
    /// The disk refused, or there is none.
    pub fn open(fs: &'a dyn FileSystem, path: &'a Path) -> io::Result<Self> {
        let file = fs.open(path, OpenMode::Read)?;
        Ok(Self { fs, path, file, at: 0 })
    }

    /// Goes on at this place.
    #[must_use]
    pub fn from(self, at: u64) -> Self {
        Self { at, ..self }
    }

    /// Length of the file in bytes.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn file_len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

impl Read for FileReader<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.fs.read_at(&self.file, self.path, bytes, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}
