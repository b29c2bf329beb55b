//! Records of a file: CSV, or one JSON object in each line.

use std::{
    fmt,
    io::{self, BufRead, Read},
};

use serde_json::Value;

use super::{Record, Source, Trouble, text};

/// Longest record in bytes, so that a file without line ends does not fill the memory.
const LONGEST: usize = 1 << 20;
const PAGE: usize = 1_000;

/// A file whose lines are sorted by their key (`LC_ALL=C sort`). Reads it line by line, in the calling thread.
///
/// ```
/// use tenonmq_outbox::reconciliation::Lines;
/// let bank = "id,paid,state\norder-1,12.30,ok\norder-2,5.00,ok\n";
/// let source = Lines::csv("bank", bank.as_bytes(), "id").amount("paid", 2);
/// ```
pub struct Lines<R> {
    name: String,
    read: R,
    columns: Columns,
    /// Names of a CSV file's columns; none of a JSON file, and until the first line is read.
    header: Option<Vec<String>>,
    is_csv: bool,
    /// Of the last line that was read, from 1.
    line: u64,
}

/// Which columns are more than fields.
struct Columns {
    key: String,
    /// Column and decimals.
    amount: Option<(String, u32)>,
    at_ms: Option<String>,
}

impl<R: BufRead> Lines<R> {
    /// CSV (RFC 4180) whose first line names the columns.
    pub fn csv(name: impl Into<String>, read: R, key: impl Into<String>) -> Self {
        Self::new(name.into(), read, key.into(), true)
    }

    /// One JSON object in each line.
    pub fn json(name: impl Into<String>, read: R, key: impl Into<String>) -> Self {
        Self::new(name.into(), read, key.into(), false)
    }

    fn new(name: String, read: R, key: String, is_csv: bool) -> Self {
        let columns = Columns { key, amount: None, at_ms: None };
        Self { name, read, columns, header: None, is_csv, line: 0 }
    }

    /// The column with the amount, a decimal number with that many decimals.
    #[must_use]
    pub fn amount(mut self, column: impl Into<String>, decimals: u32) -> Self {
        self.columns.amount = Some((column.into(), decimals));
        self
    }

    /// The column with the time, in ms since the Unix epoch.
    #[must_use]
    pub fn at_ms(mut self, column: impl Into<String>) -> Self {
        self.columns.at_ms = Some(column.into());
        self
    }

    /// The next line without its end, over several lines of the file when a quoted cell is; `None` at the file's end.
    fn line(&mut self) -> Result<Option<String>, String> {
        let mut bytes = Vec::new();
        loop {
            let room = (LONGEST + 1 - bytes.len()) as u64;
            let got = Read::by_ref(&mut self.read).take(room).read_until(b'\n', &mut bytes).map_err(told)?;
            self.line += u64::from(got > 0);
            if bytes.len() > LONGEST {
                return Err(format!("it is longer than {LONGEST} bytes"));
            }
            let is_open = self.is_csv && bytes.iter().filter(|byte| **byte == b'"').count() % 2 == 1;
            if got == 0 && bytes.is_empty() {
                return Ok(None);
            }
            if is_open && got > 0 {
                continue;
            }
            let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
            let text = text.strip_suffix('\n').unwrap_or(&text);
            let text = text.strip_suffix('\r').unwrap_or(text);
            return Ok(Some(text.strip_prefix('\u{feff}').unwrap_or(text).to_owned()));
        }
    }

    fn next(&mut self) -> Result<Option<Record>, String> {
        if self.is_csv && self.header.is_none() {
            let Some(line) = self.line()? else { return Err("there is no line with the columns' names".into()) };
            self.header = Some(text::read_csv_line(&line)?);
        }
        loop {
            let Some(line) = self.line()? else { return Ok(None) };
            if line.is_empty() {
                continue;
            }
            let cells = match &self.header {
                Some(header) => csv_cells(header, &line)?,
                None => json_cells(&line)?,
            };
            return self.columns.record(cells).map(Some);
        }
    }
}

impl Columns {
    fn record(&self, cells: Vec<(String, String)>) -> Result<Record, String> {
        let (mut key, mut record) = (None, Record::new(""));
        for (name, value) in cells {
            if name == self.key {
                key = Some(value);
            } else if let Some((_, decimals)) = self.amount.as_ref().filter(|(column, _)| *column == name) {
                let amount = text::read_amount(&value, *decimals);
                record.amount = Some(amount.ok_or_else(|| {
                    format!("column {name}: {value:?} is no number with at most {decimals} decimals")
                })?);
            } else if self.at_ms.as_ref() == Some(&name) {
                let at_ms =
                    value.parse().map_err(|_| format!("column {name}: {value:?} is no time in milliseconds"))?;
                record.at_ms = Some(at_ms);
            } else {
                record.fields.insert(name, value);
            }
        }
        let lacks = |column: &str| Err(format!("there is no column {column}"));
        let Some(key) = key.filter(|key| !key.is_empty()) else { return lacks(&self.key) };
        match (&self.amount, &self.at_ms) {
            (Some((column, _)), _) if record.amount.is_none() => lacks(column),
            (_, Some(column)) if record.at_ms.is_none() => lacks(column),
            _ => Ok(Record { key, ..record }),
        }
    }
}

fn csv_cells(header: &[String], line: &str) -> Result<Vec<(String, String)>, String> {
    let cells = text::read_csv_line(line)?;
    if cells.len() != header.len() {
        return Err(format!("it has {} cells, and the header has {}", cells.len(), header.len()));
    }
    Ok(header.iter().cloned().zip(cells).collect())
}

fn json_cells(line: &str) -> Result<Vec<(String, String)>, String> {
    let object: serde_json::Map<String, Value> = serde_json::from_str(line).map_err(told)?;
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    let there = object.into_iter().filter(|(_, value)| !value.is_null());
    Ok(there.map(|(name, value)| (name, text(value))).collect())
}

fn told(error: impl fmt::Display) -> String {
    error.to_string()
}

impl<R> fmt::Debug for Lines<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines").field("name", &self.name).field("line", &self.line).finish_non_exhaustive()
    }
}

impl<R: BufRead + Send> Source for Lines<R> {
    fn name(&self) -> &str {
        &self.name
    }

    async fn page(&mut self) -> Result<Vec<Record>, Trouble> {
        let mut page = Vec::new();
        while page.len() < PAGE {
            match self.next() {
                Ok(Some(record)) => page.push(record),
                Ok(None) => break,
                Err(reason) => {
                    let cause = io::Error::new(io::ErrorKind::InvalidData, format!("line {}: {reason}", self.line));
                    return Err(Trouble::Source { name: self.name.clone(), cause: cause.into() });
                }
            }
        }
        Ok(page)
    }
}
