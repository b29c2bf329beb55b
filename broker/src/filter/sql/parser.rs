//! From words to steps: operator precedence, types, and what Apache refuses.
//!
//! ```text
//! OR < AND < = <> IS NULL < > >= < <= BETWEEN IN CONTAINS STARTSWITH ENDSWITH < NOT + -
//! ```
//!
//! All operators group to the left, and `NOT` binds tighter than any comparison: `NOT a = 1` is `(NOT a) = 1`. Nothing
//! says that an expression ends with the text: the first word that cannot go on ends it, and the rest is not looked at.

use super::{
    MAX_DEPTH,
    error::SqlError,
    lexer::{Kind, Lexer, Token},
    program::{Place, Search, Step, render},
    value::{Incomparable, Value, java_double},
};

/// How tightly operators bind.
const OR: u8 = 1;
const AND: u8 = 2;
const EQUALITY: u8 = 3;
const COMPARISON: u8 = 4;

/// What an operand may start with.
const OPERAND: &[Kind] = &[
    Kind::Not,
    Kind::True,
    Kind::False,
    Kind::Null,
    Kind::Whole,
    Kind::Decimal,
    Kind::Text,
    Kind::Name,
    Kind::Open,
    Kind::Minus,
    Kind::Plus,
];
const OPERAND_NOT_PLUS: &[Kind] = OPERAND.split_at(OPERAND.len() - 1).0;
const AFTER_NOT: &[Kind] = &[
    Kind::Between,
    Kind::In,
    Kind::Contains,
    Kind::StartsWith,
    Kind::EndsWith,
    Kind::Greater,
    Kind::GreaterEqual,
    Kind::Less,
    Kind::LessEqual,
];
const BEFORE_CLOSE: &[Kind] = &[
    Kind::Not,
    Kind::And,
    Kind::Or,
    Kind::Between,
    Kind::In,
    Kind::Is,
    Kind::Contains,
    Kind::StartsWith,
    Kind::EndsWith,
    Kind::Equal,
    Kind::NotEqual,
    Kind::Greater,
    Kind::GreaterEqual,
    Kind::Less,
    Kind::LessEqual,
    Kind::Close,
];
const BEFORE_CLOSE_AFTER_NULL: &[Kind] = &[Kind::And, Kind::Or, Kind::Is, Kind::Equal, Kind::NotEqual, Kind::Close];

/// What the type rules look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    /// A number or a text.
    Constant,
    /// `TRUE`, `FALSE` or `NULL`.
    BooleanConstant,
    Property,
    Boolean,
    Negated,
}

/// A parsed part: its steps reach from `start` to the end of the program when it was made.
#[derive(Debug, Clone, Copy)]
struct Part {
    start: usize,
    end: usize,
    kind: Type,
}

/// What a text was parsed into.
pub(super) struct Parsed {
    pub(super) steps: Vec<Step>,
    pub(super) names: Vec<Box<str>>,
    /// Where the part of the text begins that was not looked at.
    pub(super) end: usize,
}

/// Parses a whole text.
pub(super) fn parse(text: &str) -> Result<Parsed, SqlError> {
    let (steps, names) = (Vec::new(), Vec::new());
    let mut parser = Parser { text, lexer: Lexer::new(text), ahead: None, steps, names, depth: 0, after_null: false };
    let part = parser.expression(OR)?;
    parser.as_boolean(part)?;
    let end = parser.peek()?.start;
    Ok(Parsed { steps: parser.steps, names: parser.names, end })
}

struct Parser<'a> {
    text: &'a str,
    lexer: Lexer<'a>,
    /// The next word, if it was looked at.
    ahead: Option<Token>,
    steps: Vec<Step>,
    names: Vec<Box<str>>,
    depth: usize,
    /// The last word taken ended an `IS NULL`, behind which no comparison goes on.
    after_null: bool,
}

