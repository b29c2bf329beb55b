//! Saying what is found.

use super::{Difference, Kind, Record, Report, Side, Sink, Trouble, difference::differing};
use crate::clock::millis;

/// Counts what counts for the period, and passes on what does not agree.
pub(super) struct Judge<'a, K> {
    report: Report,
    now_ms: i64,
    most: usize,
    sink: &'a mut K,
}

impl<'a, K: Sink> Judge<'a, K> {
    pub(super) fn new(report: Report, now_ms: i64, most: usize, sink: &'a mut K) -> Self {
        Self { report, now_ms, most, sink }
    }

    /// What the two sides have under one key; at least one has something.
    pub(super) async fn compare(&mut self, left: Option<&Record>, right: Option<&Record>) -> Result<(), Trouble> {
        let Some(first) = left.or(right) else { return Ok(()) };
        // the period is that of the first side; a file without times is of every period
        let at_ms = left.and_then(|left| left.at_ms).or(right.and_then(|right| right.at_ms));
        if !self.counts(at_ms) {
            return Ok(());
        }
        for (side, record) in [(&mut self.report.left, left), (&mut self.report.right, right)] {
            count(side, record);
        }
        let fields = match (left, right) {
            (Some(left), Some(right)) => differing(left, right),
            _ => Vec::new(),
        };
        let kind = match (left, right) {
            (Some(_), Some(_)) if fields.is_empty() => {
                self.report.matched += 1;
                return Ok(());
            }
            _ if self.may_be_under_way(at_ms) => Kind::Unsettled,
            (Some(_), Some(_)) => Kind::Different,
            (Some(_), None) => Kind::Missing,
            (None, _) => Kind::Surplus,
        };
        let (left, right) = (left.cloned(), right.cloned());
        self.tell(Difference { key: first.key.clone(), kind, fields, left, right, position: None }).await
    }

    /// A record whose key came before in its source.
    pub(super) async fn copy(&mut self, is_left: bool, record: Record, position: u64) -> Result<(), Trouble> {
        if !self.counts(record.at_ms) {
            return Ok(());
        }
        count(if is_left { &mut self.report.left } else { &mut self.report.right }, Some(&record));
        let key = record.key.clone();
        let (left, right) = if is_left { (Some(record), None) } else { (None, Some(record)) };
        let fields = Vec::new();
        self.tell(Difference { key, kind: Kind::Duplicate, fields, left, right, position: Some(position) }).await
    }

    /// All has been compared.
    pub(super) async fn end(self) -> Result<Report, Trouble> {
        self.sink.end().await?;
        Ok(self.report)
    }

    async fn tell(&mut self, difference: Difference) -> Result<(), Trouble> {
        let report = &mut self.report;
        *report.count_mut(difference.kind) += 1;
        self.sink.take(&report.name, &report.period, &difference).await?;
        if report.differences.len() < self.most {
            report.differences.push(difference);
        } else {
            report.left_out += 1;
        }
        Ok(())
    }

    fn counts(&self, at_ms: Option<i64>) -> bool {
        at_ms.is_none_or(|at_ms| self.report.period.contains(at_ms))
    }

    fn may_be_under_way(&self, at_ms: Option<i64>) -> bool {
        let grace_ms = millis(self.report.period.grace);
        at_ms.is_some_and(|at_ms| at_ms.saturating_add(grace_ms) > self.now_ms)
    }
}

fn count(side: &mut Side, record: Option<&Record>) {
    if let Some(record) = record {
        side.records += 1;
        side.amount += i128::from(record.amount.unwrap_or(0));
    }
}
