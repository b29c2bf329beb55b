//! Writing a frame straight into an output buffer: no map, no strings in between.

use bytes::{BufMut, BytesMut};

use crate::frame::{PREFIX_LEN, Serialization};
use crate::language::Language;
use crate::message::id::{HexText, OffsetMessageId};
use crate::serialize::{has_special, push_escaped};
use crate::{FLAG_RESPONSE, VERSION};

/// What every command has besides fields and body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// Request or response code. Binary headers hold its low 16 bits only.
    pub code: i32,
    /// The writer's version, normally [`VERSION`].
    pub version: i32,
    /// Pairs a response with its request.
    pub opaque: i32,
    /// Bit 0: response, bit 1: oneway.
    pub flag: i32,
    /// Text for people.
    pub remark: Option<&'a str>,
    /// What the writer claims to be written in.
    pub language: Language,
}

impl Envelope<'_> {
    /// An answer to the request with that `opaque`, as Apache's broker would sign it.
    pub const fn response(code: crate::ResponseCode, opaque: i32) -> Self {
        Self { code: code.0, version: VERSION, opaque, flag: FLAG_RESPONSE, remark: None, language: Language::Java }
    }

    /// A request as Apache's broker would sign it.
    pub const fn request(code: crate::RequestCode, opaque: i32) -> Self {
        Self { code: code.0, version: VERSION, opaque, flag: 0, remark: None, language: Language::Java }
    }
}

/// Something that takes fields: a frame that is being written, or an owned command's list.
pub trait FieldSink {
    /// Adds a field whose name has nothing that must be escaped. An absent optional value adds nothing.
    fn put(&mut self, name: &'static str, value: impl FieldValue);
}

/// A value of a header field. On the wire all of them are text.
pub trait FieldValue {
    /// Writes the text, or returns `false` when there is no value, having written nothing.
    fn write(&self, out: &mut ValueWriter<'_>) -> bool;
}

/// Takes the text of one value and escapes it as the serialization needs.
#[derive(Debug)]
pub struct ValueWriter<'b> {
    out: &'b mut BytesMut,
    escape: bool,
}

impl ValueWriter<'_> {
    /// Appends any text.
    pub fn text(&mut self, text: &str) {
        if self.escape {
            push_escaped(self.out, text);
        } else {
            self.out.extend_from_slice(text.as_bytes());
        }
    }

    /// Appends text that has nothing that must be escaped.
    fn plain(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    /// Appends a decimal number.
    pub fn integer(&mut self, value: i64) {
        push_integer(self.out, value);
    }
}

impl std::fmt::Write for ValueWriter<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.text(text);
        Ok(())
    }
}

/// A frame's prefix and header while it is written. Call [`finish`](Self::finish), or the frame is broken.
#[derive(Debug)]
#[must_use = "lengths are written by `finish`"]
pub struct FrameWriter<'b> {
    out: &'b mut BytesMut,
    serialization: Serialization,
    /// Where the frame begins in `out`.
    start: usize,
    /// Where the fields begin: behind `"extFields":{`, or behind the binary length.
    fields: usize,
}

impl<'b> FrameWriter<'b> {
    /// Appends a frame's prefix and envelope to `out`.
    pub fn begin(out: &'b mut BytesMut, serialization: Serialization, envelope: &Envelope<'_>) -> Self {
        let start = out.len();
        out.reserve(256);
        out.put_bytes(0, PREFIX_LEN);
        match serialization {
            Serialization::Json => begin_json(out, envelope),
            Serialization::Binary => begin_binary(out, envelope),
        }
        let fields = out.len();
        Self { out, serialization, start, fields }
    }

    /// Adds a field. An absent optional value adds nothing.
    pub fn field(&mut self, name: &str, value: impl FieldValue) -> &mut Self {
        let before = self.out.len();
        let written = match self.serialization {
            Serialization::Json => {
                self.open_json();
                push_escaped(self.out, name);
                self.value_json(&value)
            }
            Serialization::Binary => self.field_binary(name, &value),
        };
        if !written {
            self.out.truncate(before);
        }
        self
    }

    /// Writes the lengths. The caller appends `body_len` bytes of body, or sends them behind.
    pub fn finish(self, body_len: usize) {
        let Self { out, serialization, start, fields } = self;
        match serialization {
            Serialization::Json => out.extend_from_slice(b"}}"),
            Serialization::Binary => {
                let len = (out.len() - fields) as u32;
                patch(out, fields - 4, len);
            }
        }
        let header = (out.len() - start - PREFIX_LEN) as u32;
        debug_assert!(header < 1 << 24, "header of {header} bytes does not fit its length field");
        patch(out, start, header + 4 + body_len as u32);
        patch(out, start + 4, u32::from(serialization.code()) << 24 | header);
    }

    #[inline]
    fn open_json(&mut self) {
        if self.out.len() == self.fields {
            self.out.extend_from_slice(b"\"");
        } else {
            self.out.extend_from_slice(b",\"");
        }
    }

    #[inline]
    fn value_json(&mut self, value: &impl FieldValue) -> bool {
        let out = &mut *self.out;
        out.extend_from_slice(b"\":\"");
        let written = value.write(&mut ValueWriter { out, escape: true });
        out.put_u8(b'"');
        written
    }

