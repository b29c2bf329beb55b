//! What the tables are up to, for machines and for people.
//!
//! * [`Reading`]: backlog, age of the oldest, exhausted rows and counts of one outbox, inbox or notifier;
//!   [`prometheus_text`] makes a page of them.
//! * [`Rules`] say of readings what is wrong: [`Finding`]s.
//! * [`Alerts`] make of findings the few [`Notice`]s that people want: one outage is one notice, then reminders,
//!   escalation, and "resolved". It decides and does no I/O.
//! * [`Monitor`] does these in turn and sends the notices through [`Channel`]s. `WebHook` is one (feature `notification`), in
//!   the formats of DingTalk, WeCom and Slack too; `Mail` is another (feature `monitoring-mail`).

mod alerts;
#[cfg(feature = "monitoring-mail")]
mod mail;
mod notice;
mod reading;
mod rules;
mod run;
#[cfg(feature = "notification")]
mod webhook;

#[cfg(feature = "monitoring-mail")]
pub use self::mail::{Mail, MailBuilder, MailFault, Security};
pub(crate) use self::reading::Tally;
#[cfg(feature = "notification")]
pub use self::webhook::{Format, WebHook};
pub use self::{
    alerts::{AlertSettings, Alerts, QuietHours},
    notice::{Kind, Notice},
    reading::{Counts, Part, Reading, prometheus_text},
    rules::{Finding, Measure, Rule, Rules, Severity},
    run::{Channel, Monitor, RunningMonitor},
};
