//! Finding row ids in what `pgoutput` writes (protocol version 1, columns as text).
//!
//! Two messages matter: `R` tells a table's columns before its first row, `I` is a row.

use std::collections::HashMap;

/// Tables whose columns are kept; a publication of more is not ours.
const MOST_TABLES: usize = 1024;

/// Reads one session's messages.
#[derive(Debug)]
pub(super) struct Decoder {
    /// The outbox's table.
    table: u32,
    /// At which column each table has its id.
    ids: HashMap<u32, usize>,
}

impl Decoder {
    pub(super) fn of(table: u32) -> Self {
        Self { table, ids: HashMap::new() }
    }

    /// The id of a row of the outbox that was inserted; `None` for anything else.
    pub(super) fn row(&mut self, message: &[u8]) -> Result<Option<i64>, String> {
        let mut message = Reader(message);
        match message.byte()? {
            b'R' => self.learn(&mut message).map(|()| None),
            b'I' => self.inserted(&mut message),
            _ => Ok(None),
        }
    }

    fn learn(&mut self, message: &mut Reader<'_>) -> Result<(), String> {
        let table = message.u32()?;
        message.text()?; // its schema
        message.text()?; // its name
        message.byte()?; // replica identity
        for at in 0..message.u16()? {
            message.byte()?; // part of the key
            let name = message.text()?;
            message.u32()?; // type
            message.u32()?; // modifier
            if name == b"id" && (self.ids.len() < MOST_TABLES || table == self.table) {
                self.ids.insert(table, usize::from(at));
            }
        }
        Ok(())
    }

    fn inserted(&self, message: &mut Reader<'_>) -> Result<Option<i64>, String> {
        let table = message.u32()?;
        if table != self.table {
            return Ok(None);
        }
        let at = *self.ids.get(&table).ok_or("a row of the outbox comes without the column id")?;
        message.byte()?; // a new row follows
        let columns = usize::from(message.u16()?);
        for column in 0..columns {
            let value = match message.byte()? {
                b'n' | b'u' => None,
                _ => {
                    let len = message.u32()?;
                    Some(message.bytes(len as usize)?)
                }
            };
            if column == at {
                let text = value.and_then(|value| std::str::from_utf8(value).ok()).unwrap_or("nothing");
                return text.parse().map(Some).map_err(|_| format!("column id: {text:?} is no number"));
            }
        }
        Err(format!("a row has {columns} columns; its id should be at {at}"))
    }
}

/// What is left of a message.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, len: usize) -> Result<&'a [u8], String> {
        let (taken, left) = self.0.split_at_checked(len).ok_or("the message ends too early")?;
        self.0 = left;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, String> {
        self.bytes(1).map(|bytes| bytes.iter().sum())
    }

    fn u16(&mut self) -> Result<u16, String> {
        Ok(self.bytes(2)?.iter().fold(0, |value, byte| value << 8 | u16::from(*byte)))
    }

    fn u32(&mut self) -> Result<u32, String> {
        Ok(self.bytes(4)?.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)))
    }

    fn text(&mut self) -> Result<&'a [u8], String> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or("a name does not end")?;
        let text = self.bytes(end)?;
        self.byte()?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn relation(table: u32, columns: &[&str]) -> Vec<u8> {
        let mut message = vec![b'R'];
        message.extend(table.to_be_bytes());
        message.extend(b"public\0msg_published\0d");
        message.extend((columns.len() as u16).to_be_bytes());
        for name in columns {
            message.push(0);
            message.extend(name.as_bytes());
            message.extend([0; 9]); // its end, type and modifier
        }
        message
    }

    fn insert(table: u32, values: &[Option<&str>]) -> Vec<u8> {
        let mut message = vec![b'I'];
        message.extend(table.to_be_bytes());
        message.push(b'N');
        message.extend((values.len() as u16).to_be_bytes());
        for value in values {
            match value {
                None => message.push(b'n'),
                Some(value) => {
                    message.push(b't');
                    message.extend((value.len() as u32).to_be_bytes());
                    message.extend(value.as_bytes());
                }
            }
        }
        message
    }

    #[test]
    fn the_id_is_found_whichever_columns_the_publication_has() {
        let mut decoder = Decoder::of(7);
        assert_eq!(decoder.row(&relation(7, &["id"])), Ok(None));
        assert_eq!(decoder.row(&insert(7, &[Some("42")])), Ok(Some(42)));
        decoder.row(&relation(7, &["topic", "tag", "id"])).unwrap();
        assert_eq!(decoder.row(&insert(7, &[Some("paid"), None, Some("43")])), Ok(Some(43)));
    }

    #[test]
    fn other_tables_and_other_changes_are_passed_over() {
        let mut decoder = Decoder::of(7);
        decoder.row(&relation(8, &["id"])).unwrap();
        assert_eq!(decoder.row(&insert(8, &[Some("42")])), Ok(None));
        assert_eq!(decoder.row(b"T\0\0"), Ok(None));
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let mut decoder = Decoder::of(7);
        assert!(decoder.row(&insert(7, &[Some("42")])).unwrap_err().contains("without the column id"));
        decoder.row(&relation(7, &["id"])).unwrap();
        assert!(decoder.row(&insert(7, &[Some("x")])).unwrap_err().contains("\"x\" is no number"));
        assert!(decoder.row(&insert(7, &[])).unwrap_err().contains("0 columns"));
        assert!(decoder.row(&[]).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(messages in prop::collection::vec((prop::sample::select(vec![b'R', b'I']),
            prop::collection::vec(any::<u8>(), 0..64)), 0..8)) {
            let mut decoder = Decoder::of(0);
            decoder.row(&relation(0, &["id"])).unwrap();
            for (tag, mut rest) in messages {
                rest.insert(0, tag);
                let _ = decoder.row(&rest);
            }
        }
    }
}