    /// A name that is empty or does not fit its length field could not be read back, so such a field is left out.
    fn field_binary(&mut self, name: &str, value: &impl FieldValue) -> bool {
        let out = &mut *self.out;
        out.put_u16(name.len() as u16);
        out.extend_from_slice(name.as_bytes());
        let len_at = out.len();
        out.put_u32(0);
        let written = value.write(&mut ValueWriter { out, escape: false });
        let len = (out.len() - len_at - 4) as u32;
        patch(out, len_at, len);
        written && !name.is_empty() && i16::try_from(name.len()).is_ok()
    }
}

impl FieldSink for FrameWriter<'_> {
    #[inline]
    fn put(&mut self, name: &'static str, value: impl FieldValue) {
        if self.serialization == Serialization::Binary {
            self.field(name, value);
            return;
        }
        debug_assert!(!has_special(name), "{name:?} would have to be escaped");
        let before = self.out.len();
        self.open_json();
        self.out.extend_from_slice(name.as_bytes());
        if !self.value_json(&value) {
            self.out.truncate(before);
        }
    }
}

impl FieldSink for Vec<(String, String)> {
    fn put(&mut self, name: &'static str, value: impl FieldValue) {
        let mut out = BytesMut::new();
        if value.write(&mut ValueWriter { out: &mut out, escape: false }) {
            self.push((name.to_owned(), String::from_utf8_lossy(&out).into_owned()));
        }
    }
}

fn begin_json(out: &mut BytesMut, envelope: &Envelope<'_>) {
    out.extend_from_slice(b"{\"code\":");
    push_integer(out, envelope.code.into());
    out.extend_from_slice(b",\"flag\":");
    push_integer(out, envelope.flag.into());
    out.extend_from_slice(b",\"language\":\"");
    out.extend_from_slice(envelope.language.name().as_bytes());
    out.extend_from_slice(b"\",\"opaque\":");
    push_integer(out, envelope.opaque.into());
    if let Some(remark) = envelope.remark {
        out.extend_from_slice(b",\"remark\":\"");
        push_escaped(out, remark);
        out.put_u8(b'"');
    }
    out.extend_from_slice(b",\"version\":");
    push_integer(out, envelope.version.into());
    out.extend_from_slice(b",\"extFields\":{");
}

fn begin_binary(out: &mut BytesMut, envelope: &Envelope<'_>) {
    let remark = envelope.remark.unwrap_or_default();
    out.put_i16(envelope.code as i16);
    out.put_u8(envelope.language.code());
    out.put_i16(envelope.version as i16);
    out.put_i32(envelope.opaque);
    out.put_i32(envelope.flag);
    out.put_u32(remark.len() as u32);
    out.extend_from_slice(remark.as_bytes());
    out.put_u32(0);
}

/// Overwrites four bytes that were reserved before.
fn patch(out: &mut BytesMut, at: usize, value: u32) {
    if let Some(place) = out.get_mut(at..at + 4) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}

fn push_integer(out: &mut BytesMut, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

impl FieldValue for str {
    fn write(&self, out: &mut ValueWriter<'_>) -> bool {
        out.text(self);
        true
    }
}

impl FieldValue for String {
    fn write(&self, out: &mut ValueWriter<'_>) -> bool {
        self.as_str().write(out)
    }
}

impl FieldValue for bool {
    fn write(&self, out: &mut ValueWriter<'_>) -> bool {
        out.plain(if *self { "true" } else { "false" });
        true
    }
}

impl<V: FieldValue + ?Sized> FieldValue for &V {
    fn write(&self, out: &mut ValueWriter<'_>) -> bool {
        (**self).write(out)
    }
}

impl<V: FieldValue> FieldValue for Option<V> {
    fn write(&self, out: &mut ValueWriter<'_>) -> bool {
        self.as_ref().is_some_and(|value| value.write(out))
    }
}

impl FieldValue for OffsetMessageId {
    fn write(&self, out: &mut ValueWriter<'_>) -> bool {
        self.text().write(out)
    }
}

impl FieldValue for HexText {
    fn write(&self, out: &mut ValueWriter<'_>) -> bool {
        out.plain(self.as_str());
        true
    }
}

impl FieldValue for std::fmt::Arguments<'_> {
    fn write(&self, out: &mut ValueWriter<'_>) -> bool {
        std::fmt::Write::write_fmt(out, *self).is_ok()
    }
}

macro_rules! integers {
    ($($integer:ty),*) => {$(
        impl FieldValue for $integer {
            fn write(&self, out: &mut ValueWriter<'_>) -> bool {
                out.integer(i64::from(*self));
                true
            }
        }
    )*};
}
integers!(i8, i16, i32, i64, u8, u16, u32);

/// Values above `i64::MAX` are written as Java would show them: negative.
impl FieldValue for u64 {
    fn write(&self, out: &mut ValueWriter<'_>) -> bool {
        out.integer(*self as i64);
        true
    }
}

impl FieldValue for usize {
    fn write(&self, out: &mut ValueWriter<'_>) -> bool {
        (*self as u64).write(out)
    }
}
