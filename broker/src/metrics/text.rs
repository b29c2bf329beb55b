//! Prometheus's text format.
//!
//! Labels stand in Apache's order: the exporter's own first, then all by name, `le` last. A family without rows is not
//! mentioned. Rows of a family beyond the limit are left out and counted.

use std::fmt::{Display, Write as _};

use smallvec::SmallVec;

/// Labels of one row beside those of all rows.
pub(super) type Labels<'a> = &'a [(&'static str, &'a str)];

/// Apache's exporter is OpenTelemetry's, which names the meter in every row.
const SCOPE: (&str, &str) = ("otel_scope_name", "broker-meter");

/// What the numbers of a family mean.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A page in the making.
pub(super) struct Page {
    text: String,
    /// Labels of every row.
    common: Vec<(String, String)>,
    max_rows: usize,
    left_out: Vec<(&'static str, u64)>,
}

impl Page {
    pub(super) fn new(common: Vec<(String, String)>, max_rows: usize) -> Self {
        Self { text: String::with_capacity(16 * 1024), common, max_rows, left_out: Vec::new() }
    }

    /// Begins a family. Its rows follow before the next one begins.
    pub(super) fn family(&mut self, name: &'static str, kind: Kind, help: &'static str) -> Family<'_> {
        Family { page: self, name, kind, help, rows: 0, left_out: 0 }
    }

    /// A family with one row and no labels of its own.
    pub(super) fn single(&mut self, name: &'static str, kind: Kind, help: &'static str, value: impl Display) {
        self.family(name, kind, help).row(&[], value);
    }

    /// The page, with what had to be left out.
    pub(super) fn finish(mut self) -> String {
        let left_out = std::mem::take(&mut self.left_out);
        self.max_rows = usize::MAX; // one row for a name of ours
        let mut family =
            self.family("tenonmq_metrics_rows_left_out", Kind::Gauge, "Rows beyond metricsOtelCardinalityLimit");
        for (metric, rows) in left_out {
            family.row(&[("metric", metric)], rows);
        }
        drop(family);
        self.text
    }

    fn labels(&mut self, own: Labels<'_>, bound: Option<&str>) {
        let common = self.common.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut labels: SmallVec<[(&str, &str); 12]> = own.iter().copied().chain(common).collect();
        labels.sort_by_key(|(name, _)| *name);
        labels.dedup_by_key(|(name, _)| *name); // a name that occurs twice would spoil the whole page
        let labels = std::iter::once(SCOPE).chain(labels).chain(bound.map(|bound| ("le", bound)));
        for (at, (name, value)) in labels.enumerate() {
            self.text.push(if at == 0 { '{' } else { ',' });
            self.text.push_str(name);
            self.text.push_str("=\"");
            escape(&mut self.text, value, true);
            self.text.push('"');
        }
        self.text.push('}');
    }

    fn sample(&mut self, name: &str, suffix: &str, own: Labels<'_>, bound: Option<&str>, value: impl Display) {
        self.text.push_str(name);
        self.text.push_str(suffix);
        self.labels(own, bound);
        let _ = writeln!(self.text, " {value}"); // writing to a String cannot fail
    }
}

/// Rows of one name.
pub(super) struct Family<'p> {
    page: &'p mut Page,
    name: &'static str,
    kind: Kind,
    help: &'static str,
    rows: usize,
    left_out: u64,
}

impl Family<'_> {
    /// One counter or gauge.
    pub(super) fn row(&mut self, labels: Labels<'_>, value: impl Display) {
        if self.begin_row() {
            self.page.sample(self.name, "", labels, None, value);
        }
    }

    /// One histogram: how many were up to each bound, how many beyond the last, and the sum of all.
    pub(super) fn histogram(&mut self, labels: Labels<'_>, bounds: &[&str], counts: &[u64], sum: u64) {
        if !self.begin_row() {
            return;
        }
        let mut all = 0;
        let name = self.name;
        for (bound, count) in bounds.iter().copied().chain(["+Inf"]).zip(counts) {
            all += count;
            self.page.sample(name, "_bucket", labels, Some(bound), all);
        }
        self.page.sample(name, "_count", labels, None, all);
        self.page.sample(name, "_sum", labels, None, sum);
    }

    fn begin_row(&mut self) -> bool {
        if self.rows >= self.page.max_rows {
            self.left_out += 1;
            return false;
        }
        if self.rows == 0 {
            let text = &mut self.page.text;
            let _ = writeln!(text, "# TYPE {} {}", self.name, self.kind.name()); // as above
            let _ = write!(text, "# HELP {} ", self.name);
            escape(text, self.help, false);
            text.push('\n');
        }
        self.rows += 1;
        true
    }
}

impl Drop for Family<'_> {
    fn drop(&mut self) {
        if self.left_out > 0 {
            self.page.left_out.push((self.name, self.left_out));
        }
    }
}

fn escape(out: &mut String, text: &str, quoted: bool) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quoted => out.push_str("\\\""),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(max_rows: usize) -> Page {
        Page::new(vec![("node_id".to_owned(), "broker-a".to_owned())], max_rows)
    }

    #[test]
    fn labels_stand_in_the_order_of_apaches_page() {
        let mut page = page(10);
        let mut family = page.family("lag", Kind::Gauge, "How far behind");
        family.row(&[("topic", "orders"), ("consumer_group", "billing")], 7);
        drop(family);
        let expected = concat!(
            "# TYPE lag gauge\n# HELP lag How far behind\n",
            "lag{otel_scope_name=\"broker-meter\",consumer_group=\"billing\",node_id=\"broker-a\",topic=\"orders\"} 7\n"
        );
        assert_eq!(page.finish(), expected);
    }

    #[test]
    fn buckets_add_up_and_end_in_all() {
        let mut page = page(10);
        page.family("size", Kind::Histogram, "Size").histogram(&[], &["1.0", "2.0"], &[3, 0, 2], 17);
        let text = page.finish();
        let values: Vec<_> = text.lines().skip(2).filter_map(|line| line.rsplit(' ').next()).collect();
        assert_eq!(values, ["3", "3", "5", "5", "17"]);
        assert!(text.contains("size_bucket{otel_scope_name=\"broker-meter\",node_id=\"broker-a\",le=\"+Inf\"} 5\n"));
    }

    #[test]
    fn what_a_client_named_cannot_break_the_page() {
        let mut page = page(10);
        page.family("lag", Kind::Gauge, "One\nline \\").row(&[("topic", "a\"b\\c\nd")], 1);
        let text = page.finish();
        assert!(text.contains("# HELP lag One\\nline \\\\\n"));
        assert!(text.contains(r#"topic="a\"b\\c\nd"} 1"#));
        assert_eq!(text.lines().count(), 3);
    }

    #[test]
    fn rows_beyond_the_limit_are_counted_and_a_family_without_rows_is_not_mentioned() {
        let mut page = page(1);
        let mut family = page.family("lag", Kind::Gauge, "Lag");
        family.row(&[("topic", "one")], 1);
        family.row(&[("topic", "two")], 2);
        drop(family);
        drop(page.family("empty", Kind::Gauge, "Nothing"));
        let text = page.finish();
        assert!(!text.contains("two") && !text.contains("empty"));
        assert!(text.ends_with("metric=\"lag\",node_id=\"broker-a\"} 1\n"));
    }
}
