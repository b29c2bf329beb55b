//! Comparisons without a database: files, order, and a model to compare with.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;
use tenonmq_outbox::{
    ManualClock,
    reconciliation::{Kind, Lines, Period, Reconciliation, Record, Report, Source, Trouble},
};

/// Pages that are given.
struct Given(&'static str, Vec<Vec<Record>>);

impl Source for Given {
    fn name(&self) -> &str {
        self.0
    }

    async fn page(&mut self) -> Result<Vec<Record>, Trouble> {
        Ok(if self.1.is_empty() { Vec::new() } else { self.1.remove(0) })
    }
}

fn period() -> Period {
    Period::new("a while", 0, 1_000).grace(std::time::Duration::from_millis(100))
}

fn run(left: impl Source, right: impl Source) -> Result<Report, Trouble> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let reconciliation = Reconciliation::new("orders", period()).clock(ManualClock::at(5_000));
    runtime.block_on(reconciliation.run(left, right, &mut ()))
}

fn lines(text: &'static str) -> Lines<&'static [u8]> {
    Lines::csv("bank", text.as_bytes(), "id").amount("paid", 2)
}

#[test]
fn a_file_is_compared_with_another_kind_of_file() {
    let ours = "\u{feff}id,paid,state\r\norder-1,12.30,ok\r\norder-2,5,ok\r\norder-3,1.00,\"a, \"\"b\"\"\r\nc\"\r\n";
    let theirs = "{\"id\":\"order-1\",\"paid\":12.3,\"state\":\"ok\"}\n\n{\"id\":\"order-2\",\"paid\":\"4.99\",\"state\":\"ok\"}\n\
                  {\"id\":\"order-3\",\"paid\":1,\"state\":\"a, \\\"b\\\"\\r\\nc\"}";
    let theirs = Lines::json("shop", theirs.as_bytes(), "id").amount("paid", 2);
    let report = run(lines(ours), theirs).unwrap();
    assert_eq!((report.matched, report.different), (2, 1));
    let differing = &report.differences[0];
    assert_eq!((differing.key.as_str(), differing.fields[0].field.as_str()), ("order-2", "amount"));
    assert_eq!((report.left.amount, report.right.amount), (1830, 1829));
    let mut csv = Vec::new();
    report.write_csv(&mut csv).unwrap();
    assert_eq!(String::from_utf8(csv).unwrap(), "kind,key,field,left,right\r\ndifferent,order-2,amount,500,499\r\n");
    assert_eq!(report.to_json()["differences"][0]["fields"][0]["right"], "499");
    let table = report.to_string();
    assert!(table.contains("different  order-2  amount  500   499") && table.ends_with("THEY DO NOT AGREE"), "{table}");
}

#[test]
fn a_line_that_nobody_can_read_is_named() {
    for (text, told) in [
        ("", "columns' names"),
        ("id,paid\na,1\nb\n", "line 3: it has 1 cells, and the header has 2"),
        ("id,paid\na,1,000\n", "line 2"),
        ("id,paid\na,1.001\n", "column paid: \"1.001\" is no number with at most 2 decimals"),
        ("id,paid\n,1\n", "no column id"),
        ("key,paid\na,1\n", "no column id"),
        ("id\na\n", "no column paid"),
        ("id,paid\n\"a,1\n", "a quote has no end"),
    ] {
        let error = run(lines(text), lines("id,paid\n")).unwrap_err().to_string();
        assert!(error.contains(told) && error.contains("bank"), "{text:?}: {error}");
    }
    let long = format!("id,paid\n{}", "x".repeat(3 << 20));
    let endless = Lines::csv("bank", long.as_bytes(), "id");
    assert!(run(endless, lines("id,paid\n")).unwrap_err().to_string().contains("longer than"));
}

#[test]
fn what_is_not_sorted_is_refused_with_key_and_place() {
    let error = run(lines("id,paid\na,1\nc,1\n"), lines("id,paid\na,1\nc,1\nb,1\n")).unwrap_err();
    let Trouble::Unsorted { name, key, previous, position } = &error else { panic!("{error}") };
    assert_eq!((name.as_str(), key.as_str(), previous.as_str(), *position), ("bank", "b", "c", 3));
}

#[test]
fn a_key_that_comes_twice_is_reported_with_its_place() {
    let report = run(lines("id,paid\na,1\nb,1\nb,2\nb,2\nc,1\n"), lines("id,paid\na,1\nb,1\nc,1\n")).unwrap();
    let places: Vec<_> = report.differences.iter().map(|one| (one.key.as_str(), one.kind, one.position)).collect();
    assert_eq!(places, [("b", Kind::Duplicate, Some(3)), ("b", Kind::Duplicate, Some(4))]);
    assert_eq!((report.matched, report.left.amount, report.right.amount), (3, 700, 300));
}

#[test]
fn more_differences_than_are_kept_are_counted() {
    let many = (0..30).map(|number| Record::new(format!("k{number:02}"))).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let reconciliation = Reconciliation::new("orders", period()).most(10);
    let report =
        runtime.block_on(reconciliation.run(Given("ours", vec![many]), Given("theirs", vec![]), &mut ())).unwrap();
    assert_eq!((report.differences.len(), report.left_out, report.missing), (10, 20, 30));
}

/// Sorted records of few keys and values, so that much coincides; in pages.
fn side() -> impl Strategy<Value = Vec<Vec<Record>>> {
    let record = ("[ab]{1,3}", prop::option::of(-200_i64..1_300), 0..3_i64, prop::option::of(0..2_u8));
    let record = record.prop_map(|(key, at_ms, amount, field)| {
        let record = Record::new(key).amount(amount);
        let record = at_ms.map_or(record.clone(), |at_ms| record.at_ms(at_ms));
        field.map_or(record.clone(), |field| record.field("f", field))
    });
    (prop::collection::vec(record, 0..25), 1..6_usize).prop_map(|(mut records, page)| {
        records.sort_by(|one, other| one.key().cmp(other.key()));
        records.chunks(page).map(<[Record]>::to_vec).collect()
    })
}

proptest! {
    #[test]
    fn it_finds_what_two_maps_find(left in side(), right in side()) {
        // the naive way: all of both in memory
        let first_of = |side: &[Vec<Record>]| {
            let (mut first, mut copies) = (HashMap::new(), Vec::new());
            for record in side.concat() {
                match first.entry(record.key().to_owned()) {
                    std::collections::hash_map::Entry::Vacant(free) => _ = free.insert(record),
                    std::collections::hash_map::Entry::Occupied(_) => copies.push(record),
                }
            }
            (first, copies)
        };
        let ((ours, our_copies), (theirs, their_copies)) = (first_of(&left), first_of(&right));
        let time = |record: &Record| format!("{record:?}").split("at_ms: Some(").nth(1)
            .map(|rest| rest.split(')').next().unwrap().parse::<i64>().unwrap());
        let counts = |at_ms: Option<i64>| at_ms.is_none_or(|at_ms| (0..1_000).contains(&at_ms));
        let bare = |record: &Record| {
            let text = format!("{record:?}");
            text.split_once("amount").unwrap().1.to_owned()
        };
        let mut expected = BTreeMap::<(String, &str), usize>::new();
        let mut matched = 0;
        for key in ours.keys().chain(theirs.keys()).collect::<std::collections::BTreeSet<_>>() {
            let pair = (ours.get(key), theirs.get(key));
            let at_ms = pair.0.and_then(time).or(pair.1.and_then(time));
            let kind = match pair {
                _ if !counts(at_ms) => continue,
                (Some(one), Some(other)) if bare(one) == bare(other) => { matched += 1; continue }
                (Some(_), Some(_)) => "different",
                (Some(_), None) => "missing",
                _ => "surplus",
            };
            *expected.entry((key.clone(), kind)).or_default() += 1;
        }
        for copy in our_copies.iter().chain(&their_copies).filter(|copy| counts(time(copy))) {
            *expected.entry((copy.key().to_owned(), "duplicate")).or_default() += 1;
        }
        let report = run(Given("ours", left), Given("theirs", right)).unwrap();
        let mut found = BTreeMap::<(String, &str), usize>::new();
        for one in &report.differences {
            *found.entry((one.key.clone(), one.kind.as_str())).or_default() += 1;
        }
        prop_assert_eq!(found, expected);
        prop_assert_eq!(report.matched, matched);
    }
}
