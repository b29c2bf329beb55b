//! Expressions against Apache's own answers, a model of three-valued logic, and hostile text.

use proptest::prelude::*;

use super::{eval::evaluate, *};

/// One line of `apache.tsv`: expression, name and value of each property, and what Apache says.
fn told(line: &str) -> (String, String, String) {
    let mut fields = line.split('\t').map(unescaped);
    let (answer, expression) = (fields.next().unwrap(), fields.next().unwrap());
    let mut properties = String::new();
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        properties += &format!("{name}\u{1}{value}\u{2}");
    }
    (expression, properties, answer)
}

fn unescaped(field: &str) -> String {
    let mut out = String::new();
    let mut chars = field.chars();
    while let Some(found) = chars.next() {
        out.push(match found {
            '\\' => match chars.next().unwrap() {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                'f' => '\u{c}',
                other => other,
            },
            other => other,
        });
    }
    out
}

/// What we say, in the words of the table: `T`, `F`, `N` for unknown, `X` for an exception while evaluating, `E` and the
/// remark for an expression that does not compile.
fn answer(expression: &str, properties: &str) -> String {
    match Sql::compile(expression) {
        Err(error) => format!("E{error}"),
        Ok(sql) => match evaluate(&sql.steps, &sql.names, properties) {
            Ok(Some(true)) => "T".to_owned(),
            Ok(Some(false)) => "F".to_owned(),
            Ok(None) => "N".to_owned(),
            Err(_) => "X".to_owned(),
        },
    }
}

