//! From the tree to typed values, as freely as fastjson converts.

use std::cell::Cell;

use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::JsonError;
use super::node::{self, Node};

/// Values that may be read through references, over the whole body. Real bodies have a handful.
const MAX_REFERRED: u32 = 100_000;
/// References that may lead to further references.
const MAX_HOPS: usize = 8;

/// Reads a value of type `T` out of the tree.
pub(super) fn from_node<T: DeserializeOwned>(root: &Node<'_>) -> Result<T, JsonError> {
    let body = Body { root, referred: Cell::new(0) };
    T::deserialize(body.value(root, false)?)
}

/// What all values of one body share.
struct Body<'n> {
    root: &'n Node<'n>,
    referred: Cell<u32>,
}

impl<'n> Body<'n> {
    /// The value of a node, behind its references. One that leads nowhere is null.
    fn value<'b>(&'b self, mut node: &'b Node<'b>, mut referred: bool) -> Result<Value<'b>, JsonError>
    where
        'n: 'b,
    {
        let mut hops = 0;
        while let Some(path) = reference(node) {
            hops += 1;
            referred = true;
            node = if hops > MAX_HOPS { &Node::Null } else { follow(self.root, path) };
        }
        if referred {
            self.referred.set(self.referred.get() + 1);
            if self.referred.get() > MAX_REFERRED {
                return Err(JsonError::TooManyReferences);
            }
        }
        Ok(Value { node, body: self, referred })
    }
}

/// The path, if the node is a reference.
fn reference<'a>(node: &'a Node<'_>) -> Option<&'a str> {
    match node {
        Node::Object(entries) => match entries.as_slice() {
            [(Node::Text(key), Node::Text(path))] if key == "$ref" => Some(path),
            _ => None,
        },
        _ => None,
    }
}

/// The node at a path such as `$.table.key` or `$.list[3]`.
fn follow<'a>(root: &'a Node<'a>, path: &str) -> &'a Node<'a> {
    let Some(path) = path.strip_prefix('$') else { return &Node::Null };
    let steps = path.split(['.', '[']).map(|step| step.trim_end_matches(']').trim_matches(['"', '\'']));
    let found = steps.filter(|step| !step.is_empty()).try_fold(root, |node, step| match node {
        Node::Array(items) => items.get(step.parse::<usize>().ok()?),
        Node::Object(entries) => {
            entries.iter().find(|(key, _)| matches!(key, Node::Text(key) if key == step)).map(|(_, value)| value)
        }
        _ => None,
    });
    found.unwrap_or(&Node::Null)
}

/// One value; references have been followed.
struct Value<'b> {
    node: &'b Node<'b>,
    body: &'b Body<'b>,
    referred: bool,
}

impl Value<'_> {
    fn mismatch(&self, expected: &str) -> JsonError {
        let shown = match self.node {
            Node::Text(text) => format!("{:?}", text.chars().take(32).collect::<String>()),
            Node::Number(text) => text.chars().take(32).collect(),
            other => other.kind().to_owned(),
        };
        JsonError::custom(format_args!("{shown} found, {expected} expected"))
    }

    /// A whole number, from what stands for one. Empty text and null are 0, as for Java's primitives.
    fn integer(&self) -> Result<i64, JsonError> {
        let text = match self.node {
            Node::Number(text) => text,
            Node::Text(text) => text.trim(),
            Node::Bool(value) => return Ok(i64::from(*value)),
            Node::Null => return Ok(0),
            _ => return Err(self.mismatch("a number")),
        };
        let whole = |value: f64| value.fract() == 0.0 && value.abs() < 9.0e18;
        match text.parse() {
            Ok(value) => Ok(value),
            Err(_) if text.is_empty() || text == "null" => Ok(0),
            Err(_) => match text.parse::<f64>() {
                Ok(value) if whole(value) => Ok(value as i64),
                _ => Err(self.mismatch("a whole number")),
            },
        }
    }

    fn double(&self) -> Result<f64, JsonError> {
        match self.node {
            Node::Number(text) => text.parse().map_err(|_| self.mismatch("a number")),
            Node::Text(text) if text.is_empty() => Ok(0.0),
            Node::Text(text) => text.trim().parse().map_err(|_| self.mismatch("a number")),
            Node::Null => Ok(0.0),
            _ => Err(self.mismatch("a number")),
        }
    }

    fn boolean(&self) -> Result<bool, JsonError> {
        match self.node {
            Node::Bool(value) => Ok(*value),
            Node::Text(text) => Ok(text.eq_ignore_ascii_case("true") || text == "1"),
            Node::Number(text) => Ok(*text != "0"),
            Node::Null => Ok(false),
            _ => Err(self.mismatch("a boolean")),
        }
    }

    fn entries(&self, skip_null_values: bool) -> Result<Entries<'_>, JsonError> {
        match self.node {
            Node::Object(entries) => Ok(Entries {
                entries: entries.iter(),
                body: self.body,
                referred: self.referred,
                current: None,
                skip_null_values,
            }),
            Node::Null => {
                Ok(Entries { entries: [].iter(), body: self.body, referred: false, current: None, skip_null_values })
            }
            _ => Err(self.mismatch("an object")),
        }
    }
}

