//! Scanning a binary (`ROCKETMQ`) header.
//!
//! ```text
//! code(i16) language(u8) version(i16) opaque(i32) flag(i32) remark(i32 length) fields(i32 length)
//! field: name(i16 length) value(i32 length)
//! ```
//!
//! Apache reads an empty value as none at all; here it stays empty, as it does in JSON.

use super::scratch::{HeaderScratch, Span};
use crate::command::CommandView;
use crate::error::DecodeError;
use crate::fields::Fields;
use crate::language::Language;

/// Reads a binary header. Its text is copied to the scratch, where it is known to be UTF-8.
pub(crate) fn scan<'a>(header: &'a [u8], scratch: &'a mut HeaderScratch) -> Result<CommandView<'a>, DecodeError> {
    scratch.clear();
    let mut reader = Reader { header, at: 0 };
    let code = i32::from(i16::from_be_bytes(reader.array("code")?));
    let [language] = reader.array("language")?;
    let version = i32::from(i16::from_be_bytes(reader.array("version")?));
    let opaque = i32::from_be_bytes(reader.array("opaque")?);
    let flag = i32::from_be_bytes(reader.array("flag")?);
    let remark_len = i32::from_be_bytes(reader.array("remarkLength")?);
    let remark = reader.text("remarkLength", remark_len, scratch)?;
    let fields_len = i32::from_be_bytes(reader.array("extFieldsLength")?);
    let fields = reader.bytes("extFieldsLength", fields_len)?.len();
    let mut reader = Reader { header: header.get(..reader.at).unwrap_or_default(), at: reader.at - fields };
    while reader.at < reader.header.len() {
        let name_len = i32::from(i16::from_be_bytes(reader.array("field name length")?));
        let name = reader.text("field name length", name_len, scratch)?;
        let value_len = i32::from_be_bytes(reader.array("field value length")?);
        let value = reader.text("field value length", value_len, scratch)?;
        if name.len() > 0 {
            scratch.push(name, value)?;
        }
    }
    let scratch: &'a HeaderScratch = scratch;
    Ok(CommandView {
        code,
        language: Language::from_code(language),
        version,
        opaque,
        flag,
        remark: Some(scratch.resolve("", remark)).filter(|remark| !remark.is_empty()),
        fields: Fields::scanned("", scratch),
    })
}

struct Reader<'a> {
    header: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let array = self.rest().first_chunk::<N>().copied().ok_or(DecodeError::Truncated { field })?;
        self.at += N;
        Ok(array)
    }

    fn bytes(&mut self, field: &'static str, len: i32) -> Result<&'a [u8], DecodeError> {
        let available = self.rest().len();
        let bytes = usize::try_from(len).ok().and_then(|len| self.rest().get(..len));
        let bytes = bytes.ok_or(DecodeError::Length { field, value: len, available })?;
        self.at += bytes.len();
        Ok(bytes)
    }

    /// Text of that length.
    fn text(&mut self, field: &'static str, len: i32, scratch: &mut HeaderScratch) -> Result<Span, DecodeError> {
        let at = self.at;
        let bytes = self.bytes(field, len)?;
        let text = std::str::from_utf8(bytes).map_err(|error| DecodeError::NotUtf8 { at: at + error.valid_up_to() })?;
        let start = scratch.text.len();
        scratch.text.push_str(text);
        Ok(Span::new(start, start + text.len(), true))
    }

    fn rest(&self) -> &'a [u8] {
        self.header.get(self.at..).unwrap_or_default()
    }
}
