//! What a filter costs for each message that a pull looks at.
//!
//! Nothing here allocates for expressions of up to eight properties; compiling is paid once per expression.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use tenonmq_broker::filter::{Filter, sql::Sql};
use tenonmq_protocol::message::properties::tags_code;

const PROPERTIES: &str = "KEYS\u{1}order-42\u{2}UNIQ_KEY\u{1}7F0000010B6D4E50A2B92D3C0A7F0001\u{2}\
                          WAIT\u{1}true\u{2}TAGS\u{1}paid\u{2}price\u{1}30\u{2}region\u{1}eu\u{2}weight\u{1}2.5\u{2}";

const EXPRESSIONS: &[(&str, &str)] = &[
    ("a number", "price > 5"),
    ("a number and a text", "price > 5 AND region = 'eu'"),
    ("the first side decides", "region = 'us' AND price BETWEEN 1 AND 9"),
    (
        "six conditions",
        "(TAGS IS NOT NULL AND TAGS IN ('paid', 'open')) AND (price BETWEEN 0 AND 99 OR weight > 1.5) \
      AND region NOT CONTAINS 'us' AND NOT (missing = 1)",
    ),
];

fn conditions(criterion: &mut Criterion) {
    for (name, expression) in EXPRESSIONS {
        let sql = Sql::compile(expression).expect("it compiles");
        criterion.bench_function(&format!("filter: {name}"), |bench| {
            bench.iter(|| black_box(sql.matches(black_box(PROPERTIES))));
        });
    }
    criterion.bench_function("filter: compile six conditions", |bench| {
        bench.iter(|| black_box(Sql::compile(black_box(EXPRESSIONS[3].1))));
    });
}

fn tags(criterion: &mut Criterion) {
    let filter = Filter::tags("paid || open || new");
    let code = tags_code(Some("paid"));
    criterion.bench_function("filter: three tags on a queue entry", |bench| {
        bench.iter(|| black_box(filter.passes_entry(black_box(code))));
    });
}

criterion_group!(benches, conditions, tags);
criterion_main!(benches);
