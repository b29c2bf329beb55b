//! A compiled expression: steps over a small stack of values, in the order in which they are taken.
//!
//! A step finds its operands on the stack and leaves its result there. `AND` and `OR` are two steps each: a skip behind
//! the left side, which jumps over the right side when the left one decides, and the join behind the right side.

use smallvec::SmallVec;

use super::value::{Value, java_double};

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    Null,
    Bool(bool),
    Int(i32),
    Long(i64),
    Double(f64),
    Text(Box<str>),
    /// The property with this number in the list of names.
    Property(usize),
    Negate,
    /// A property where a truth value is asked for: false when it is there, whatever it holds.
    Cast,
    Not,
    Equal,
    IsNull,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Search(Search, Box<str>),
    /// A search for an empty text, which finds nothing and does not even look at its operand. Holds how it is shown.
    NeverFound(Box<str>),
    In {
        list: Box<[Box<str>]>,
        negated: bool,
    },
    /// `value >= low AND value <= high`; negated, `value < low OR value > high`.
    Between {
        negated: bool,
    },
    /// Passes over so many steps when the value on top is false, and leaves it there.
    SkipIfFalse(usize),
    /// Passes over so many steps when the value on top is true, and leaves it there.
    SkipIfTrue(usize),
    And,
    Or,
}

/// Where a text is looked for in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Search {
    pub(super) place: Place,
    pub(super) negated: bool,
}

/// See [`Search`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Anywhere,
    Start,
    End,
}

impl Search {
    /// Whether `text` has `wanted`, which is not empty, there; or has it not.
    pub(super) fn finds(self, text: &str, wanted: &str) -> bool {
        let found = match self.place {
            Place::Anywhere => text.contains(wanted),
            Place::Start => text.starts_with(wanted),
            Place::End => text.ends_with(wanted),
        };
        found != self.negated
    }

    pub(super) fn symbol(self) -> &'static str {
        match (self.place, self.negated) {
            (Place::Anywhere, false) => "CONTAINS",
            (Place::Anywhere, true) => "NOT CONTAINS",
            (Place::Start, false) => "STARTSWITH",
            (Place::Start, true) => "NOT STARTSWITH",
            (Place::End, false) => "ENDSWITH",
            (Place::End, true) => "NOT ENDSWITH",
        }
    }
}

impl Step {
    /// The value of a constant.
    pub(super) fn constant(&self) -> Option<Value<'_>> {
        Some(match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(value) => Value::Int(*value),
            Self::Long(value) => Value::Long(*value),
            Self::Double(value) => Value::Double(*value),
            Self::Text(value) => Value::Text(value),
            _ => return None,
        })
    }
}

/// Longest part that is shown, in bytes: a nested `BETWEEN` shows its value twice.
const MOST_SHOWN: usize = 2_000;

/// A part of an expression as Apache's error texts show it. `steps` is the part alone.
pub(super) fn render(steps: &[Step], names: &[Box<str>]) -> String {
    let mut stack: SmallVec<[String; 8]> = SmallVec::new();
    for step in steps {
        let mut top = || stack.pop().unwrap_or_default();
        let shown = match step {
            Step::Null => "NULL".to_owned(),
            Step::Bool(value) => if *value { "TRUE" } else { "FALSE" }.to_owned(),
            Step::Int(value) => value.to_string(),
            Step::Long(value) => value.to_string(),
            Step::Double(value) => java_double(*value),
            Step::Text(text) => format!("'{}'", text.replace('\'', "''")),
            Step::Property(name) => names.get(*name).map_or_else(String::new, |name| name.to_string()),
            Step::Negate => format!("(- {})", top()),
            Step::Not => format!("(NOT {})", top()),
            Step::IsNull => format!("({} == NULL)", top()),
            Step::NeverFound(shown) => shown.to_string(),
            Step::Search(search, _) => format!("({} {})", search.symbol(), top()),
            Step::In { list, negated } => {
                format!("{} {} ( {} )", top(), if *negated { "NOT IN" } else { "IN" }, list.join(", "))
            }
            Step::Cast | Step::SkipIfFalse(_) | Step::SkipIfTrue(_) => continue,
            Step::Equal => binary("==", top(), top()),
            Step::Less => binary("<", top(), top()),
            Step::LessEqual => binary("<=", top(), top()),
            Step::Greater => binary(">", top(), top()),
            Step::GreaterEqual => binary(">=", top(), top()),
            Step::Between { negated } => {
                let (high, low, value) = (top(), top(), top());
                match negated {
                    false => format!("(({value} >= {low}) && ({value} <= {high}))"),
                    true => format!("(({value} < {low}) || ({value} > {high}))"),
                }
            }
            Step::And => binary("&&", top(), top()),
            Step::Or => binary("||", top(), top()),
        };
        stack.push(if shown.len() > MOST_SHOWN { "...".to_owned() } else { shown });
    }
    stack.pop().unwrap_or_default()
}

fn binary(symbol: &str, right: String, left: String) -> String {
    format!("({left} {symbol} {right})")
}