macro_rules! integers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
            visitor.visit_i64(self.integer()?)
        }
    )*};
}

impl<'de> Deserializer<'de> for Value<'_> {
    type Error = JsonError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        match self.node {
            Node::Null => visitor.visit_unit(),
            Node::Bool(value) => visitor.visit_bool(*value),
            Node::Number(text) => match text.parse() {
                Ok(value) => visitor.visit_i64(value),
                Err(_) => visitor.visit_f64(self.double()?),
            },
            Node::Text(text) => visitor.visit_str(text),
            Node::Array(_) => self.deserialize_seq(visitor),
            Node::Object(_) => self.deserialize_map(visitor),
        }
    }

    integers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        visitor.visit_f64(self.double()?)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        visitor.visit_f64(self.double()?)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        visitor.visit_bool(self.boolean()?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        match self.node {
            Node::Text(text) => visitor.visit_str(text),
            Node::Number(text) => visitor.visit_str(text),
            Node::Bool(value) => visitor.visit_str(if *value { "true" } else { "false" }),
            Node::Null => visitor.visit_str(""),
            _ => Err(self.mismatch("a string")),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        if *self.node == Node::Null { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        match self.node {
            Node::Array(items) => visitor.visit_seq(Items { items: items.iter(), at: 0, parent: &self }),
            Node::Null => visitor.visit_seq(Items { items: [].iter(), at: 0, parent: &self }),
            _ => Err(self.mismatch("an array")),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        visitor.visit_map(self.entries(false)?)
    }

    /// An object, or text that holds one: fastjson reads both for an object key.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        if let Node::Text(text) = self.node {
            let inner = node::parse(text)?;
            let body = Body { root: &inner, referred: Cell::new(0) };
            let value = body.value(&inner, false)?;
            return visitor.visit_map(value.entries(true)?);
        }
        visitor.visit_map(self.entries(true)?)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        match self.node {
            Node::Text(text) => visitor.visit_enum(StrDeserializer::new(text)),
            Node::Object(_) => visitor.visit_enum(MapAccessDeserializer::new(self.entries(false)?)),
            _ => Err(self.mismatch("a name")),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct identifier
    }
}

struct Items<'b> {
    items: std::slice::Iter<'b, Node<'b>>,
    at: usize,
    parent: &'b Value<'b>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = JsonError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, JsonError> {
        let Some(item) = self.items.next() else { return Ok(None) };
        let at = self.at;
        self.at += 1;
        let value = self.parent.body.value(item, self.parent.referred)?;
        seed.deserialize(value).map(Some).map_err(|error| error.within(&at.to_string()))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

struct Entries<'b> {
    entries: std::slice::Iter<'b, (Node<'b>, Node<'b>)>,
    body: &'b Body<'b>,
    referred: bool,
    /// The entry whose key was read and whose value was not.
    current: Option<&'b (Node<'b>, Node<'b>)>,
    skip_null_values: bool,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = JsonError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, JsonError> {
        for entry in self.entries.by_ref() {
            let key = self.body.value(&entry.0, self.referred)?;
            if *key.node != Node::Null && !(self.skip_null_values && entry.1 == Node::Null) {
                self.current = Some(entry);
                return seed.deserialize(key).map(Some).map_err(|error| error.within("key"));
            }
        }
        Ok(None)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, JsonError> {
        let Some((key, value)) = self.current.take() else { return Err(JsonError::custom("a value without a key")) };
        let value = self.body.value(value, self.referred)?;
        seed.deserialize(value).map_err(|error| match key {
            Node::Text(key) => error.within(key),
            _ => error.within("value"),
        })
    }
}

impl Error for JsonError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::Value { field: String::new(), message: message.to_string() }
    }
}

impl JsonError {
    /// The same error, one field further out.
    fn within(self, outer: &str) -> Self {
        match self {
            Self::Value { field, message } => {
                let outer: String = outer.chars().take(64).collect();
                let field = if field.is_empty() { outer } else { format!("{outer}.{field}") };
                Self::Value { field, message }
            }
            other => other,
        }
    }
}
