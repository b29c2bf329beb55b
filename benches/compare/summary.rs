//! Medians of what was measured.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    path::Path,
};

use crate::{
    record::{self, Figures, Line, Machine, Record, System},
    row::{Measure, ROWS, Row, Target},
};

/// The median of each figure over the rounds of one system in one row.
#[derive(Debug, Clone, Default)]
pub(crate) struct Medians {
    pub(crate) cpu_us: Option<f64>,
    pub(crate) rate: Option<f64>,
    pub(crate) p999_ms: Option<f64>,
    pub(crate) ready_ms: Option<f64>,
    /// Not a median: the most of any round.
    pub(crate) private_mib: Option<f64>,
    pub(crate) rounds: usize,
    pub(crate) failures: usize,
    /// Of the last failure.
    pub(crate) error: Option<String>,
    pub(crate) note: Option<String>,
}

impl Medians {
    pub(crate) fn of(&self, measure: Measure) -> Option<f64> {
        match measure {
            Measure::Cpu => self.cpu_us,
            Measure::Rate => self.rate,
            Measure::P999 => self.p999_ms,
            Measure::Ready => self.ready_ms,
        }
    }
}

/// One size of a state: what work costs beside it, and in turn with that on an empty broker.
#[derive(Debug, Clone, Default)]
pub(crate) struct Step {
    pub(crate) beside: Medians,
    pub(crate) alone: Medians,
}

/// Everything measured, each row and each state by its last run.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    rows: BTreeMap<(String, System), Medians>,
    /// By state, then work, then size.
    pub(crate) growth: BTreeMap<String, BTreeMap<String, BTreeMap<u64, Step>>>,
    /// Those whose runs count, in order of time.
    pub(crate) machines: Vec<Machine>,
}

impl Summary {
    pub(crate) fn read(paths: &[impl AsRef<Path>]) -> Result<Self, Box<dyn Error>> {
        Ok(Self::of(record::read(paths)?))
    }

    pub(crate) fn of(lines: Vec<Line>) -> Self {
        let mut records = Vec::new();
        let mut machines = Vec::new();
        for line in lines {
            match line {
                Line::Machine(machine) => machines.push(machine),
                Line::Record(record) => records.push(record),
            }
        }
        let mut last = BTreeMap::new();
        for record in &records {
            let run = last.entry(subject(record)).or_insert(record.run);
            *run = record.run.max(*run);
        }
        records.retain(|record| last.get(&subject(record)) == Some(&record.run));
        let runs: BTreeSet<_> = records.iter().map(|record| record.run).collect();
        machines.retain(|machine| runs.contains(&machine.run));
        let mut summary = Self { machines, ..Self::default() };
        let mut rows: BTreeMap<_, Vec<Record>> = BTreeMap::new();
        let mut growth: BTreeMap<_, Vec<Record>> = BTreeMap::new();
        for record in records {
            match &record.beside {
                None => rows.entry((record.row.clone(), record.system)).or_default().push(record),
                Some(beside) => growth.entry((beside.clone(), record.row.clone())).or_default().push(record),
            }
        }
        summary.rows = rows.into_iter().map(|(key, records)| (key, medians(&records))).collect();
        for ((beside, row), records) in growth {
            let sizes = summary.growth.entry(beside.state).or_default().entry(row).or_default();
            let step = sizes.entry(beside.size).or_default();
            *(if beside.alone { &mut step.alone } else { &mut step.beside }) = medians(&records);
        }
        summary
    }

    pub(crate) fn has_rows(&self) -> bool {
        !self.rows.is_empty()
    }

    pub(crate) fn has_growth(&self) -> bool {
        !self.growth.is_empty()
    }

    /// What was measured of a system in a row.
    pub(crate) fn get(&self, row: &Row, system: System) -> Option<&Medians> {
        self.rows.get(&(row.name.to_owned(), system))
    }

    /// The row's figure of a system.
    pub(crate) fn figure(&self, row: &Row, system: System) -> Option<f64> {
        self.get(row, system)?.of(row.measure)
    }

