//! Values of an expression and Java's ways to compare and to read them.

use std::cmp::Ordering;

/// What a part of an expression comes to. Properties are always texts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    /// Unknown: a property that the message does not have.
    Null,
    Bool(bool),
    Int(i32),
    Long(i64),
    Double(f64),
    Text(&'a str),
}

/// A comparison that Apache ends with an exception; the message is not delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Incomparable {
    /// A text that is not a number of the other side's type.
    NotANumber,
    /// A truth value against a text.
    BoolAndText,
}

impl Value<'_> {
    /// Apache's `==`: equal class and value, or equal after a conversion. Neither side is null.
    pub(super) fn equals(self, other: Self) -> Result<bool, Incomparable> {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => Ok(a == b),
            _ => self.compare(other).map(|order| order == Some(Ordering::Equal)),
        }
    }

    /// Apache's order after converting one side to the class of the other; `None` for classes that have no order, where
    /// Apache says "less". Neither side is null.
    pub(super) fn compare(self, other: Self) -> Result<Option<Ordering>, Incomparable> {
        use Value::{Bool, Double, Int, Long, Text};
        Ok(Some(match (self, other) {
            (Text(a), Text(b)) => utf16_order(a, b),
            (Bool(a), Bool(b)) => a.cmp(&b),
            (Int(a), Int(b)) => a.cmp(&b),
            (Text(a), Bool(b)) => a.eq_ignore_ascii_case("true").cmp(&b),
            (Bool(_), Text(_)) => return Err(Incomparable::BoolAndText),
            (Text(a), Int(b)) => read_int(a)?.cmp(&b),
            (Int(a), Text(b)) => a.cmp(&read_int(b)?),
            (Text(a), Long(b)) => read_long(a)?.cmp(&b),
            (Long(a), Text(b)) => a.cmp(&read_long(b)?),
            (Text(a), Double(b)) => order(read_double(a)?, b),
            (Double(a), Text(b)) => order(a, read_double(b)?),
            (Long(a), Long(b)) => a.cmp(&b),
            (Int(a), Long(b)) => i64::from(a).cmp(&b),
            (Long(a), Int(b)) => a.cmp(&i64::from(b)),
            (Double(a), Double(b)) => order(a, b),
            (Int(a), Double(b)) => order(f64::from(a), b),
            (Double(a), Int(b)) => order(a, f64::from(b)),
            (Long(a), Double(b)) => order(a as f64, b),
            (Double(a), Long(b)) => order(a, b as f64),
            _ => return Ok(None),
        }))
    }

    /// Order of two texts for `<` and its like: both must be decimal numbers.
    pub(super) fn compare_texts(a: &str, b: &str) -> Result<Option<Ordering>, Incomparable> {
        Ok(Some(order(read_double(a)?, read_double(b)?)))
    }
}

/// Java's order of doubles: NaN equals itself and is above all, -0 is below 0. `read_double` makes no negative NaN.
fn order(a: f64, b: f64) -> Ordering {
    a.total_cmp(&b)
}

fn utf16_order(a: &str, b: &str) -> Ordering {
    a.encode_utf16().cmp(b.encode_utf16())
}

fn read_int(text: &str) -> Result<i32, Incomparable> {
    text.parse().map_err(|_| Incomparable::NotANumber)
}

fn read_long(text: &str) -> Result<i64, Incomparable> {
    text.parse().map_err(|_| Incomparable::NotANumber)
}

/// `Double.valueOf`: blanks around it do not matter, a type letter may follow. Java's hexadecimal form is not read.
fn read_double(text: &str) -> Result<f64, Incomparable> {
    let text = text.trim_matches(|found: char| found <= ' ');
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_negative = text.starts_with('-');
    let value = match unsigned {
        "NaN" => return Ok(f64::NAN),
        "Infinity" => f64::INFINITY,
        _ => {
            let digits = unsigned.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(unsigned);
            // Rust also reads words such as `inf`, which all start with a letter.
            if !digits.starts_with(|found: char| found.is_ascii_digit() || found == '.') {
                return Err(Incomparable::NotANumber);
            }
            digits.parse().map_err(|_| Incomparable::NotANumber)?
        }
    };
    Ok(if is_negative { -value } else { value })
}

/// `Double.toString`.
pub(super) fn java_double(value: f64) -> String {
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-3..7).contains(&exponent) {
        let plain = format!("{value}");
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    let point = if digits.contains('.') { "" } else { ".0" };
    format!("{digits}{point}E{exponent}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_numbers_are_read_as_java_reads_them() {
        for (text, value) in [
            ("5", 5.0),
            (" 5.5 ", 5.5),
            ("+.5", 0.5),
            ("5.", 5.0),
            ("-1e3", -1000.0),
            ("1.5f", 1.5),
            ("2D", 2.0),
            ("-Infinity", f64::NEG_INFINITY),
        ] {
            assert_eq!(read_double(text), Ok(value), "{text:?}");
        }
        assert!(read_double("-NaN").is_ok_and(|value| value.is_nan() && value.is_sign_positive()));
        for text in ["", " ", "x", "inf", "infinity", "nan", ".", "1e", "--5", "5 5", "1_0", "5ff"] {
            assert_eq!(read_double(text), Err(Incomparable::NotANumber), "{text:?}");
        }
    }

    #[test]
    fn decimal_numbers_are_written_as_java_writes_them() {
        for (value, text) in [
            (5.0, "5.0"),
            (0.001, "0.001"),
            (0.0001, "1.0E-4"),
            (1e7, "1.0E7"),
            (1234567.5, "1234567.5"),
            (1.25e10, "1.25E10"),
        ] {
            assert_eq!(java_double(value), text);
        }
    }

    #[test]
    fn whole_numbers_keep_to_the_range_of_their_type() {
        assert_eq!(Value::Text("2147483648").compare(Value::Int(1)), Err(Incomparable::NotANumber));
        assert_eq!(Value::Text("2147483648").compare(Value::Long(1)), Ok(Some(Ordering::Greater)));
        assert_eq!(Value::Text("+5").equals(Value::Int(5)), Ok(true));
        assert_eq!(Value::Int(1).equals(Value::Bool(true)), Ok(false));
    }
}
