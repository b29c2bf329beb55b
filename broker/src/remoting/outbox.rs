//! Replies that wait to be written: headers back to back in one buffer, large bodies by reference.

use std::{
    borrow::Cow,
    collections::VecDeque,
    io::{self, IoSlice},
};

use bytes::{Buf, Bytes, BytesMut};
use smallvec::SmallVec;
use tenonmq_protocol::{
    Command, Envelope, FieldSink, FieldValue, FrameWriter, ResponseCode, ResponseHeader, Serialization,
};

use tenonmq_storage::FilePlace;

use super::Request;

/// Bodies up to this size are copied behind their header; larger ones are written from where they are.
const COPY_LIMIT: usize = 512;
/// Records of the log of at least this size are sent from its file, without a copy. Less is not worth a call of its own.
const FILE_LEAST: usize = 16 * 1024;
/// Slices handed to one vectored write.
const SLICES: usize = 64;
const KEEP_LIMIT: usize = 1024 * 1024;

/// An owned answer, for futures and for paths where speed does not matter.
#[derive(Debug, Clone)]
pub struct Response {
    /// Outcome; see `remoting.md` section 3.
    pub code: ResponseCode,
    /// Text for people. Required with every code that is not success.
    pub remark: Option<Cow<'static, str>>,
    /// Header fields in the order of writing.
    pub fields: Vec<(String, String)>,
    /// Body, in pieces that are written one after the other.
    pub body: SmallVec<[Bytes; 4]>,
}

impl Response {
    /// Success without fields or body.
    pub fn ok() -> Self {
        Self { code: ResponseCode::SUCCESS, remark: None, fields: Vec::new(), body: SmallVec::new() }
    }

    /// A refusal with the reason.
    pub fn error(code: ResponseCode, remark: impl Into<Cow<'static, str>>) -> Self {
        Self { code, remark: Some(remark.into()), ..Self::ok() }
    }

    /// Adds a header field.
    #[must_use]
    pub fn field(mut self, name: &str, value: impl ToString) -> Self {
        self.fields.push((name.to_owned(), value.to_string()));
        self
    }

    /// Adds the fields of a typed header.
    #[must_use]
    pub fn header<'a>(mut self, header: &impl ResponseHeader<'a>) -> Self {
        header.encode(&mut self.fields);
        self
    }

    /// Sets the remark.
    #[must_use]
    pub fn remark(mut self, remark: impl Into<Cow<'static, str>>) -> Self {
        self.remark = Some(remark.into());
        self
    }

    /// Adds a piece of body.
    #[must_use]
    pub fn body(mut self, piece: impl Into<Bytes>) -> Self {
        self.body.push(piece.into());
        self
    }
}

impl FieldSink for Response {
    fn put(&mut self, name: &'static str, value: impl FieldValue) {
        self.fields.put(name, value);
    }
}

/// What identifies the request that a reply belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReplyTo {
    pub(super) opaque: i32,
    pub(super) serialization: Serialization,
    pub(super) oneway: bool,
}

/// Encoded frames in the order in which they leave.
///
/// `inline` holds headers and small bodies; `shared` holds large bodies with the position in `inline` before which each
/// is written. `inline_written` counts bytes of `inline` that have left.
#[derive(Default)]
pub struct Outbox {
    inline: BytesMut,
    inline_written: usize,
    shared: VecDeque<Shared>,
    shared_bytes: usize,
    /// Bytes of large bodies that are memory of ours and no pages of the log.
    owned_bytes: usize,
}

/// A body that is written from where it is.
struct Shared {
    /// Position in `inline` before which it is written.
    before: usize,
    bytes: Bytes,
    /// Where in the log these bytes are, when they are sent from there.
    file: Option<FilePlace>,
}

/// What is to be written next, in one call.
pub(super) enum Chunk<'a> {
    /// These slices, in order.
    Slices {
        slices: &'a [IoSlice<'a>],
        /// The rest of the same frame follows in a call of its own.
        more: bool,
    },
    /// These bytes, which are at that place of a file.
    File { bytes: &'a [u8], place: &'a FilePlace },
}

impl Outbox {
    /// Queues an owned answer. Nothing is queued for a oneway request.
    pub fn respond(&mut self, request: &Request<'_>, response: Response) {
        self.respond_to(request.reply_to(), response);
    }