    /// Rows of which anything was measured.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &'static Row> {
        ROWS.iter().filter(|row| row.systems.iter().any(|&system| self.get(row, system).is_some()))
    }

    /// Whether a target is met; `None` if one of its figures is missing.
    pub(crate) fn meets(&self, row: &Row, target: Target) -> Option<bool> {
        let ours = self.figure(row, System::Ours)?;
        Some(match target {
            Target::OfNull(times) => ours <= times * self.figure(row, System::Null)?,
            Target::PartOfApache(part) => ours <= self.figure(row, System::Apache)? / part,
            Target::BelowNats => ours < self.figure(row, System::Nats)?,
            Target::OfBaselineRate(share) => {
                self.get(row, System::Ours)?.rate? >= share * self.get(row, System::Baseline)?.rate?
            }
            Target::AtMost(limit) => ours <= limit,
        })
    }

    /// The most private memory that a system had after any row, in MiB.
    pub(crate) fn private_mib(&self, system: System) -> Option<f64> {
        let of_system = self.rows.iter().filter(|((_, of), _)| *of == system);
        of_system.filter_map(|(_, medians)| medians.private_mib).max_by(f64::total_cmp)
    }
}

/// What a later run takes the place of.
fn subject(record: &Record) -> (String, String) {
    match &record.beside {
        None => (record.row.clone(), String::new()),
        Some(beside) => (String::new(), beside.state.clone()),
    }
}

fn medians(records: &[Record]) -> Medians {
    let figures: Vec<&Figures> = records.iter().filter_map(|record| record.figures.as_ref()).collect();
    let of = |figure: &dyn Fn(&Figures) -> Option<f64>| {
        median(&mut figures.iter().filter_map(|figures| figure(figures)).collect::<Vec<_>>())
    };
    let private = figures.iter().filter_map(|figures| figures.private_bytes).max_by(f64::total_cmp);
    Medians {
        cpu_us: of(&|figures| figures.cpu_us_each),
        rate: of(&|figures| figures.rate),
        p999_ms: of(&|figures| figures.latency_us.map(|latency| latency.p999 / 1000.0)),
        ready_ms: of(&|figures| figures.ready_ms),
        private_mib: private.map(|bytes| bytes / 1_048_576.0),
        rounds: figures.len(),
        failures: records.len() - figures.len(),
        error: records.iter().rev().find_map(|record| record.error.clone()),
        note: records.iter().find_map(|record| record.note.clone()),
    }
}

/// The middle of the values, or between the two in the middle.
pub(crate) fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    Some(if values.len() % 2 == 1 { upper } else { (values[middle - 1] + upper) / 2.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(run: u64, system: System, cpu: Option<f64>) -> Line {
        let figures = cpu.map(|cpu| Figures { cpu_us_each: Some(cpu), ..Figures::default() });
        let error = cpu.is_none().then(|| "refused".to_owned());
        Line::Record(Record {
            run,
            row: "offset".to_owned(),
            system,
            round: 0,
            beside: None,
            note: None,
            figures,
            error,
        })
    }

    fn row() -> &'static Row {
        ROWS.iter().find(|row| row.name == "offset").expect("there is such a row")
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_the_two_in_the_middle() {
        assert_eq!(median(&mut [4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(&mut [9.0, 1.0, 3.0]), Some(3.0));
        assert_eq!(median(&mut []), None);
    }

    #[test]
    fn a_later_run_of_a_row_takes_the_place_of_the_earlier() {
        let lines = [(1, 100.0), (2, 3.0), (2, 5.0), (2, 4.0)].map(|(run, cpu)| line(run, System::Ours, Some(cpu)));
        assert_eq!(Summary::of(lines.into()).figure(row(), System::Ours), Some(4.0));
    }

    #[test]
    fn a_target_is_met_up_to_its_limit_and_unknown_without_the_other_figure() {
        let ours = line(1, System::Ours, Some(3.0));
        let summary = Summary::of(vec![ours.clone(), line(1, System::Null, Some(2.0)), line(1, System::Apache, None)]);
        assert_eq!(summary.meets(row(), Target::OfNull(1.5)), Some(true));
        assert_eq!(summary.meets(row(), Target::OfNull(1.4)), Some(false));
        assert_eq!(summary.meets(row(), Target::PartOfApache(6.0)), None);
        assert_eq!(summary.get(row(), System::Apache).map(|apache| apache.failures), Some(1));
    }

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let written = serde_json::to_string(&line(7, System::Apache, Some(1.5))).expect("text");
        let Line::Record(read) = serde_json::from_str(&written).expect("a line") else { panic!("not a record") };
        assert_eq!((read.run, read.system, read.figures.and_then(|of| of.cpu_us_each)), (7, System::Apache, Some(1.5)));
    }
}
