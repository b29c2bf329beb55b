//! What came out.

use std::{fmt, io};

use serde_json::{Value, json};

use super::{Difference, Kind, Period, Record, text};

/// What one source has in the period.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Side {
    /// The source's name.
    pub name: String,
    /// Records, duplicates included.
    pub records: u64,
    /// The sum of their amounts, in the smallest unit.
    pub amount: i128,
}

/// The result of a comparison. It is text by [`Display`](fmt::Display).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Of what.
    pub name: String,
    /// Of when.
    pub period: Period,
    /// The source that should be right.
    pub left: Side,
    /// The other one.
    pub right: Side,
    /// Keys that agree.
    pub matched: u64,
    /// Keys that only the first source has.
    pub missing: u64,
    /// Keys that only the second source has.
    pub surplus: u64,
    /// Keys with other values.
    pub different: u64,
    /// Records whose key came before in their source.
    pub duplicates: u64,
    /// Keys that do not agree and may be under way.
    pub unsettled: u64,
    /// The first of what does not agree, in the order of keys.
    pub differences: Vec<Difference>,
    /// How many more there are.
    pub left_out: u64,
}

impl Report {
    pub(super) fn new(name: String, period: Period, left: &str, right: &str) -> Self {
        let side = |name: &str| Side { name: name.to_owned(), records: 0, amount: 0 };
        Self {
            name,
            period,
            left: side(left),
            right: side(right),
            matched: 0,
            missing: 0,
            surplus: 0,
            different: 0,
            duplicates: 0,
            unsettled: 0,
            differences: Vec::new(),
            left_out: 0,
        }
    }

    pub(super) fn count_mut(&mut self, kind: Kind) -> &mut u64 {
        match kind {
            Kind::Missing => &mut self.missing,
            Kind::Surplus => &mut self.surplus,
            Kind::Different => &mut self.different,
            Kind::Duplicate => &mut self.duplicates,
            Kind::Unsettled => &mut self.unsettled,
        }
    }

    /// Whether both sources have the same, apart from what may be under way.
    pub fn agrees(&self) -> bool {
        self.missing + self.surplus + self.different + self.duplicates == 0
    }

    /// All of it as JSON. Sums are texts: they may be larger than JSON's readers can count.
    pub fn to_json(&self) -> Value {
        let side = |side: &Side| json!({"name": side.name, "records": side.records, "amount": side.amount.to_string()});
        json!({
            "name": self.name,
            "period": {"name": self.period.name, "from_ms": self.period.from_ms, "to_ms": self.period.to_ms},
            "left": side(&self.left),
            "right": side(&self.right),
            "matched": self.matched,
            "missing": self.missing,
            "surplus": self.surplus,
            "different": self.different,
            "duplicates": self.duplicates,
            "unsettled": self.unsettled,
            "agrees": self.agrees(),
            "differences": self.differences.iter().map(difference_to_json).collect::<Vec<_>>(),
            "left_out": self.left_out,
        })
    }

    /// The differences as CSV (RFC 4180): a line for each field that differs, and one for each key that one side lacks.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_csv(&self, to: &mut impl io::Write) -> io::Result<()> {
        text::write_csv_line(to, &["kind", "key", "field", "left", "right"])?;
        for difference in &self.differences {
            for [field, left, right] in cells(difference) {
                text::write_csv_line(to, &[difference.kind.as_str(), &difference.key, &field, &left, &right])?;
            }
        }
        Ok(())
    }
}

fn difference_to_json(difference: &Difference) -> Value {
    let record = |record: &Option<Record>| {
        record.as_ref().map(|record| json!({"at_ms": record.at_ms, "amount": record.amount, "fields": record.fields}))
    };
    let fields = difference.fields.iter();
    let fields = fields.map(|one| json!({"field": one.field, "left": one.left, "right": one.right}));
    json!({
        "key": difference.key,
        "kind": difference.kind.as_str(),
        "fields": fields.collect::<Vec<_>>(),
        "left": record(&difference.left),
        "right": record(&difference.right),
        "position": difference.position,
    })
}

/// Field, left and right of each line that a difference has in a table.
fn cells(difference: &Difference) -> Vec<[String; 3]> {
    if !difference.fields.is_empty() {
        let of = |value: &Option<String>| value.clone().unwrap_or_default();
        return difference.fields.iter().map(|one| [one.field.clone(), of(&one.left), of(&one.right)]).collect();
    }
    let of = |record: &Option<Record>| {
        let place = difference.position.map(|position| format!("record {position} "));
        let shown = |record: &Record| {
            let values = record.values().into_iter().map(|(name, value)| format!("{name}={value}"));
            format!("{}{}", place.clone().unwrap_or_default(), values.collect::<Vec<_>>().join(" "))
                .trim_end()
                .to_owned()
        };
        record
            .as_ref()
            .map(|record| Some(shown(record)).filter(|text| !text.is_empty()).unwrap_or_else(|| "there".into()))
    };
    vec![[String::new(), of(&difference.left).unwrap_or_default(), of(&difference.right).unwrap_or_default()]]
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}: {} and {}", self.name, self.period.name, self.left.name, self.right.name)?;
        for side in [&self.left, &self.right] {
            writeln!(f, "  {}: {} records, amount {}", side.name, side.records, side.amount)?;
        }
        writeln!(
            f,
            "  {} agree, {} missing, {} surplus, {} different, {} duplicates, {} unsettled",
            self.matched, self.missing, self.surplus, self.different, self.duplicates, self.unsettled
        )?;
        let mut rows = vec![["", "key", "field", &self.left.name, &self.right.name].map(str::to_owned)];
        for difference in &self.differences {
            for [field, left, right] in cells(difference) {
                rows.push([difference.kind.as_str().to_owned(), difference.key.clone(), field, left, right]);
            }
        }
        if rows.len() > 1 {
            text::write_table(f, &rows)?;
        }
        if self.left_out > 0 {
            writeln!(f, "  and {} more", self.left_out)?;
        }
        write!(f, "{}", if self.agrees() { "they agree" } else { "THEY DO NOT AGREE" })
    }
}
