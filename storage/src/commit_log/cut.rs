//! Taking the log back to an offset.
//!
//! What readers hold never changes under them: when nobody holds the segment its end is zeroed in place, else its
//! beginning is copied to a new file that takes the name, and the old one lives on, nameless, until its readers are gone.

use std::sync::Arc;

use super::{CommitLog, Segment};
use crate::error::{CutError, FileError};
use crate::fs::OpenMode;
use crate::mmap::{LogWriter, MappedLog};

impl CommitLog {
    /// Makes `offset` the end of the log, durably. `queues` takes what points to it along, under the append lock.
    pub(crate) fn cut(&self, offset: u64, queues: impl FnOnce() -> Result<(), FileError>) -> Result<(), CutError> {
        let mut tail = self.tail.lock();
        self.try_to_write_gathered(&mut tail)?;
        let (min, max) = (self.min(), tail.end);
        if offset < min || offset > max {
            return Err(CutError::Outside { offset, min, max });
        }
        if offset == max {
            return Ok(());
        }
        let cut = self.allocator.discard().and_then(|()| self.cut_segments(offset)).and_then(|writer| {
            queues()?;
            Ok(writer)
        });
        match cut {
            Ok(writer) => {
                tail.writer = Some(writer);
                tail.end = offset;
                tail.dispatched = offset;
                tail.forget_next();
                self.progress.reset(offset);
                Ok(())
            }
            Err(error) => {
                self.gate.poison(&format!("the log could not be cut: {error}: {}", error.source));
                Err(error.into())
            }
        }
    }

    fn cut_segments(&self, offset: u64) -> Result<LogWriter, FileError> {
        let segments = self.segments.swap(Arc::default());
        let (mut kept, mut writer) = (Vec::new(), None);
        for segment in segments.iter() {
            if segment.base > offset {
                self.files.remove(segment.log.path())?;
            } else if segment.end() <= offset {
                kept.push(Arc::clone(segment));
            } else {
                writer = Some(Arc::clone(segment));
            }
        }
        drop(segments);
        // `offset` is inside the log, so one segment holds it, unless the log ends exactly with a file: then that is new.
        let (base, writer) = match writer {
            Some(segment) => (segment.base, self.cut_segment(segment, offset)?),
            None => (offset, self.files.create(offset)?),
        };
        kept.push(Arc::new(Segment { base, log: Arc::clone(writer.log()) }));
        self.segments.store(Arc::new(kept));
        Ok(writer)
    }

    fn cut_segment(&self, segment: Arc<Segment>, offset: u64) -> Result<LogWriter, FileError> {
        let keep = usize::try_from(offset - segment.base).unwrap_or(usize::MAX);
        let path = segment.log.path().to_owned();
        let unshared = Arc::try_unwrap(segment).map(|segment| segment.log).map_err(|segment| Arc::clone(&segment.log));
        let log = match unshared {
            Ok(log) => match LogWriter::reclaim(log) {
                Ok(mut writer) => {
                    if writer.retract(keep) {
                        writer.clear_rest(self.files.fs()).map_err(FileError::of("zero the end of", &path))?;
                    }
                    return Ok(writer);
                }
                Err(log) => log,
            },
            Err(log) => log,
        };
        self.replace(&log, keep)
    }

    /// A new file with the first `keep` bytes of `log`, in its place.
    fn replace(&self, log: &MappedLog, keep: usize) -> Result<LogWriter, FileError> {
        let fs = self.files.fs();
        let path = log.path().to_owned();
        let fresh = path.with_extension("cut");
        let failed = FileError::of("rewrite", &path);
        let rewrite = || {
            let file = fs.open(&fresh, OpenMode::CreateOrOpen)?;
            fs.zero_range(&file, &fresh, 0, file.metadata()?.len())?;
            fs.preallocate(&file, &fresh, 0, log.len() as u64)?;
            let mut writer = LogWriter::map(file, path.clone(), log.len())?;
            if let (Some(room), Some(kept)) = (writer.room(keep), log.read(0..keep)) {
                room.copy_from_slice(kept);
            }
            writer.publish(keep);
            writer.log().sync(fs)?;
            fs.rename(&fresh, &path)?;
            path.parent().map_or(Ok(()), |dir| fs.sync_dir(dir))?;
            Ok(writer)
        };
        rewrite().map_err(failed)
    }
}
