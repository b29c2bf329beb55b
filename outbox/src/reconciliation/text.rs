//! CSV and tables as text.

use std::{borrow::Cow, fmt, io};

/// Widest column of a table, in characters; what is longer is cut off.
const WIDEST: usize = 60;

/// A line of CSV (RFC 4180): quoted where a reader would go wrong otherwise.
pub(super) fn write_csv_line(to: &mut impl io::Write, cells: &[&str]) -> io::Result<()> {
    for (at, cell) in cells.iter().enumerate() {
        write!(to, "{}{}", if at == 0 { "" } else { "," }, quoted(cell))?;
    }
    write!(to, "\r\n")
}

fn quoted(cell: &str) -> Cow<'_, str> {
    let is_plain = !cell.contains([',', '"', '\r', '\n']) && cell.trim() == cell;
    if is_plain { Cow::Borrowed(cell) } else { Cow::Owned(format!("\"{}\"", cell.replace('"', "\"\""))) }
}

/// The cells of a line of CSV, its line end cut off; the error says what is wrong with it.
pub(super) fn read_csv_line(line: &str) -> Result<Vec<String>, String> {
    let (mut cells, mut rest) = (Vec::new(), line);
    loop {
        let (cell, after) = match rest.strip_prefix('"') {
            Some(quoted) => {
                quoted_cell(quoted).ok_or_else(|| "a quote has no end, or no comma behind it".to_owned())?
            }
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                let (cell, after) = rest.split_at(end);
                if cell.contains('"') {
                    return Err(format!("a quote in the middle of {:?}", cell.chars().take(40).collect::<String>()));
                }
                (cell.to_owned(), after)
            }
        };
        cells.push(cell);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None => return Ok(cells),
        }
    }
}

/// A cell after its opening quote, and what follows its closing one.
fn quoted_cell(text: &str) -> Option<(String, &str)> {
    let (mut cell, mut rest) = (String::new(), text);
    loop {
        let (before, after) = rest.split_once('"')?;
        cell.push_str(before);
        match after.strip_prefix('"') {
            Some(more) => {
                cell.push('"');
                rest = more;
            }
            None if after.is_empty() || after.starts_with(',') => return Some((cell, after)),
            None => return None,
        }
    }
}

/// A decimal number of so many decimals, without its point; `None` when it is none, or has more.
pub(super) fn read_amount(text: &str, decimals: u32) -> Option<i64> {
    let text = text.trim();
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = !whole.is_empty() && (whole.bytes().chain(part.bytes())).all(|byte| byte.is_ascii_digit());
    let missing = (decimals as usize).checked_sub(part.trim_end_matches('0').len())?;
    if !is_number {
        return None;
    }
    let number: i64 = format!("{whole}{}", part.trim_end_matches('0')).parse().ok()?;
    number.checked_mul(10_i64.checked_pow(u32::try_from(missing).ok()?)?)?.checked_mul(sign)
}

/// Columns side by side.
pub(super) fn write_table<const N: usize>(f: &mut fmt::Formatter<'_>, rows: &[[String; N]]) -> fmt::Result {
    let shown = |cell: &str| {
        let clean = cell.chars().map(|c| if c.is_control() { ' ' } else { c });
        clean.take(WIDEST).collect::<String>()
    };
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(shown(cell).chars().count());
        }
    }
    for row in rows {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            line.push_str(&format!("  {:<width$}", shown(cell)));
        }
        writeln!(f, "{}", line.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn amounts_have_their_decimals_or_are_none() {
        for (text, amount) in [("12.30", Some(1230)), ("12.3", Some(1230)), ("-7", Some(-700)), ("0.05", Some(5))] {
            assert_eq!(read_amount(text, 2), amount, "{text}");
        }
        for text in ["", "1.234", "1,00", "x", "--1", "+1", "99999999999999999999", "1.2.3", ".5"] {
            assert_eq!(read_amount(text, 2), None, "{text}");
        }
    }

    #[test]
    fn a_line_that_is_no_csv_is_refused() {
        for line in ["\"open", "a\"b", "\"a\"b,c"] {
            assert!(read_csv_line(line).is_err(), "{line}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_as_csv_is_read_again(cells in prop::collection::vec("[a,\" \r\nß]{0,6}", 1..5)) {
            let mut line = Vec::new();
            write_csv_line(&mut line, &cells.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
            let line = String::from_utf8(line).unwrap();
            prop_assert_eq!(read_csv_line(line.strip_suffix("\r\n").unwrap()).unwrap(), cells);
        }
    }
}
