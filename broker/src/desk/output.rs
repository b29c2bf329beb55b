//! How answers are printed: tables without frames, numbers aligned, times in UTC.

use std::io::Write as _;

use comfy_table::{Table, presets};
use serde::Serialize;

/// A table with these headings.
pub(crate) fn table<'a>(headings: impl IntoIterator<Item = &'a str>) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(headings);
    table
}

/// The value, or a dash where there is none.
pub(crate) fn shown(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Milliseconds since the epoch as a date and time in UTC; a dash for 0 and before.
pub(crate) fn time(ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(ms) {
        Ok(time) if ms > 0 => format!("{time:.3}"),
        _ => "-".to_owned(),
    }
}

/// The answer for programs.
pub(super) fn json(answer: &impl Serialize) -> String {
    serde_json::to_string_pretty(answer).unwrap_or_else(|error| format!("{{\"error\":{:?}}}", error.to_string()))
}

/// One answer on standard output. Whoever reads may have gone: that is no failure.
pub(super) fn print(text: &str) -> std::io::Result<()> {
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}
