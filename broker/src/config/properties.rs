//! Java's `.properties` text: the format of Apache's configuration files and of the configuration requests.
//!
//! ```text
//! # comment            ! comment
//! key=value            key : value          key value
//! long = one, \
//!        two                                 (leading blanks of a continued line do not count)
//! path=C\:\\data       name=\u6d4b\u8bd5
//! ```
//!
//! Of a key that occurs twice the last line counts. Unlike Java, bytes are read as UTF-8 when they are
//! UTF-8 and as ISO 8859-1 otherwise, and blanks behind a value are dropped: an invisible blank behind a
//! number is never what somebody meant.

use std::fmt::Write as _;

/// A line that is not what the format allows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct SyntaxError {
    /// Counted from one.
    pub line: usize,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// One `key = value`, unescaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Never empty.
    pub key: String,
    /// May be empty.
    pub value: String,
    /// Where it begins, counted from one.
    pub line: usize,
}

/// The text of a file in whichever of the two encodings it is.
#[must_use]
pub fn decode(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.trim_start_matches('\u{feff}').to_owned(),
        Err(_) => bytes.iter().map(|&byte| char::from(byte)).collect(),
    }
}

/// Every entry in the order of the text.
///
/// # Errors
/// A `\u` that four hexadecimal digits do not follow, or a line without a key.
pub fn parse(text: &str) -> Result<Vec<Entry>, SyntaxError> {
    logical_lines(text).into_iter().map(|(line, text)| entry(line, &text)).collect()
}

/// Appends one line that [`parse`] reads back. Escapes what would otherwise be taken for syntax.
pub fn write_line(out: &mut String, key: &str, value: &str) {
    escape(out, key, true);
    out.push('=');
    escape(out, value, false);
    out.push('\n');
}

/// Lines with comments and blank ones removed and continued ones joined, each with its first number.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, raw) in text.lines().enumerate() {
        let trimmed = raw.trim_start_matches([' ', '\t', '\u{c}']);
        if open.is_none() && (trimmed.is_empty() || trimmed.starts_with(['#', '!'])) {
            continue;
        }
        let (number, mut joined) = open.take().unwrap_or((index + 1, String::new()));
        let backslashes = trimmed.bytes().rev().take_while(|&b| b == b'\\').count();
        if backslashes % 2 == 1 {
            joined.push_str(&trimmed[..trimmed.len() - 1]);
            open = Some((number, joined));
        } else {
            joined.push_str(trimmed);
            lines.push((number, joined));
        }
    }
    lines.extend(open);
    lines
}

fn entry(line: usize, text: &str) -> Result<Entry, SyntaxError> {
    let (raw_key, raw_value) = split(text);
    let key = unescape(raw_key).map_err(|reason| SyntaxError { line, reason })?;
    if key.is_empty() {
        let reason = "there is no key before the separator";
        return Err(SyntaxError { line, reason });
    }
    let value = unescape(raw_value.trim_end_matches([' ', '\t', '\u{c}', '\r']))
        .map_err(|reason| SyntaxError { line, reason })?;
    Ok(Entry { key, value, line })
}

/// At the first separator that no backslash escapes: blanks, with at most one `=` or `:` among them.
fn split(text: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = text
        .char_indices()
        .find(|&(_, c)| {
            let separates = !escaped && matches!(c, '=' | ':' | ' ' | '\t' | '\u{c}');
            escaped = !escaped && c == '\\';
            separates
        })
        .map_or(text.len(), |(at, _)| at);
    let (key, rest) = text.split_at(end);
    let blanks = [' ', '\t', '\u{c}'];
    let rest = rest.trim_start_matches(blanks);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (key, rest.trim_start_matches(blanks))
}

fn unescape(text: &str) -> Result<String, &'static str> {
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut unit = [0u16; 2];
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            units.extend_from_slice(c.encode_utf16(&mut unit));
            continue;
        }
        match chars.next() {
            Some('u') => units.push(four_digits(&mut chars)?),
            Some('t') => units.push(u16::from(b'\t')),
            Some('n') => units.push(u16::from(b'\n')),
            Some('r') => units.push(u16::from(b'\r')),
            Some('f') => units.push(0x0c),
            Some(other) => units.extend_from_slice(other.encode_utf16(&mut unit)),
            None => {}
        }
    }
    String::from_utf16(&units).map_err(|_| "\\u escapes half a surrogate pair")
}

