//! The body of a batch send (code 320): messages of one topic and queue, one after the other.
//!
//! ```text
//! totalSize(i32) magic(i32, 0) bodyCRC(i32, 0) flag(i32) body(i32 length) properties(i16 length)
//! ```

use super::bytes::{i16_at, i32_at};

/// Bytes of an element besides body and properties.
const FIXED_LEN: usize = 22;

/// One message of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchElement<'a> {
    /// The application's flag.
    pub flag: i32,
    /// The body.
    pub body: &'a [u8],
    /// Its own property text; the batch's comes on top when stored.
    pub properties: &'a [u8],
}

/// Why a batch body cannot be taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The body ends inside an element.
    #[error("batch element at {at} needs {needed} bytes, only {available} are left")]
    Truncated {
        /// Where the element starts.
        at: usize,
        /// Bytes that it says it has.
        needed: usize,
        /// Bytes left.
        available: usize,
    },
    /// A length in an element is negative or too large.
    #[error("{field} of the batch element at {at} is {value}")]
    Length {
        /// Where the element starts.
        at: usize,
        /// Name of the field.
        field: &'static str,
        /// What it holds.
        value: i32,
    },
    /// A message that does not fit in an element.
    #[error("{field} of {len} bytes does not fit in a batch element")]
    TooLong {
        /// Name of the part.
        field: &'static str,
        /// Its length in bytes.
        len: usize,
    },
}

/// The elements of a batch body, in order. Ends after the first error.
pub fn elements(body: &[u8]) -> impl Iterator<Item = Result<BatchElement<'_>, BatchError>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = body.get(at..).filter(|rest| !rest.is_empty())?;
        let element = BatchElement::parse(rest, at);
        at = element.as_ref().map_or(body.len(), |element| at + element.encoded_len());
        Some(element)
    })
}

/// Number of elements, after checking every one of them.
pub fn count(body: &[u8]) -> Result<usize, BatchError> {
    elements(body).try_fold(0, |count, element| element.map(|_| count + 1))
}

impl<'a> BatchElement<'a> {
    fn parse(buf: &'a [u8], at: usize) -> Result<Self, BatchError> {
        let truncated = |needed| BatchError::Truncated { at, needed, available: buf.len() };
        let length = |field, value| BatchError::Length { at, field, value };
        if buf.len() < FIXED_LEN {
            return Err(truncated(FIXED_LEN));
        }
        let size = i32_at(buf, 0);
        let total = usize::try_from(size).ok().filter(|&total| total >= FIXED_LEN);
        let total = total.ok_or_else(|| length("totalSize", size))?;
        let element = buf.get(..total).ok_or_else(|| truncated(total))?;
        let body_len = i32_at(element, 16);
        let body_end = usize::try_from(body_len).ok().and_then(|len| len.checked_add(20));
        let body_end = body_end.filter(|&end| end + 2 <= total).ok_or_else(|| length("bodyLength", body_len))?;
        let properties_len = i16_at(element, body_end);
        if usize::try_from(properties_len).ok() != total.checked_sub(body_end + 2) {
            return Err(length("propertiesLength", i32::from(properties_len)));
        }
        Ok(Self {
            flag: i32_at(element, 12),
            body: element.get(20..body_end).unwrap_or_default(),
            properties: element.get(body_end + 2..).unwrap_or_default(),
        })
    }

    /// Bytes of the element in a batch body.
    pub fn encoded_len(&self) -> usize {
        FIXED_LEN + self.body.len() + self.properties.len()
    }

    /// Appends the element to a batch body. Fails, and appends nothing, when a part is too long for its length field.
    pub fn encode_into(&self, out: &mut Vec<u8>) -> Result<(), BatchError> {
        let too_long = |field, part: &[u8]| BatchError::TooLong { field, len: part.len() };
        let total = i32::try_from(self.encoded_len()).map_err(|_| too_long("body", self.body))?;
        let properties_len =
            i16::try_from(self.properties.len()).map_err(|_| too_long("properties", self.properties))?;
        out.reserve(self.encoded_len());
        out.extend_from_slice(&total.to_be_bytes());
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&self.flag.to_be_bytes());
        out.extend_from_slice(&(self.body.len() as i32).to_be_bytes());
        out.extend_from_slice(self.body);
        out.extend_from_slice(&properties_len.to_be_bytes());
        out.extend_from_slice(self.properties);
        Ok(())
    }

    /// Appends the property text under which the element is stored as a message of its own: its own properties, then
    /// those of the batch, with the separator that Apache puts between them.
    pub fn stored_properties(&self, of_batch: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(self.properties);
        let open = self.properties.last().is_some_and(|&last| last != super::properties::VALUE_END);
        if open && !of_batch.is_empty() {
            out.push(super::properties::VALUE_END);
        }
        out.extend_from_slice(of_batch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> Vec<u8> {
        let mut body = Vec::new();
        BatchElement { flag: 7, body: b"one", properties: b"KEYS\x01a\x02" }.encode_into(&mut body).unwrap();
        BatchElement { flag: 0, body: b"", properties: b"" }.encode_into(&mut body).unwrap();
        body
    }

    #[test]
    fn a_batch_reads_back_as_it_was_written() {
        let body = batch();
        let read: Vec<_> = elements(&body).collect::<Result<_, _>>().unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].flag, read[0].body, read[0].properties), (7, &b"one"[..], &b"KEYS\x01a\x02"[..]));
        assert_eq!(count(&body), Ok(2));
    }

    #[test]
    fn a_cut_or_forged_batch_is_an_error_that_names_the_place() {
        let body = batch();
        assert!(matches!(count(&body[..body.len() - 1]), Err(BatchError::Truncated { at: 32, .. })));
        let mut forged = body.clone();
        forged[16..20].copy_from_slice(&(-1i32).to_be_bytes());
        assert_eq!(count(&forged), Err(BatchError::Length { at: 0, field: "bodyLength", value: -1 }));
        forged[..4].copy_from_slice(&0i32.to_be_bytes());
        assert_eq!(count(&forged), Err(BatchError::Length { at: 0, field: "totalSize", value: 0 }));
    }

    #[test]
    fn an_open_property_text_is_closed_before_the_batch_properties() {
        let mut out = Vec::new();
        BatchElement { flag: 0, body: b"", properties: b"a\x01b" }.stored_properties(b"c\x01d\x02", &mut out);
        assert_eq!(out, b"a\x01b\x02c\x01d\x02");
    }
}