#[test]
fn every_expression_of_the_table_comes_to_what_apache_says() {
    let wrong: Vec<String> = include_str!("apache.tsv")
        .lines()
        .filter_map(|line| {
            let (expression, properties, apache) = told(line);
            let ours = answer(&expression, &properties);
            (ours != apache)
                .then(|| format!("{expression:?} on {properties:?}\n  ours   {ours:?}\n  Apache {apache:?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn an_expression_may_nest_so_deep_and_no_deeper() {
    let nested = |open: &str, close: &str, levels: usize| {
        Sql::compile(&format!("{}a{}", open.repeat(levels), close.repeat(levels)))
            .map(|sql| sql.matches("a\u{1}5\u{2}"))
    };
    for (open, close) in [("(", ")"), ("NOT ", ""), ("(b IS NULL AND c = ", ")"), ("(a BETWEEN 1 AND ", ") = d")] {
        let whole = |levels| match close {
            "" | ")" if open.len() < 5 => nested(open, close, levels).map(|_| ()),
            _ => Sql::compile(&format!("{}a{}", open.repeat(levels), close.repeat(levels))).map(|_| ()),
        };
        let _ = whole(MAX_DEPTH);
        for levels in [MAX_DEPTH + 1, 10_000, 100_000] {
            assert!(whole(levels).is_err(), "{levels} times {open}");
        }
    }
    assert!(nested("(", ")", MAX_DEPTH).is_ok());
    let error = nested("(", ")", 10_000).unwrap_err().to_string();
    assert_eq!(error, "the expression nests deeper than 200 levels at line 1, column 201");
    let signs = format!("{}a = 5", "- ".repeat(10_000));
    assert!(Sql::compile(&signs).is_err());
}

#[test]
fn a_long_chain_is_not_deep() {
    let chain = vec!["a = 1"; 20_000].join(" OR ");
    assert!(!Sql::compile(&chain).unwrap().matches("a\u{1}2\u{2}"));
    let chain = format!("a{}", " IS NULL".repeat(20_001));
    assert!(!Sql::compile(&chain).unwrap().matches("a\u{1}2\u{2}"));
    let list = format!("a IN ({})", (0..20_000).map(|at| format!("'{at}'")).collect::<Vec<_>>().join(","));
    assert!(Sql::compile(&list).unwrap().matches("a\u{1}19999\u{2}"));
}

#[test]
fn the_last_of_several_values_of_a_property_counts() {
    assert!(Sql::compile("a = 2").unwrap().matches("a\u{1}1\u{2}b\u{1}1\u{2}a\u{1}2\u{2}"));
}

#[test]
fn what_stands_behind_the_end_is_told() {
    assert_eq!(Sql::compile("a > 5 LIKE 'x'").unwrap().ignored(), "LIKE 'x'");
    assert_eq!(Sql::compile("a > 5 -- why\n ").unwrap().ignored(), "");
}

/// A condition and what it means, worked out without the code under test: only whole numbers, texts and truth values.
#[derive(Debug, Clone)]
enum Model {
    Compare(usize, &'static str, i32),
    Is(usize, &'static str),
    Null(usize),
    In(usize, Vec<&'static str>),
    Between(usize, i32, i32),
    Not(Box<Model>),
    And(Box<Model>, Box<Model>),
    Or(Box<Model>, Box<Model>),
}

const NAMES: [&str; 3] = ["n", "m", "t"];

impl Model {
    fn text(&self) -> String {
        match self {
            Self::Compare(name, sign, number) => format!("{} {sign} {number}", NAMES[*name]),
            Self::Is(name, text) => format!("{} = '{}'", NAMES[*name], text.replace('\'', "''")),
            Self::Null(name) => format!("{} IS NULL", NAMES[*name]),
            Self::In(name, list) => format!("{} IN ('{}')", NAMES[*name], list.join("', '")),
            Self::Between(name, low, high) => format!("{} BETWEEN {low} AND {high}", NAMES[*name]),
            Self::Not(inner) => format!("NOT ({})", inner.text()),
            Self::And(left, right) => format!("({}) AND ({})", left.text(), right.text()),
            Self::Or(left, right) => format!("({}) OR ({})", left.text(), right.text()),
        }
    }

    /// SQL's truth; `Err` where a text that is no number meets a number.
    fn truth(&self, values: &[Option<String>; 3]) -> Result<Option<bool>, ()> {
        let text = |name: &usize| values[*name].as_deref();
        let number = |name: &usize| text(name).map(|text| text.parse::<i32>().map_err(|_| ())).transpose();
        Ok(match self {
            Self::Compare(name, sign, other) => number(name)?.map(|number| match *sign {
                "<" => number < *other,
                "<=" => number <= *other,
                ">" => number > *other,
                ">=" => number >= *other,
                "<>" => number != *other,
                _ => number == *other,
            }),
            Self::Is(name, wanted) => text(name).map(|text| text == *wanted),
            Self::Null(name) => Some(text(name).is_none()),
            Self::In(name, list) => text(name).map(|text| list.contains(&text)),
            Self::Between(name, low, high) => number(name)?.map(|number| (*low..=*high).contains(&number)),
            Self::Not(inner) => inner.truth(values)?.map(|truth| !truth),
            Self::And(left, right) => match left.truth(values)? {
                Some(false) => Some(false),
                left => match (left, right.truth(values)?) {
                    (_, Some(false)) => Some(false),
                    (Some(true), Some(true)) => Some(true),
                    _ => None,
                },
            },
            Self::Or(left, right) => match left.truth(values)? {
                Some(true) => Some(true),
                left => match (left, right.truth(values)?) {
                    (_, Some(true)) => Some(true),
                    (Some(false), Some(false)) => Some(false),
                    _ => None,
                },
            },
        })
    }
}

fn model() -> impl Strategy<Value = Model> {
    let name = 0..NAMES.len();
    let sign = prop::sample::select(vec!["<", "<=", ">", ">=", "=", "<>"]);
    let text = prop::sample::select(vec!["x", "it's", "5", "", "é"]);
    let item = prop::sample::select(vec!["x", "5", "-3", "é"]);
    let leaf = prop_oneof![
        (name.clone(), sign, 0..9).prop_map(|(name, sign, number)| Model::Compare(name, sign, number)),
        (name.clone(), text).prop_map(|(name, text)| Model::Is(name, text)),
        name.clone().prop_map(Model::Null),
        (name.clone(), prop::collection::vec(item, 1..7)).prop_map(|(name, list)| Model::In(name, list)),
        (name, 0..5, 5..9).prop_map(|(name, low, high)| Model::Between(name, low, high)),
    ];
    leaf.prop_recursive(4, 24, 2, |inner| {
        let pair = (inner.clone(), inner.clone()).prop_map(|(left, right)| (Box::new(left), Box::new(right)));
        prop_oneof![
            inner.prop_map(|inner| Model::Not(Box::new(inner))),
            pair.clone().prop_map(|(left, right)| Model::And(left, right)),
            pair.prop_map(|(left, right)| Model::Or(left, right)),
        ]
    })
}

fn value() -> impl Strategy<Value = Option<String>> {
    let some = prop::sample::select(vec!["0", "5", "8", "-3", "x", "it's", "é", "99"]);
    prop::option::weighted(0.8, some.prop_map(str::to_owned))
}

proptest! {
    #[test]
    fn a_condition_is_as_true_as_the_model_says(model in model(), values in [value(), value(), value()]) {
        let properties: String = NAMES.iter().zip(&values)
            .filter_map(|(name, value)| Some(format!("{name}\u{1}{}\u{2}", value.as_ref()?)))
            .collect();
        let sql = Sql::compile(&model.text()).unwrap();
        let ours = evaluate(&sql.steps, &sql.names, &properties).map_err(|_| ());
        prop_assert_eq!(ours, model.truth(&values), "{}", model.text());
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>(), properties in any::<String>()) {
        if let Ok(sql) = Sql::compile(&text) {
            let _ = (sql.matches(&properties), sql.ignored().len());
        }
    }

    #[test]
    fn no_heap_of_words_makes_the_parser_panic(words in prop::collection::vec(prop::sample::select(vec![
        "a", "5", "0", "5.0", "1e9", "'x'", "''", "'", "(", ")", ",", "+", "-", "--", "/*", "*/", "/", ".", "=", "<>", "<", ">=",
        "NOT", "AND", "OR", "IN", "IS", "NULL", "TRUE", "BETWEEN", "CONTAINS", "STARTSWITH", "ENDSWITH", "\n", "é", "😀",
    ]), 0..30)) {
        for glue in [" ", ""] {
            if let Ok(sql) = Sql::compile(&words.join(glue)) {
                let _ = sql.matches("a\u{1}5\u{2}");
            }
        }
    }
}
