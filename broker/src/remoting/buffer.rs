//! The bytes that a connection has read and not yet served, and a pool so that idle connections hold none.

use std::cell::RefCell;

use tenonmq_protocol::command::HeaderScratch;

use super::outbox::Outbox;

/// What one read can bring in at most, unless a larger frame is under way.
const READ_CHUNK: usize = 128 * 1024;
/// A frame that is under way gets room for so many times what has come of it.
const GROWTH: usize = 4;
/// Buffers that grew beyond this for one large frame are given back to the allocator.
const KEEP_LIMIT: usize = 1024 * 1024;
/// Idle buffers kept by each worker thread.
const POOL_SIZE: usize = 16;

/// A growable window of unread bytes.
///
/// Invariant: `start <= end <= data.len()`; `data[start..end]` is what was read and not consumed.
#[derive(Default)]
pub(super) struct ReadBuffer {
    data: Vec<u8>,
    start: usize,
    end: usize,
}

impl ReadBuffer {
    /// Bytes read and not yet consumed.
    pub(super) fn unread(&self) -> &[u8] {
        &self.data[self.start..self.end]
    }

    /// Marks `len` bytes as served.
    pub(super) fn consume(&mut self, len: usize) {
        self.start += len.min(self.end - self.start);
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Room for the next read: at least a chunk, or what is missing of a frame of `wanted` bytes. It grows with what
    /// has come of the frame: its announced length alone costs its sender nothing.
    pub(super) fn room(&mut self, wanted: usize) -> &mut [u8] {
        let unread = self.end - self.start;
        let need = wanted.min(unread * GROWTH + READ_CHUNK).max(unread + 4096).max(READ_CHUNK);
        if self.data.len() - self.start < need && self.start > 0 {
            self.data.copy_within(self.start..self.end, 0);
            self.start = 0;
            self.end = unread;
        }
        if self.data.len() < need {
            let mut grown = vec![0; need]; // from the allocator as zeroes: pages that are not written cost nothing
            grown[..unread].copy_from_slice(self.unread());
            (self.data, self.start, self.end) = (grown, 0, unread);
        }
        &mut self.data[self.end..]
    }

    /// Counts `len` bytes that the last read put into [`ReadBuffer::room`].
    pub(super) fn filled(&mut self, len: usize) {
        self.end = (self.end + len).min(self.data.len());
    }

    /// Gives back what the unread bytes do not need.
    pub(super) fn shrink(&mut self) {
        let unread = self.end - self.start;
        if self.data.len() / 2 > unread {
            self.data = self.unread().to_vec();
            (self.start, self.end) = (0, unread);
        }
    }

    /// Bytes of memory.
    pub(super) fn capacity(&self) -> usize {
        self.data.capacity()
    }

    fn is_worth_keeping(&self) -> bool {
        (READ_CHUNK..=KEEP_LIMIT).contains(&self.data.len())
    }
}

/// Everything a connection needs while it is being served, and nothing it needs while it is idle.
#[derive(Default)]
pub(super) struct Buffers {
    /// Bytes from the peer.
    pub(super) input: ReadBuffer,
    /// Replies on their way to the peer.
    pub(super) outbox: Outbox,
    /// Memory for unescaping header text.
    pub(super) scratch: HeaderScratch,
}

thread_local! {
    #[expect(clippy::vec_box, reason = "buffers move between the pool and connections; the box keeps that a pointer")]
    static POOL: RefCell<Vec<Box<Buffers>>> = const { RefCell::new(Vec::new()) };
}

/// Buffers from this thread's pool, or new ones.
pub(super) fn take() -> Box<Buffers> {
    POOL.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// Returns buffers that hold nothing.
pub(super) fn give_back(buffers: Box<Buffers>) {
    if !buffers.input.is_worth_keeping() || !buffers.outbox.is_worth_keeping() {
        return;
    }
    POOL.with_borrow_mut(|pool| {
        if pool.len() < POOL_SIZE {
            pool.push(buffers);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announced_length_gets_no_room_before_its_bytes_come() {
        let mut buffer = ReadBuffer::default();
        buffer.room(16 << 20);
        assert!(buffer.capacity() <= READ_CHUNK);
        buffer.filled(READ_CHUNK);
        buffer.room(16 << 20);
        assert!(buffer.capacity() <= (GROWTH + 1) * READ_CHUNK);
        while buffer.unread().len() < 16 << 20 {
            let room = buffer.room(16 << 20).len();
            buffer.filled(room);
        }
        assert_eq!(buffer.unread().len(), 16 << 20);
    }

    #[test]
    fn a_shrunk_buffer_keeps_what_is_unread_and_grows_again() {
        let mut buffer = ReadBuffer::default();
        buffer.room(0)[..10].copy_from_slice(b"0123456789");
        buffer.filled(10);
        buffer.consume(3);
        buffer.shrink();
        assert_eq!((buffer.unread(), buffer.capacity()), (&b"3456789"[..], 7));
        buffer.room(0)[..3].copy_from_slice(b"abc");
        buffer.filled(3);
        assert_eq!(buffer.unread(), b"3456789abc");
    }

    #[test]
    fn consumed_bytes_make_room_and_unread_bytes_survive_growth() {
        let mut buffer = ReadBuffer::default();
        buffer.room(0)[..10].copy_from_slice(b"0123456789");
        buffer.filled(10);
        buffer.consume(4);
        let room = buffer.room(READ_CHUNK * 2).len();
        assert!(room >= READ_CHUNK - 6);
        assert_eq!(buffer.unread(), b"456789");
        buffer.consume(100);
        assert!(buffer.unread().is_empty());
    }
}
