//! The envelope that every request and response shares.

use bytes::{Bytes, BytesMut};

use crate::code::{RequestCode, ResponseCode};
use crate::error::{DecodeError, HeaderError};
use crate::fields::Fields;
use crate::frame::{FrameView, Serialization};
use crate::header::{RequestHeader, ResponseHeader};
use crate::language::Language;
use crate::serialize;
use crate::writer::{Envelope, FrameWriter};
use crate::{FLAG_ONEWAY, FLAG_RESPONSE, VERSION};

pub use crate::serialize::scratch::HeaderScratch;

/// Most fields that one header may have.
pub const MAX_FIELDS: usize = 128;
/// Longest header, in bytes. Apache's only limit is the frame; its longest is a 32 KiB property text, escaped.
pub const MAX_HEADER: usize = 1 << 20;

/// A command whose header has been scanned; text is borrowed from the frame or from the scratch memory.
#[derive(Debug, Clone, Copy)]
pub struct CommandView<'a> {
    /// Request or response code.
    pub code: i32,
    /// What the peer is written in.
    pub language: Language,
    /// The peer's version, see [`VERSION`].
    pub version: i32,
    /// Pairs a response with its request.
    pub opaque: i32,
    /// Bit 0: response, bit 1: oneway.
    pub flag: i32,
    /// Text for people; never empty.
    pub remark: Option<&'a str>,
    /// The header's fields.
    pub fields: Fields<'a>,
}

impl<'a> CommandView<'a> {
    /// Scans the header of `frame`. Allocates nothing once `scratch` has grown to what the headers need.
    pub fn parse(frame: &FrameView<'a>, scratch: &'a mut HeaderScratch) -> Result<CommandView<'a>, DecodeError> {
        if frame.header.len() > MAX_HEADER {
            return Err(DecodeError::TooLong { len: frame.header.len(), limit: MAX_HEADER });
        }
        match frame.serialization {
            Serialization::Json => serialize::json::scan(frame.header, scratch),
            Serialization::Binary => serialize::binary::scan(frame.header, scratch),
        }
    }

    /// The code as one of requests.
    pub fn request_code(&self) -> RequestCode {
        RequestCode(self.code)
    }

    /// The code as one of responses.
    pub fn response_code(&self) -> ResponseCode {
        ResponseCode(self.code)
    }

    /// Whether this answers a request.
    pub fn is_response(&self) -> bool {
        self.flag & FLAG_RESPONSE != 0
    }

    /// Whether no answer is wanted, not even an error.
    pub fn is_oneway(&self) -> bool {
        self.flag & FLAG_ONEWAY != 0
    }
}

/// A command that owns its text, for clients, cold paths and tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Request or response code.
    pub code: i32,
    /// What the peer is written in.
    pub language: Language,
    /// The peer's version, see [`VERSION`].
    pub version: i32,
    /// Pairs a response with its request.
    pub opaque: i32,
    /// Bit 0: response, bit 1: oneway.
    pub flag: i32,
    /// Text for people; never empty.
    pub remark: Option<String>,
    /// The header's fields, in order.
    pub fields: Vec<(String, String)>,
    /// The body, perhaps empty.
    pub body: Bytes,
}

impl Command {
    /// A request without fields and body; `opaque` is the sender's to set.
    pub fn request(code: RequestCode) -> Self {
        Self::new(code.0, 0)
    }

    /// A request with a typed header.
    pub fn with_header<'a, H: RequestHeader<'a>>(header: &H) -> Self {
        let mut command = Self::request(H::CODE);
        header.encode(&mut command.fields);
        command
    }

    /// A response without fields and body, paired with the request by `opaque`.
    pub fn response(code: ResponseCode, opaque: i32) -> Self {
        Self { opaque, ..Self::new(code.0, FLAG_RESPONSE) }
    }

    fn new(code: i32, flag: i32) -> Self {
        Self {
            code,
            language: Language::Java,
            version: VERSION,
            opaque: 0,
            flag,
            remark: None,
            fields: Vec::new(),
            body: Bytes::new(),
        }
    }

    /// The same with one more field.
    #[must_use]
    pub fn with_field(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.fields.push((name.into(), value.to_string()));
        self
    }

    /// The same with that body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// The same with that text for people.
    #[must_use]
    pub fn with_remark(mut self, remark: impl Into<String>) -> Self {
        self.remark = Some(remark.into()).filter(|remark| !remark.is_empty());
        self
    }

    /// The same as a request that wants no answer.
    #[must_use]
    pub fn oneway(mut self) -> Self {
        self.flag |= FLAG_ONEWAY;
        self
    }

    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields().get(name)
    }

    /// All fields, with typed getters.
    pub fn fields(&self) -> Fields<'_> {
        Fields::pairs(&self.fields)
    }

    /// The fields as a typed request header; the code is not looked at.
    pub fn request_header<'a, H: RequestHeader<'a>>(&'a self) -> Result<H, HeaderError> {
        H::decode(&self.fields())
    }

    /// The fields as a typed response header.
    pub fn response_header<'a, H: ResponseHeader<'a>>(&'a self) -> Result<H, HeaderError> {
        H::decode(&self.fields())
    }

    /// Whether this answers a request.
    pub fn is_response(&self) -> bool {
        self.flag & FLAG_RESPONSE != 0
    }

    /// Whether no answer is wanted.
    pub fn is_oneway(&self) -> bool {
        self.flag & FLAG_ONEWAY != 0
    }

    /// Reads a frame, copying all it holds.
    pub fn decode(frame: &FrameView<'_>) -> Result<Self, DecodeError> {
        let mut scratch = HeaderScratch::default();
        let view = CommandView::parse(frame, &mut scratch)?;
        Ok(Self::from_view(&view, Bytes::copy_from_slice(frame.body)))
    }

    /// Copies a scanned command; the body is given, so that it need not be copied.
    pub fn from_view(view: &CommandView<'_>, body: Bytes) -> Self {
        Self {
            code: view.code,
            language: view.language,
            version: view.version,
            opaque: view.opaque,
            flag: view.flag,
            remark: view.remark.map(str::to_owned),
            fields: view.fields.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            body,
        }
    }

    /// Appends the whole frame, body included.
    pub fn encode(&self, serialization: Serialization, out: &mut BytesMut) {
        let mut writer = FrameWriter::begin(out, serialization, &self.envelope());
        for (name, value) in &self.fields {
            writer.field(name, value);
        }
        writer.finish(self.body.len());
        out.extend_from_slice(&self.body);
    }

    /// The envelope without fields and body.
    pub fn envelope(&self) -> Envelope<'_> {
        Envelope {
            code: self.code,
            version: self.version,
            opaque: self.opaque,
            flag: self.flag,
            remark: self.remark.as_deref(),
            language: self.language,
        }
    }
}