impl Parser<'_> {
    fn expression(&mut self, least: u8) -> Result<Part, SqlError> {
        let mut left = self.operand()?;
        let mut may_compare = true;
        loop {
            let token = self.peek()?;
            let level = match token.kind {
                Kind::Or => OR,
                Kind::And => AND,
                Kind::Equal | Kind::NotEqual | Kind::Is => EQUALITY,
                Kind::Greater
                | Kind::GreaterEqual
                | Kind::Less
                | Kind::LessEqual
                | Kind::Contains
                | Kind::StartsWith
                | Kind::EndsWith
                | Kind::Between
                | Kind::In
                | Kind::Not
                    if may_compare =>
                {
                    COMPARISON
                }
                _ => return Ok(left),
            };
            if level < least {
                return Ok(left);
            }
            left = match level {
                OR | AND => self.logic(left, level)?,
                EQUALITY => self.equality(left)?,
                _ => self.comparison(left)?,
            };
            // What an operator of a lower level has made is not compared any further.
            may_compare = level == COMPARISON;
        }
    }

    fn logic(&mut self, left: Part, level: u8) -> Result<Part, SqlError> {
        self.take()?;
        let cast = self.as_boolean(left); // reported after what is wrong in the right side, as Apache does
        let skip = self.emit(if level == OR { Step::SkipIfTrue(0) } else { Step::SkipIfFalse(0) });
        let right = self.expression(level + 1)?;
        cast?;
        self.as_boolean(right)?;
        Ok(self.join(left.start, skip))
    }

    /// Ends a `logic`: the join, and the way over the right side.
    fn join(&mut self, start: usize, skip: usize) -> Part {
        let over = self.steps.len() - skip; // from the step behind the skip to the one behind the join
        let join = match self.steps.get_mut(skip) {
            Some(Step::SkipIfTrue(to)) => {
                *to = over;
                Step::Or
            }
            Some(Step::SkipIfFalse(to)) => {
                *to = over;
                Step::And
            }
            _ => Step::And, // `skip` is where one of the two was put
        };
        self.emit(join);
        self.part(start, Type::Boolean)
    }

    fn equality(&mut self, left: Part) -> Result<Part, SqlError> {
        let operator = self.take()?;
        if operator.kind == Kind::Is {
            let token = self.take()?;
            self.emit(Step::IsNull);
            match token.kind {
                Kind::Null => {}
                Kind::Not => {
                    self.expect(Kind::Null)?;
                    self.emit(Step::Not);
                }
                _ => return Err(SqlError::syntax(self.text, token, &[Kind::Not, Kind::Null])),
            }
            self.after_null = true;
            return Ok(self.part(left.start, Type::Boolean));
        }
        let right = self.expression(COMPARISON)?;
        for part in [left, right] {
            if self.constant(part) == Some(Value::Null) {
                return Err(SqlError::types(format_args!("'{}' cannot be compared.", self.render(part))));
            }
        }
        if left.kind == Type::BooleanConstant && right.kind == Type::Constant {
            let (left, right) = (self.render(left), self.render(right));
            return Err(SqlError::types(format_args!("'{left}' cannot be compared with '{right}'")));
        }
        self.emit(Step::Equal);
        if operator.kind == Kind::NotEqual {
            self.emit(Step::Not);
        }
        Ok(self.part(left.start, Type::Boolean))
    }

    fn comparison(&mut self, left: Part) -> Result<Part, SqlError> {
        let mut operator = self.take()?;
        let negated = operator.kind == Kind::Not;
        if negated {
            let not = operator;
            operator = self.peek()?;
            if !matches!(operator.kind, Kind::Between | Kind::In | Kind::Contains | Kind::StartsWith | Kind::EndsWith) {
                return Err(SqlError::syntax(self.text, not, AFTER_NOT));
            }
            self.take()?;
        }
        let step = match operator.kind {
            Kind::Contains => self.search(left, Search { place: Place::Anywhere, negated })?,
            Kind::StartsWith => self.search(left, Search { place: Place::Start, negated })?,
            Kind::EndsWith => self.search(left, Search { place: Place::End, negated })?,
            Kind::In => self.list(left, negated)?,
            Kind::Between => return self.between(left, negated),
            kind => {
                let right = self.operand()?;
                self.check_ordered(left)?;
                self.check_ordered(right)?;
                match kind {
                    Kind::Greater => Step::Greater,
                    Kind::GreaterEqual => Step::GreaterEqual,
                    Kind::Less => Step::Less,
                    _ => Step::LessEqual,
                }
            }
        };
        self.emit(step);
        Ok(self.part(left.start, Type::Boolean))
    }

    fn search(&mut self, left: Part, search: Search) -> Result<Step, SqlError> {
        let wanted = self.text()?;
        if !wanted.is_empty() {
            return Ok(Step::Search(search, wanted));
        }
        let shown = format!("({} {})", search.symbol(), self.render(left));
        self.steps.truncate(left.start);
        Ok(Step::NeverFound(shown.into()))
    }

    /// Both limits are part of the range, and constants must be in order.
    fn between(&mut self, value: Part, negated: bool) -> Result<Part, SqlError> {
        let low = self.operand()?;
        self.expect(Kind::And)?;
        let high = self.operand()?;
        if !negated {
            self.check_range(low, high)?;
        }
        for part in [value, low, value, high] {
            self.check_ordered(part)?;
        }
        self.emit(Step::Between { negated });
        Ok(self.part(value.start, Type::Boolean))
    }

    fn check_range(&self, low: Part, high: Part) -> Result<(), SqlError> {
        let (Some(low), Some(high)) = (self.constant(low), self.constant(high)) else { return Ok(()) };
        if low == Value::Null || high == Value::Null {
            return Err(SqlError::types("Illegal values of between, values can not be null!"));
        }
        let order = high.compare(low).map_err(|error| match (error, high, low) {
            (Incomparable::NotANumber, Value::Text(text), _) | (Incomparable::NotANumber, _, Value::Text(text)) => {
                SqlError::types(SqlError::number(text))
            }
            _ => SqlError::class_cast(),
        })?;
        if order.is_none_or(std::cmp::Ordering::is_lt) {
            return Err(SqlError::types(format_args!(
                "Illegal values of between, left value({}) must less than or equal to right value({})",
                shown(low),
                shown(high)
            )));
        }
        Ok(())
    }

    fn list(&mut self, left: Part, negated: bool) -> Result<Step, SqlError> {
        self.expect(Kind::Open)?;
        let mut list = vec![self.text()?];
        loop {
            let token = self.take()?;
            match token.kind {
                Kind::Comma => list.push(self.text()?),
                Kind::Close => break,
                _ => return Err(SqlError::syntax(self.text, token, &[Kind::Comma, Kind::Close])),
            }
        }
        if left.kind != Type::Property {
            let shown = self.render(left);
            return Err(SqlError::types(format_args!("Expected a property for In expression, got: {shown}")));
        }
        Ok(Step::In { list: list.into(), negated })
    }

    fn operand(&mut self) -> Result<Part, SqlError> {
        let token = self.take()?;
        let start = self.steps.len();
        let image = self.text.get(token.start..token.end).unwrap_or_default();
        let (step, kind) = match token.kind {
            Kind::Not | Kind::Minus | Kind::Plus | Kind::Open => {
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return Err(SqlError::too_deep(self.text, token.start, MAX_DEPTH));
                }
                let part = self.nested(token)?;
                self.depth -= 1;
                return Ok(part);
            }
            Kind::Text => (Step::Text(unquoted(image)), Type::Constant),
            Kind::Whole => (whole(image)?, Type::Constant),
            Kind::Decimal => (decimal(image)?, Type::Constant),
            Kind::True => (Step::Bool(true), Type::BooleanConstant),
            Kind::False => (Step::Bool(false), Type::BooleanConstant),
            Kind::Null => (Step::Null, Type::BooleanConstant),
            Kind::Name => (Step::Property(self.name(image)), Type::Property),
            _ => return Err(SqlError::syntax(self.text, token, OPERAND)),
        };
        self.emit(step);
        Ok(self.part(start, kind))
    }

    fn nested(&mut self, opening: Token) -> Result<Part, SqlError> {
        match opening.kind {
            Kind::Open => {
                let inner = self.expression(OR)?;
                let expected = if self.after_null { BEFORE_CLOSE_AFTER_NULL } else { BEFORE_CLOSE };
                let closing = self.take()?;
                if closing.kind != Kind::Close {
                    return Err(SqlError::syntax(self.text, closing, expected));
                }
                Ok(inner)
            }
            // Apache looks whether an operand follows, and if none does, finds the sign itself out of place.
            Kind::Plus => self.operand().map_err(|error| {
                if error.is_syntax { SqlError::syntax(self.text, opening, OPERAND_NOT_PLUS) } else { error }
            }),
            Kind::Minus => {
                let operand = self.operand()?;
                self.emit(Step::Negate);
                Ok(self.part(operand.start, Type::Negated))
            }
            _ => {
                let operand = self.operand()?;
                self.as_boolean(operand)?;
                self.emit(Step::Not);
                Ok(self.part(operand.start, Type::Boolean))
            }
        }
    }

    /// Sees to it that the part just parsed is a truth value.
    fn as_boolean(&mut self, part: Part) -> Result<(), SqlError> {
        match part.kind {
            Type::Boolean | Type::BooleanConstant => Ok(()),
            Type::Property => {
                self.emit(Step::Cast);
                Ok(())
            }
            Type::Constant | Type::Negated => Err(SqlError::not_boolean(&self.render(part))),
        }
    }

    /// Only numbers and what may turn out to be one have an order.
    fn check_ordered(&self, part: Part) -> Result<(), SqlError> {
        let refused = match part.kind {
            Type::Constant => matches!(self.constant(part), Some(Value::Text(_))),
            Type::BooleanConstant | Type::Boolean => true,
            Type::Property | Type::Negated => false,
        };
        if refused {
            return Err(SqlError::types(format_args!("Value '{}' cannot be compared.", self.render(part))));
        }
        Ok(())
    }

    fn constant(&self, part: Part) -> Option<Value<'_>> {
        matches!(part.kind, Type::Constant | Type::BooleanConstant)
            .then(|| self.steps.get(part.start).and_then(Step::constant))
            .flatten()
    }

    fn render(&self, part: Part) -> String {
        render(self.steps.get(part.start..part.end).unwrap_or_default(), &self.names)
    }

    fn name(&mut self, name: &str) -> usize {
        self.names.iter().position(|known| **known == *name).unwrap_or_else(|| {
            self.names.push(name.into());
            self.names.len() - 1
        })
    }

    fn text(&mut self) -> Result<Box<str>, SqlError> {
        let token = self.expect(Kind::Text)?;
        Ok(unquoted(self.text.get(token.start..token.end).unwrap_or_default()))
    }

    fn expect(&mut self, kind: Kind) -> Result<Token, SqlError> {
        let token = self.take()?;
        if token.kind == kind { Ok(token) } else { Err(SqlError::syntax(self.text, token, &[kind])) }
    }

    fn peek(&mut self) -> Result<Token, SqlError> {
        match self.ahead {
            Some(token) => Ok(token),
            None => {
                let token = self.lexer.next()?;
                self.ahead = Some(token);
                Ok(token)
            }
        }
    }

    fn take(&mut self) -> Result<Token, SqlError> {
        let token = self.peek()?;
        self.ahead = None;
        self.after_null = false;
        Ok(token)
    }

    fn emit(&mut self, step: Step) -> usize {
        self.steps.push(step);
        self.steps.len() - 1
    }

    fn part(&self, start: usize, kind: Type) -> Part {
        Part { start, end: self.steps.len(), kind }
    }
}

fn unquoted(image: &str) -> Box<str> {
    let inner = image.get(1..image.len().saturating_sub(1)).unwrap_or_default();
    inner.replace("''", "'").into()
}

/// A whole number: of 32 bits if it fits, else of 64.
fn whole(image: &str) -> Result<Step, SqlError> {
    let digits = image.trim_end_matches(['l', 'L']);
    let value: i64 = digits.parse().map_err(|_| SqlError::number(digits))?;
    Ok(i32::try_from(value).map_or(Step::Long(value), Step::Int))
}

fn decimal(image: &str) -> Result<Step, SqlError> {
    let value: f64 = image.parse().map_err(|_| SqlError::number(image))?;
    if value > f64::MAX {
        return Err(SqlError::types(format_args!("{image} is greater than {}", java_double(f64::MAX))));
    }
    if value == 0.0 {
        return Err(SqlError::types(format_args!("{image} is less than 4.9E-324")));
    }
    Ok(Step::Double(value))
}

/// A constant as Java prints it.
fn shown(value: Value<'_>) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Long(value) => value.to_string(),
        Value::Double(value) => java_double(value),
        Value::Text(text) => text.to_owned(),
    }
}
