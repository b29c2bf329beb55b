//! From typed values to text.

use bytes::BytesMut;
use serde::ser::{self, Serialize, Serializer};

use crate::serialize::push_escaped;

/// How the text looks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    /// Quote all keys.
    pub(super) standard: bool,
    /// One value a line, indented by tabs.
    pub(super) pretty: bool,
}

/// Writes a value. One whose `Serialize` fails is written as `null`.
pub(super) fn write<T: Serialize + ?Sized>(value: &T, style: Style) -> Vec<u8> {
    let mut writer = Writer { out: BytesMut::with_capacity(256), style, depth: 0 };
    match value.serialize(&mut writer) {
        Ok(()) => writer.out.into(),
        Err(Unsupported) => b"null".to_vec(),
    }
}

/// A value that has no form here; no type of this crate holds one.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("value cannot be written as JSON")]
pub(super) struct Unsupported;

impl ser::Error for Unsupported {
    fn custom<T: std::fmt::Display>(_: T) -> Self {
        Self
    }
}

pub(super) struct Writer {
    out: BytesMut,
    style: Style,
    depth: usize,
}

impl Writer {
    fn raw(&mut self, text: impl std::fmt::Display) -> Result<(), Unsupported> {
        std::fmt::Write::write_fmt(&mut self.out, format_args!("{text}")).map_err(|_| Unsupported)
    }

    fn quoted(&mut self, text: &str) {
        self.out.extend_from_slice(b"\"");
        push_escaped(&mut self.out, text);
        self.out.extend_from_slice(b"\"");
    }

    fn open(&mut self, bracket: &[u8], close: u8) -> Compound<'_> {
        self.out.extend_from_slice(bracket);
        self.depth += 1;
        Compound { writer: self, close, first: true, on_one_line: false }
    }

    fn new_line(&mut self) {
        if self.style.pretty {
            self.out.extend_from_slice(b"\n");
            for _ in 0..self.depth {
                self.out.extend_from_slice(b"\t");
            }
        }
    }

    /// A map's key: text in quotes; numbers and objects raw, or quoted too.
    fn key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Unsupported> {
        let start = self.out.len();
        let style = self.style;
        self.style.pretty = false;
        key.serialize(&mut *self)?;
        self.style = style;
        if style.standard && self.out.get(start) != Some(&b'"') {
            let raw = self.out.split_off(start);
            self.quoted(std::str::from_utf8(&raw).map_err(|_| Unsupported)?);
        }
        Ok(())
    }
}

macro_rules! numbers {
    ($($method:ident: $number:ty)*) => {$(
        fn $method(self, value: $number) -> Result<(), Unsupported> {
            self.raw(value)
        }
    )*};
}

impl<'w> Serializer for &'w mut Writer {
    type Ok = ();
    type Error = Unsupported;
    type SerializeSeq = Compound<'w>;
    type SerializeTuple = Compound<'w>;
    type SerializeTupleStruct = Compound<'w>;
    type SerializeTupleVariant = ser::Impossible<(), Unsupported>;
    type SerializeMap = Compound<'w>;
    type SerializeStruct = Compound<'w>;
    type SerializeStructVariant = ser::Impossible<(), Unsupported>;

    numbers! {
        serialize_i8: i8 serialize_i16: i16 serialize_i32: i32 serialize_i64: i64
        serialize_u8: u8 serialize_u16: u16 serialize_u32: u32 serialize_u64: u64
        serialize_bool: bool
    }

    fn serialize_f32(self, value: f32) -> Result<(), Unsupported> {
        self.serialize_f64(value.into())
    }

    /// Always with a fraction; what is not a number is null.
    fn serialize_f64(self, value: f64) -> Result<(), Unsupported> {
        if value.is_finite() { self.raw(format_args!("{value:?}")) } else { self.serialize_unit() }
    }

    fn serialize_char(self, value: char) -> Result<(), Unsupported> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, text: &str) -> Result<(), Unsupported> {
        self.quoted(text);
        Ok(())
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<(), Unsupported> {
        Err(Unsupported)
    }

    fn serialize_none(self) -> Result<(), Unsupported> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Unsupported> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Unsupported> {
        self.raw("null")
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Unsupported> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Unsupported> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Unsupported> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Unsupported> {
        Err(Unsupported)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Compound<'w>, Unsupported> {
        Ok(self.open(b"[", b']'))
    }

    /// An array of numbers in Java (`int[]`), which stands on one line.
    fn serialize_tuple(self, _: usize) -> Result<Compound<'w>, Unsupported> {
        Ok(Compound { on_one_line: true, ..self.open(b"[", b']') })
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Compound<'w>, Unsupported> {
        Ok(self.open(b"[", b']'))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Unsupported> {
        Err(Unsupported)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Compound<'w>, Unsupported> {
        Ok(self.open(b"{", b'}'))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Compound<'w>, Unsupported> {
        Ok(self.open(b"{", b'}'))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Unsupported> {
        Err(Unsupported)
    }
}

/// An array or object while it is written.
pub(super) struct Compound<'w> {
    writer: &'w mut Writer,
    close: u8,
    first: bool,
    on_one_line: bool,
}

impl Compound<'_> {
    fn separate(&mut self) {
        if !self.first {
            self.writer.out.extend_from_slice(b",");
        }
        self.first = false;
        if !self.on_one_line {
            self.writer.new_line();
        }
    }

    fn item<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), Unsupported> {
        self.separate();
        item.serialize(&mut *self.writer)
    }

    fn close(self) -> Result<(), Unsupported> {
        self.writer.depth -= 1;
        if !self.first && !self.on_one_line {
            self.writer.new_line();
        }
        self.writer.out.extend_from_slice(&[self.close]);
        Ok(())
    }
}

impl ser::SerializeSeq for Compound<'_> {
    type Ok = ();
    type Error = Unsupported;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), Unsupported> {
        self.item(item)
    }

    fn end(self) -> Result<(), Unsupported> {
        self.close()
    }
}

impl ser::SerializeTuple for Compound<'_> {
    type Ok = ();
    type Error = Unsupported;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), Unsupported> {
        self.item(item)
    }

    fn end(self) -> Result<(), Unsupported> {
        self.close()
    }
}

impl ser::SerializeTupleStruct for Compound<'_> {
    type Ok = ();
    type Error = Unsupported;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), Unsupported> {
        self.item(item)
    }

    fn end(self) -> Result<(), Unsupported> {
        self.close()
    }
}

impl ser::SerializeMap for Compound<'_> {
    type Ok = ();
    type Error = Unsupported;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Unsupported> {
        self.separate();
        self.writer.key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unsupported> {
        self.writer.out.extend_from_slice(b":");
        value.serialize(&mut *self.writer)
    }

    fn end(self) -> Result<(), Unsupported> {
        self.close()
    }
}

/// A field that holds null is left out, as Apache's peers do.
impl ser::SerializeStruct for Compound<'_> {
    type Ok = ();
    type Error = Unsupported;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Unsupported> {
        let (before, was_first) = (self.writer.out.len(), self.first);
        self.separate();
        self.writer.quoted(name);
        self.writer.out.extend_from_slice(b":");
        let start = self.writer.out.len();
        value.serialize(&mut *self.writer)?;
        if self.writer.out.get(start..) == Some(b"null") {
            self.writer.out.truncate(before);
            self.first = was_first;
        }
        Ok(())
    }

    fn end(self) -> Result<(), Unsupported> {
        self.close()
    }
}
