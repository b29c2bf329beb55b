//! What people are told.

use std::fmt::Write;

use super::{Finding, Severity};

/// Most findings of a notice that are written out.
const MOST_LINES: usize = 20;

/// Why they are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Something is wrong.
    Opened,
    /// More is wrong, or it is worse.
    Changed,
    /// It still is.
    Reminder,
    /// It still is, and nobody has taken it on: the next people are told. Counts from 1.
    Escalated(usize),
    /// It is over.
    Resolved,
}

impl Kind {
    /// A word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Changed => "changed",
            Self::Reminder => "reminder",
            Self::Escalated(_) => "escalated",
            Self::Resolved => "resolved",
        }
    }
}

/// One notice, about all that is wrong in one group.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Notice {
    /// Why now.
    pub kind: Kind,
    /// About which group.
    pub group: String,
    /// The worst that is in it; of a resolved one, the worst that was.
    pub severity: Severity,
    /// When it began; ms since the Unix epoch. With the group it names the outage.
    pub since_ms: i64,
    /// When the notice was made; ms since the Unix epoch.
    pub at_ms: i64,
    /// What is wrong now; empty when it is over.
    pub findings: Vec<Finding>,
}

impl Notice {
    /// One line.
    pub fn title(&self) -> String {
        let what = match self.kind {
            Kind::Resolved => "resolved".to_owned(),
            Kind::Escalated(level) => format!("{}, escalated to level {level}", self.severity.as_str()),
            Kind::Opened => self.severity.as_str().to_owned(),
            Kind::Changed | Kind::Reminder => format!("{}, {}", self.severity.as_str(), self.kind.as_str()),
        };
        format!("[{}] {what} (for {} min)", self.group, (self.at_ms - self.since_ms).max(0) / 60_000)
    }

    /// A line for each finding; the rest is counted.
    pub fn lines(&self) -> String {
        let mut text = String::new();
        for Finding { part, rule, text: found, .. } in self.findings.iter().take(MOST_LINES) {
            let _ = writeln!(text, "- {part}: {found} ({rule})"); // a String takes all
        }
        if self.findings.len() > MOST_LINES {
            let _ = writeln!(text, "- and {} more", self.findings.len() - MOST_LINES);
        }
        text
    }
}
