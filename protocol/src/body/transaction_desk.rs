//! Looking at undecided transactions and settling them by hand: codes 540,070 to 540,074.

use std::collections::BTreeMap;

use super::desk::DeskRequest;
use crate::code::RequestCode;

bodies! {
    /// Undecided transactions, in the order of the half queue (540,070). All conditions hold at once.
    #[derive(Default)]
    ListTransactions {
        /// Only those behind this half-queue offset; `next` of a former answer.
        after: Option<i64>,
        /// Only those of this producer group.
        group: Option<String>,
        /// Only those with this word in `KEYS`, or this unique key.
        key: Option<String>,
        /// How many at most; absent: 100, the most is 1000.
        limit: Option<u32>,
        /// Only those that are at least so old, in milliseconds.
        older_than: Option<i64>,
        /// Only those that stand so: `waiting`, `no-producer`, `in-line` or `asked`.
        stage: Option<String>,
        /// Only those that go to this topic.
        topic: Option<String>,
    }

    /// Some undecided transactions.
    #[derive(Default)]
    TransactionPage {
        /// Where to go on; absent: nothing is behind. There may be more even if `transactions` is short or empty,
        /// because one answer looks at a bounded number of them.
        next: Option<i64>,
        /// All that are undecided, whatever the conditions.
        pending: u64,
        /// What was found.
        transactions: Vec<PendingTransaction>,
    }

    /// One undecided transaction.
    #[derive(Default)]
    PendingTransaction {
        /// Since it was stored first, in milliseconds by the broker's clock.
        age: i64,
        /// When a producer was asked last, in milliseconds since the epoch.
        asked_at: Option<i64>,
        /// Who was asked last; absent after a restart of the broker.
        asked_whom: Option<String>,
        /// For one that was appended again because its log file was to go: the place in the half queue that it had first.
        carried_from: Option<i64>,
        /// Checks sent so far.
        checks: u32,
        /// For one that is in line, or has nobody to ask: since when, in milliseconds since the epoch.
        due_since: Option<i64>,
        /// When it goes to `TRANS_CHECK_MAX_TIME_TOPIC` unless it is answered, in milliseconds since the epoch; absent
        /// while there are checks left.
        gives_up: Option<i64>,
        /// The producer group that is asked.
        group: String,
        /// Its place in the half queue.
        half_offset: i64,
        /// Its business keys.
        keys: Option<String>,
        /// What was said last: `none`, `unknown`, or `failed` for a decision that could not be carried out.
        last_answer: String,
        /// Where its record starts in the log.
        log_offset: i64,
        /// When it is checked next, in milliseconds since the epoch; absent when it is due already, or has no check left.
        next_check: Option<i64>,
        /// Producers of the group that are connected now.
        producers: u32,
        /// Queue of the topic.
        queue_id: i32,
        /// How it stands: `waiting`, `no-producer`, `in-line` or `asked`.
        stage: String,
        /// When it was stored first, in milliseconds since the epoch.
        stored: i64,
        /// Its tag.
        tags: Option<String>,
        /// Where it goes when it is committed.
        topic: String,
        /// Its unique key, which is the transaction id.
        unique_key: Option<String>,
    }

    /// Messages of `TRANS_CHECK_MAX_TIME_TOPIC`, oldest first (540,071). All conditions hold at once.
    #[derive(Default)]
    ListExhausted {
        /// Only those behind this queue offset; `next` of a former answer.
        after: Option<i64>,
        /// Only those of this producer group.
        group: Option<String>,
        /// Only those with this word in `KEYS`, or this unique key.
        key: Option<String>,
        /// How many at most; absent: 100, the most is 1000.
        limit: Option<u32>,
        /// Only those that were made at least so many milliseconds ago, by the sender's clock.
        older_than: Option<i64>,
        /// Only those that would go to this topic.
        topic: Option<String>,
    }

    /// Some exhausted transactions.
    #[derive(Default)]
    ExhaustedPage {
        /// Where to go on; absent: nothing is behind.
        next: Option<i64>,
        /// What was found.
        transactions: Vec<ExhaustedTransaction>,
    }

    /// A transaction that nobody decided until its checks were used up.
    #[derive(Default)]
    ExhaustedTransaction {
        /// Checks that were sent.
        checks: u32,
        /// When it was given up, in milliseconds since the epoch.
        given_up: i64,
        /// The producer group that was asked.
        group: String,
        /// Its id: what RESUME_CHECK_HALF_MESSAGE (323) takes.
        id: String,
        /// Its business keys.
        keys: Option<String>,
        /// Its place in the queue of `TRANS_CHECK_MAX_TIME_TOPIC`.
        offset: i64,
        /// What has become of it since: `exhausted`, or after it was resumed `undecided`, `committed`, `rolled back`.
        state: String,
        /// Where it would go.
        topic: String,
        /// Its unique key, which is the transaction id.
        unique_key: Option<String>,
    }

    /// Everything about one transaction (540,072).
    #[derive(Default)]
    ShowTransaction {
        /// A half-queue offset, a unique key, or the id of a record in the half topic or in `TRANS_CHECK_MAX_TIME_TOPIC`.
        id: String,
    }

    /// One transaction, whole.
    #[derive(Default)]
    ShownTransaction {
        /// What was done by hand, or by the broker itself; from the end of the audit.
        audit: Vec<AuditEntry>,
        /// Bytes of its body.
        body_length: u64,
        /// When it was made, by the sender's clock, in milliseconds since the epoch.
        born: i64,
        /// Who sent it.
        born_host: String,
        /// Checks that are remembered, oldest first: of recently checked transactions the last few, since the start.
        checks: Vec<CheckMade>,
        /// Decisions that came after another one, and were refused; remembered as the checks are.
        contradictions: Vec<RefusedVerdict>,
        /// The producer group that is asked.
        group: String,
        /// Its place in the half queue.
        half_offset: i64,
        /// Its business keys.
        keys: Option<String>,
        /// Where its record starts in the log.
        log_offset: i64,
        /// How it stands now; only for one that is undecided.
        pending: Option<PendingTransaction>,
        /// Producers of the group that are connected now.
        producers: Vec<OnlineProducer>,
        /// Its properties.
        properties: BTreeMap<String, String>,
        /// Queue of the topic.
        queue_id: i32,
        /// `undecided`, `committed`, `rolled back` or `exhausted`.
        state: String,
        /// When this record was stored, in milliseconds since the epoch.
        stored: i64,
        /// Where it goes when it is committed.
        topic: String,
        /// Its unique key, which is the transaction id.
        unique_key: Option<String>,
    }

    /// One check.
    #[derive(Default)]
    CheckMade {
        /// What was answered: `commit`, `rollback`, `unknown` or `failed`; absent: nothing yet.
        answer: Option<String>,
        /// When, in milliseconds since the epoch.
        answered: Option<i64>,
        /// When it was sent, in milliseconds since the epoch.
        asked: i64,
        /// Its number, from 1.
        number: u32,
        /// Who was asked.
        whom: String,
    }

    /// A decision that contradicts the first one.
    #[derive(Default)]
    RefusedVerdict {
        /// How the transaction was decided.
        decided: String,
        /// When the other decision came, in milliseconds since the epoch.
        time: i64,
        /// What it asked for: `commit` or `rollback`.
        wanted: String,
    }

    /// A producer that could be asked.
    #[derive(Default)]
    OnlineProducer {
        /// Where it is connected from.
        address: String,
        /// Its client id.
        client_id: String,
        /// What it is written in.
        language: String,
    }

    /// Does something about a transaction, and leaves a line in the audit (540,073).
    #[derive(Default)]
    ActOnTransaction {
        /// `check`, `commit`, `rollback` or `resume`.
        action: String,
        /// Who does it, as they call themselves; the audit adds the address.
        by: Option<String>,
        /// Which one, as for [`ShowTransaction`].
        id: String,
        /// Why; not empty.
        reason: String,
    }

    /// What came of it.
    #[derive(Default)]
    ActedOnTransaction {
        /// Its place in the half queue; after `resume` the new one.
        half_offset: i64,
        /// What came of it, in words.
        result: String,
        /// Its unique key, which is the transaction id.
        unique_key: Option<String>,
    }

    /// Lines of the audit, oldest first (540,074). All conditions hold at once.
    #[derive(Default)]
    ReadAudit {
        /// Where to begin: `next` of a former answer; absent: at the beginning.
        from: Option<i64>,
        /// Only of this producer group.
        group: Option<String>,
        /// Only of this transaction: a unique key or a half-queue offset.
        id: Option<String>,
        /// Only at or after this time, in milliseconds since the epoch.
        since: Option<i64>,
        /// Only before this time.
        until: Option<i64>,
    }

    /// Some lines of the audit.
    #[derive(Default)]
    AuditPage {
        /// The lines.
        entries: Vec<AuditEntry>,
        /// Where to go on; absent: that was the end.
        next: Option<i64>,
    }

    /// One line of `tenonmq/transaction-audit.jsonl`.
    #[derive(Default)]
    AuditEntry {
        /// What was done.
        action: String,
        /// Who asked for it; `broker` for what the broker did by itself, `producer` for verdicts of a client.
        by: String,
        /// Checks that had been sent.
        checks: u32,
        /// Where the half message's record starts in the log.
        commit_log_offset: i64,
        /// Producer group.
        group: String,
        /// Its place in the half queue.
        half_queue_offset: i64,
        /// Why, as it was given.
        reason: String,
        /// What came of it.
        result: String,
        /// Milliseconds since the epoch.
        time: i64,
        /// Where the message goes, or would have gone.
        topic: String,
        /// Its unique key, which is the transaction id.
        unique_key: String,
    }
}

impl DeskRequest for ListTransactions {
    const CODE: RequestCode = RequestCode::TRANSACTION_LIST;
    type Answer = TransactionPage;
}

impl DeskRequest for ListExhausted {
    const CODE: RequestCode = RequestCode::TRANSACTION_EXHAUSTED;
    type Answer = ExhaustedPage;
}

impl DeskRequest for ShowTransaction {
    const CODE: RequestCode = RequestCode::TRANSACTION_SHOW;
    type Answer = ShownTransaction;
}

impl DeskRequest for ActOnTransaction {
    const CODE: RequestCode = RequestCode::TRANSACTION_ACT;
    type Answer = ActedOnTransaction;
}

impl DeskRequest for ReadAudit {
    const CODE: RequestCode = RequestCode::TRANSACTION_AUDIT;
    type Answer = AuditPage;
}