    /// Queues an answer whose fields are written straight into the buffer, with a body of the log's own pages. Nothing
    /// is queued for a oneway request.
    pub fn reply(
        &mut self,
        request: &Request<'_>,
        code: ResponseCode,
        remark: Option<&str>,
        fields: impl FnOnce(&mut FrameWriter<'_>),
        body: &[Bytes],
    ) {
        self.reply_with(request, (code, remark), fields, body, |_| None);
    }

    /// As [`reply`](Self::reply), with records of the log as the body; `place_of` says where in a file some of them are.
    pub fn reply_records(
        &mut self,
        request: &Request<'_>,
        (code, remark): (ResponseCode, &str),
        fields: impl FnOnce(&mut FrameWriter<'_>),
        records: &[Bytes],
        place_of: impl Fn(&Bytes) -> Option<FilePlace>,
    ) {
        let place_of = |piece: &Bytes| if piece.len() >= FILE_LEAST { place_of(piece) } else { None };
        self.reply_with(request, (code, Some(remark)), fields, records, place_of);
    }

    fn reply_with(
        &mut self,
        request: &Request<'_>,
        (code, remark): (ResponseCode, Option<&str>),
        fields: impl FnOnce(&mut FrameWriter<'_>),
        body: &[Bytes],
        place_of: impl Fn(&Bytes) -> Option<FilePlace>,
    ) {
        let to = request.reply_to();
        if to.oneway {
            return;
        }
        self.header(to, code, remark, fields, body.iter().map(Bytes::len).sum());
        for piece in body {
            self.push_body(piece.clone(), place_of(piece));
        }
    }

    pub(super) fn respond_to(&mut self, to: ReplyTo, response: Response) {
        if to.oneway {
            return;
        }
        let length = response.body.iter().map(Bytes::len).sum();
        let write_fields = |writer: &mut FrameWriter<'_>| {
            for (name, value) in &response.fields {
                writer.field(name, value);
            }
        };
        self.header(to, response.code, response.remark.as_deref(), write_fields, length);
        for piece in response.body {
            self.owned_bytes += piece.len();
            self.push_body(piece, None);
        }
    }

    /// Queues a request of ours to the peer.
    pub(super) fn push_command(&mut self, command: &Command, serialization: Serialization) {
        command.encode(serialization, &mut self.inline);
    }

    /// Queues replies that were written before.
    pub(super) fn push_frames(&mut self, frames: &[u8]) {
        self.inline.extend_from_slice(frames);
    }

    /// A place to [`take_back`](Self::take_back) to.
    pub(super) fn mark(&self) -> usize {
        self.inline.len()
    }

    /// What was queued since `mark`, gone from here. Must be small replies, without bodies of their own.
    pub(super) fn take_back<T>(&mut self, mark: usize, look: impl FnOnce(&[u8]) -> T) -> T {
        debug_assert!(self.shared.back().is_none_or(|shared| shared.before <= mark));
        let taken = look(&self.inline[mark..]);
        self.inline.truncate(mark);
        taken
    }

    /// Bytes that have not left yet.
    pub(super) fn pending(&self) -> usize {
        self.inline.len() - self.inline_written + self.shared_bytes
    }

    /// Gives back memory when there is nothing in it.
    pub(super) fn shrink(&mut self) {
        if self.pending() == 0 {
            *self = Self::default();
        }
    }

    /// Bytes of memory that this holds, without pages of the log.
    pub(super) fn memory(&self) -> usize {
        self.inline.capacity() + self.owned_bytes
    }

    pub(super) fn is_worth_keeping(&self) -> bool {
        self.inline.capacity() <= KEEP_LIMIT && self.pending() == 0
    }

    /// Writes as much as `write` takes in one call; it is given what comes next.
    pub(super) fn write_with(&mut self, write: impl FnOnce(Chunk<'_>) -> io::Result<usize>) -> io::Result<usize> {
        let mut slices: SmallVec<[IoSlice<'_>; SLICES]> = SmallVec::new();
        let mut at = self.inline_written;
        let mut listed = 0;
        let mut file = None;
        for shared in &self.shared {
            if slices.len() + 2 > SLICES {
                break;
            }
            if at < shared.before {
                slices.push(IoSlice::new(&self.inline[at..shared.before]));
                at = shared.before;
            }
            if let Some(place) = &shared.file {
                file = Some((&*shared.bytes, place));
                break;
            }
            listed += 1;
            slices.push(IoSlice::new(&shared.bytes));
        }
        if listed == self.shared.len() && slices.len() < SLICES && at < self.inline.len() {
            slices.push(IoSlice::new(&self.inline[at..]));
        }
        let written = match file {
            Some((bytes, place)) if slices.is_empty() => write(Chunk::File { bytes, place }),
            file => write(Chunk::Slices { slices: &slices, more: file.is_some() }),
        }?;
        drop(slices);
        self.advance(written);
        Ok(written)
    }

    /// Everything that would be written, for who has no socket.
    pub fn take_all(&mut self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(self.pending());
        while self.pending() > 0 {
            let before = bytes.len();
            let copy = |chunk: Chunk<'_>| {
                match chunk {
                    Chunk::Slices { slices, .. } => slices.iter().for_each(|slice| bytes.extend_from_slice(slice)),
                    Chunk::File { bytes: slice, .. } => bytes.extend_from_slice(slice),
                }
                Ok(bytes.len() - before)
            };
            if self.write_with(copy).is_err() {
                break; // memory takes everything
            }
        }
        bytes.freeze()
    }

    fn advance(&mut self, mut written: usize) {
        while written > 0 {
            let inline_end = self.shared.front().map_or(self.inline.len(), |shared| shared.before);
            let step = written.min(inline_end - self.inline_written);
            self.inline_written += step;
            written -= step;
            if written == 0 {
                break;
            }
            let Some(Shared { bytes, file, .. }) = self.shared.front_mut() else { break };
            let step = written.min(bytes.len());
            bytes.advance(step);
            if let Some(place) = file {
                place.advance(step);
            }
            self.shared_bytes -= step;
            written -= step;
            if bytes.is_empty() {
                self.shared.pop_front();
            }
        }
        if self.pending() == 0 {
            self.inline.clear();
            self.inline_written = 0;
            self.owned_bytes = 0;
            self.shared.clear();
        }
    }

    fn header(
        &mut self,
        to: ReplyTo,
        code: ResponseCode,
        remark: Option<&str>,
        fields: impl FnOnce(&mut FrameWriter<'_>),
        body_len: usize,
    ) {
        let envelope = Envelope { remark, ..Envelope::response(code, to.opaque) };
        let mut writer = FrameWriter::begin(&mut self.inline, to.serialization, &envelope);
        fields(&mut writer);
        writer.finish(body_len);
    }

    fn push_body(&mut self, bytes: Bytes, file: Option<FilePlace>) {
        if bytes.len() <= COPY_LIMIT {
            self.inline.extend_from_slice(&bytes);
        } else {
            self.shared_bytes += bytes.len();
            self.shared.push_back(Shared { before: self.inline.len(), bytes, file });
        }
    }
}
