//! Transactions: Apache's four families, and what else tells an operator whether somebody has to act.

use std::sync::Arc;

use super::text::{Kind, Page};
use crate::{
    core::Core,
    transaction::tally::{Count, Decisions, LATENCY_BOUNDS},
};

/// [`LATENCY_BOUNDS`] as Apache writes them.
const BOUNDS: [&str; LATENCY_BOUNDS.len()] = ["5.0", "60.0", "600.0", "3600.0", "43200.0", "86400.0"];

pub(super) fn add(page: &mut Page, core: &Core) {
    let mut topics = core.transactions.tally().topics(|topic| core.topics.get(topic).is_some());
    topics.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    half(page, core);
    decided(page, &topics);
    undecided(page, core);
    checks(page, core);
    outcomes(page, core);
}

fn half(page: &mut Page, core: &Core) {
    let mut pending = core.transactions.pending_by_topic();
    pending.sort_unstable();
    let mut family = page.family("rocketmq_half_messages", Kind::Gauge, "Undecided half messages, by real topic");
    for (topic, count) in &pending {
        family.row(&[("topic", topic)], count);
    }
}

fn decided(page: &mut Page, topics: &[(Arc<str>, Decisions)]) {
    let committed = |of: &Decisions| of.took.iter().sum::<u64>();
    let mut family = page.family("rocketmq_commit_messages_total", Kind::Counter, "Half messages committed");
    for (topic, of) in topics.iter().filter(|(_, of)| committed(of) > 0) {
        family.row(&[("topic", topic)], committed(of));
    }
    drop(family);
    let mut family = page.family("rocketmq_rollback_messages_total", Kind::Counter, "Half messages rolled back");
    for (topic, of) in topics.iter().filter(|(_, of)| of.rolled_back > 0) {
        family.row(&[("topic", topic)], of.rolled_back);
    }
    drop(family);
    let help = "From storing a half message to its commit, in seconds (the name is Apache's)";
    let mut family = page.family("rocketmq_finish_message_latency_milliseconds", Kind::Histogram, help);
    for (topic, of) in topics.iter().filter(|(_, of)| committed(of) > 0) {
        family.histogram(&[("topic", topic)], &BOUNDS, &of.took, of.took_seconds);
    }
}

fn undecided(page: &mut Page, core: &Core) {
    let transactions = &core.transactions;
    page.single("tenonmq_transaction_pending", Kind::Gauge, "Undecided half messages", transactions.pending());
    let now = core.clock.now_ms();
    let oldest = transactions.oldest_by_group();
    let seconds = |stored_at: i64| (now - stored_at).max(0) as f64 / 1000.0;
    let oldest_of_all = oldest.values().min().map_or(0.0, |stored_at| seconds(*stored_at));
    let name = "tenonmq_transaction_oldest_age_seconds";
    page.single(name, Kind::Gauge, "Age of the oldest undecided half message; 0 when there is none", oldest_of_all);
    let mut groups = transactions.groups_pending();
    // The oldest first, so that a limit leaves out those that matter least.
    groups.sort_by_cached_key(|of| (oldest.get(&of.group).copied().unwrap_or(i64::MAX), Arc::clone(&of.group)));
    let mut family = page.family(
        "tenonmq_transaction_group_oldest_age_seconds",
        Kind::Gauge,
        "Age of the oldest undecided half message, by producer group",
    );
    for of in &groups {
        if let Some(stored_at) = oldest.get(&of.group) {
            family.row(&[("producer_group", &of.group)], seconds(*stored_at));
        }
    }
    drop(family);
    let name = "tenonmq_transaction_group_pending";
    let mut family = page.family(name, Kind::Gauge, "Undecided half messages, by producer group");
    groups.iter().for_each(|of| family.row(&[("producer_group", &of.group)], of.pending));
    drop(family);
    let paused = groups.iter().filter(|of| of.paused).count();
    let help = "Producer groups with a check due and no producer online";
    page.single("tenonmq_transaction_paused_groups", Kind::Gauge, help, paused);
}

fn checks(page: &mut Page, core: &Core) {
    let tally = core.transactions.tally();
    let sent = tally.total(Count::ChecksSent);
    page.single("tenonmq_transaction_checks_sent_total", Kind::Counter, "Checks that a producer took", sent);
    let name = "tenonmq_transaction_checks_answered_total";
    let mut family = page.family(name, Kind::Counter, "Answers to checks; failed: it could not be carried out");
    for (answer, count) in [
        ("commit", Count::AnsweredCommit),
        ("rollback", Count::AnsweredRollback),
        ("unknown", Count::AnsweredUnknown),
        ("failed", Count::AnsweredFailed),
    ] {
        family.row(&[("answer", answer)], tally.total(count));
    }
    drop(family);
    let unanswered = core.transactions.checks_unanswered();
    page.single(
        "tenonmq_transaction_checks_unanswered_total",
        Kind::Counter,
        "Checks without an answer in time",
        unanswered,
    );
    let in_flight = core.transactions.checks_in_flight();
    page.single("tenonmq_transaction_checks_in_flight", Kind::Gauge, "Checks that wait for their answer", in_flight);
}

fn outcomes(page: &mut Page, core: &Core) {
    let tally = core.transactions.tally();
    let name = "tenonmq_transaction_parked_total";
    let mut family = page.family(name, Kind::Counter, "Half messages moved to TRANS_CHECK_MAX_TIME_TOPIC");
    for (reason, count) in
        [("exhausted", Count::Exhausted), ("expired", Count::Expired), ("uncarried", Count::Uncarried)]
    {
        family.row(&[("reason", reason)], tally.total(count));
    }
    drop(family);
    for (name, help, count) in [
        ("tenonmq_transaction_lost_total", "Undecided half messages whose records are gone", Count::Lost),
        ("tenonmq_transaction_carried_total", "Undecided half messages carried forward in the log", Count::Carried),
        ("tenonmq_transaction_repeats_total", "Decisions that repeated the first one", Count::Repeats),
        ("tenonmq_transaction_contradictions_total", "Decisions refused because of another one", Count::Contradictions),
    ] {
        page.single(name, Kind::Counter, help, tally.total(count));
    }
}
