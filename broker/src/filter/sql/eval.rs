//! Taking the steps of a compiled expression over one message's properties. No allocation for what people write.

use std::cmp::Ordering;

use smallvec::SmallVec;
use tenonmq_protocol::message::properties::pairs;

use super::{
    program::Step,
    value::{Incomparable, Value},
};

/// Values that fit without an allocation.
const STACK: usize = 12;
/// Properties that fit without one.
const SLOTS: usize = 8;

/// The truth of an expression; `None` is SQL's unknown.
pub(super) type Truth = Result<Option<bool>, Incomparable>;

/// Finds the properties and takes the steps.
pub(super) fn evaluate(steps: &[Step], names: &[Box<str>], properties: &str) -> Truth {
    let mut slots: SmallVec<[Option<&str>; SLOTS]> = SmallVec::from_elem(None, names.len());
    for (name, value) in pairs(properties) {
        for (wanted, slot) in names.iter().zip(slots.iter_mut()) {
            if **wanted == *name {
                *slot = Some(value); // the last one of a name counts
            }
        }
    }
    match run(steps, &slots)? {
        Value::Bool(truth) => Ok(Some(truth)),
        _ => Ok(None),
    }
}

/// The parser sees to it that every step finds its operands.
fn run<'a>(steps: &'a [Step], slots: &[Option<&'a str>]) -> Result<Value<'a>, Incomparable> {
    let mut stack: SmallVec<[Value<'a>; STACK]> = SmallVec::new();
    let mut at = 0;
    while let Some(step) = steps.get(at) {
        at += 1;
        let mut top = || stack.pop().unwrap_or(Value::Null);
        let result = match step {
            Step::SkipIfFalse(to) | Step::SkipIfTrue(to) => {
                let decides = Value::Bool(matches!(step, Step::SkipIfTrue(_)));
                if stack.last() == Some(&decides) {
                    at += *to;
                }
                continue;
            }
            Step::Property(slot) => slots.get(*slot).copied().flatten().map_or(Value::Null, Value::Text),
            Step::Negate => negate(top()),
            Step::Cast => match top() {
                Value::Null => Value::Null,
                value => Value::Bool(value == Value::Bool(true)),
            },
            Step::Not => match top() {
                Value::Bool(truth) => Value::Bool(!truth),
                _ => Value::Null,
            },
            Step::IsNull => Value::Bool(top() == Value::Null),
            Step::Search(search, wanted) => Value::Bool(match top() {
                Value::Text(text) => search.finds(text, wanted),
                _ => false,
            }),
            Step::NeverFound(_) => Value::Bool(false),
            Step::In { list, negated } => match top() {
                Value::Text(text) => Value::Bool(is_in(list, text) != *negated),
                _ => Value::Null,
            },
            Step::Equal => {
                let right = top();
                equal(top(), right)?
            }
            Step::Less | Step::LessEqual | Step::Greater | Step::GreaterEqual => {
                let right = top();
                ordered(step, top(), right)?
            }
            Step::Between { negated } => {
                let (high, low, value) = (top(), top(), top());
                between(*negated, value, low, high)?
            }
            Step::And | Step::Or => {
                let right = top();
                join(matches!(step, Step::Or), top(), right)
            }
            constant => constant.constant().unwrap_or(Value::Null),
        };
        stack.push(result);
    }
    Ok(stack.pop().unwrap_or(Value::Null))
}

fn negate(value: Value<'_>) -> Value<'_> {
    match value {
        Value::Int(value) => Value::Int(value.wrapping_neg()),
        Value::Long(value) => Value::Long(value.wrapping_neg()),
        Value::Double(value) => Value::Double(-value),
        _ => Value::Null,
    }
}

/// Apache's `=` is not SQL's: nothing equals nothing, and something is different from nothing.
fn equal<'a>(left: Value<'a>, right: Value<'a>) -> Result<Value<'a>, Incomparable> {
    Ok(match (left, right) {
        (Value::Null, Value::Null) => Value::Bool(true),
        (Value::Null, _) => Value::Null,
        (_, Value::Null) => Value::Bool(false),
        _ => Value::Bool(left.equals(right)?),
    })
}

fn ordered<'a>(step: &Step, left: Value<'a>, right: Value<'a>) -> Result<Value<'a>, Incomparable> {
    let order = match (left, right) {
        (Value::Null, _) | (_, Value::Null) => return Ok(Value::Null),
        (Value::Text(left), Value::Text(right)) => Value::compare_texts(left, right)?,
        _ => left.compare(right)?,
    };
    let order = order.unwrap_or(Ordering::Less);
    Ok(Value::Bool(match step {
        Step::Less => order.is_lt(),
        Step::LessEqual => order.is_le(),
        Step::Greater => order.is_gt(),
        _ => order.is_ge(),
    }))
}

fn between<'a>(negated: bool, value: Value<'a>, low: Value<'a>, high: Value<'a>) -> Result<Value<'a>, Incomparable> {
    let (below, above) = if negated { (&Step::Less, &Step::Greater) } else { (&Step::GreaterEqual, &Step::LessEqual) };
    let first = ordered(below, value, low)?;
    if first == Value::Bool(negated) {
        return Ok(first);
    }
    Ok(join(negated, first, ordered(above, value, high)?))
}

/// `AND` and `OR` of what did not decide alone. `decides` is the truth value that does.
fn join<'a>(decides: bool, left: Value<'a>, right: Value<'a>) -> Value<'a> {
    let decisive = Value::Bool(decides);
    if left == decisive || right == decisive {
        return decisive;
    }
    match (left, right) {
        (Value::Bool(_), Value::Bool(_)) => Value::Bool(!decides),
        _ => Value::Null,
    }
}

fn is_in(list: &[Box<str>], text: &str) -> bool {
    list.binary_search_by(|item| (**item).cmp(text)).is_ok()
}
