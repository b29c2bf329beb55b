//! Finding and escaping the characters that matter in JSON strings, eight bytes at a time.

use bytes::{BufMut, BytesMut};

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Marks the bytes of `word` that are zero; exact up to the first of them.
const fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(LOW) & !word & HIGH
}

/// Marks the bytes of `word` below `limit` (at most 128); exact up to the first of them.
const fn bytes_below(word: u64, limit: u8) -> u64 {
    word.wrapping_sub(LOW * limit as u64) & !word & HIGH
}

/// Offset of the first `quote` or backslash.
#[inline]
pub(crate) fn find_string_end(bytes: &[u8], quote: u8) -> Option<usize> {
    let quotes = LOW * u64::from(quote);
    let backslashes = LOW * u64::from(b'\\');
    find(
        bytes,
        |word| zero_bytes(word ^ quotes) | zero_bytes(word ^ backslashes),
        |byte| byte == quote || byte == b'\\',
    )
}

/// Offset of the first byte that equals `byte`.
#[inline]
pub(crate) fn find_byte(bytes: &[u8], byte: u8) -> Option<usize> {
    let pattern = LOW * u64::from(byte);
    find(bytes, |word| zero_bytes(word ^ pattern), |found| found == byte)
}

/// Offset of the first byte that is at most `byte`, which must be below 127.
pub(crate) fn find_byte_up_to(bytes: &[u8], byte: u8) -> Option<usize> {
    find(bytes, |word| bytes_below(word, byte + 1), |found| found <= byte)
}

/// Offset of the first character that must be escaped in a JSON string.
fn find_special(bytes: &[u8]) -> Option<usize> {
    let quotes = LOW * u64::from(b'"');
    let backslashes = LOW * u64::from(b'\\');
    find(
        bytes,
        |word| zero_bytes(word ^ quotes) | zero_bytes(word ^ backslashes) | bytes_below(word, 0x20),
        |byte| byte == b'"' || byte == b'\\' || byte < 0x20,
    )
}

/// Whether anything in `text` must be escaped.
pub(crate) fn has_special(text: &str) -> bool {
    find_special(text.as_bytes()).is_some()
}

#[inline(always)]
fn find(bytes: &[u8], in_word: impl Fn(u64) -> u64, is_hit: impl Fn(u8) -> bool) -> Option<usize> {
    let first_in = |at: usize, word: &[u8; 8]| {
        let hits = in_word(u64::from_le_bytes(*word));
        (hits != 0).then(|| at + hits.trailing_zeros() as usize / 8)
    };
    let (words, rest) = bytes.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        if let Some(found) = first_in(at * 8, word) {
            return Some(found);
        }
    }
    match bytes.last_chunk::<8>() {
        None => rest.iter().position(|&byte| is_hit(byte)),
        Some(_) if rest.is_empty() => None,
        Some(word) => first_in(bytes.len() - 8, word), // bytes that were looked at have none
    }
}

/// Appends `text` as the inside of a JSON string.
pub(crate) fn push_escaped(out: &mut BytesMut, text: &str) {
    let mut rest = text.as_bytes();
    while let Some(at) = find_special(rest) {
        let Some((plain, [special, after @ ..])) = rest.split_at_checked(at) else { break };
        out.extend_from_slice(plain);
        push_escape(out, *special);
        rest = after;
    }
    out.extend_from_slice(rest);
}

fn push_escape(out: &mut BytesMut, special: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let short = match special {
        b'"' | b'\\' => special,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        8 => b'b',
        12 => b'f',
        control => {
            out.extend_from_slice(b"\\u00");
            out.put_u8(b'0' + (control >> 4));
            out.put_u8(DIGITS.get(usize::from(control & 15)).copied().unwrap_or_default());
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// Undoes the escape sequence that `rest` begins with, as fastjson does. Returns the character and the sequence's
/// length. Half of a surrogate pair becomes the replacement character.
#[inline]
pub(crate) fn unescape(rest: &[u8]) -> Option<(char, usize)> {
    if let [b'\\', b'u', b'0', b'0', high @ b'0'..=b'7', low @ b'0'..=b'9', ..] = rest {
        return Some((char::from((high - b'0') << 4 | (low - b'0')), 6)); // the separators of properties
    }
    unescape_other(rest)
}

fn unescape_other(rest: &[u8]) -> Option<(char, usize)> {
    let [b'\\', kind, after @ ..] = rest else { return None };
    let simple = match kind {
        b'"' | b'\\' | b'/' | b'\'' => char::from(*kind),
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'b' => '\u{8}',
        b'f' | b'F' => '\u{c}',
        b'v' => '\u{b}',
        b'0'..=b'7' => char::from(kind - b'0'),
        b'x' => return Some((char::from(hex::<2>(after)? as u8), 4)),
        b'u' => return unescape_unicode(after),
        _ => return None,
    };
    Some((simple, 2))
}

/// The rest of a `\u` sequence, or of two that form a surrogate pair.
fn unescape_unicode(after: &[u8]) -> Option<(char, usize)> {
    let first = hex::<4>(after)?;
    if let (0xD800..0xDC00, Some([b'\\', b'u', low @ ..])) = (first, after.get(4..)) {
        let second = hex::<4>(low)?;
        if (0xDC00..0xE000).contains(&second) {
            let code = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
            return Some((char::from_u32(code)?, 12));
        }
    }
    Some((char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), 6))
}

fn hex<const N: usize>(text: &[u8]) -> Option<u32> {
    text.first_chunk::<N>()?.iter().try_fold(0, |value, &byte| Some(value << 4 | char::from(byte).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_special_character_is_found_at_any_distance() {
        for special in ['"', '\\', '\u{1}', '\u{1f}', '\0'] {
            for distance in 0..20 {
                for tail in ["", "tail", "tail \"", "quite a long tail"] {
                    let text = format!("{}{special}{tail}", "x".repeat(distance));
                    assert_eq!(find_special(text.as_bytes()), Some(distance), "{text:?}");
                }
                assert_eq!(find_special("x".repeat(distance).as_bytes()), None);
            }
        }
        assert_eq!(find_special("plain text, 属性, \u{7f}".as_bytes()), None);
        assert_eq!(find_string_end(b"0123456789'", b'\''), Some(10));
    }

    #[test]
    fn escapes_are_those_of_json() {
        let mut out = BytesMut::new();
        push_escaped(&mut out, "a\"b\\c\u{1}d\u{1f}\n\r\t\u{8}\u{c}ü");
        assert_eq!(out, r#"a\"b\\c\u0001d\u001F\n\r\t\b\fü"#);
    }
}
