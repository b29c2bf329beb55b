//! Configuration files in TOML: the same keys, under any table headings or none.
//!
//! ```toml
//! namesrvAddr = ["ns1:9876", "ns2:9876"]      # a list is joined with `;`
//! [broker]                                    # headings order the file for people and mean nothing
//! brokerName = "orders-a"
//! ```

use ::toml::{Table, Value};

/// Every key with its value as text.
///
/// # Errors
/// A sentence about what is not TOML, or not a value that a key could have.
pub(super) fn parse(text: &str) -> Result<Vec<(String, String)>, String> {
    let table: Table = text.parse().map_err(|error: ::toml::de::Error| error.to_string())?;
    let mut entries = Vec::new();
    collect(&table, &mut entries)?;
    Ok(entries)
}

fn collect(table: &Table, entries: &mut Vec<(String, String)>) -> Result<(), String> {
    for (key, value) in table {
        match value {
            Value::Table(inner) => collect(inner, entries)?,
            Value::Array(items) => {
                let items = items.iter().map(|item| scalar(key, item));
                entries.push((key.clone(), items.collect::<Result<Vec<_>, _>>()?.join(";")));
            }
            value => entries.push((key.clone(), scalar(key, value)?)),
        }
    }
    Ok(())
}

fn scalar(key: &str, value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        Value::Boolean(flag) => Ok(flag.to_string()),
        Value::Datetime(_) | Value::Array(_) | Value::Table(_) => {
            Err(format!("{key} has a {} where a string, a number, true or false is expected", value.type_str()))
        }
    }
}