fn four_digits(chars: &mut std::str::Chars<'_>) -> Result<u16, &'static str> {
    let digits = chars.as_str().get(..4).unwrap_or_default();
    let all_hex = digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    let unit = u16::from_str_radix(digits, 16).ok().filter(|_| all_hex);
    *chars = chars.as_str().get(digits.len()..).unwrap_or_default().chars();
    unit.ok_or("\\u is not followed by four hexadecimal digits")
}

fn escape(out: &mut String, text: &str, is_key: bool) {
    for (index, c) in text.chars().enumerate() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\u{c}' => out.push_str("\\f"),
            ' ' | '=' | ':' | '#' | '!' if is_key => {
                out.push('\\');
                out.push(c);
            }
            ' ' if index == 0 => out.push_str("\\ "),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        let entries = parse(text).unwrap();
        entries.into_iter().map(|e| (e.key, e.value)).collect()
    }

    fn one(text: &str) -> (String, String) {
        let mut pairs = pairs(text);
        assert_eq!(pairs.len(), 1, "{text:?}");
        pairs.remove(0)
    }

    #[test]
    fn equals_sign_colon_and_blank_all_separate() {
        for text in ["k=v", "k:v", "k v", "  k = v", "k\t:  v", "k=v  ", "k = v\r\n"] {
            assert_eq!(one(text), ("k".into(), "v".into()), "{text:?}");
        }
    }

    #[test]
    fn only_the_first_separator_counts() {
        assert_eq!(one("a=b=c"), ("a".into(), "b=c".into()));
        assert_eq!(one("a b:c"), ("a".into(), "b:c".into()));
        let (key, value) = one("namesrvAddr=h1:9876;h2:9876");
        assert_eq!((key.as_str(), value.as_str()), ("namesrvAddr", "h1:9876;h2:9876"));
    }

    #[test]
    fn comments_and_blank_lines_are_left_out_but_counted() {
        let entries = parse("# one\n\n  ! two\nk=v # not a comment\n").unwrap();
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].line, 4);
        assert_eq!(entries[0].value, "v # not a comment");
    }

    #[test]
    fn a_backslash_at_the_end_continues_the_line() {
        assert_eq!(one("k=a,\\\n    b"), ("k".into(), "a,b".into()));
        assert_eq!(pairs("k=a\\\\\nl=b").len(), 2);
        assert_eq!(one("k=a\\\n# no comment here"), ("k".into(), "a# no comment here".into()));
        assert_eq!(one("k=a\\"), ("k".into(), "a".into()));
    }

    #[test]
    fn escapes_are_resolved_in_keys_and_values() {
        assert_eq!(one(r"a\ b\=c=d\te\q"), ("a b=c".into(), "d\teq".into()));
        assert_eq!(one(r"n=\u6d4b\u8bd5"), ("n".into(), "测试".into()));
        assert_eq!(one(r"n=\ud83d\ude00"), ("n".into(), "😀".into()));
        assert_eq!(one(r"p=C\:\\data"), ("p".into(), r"C:\data".into()));
    }

    #[test]
    fn an_empty_value_is_a_value_and_an_empty_key_is_an_error() {
        assert_eq!(one("k"), ("k".into(), String::new()));
        assert_eq!(one("k="), ("k".into(), String::new()));
        assert_eq!(parse("a=1\n=2").unwrap_err().line, 2);
    }

    #[test]
    fn a_broken_unicode_escape_is_named_with_its_line() {
        for text in [r"a=1", r"k=\u12", r"k=\u12g4", r"k=\ud83d"].iter().skip(1) {
            assert_eq!(parse(text).unwrap_err().line, 1, "{text}");
        }
        assert!(parse("k=\\u测试测试").is_err());
    }

    #[test]
    fn bytes_that_are_not_utf8_are_latin1() {
        assert_eq!(decode("ü".as_bytes()), "ü");
        assert_eq!(decode(&[b'k', b'=', 0xfc]), "k=ü");
        assert_eq!(decode("\u{feff}k=v".as_bytes()), "k=v");
    }

    #[test]
    fn what_is_written_reads_back() {
        let mut text = String::new();
        for (key, value) in [("a b:c", " x\\y\n"), ("#k", "v=w"), ("n", "测试\u{1}")] {
            text.clear();
            write_line(&mut text, key, value);
            assert_eq!(one(&text), (key.into(), value.into()), "{text:?}");
        }
    }
}
