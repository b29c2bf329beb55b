//! Dead letters: listing, showing and sending them again. Codes 540,020 to 540,025.

use std::collections::BTreeMap;

use super::desk::DeskRequest;
use crate::code::RequestCode;

names! {
    /// Where dead letters are sent again to.
    RedriveTarget or Retry {
        /// The retry topic of the group that gave them up: no other group sees them.
        Retry = "retry",
        /// The topic they came from: every group that reads it sees them.
        Origin = "origin",
        /// Another topic.
        Topic = "topic",
    }

    /// What a redrive job is doing.
    RedriveState or Paused {
        /// It sends.
        Running = "running",
        /// It waits to be told to go on; `reason` says who or what stopped it.
        Paused = "paused",
        /// It is through.
        Done = "done",
        /// It was ended before.
        Cancelled = "cancelled",
    }

    /// What became of one dead letter.
    RedriveOutcome or Failed {
        /// Sent again.
        Sent = "sent",
        /// Not sent: `why` says why not.
        Failed = "failed",
        /// Not sent: another job, or an earlier run, has sent it already.
        Skipped = "skipped",
        /// Not sent: it came back too often.
        Quarantined = "quarantined",
    }

    /// What to do with a redrive job.
    RedriveAction or Pause {
        /// Stop until it is resumed.
        Pause = "pause",
        /// Go on.
        Resume = "resume",
        /// End it.
        Cancel = "cancel",
    }
}

bodies! {
    /// Groups with dead letters (540,020), by name.
    #[derive(Default)]
    ListDeadLetters {
        /// Groups behind this name; absent: from the first one.
        after: Option<String>,
        /// Groups at most; 0: as many as one answer holds.
        count: i32,
        /// Only this group.
        group: Option<String>,
    }

    /// A page of groups.
    #[derive(Default)]
    DeadLetterGroups {
        /// The groups.
        groups: Vec<DeadLetterGroup>,
        /// `after` of the next page; absent on the last one.
        next: Option<String>,
    }

    /// The dead letters of one group.
    #[derive(Default)]
    DeadLetterGroup {
        /// Offset of the oldest one.
        begins: i64,
        /// Offset behind the newest one.
        ends: i64,
        /// The group.
        group: String,
        /// How many there are.
        messages: i64,
        /// When the newest one was given up, in milliseconds.
        newest: Option<i64>,
        /// When the oldest one was given up, in milliseconds.
        oldest: Option<i64>,
        /// Whether consumers may read the topic. Old brokers made it for writing only.
        readable: bool,
        /// How many of them were sent again by redrive jobs.
        sent_again: i64,
        /// `%DLQ%` and the group.
        topic: String,
    }

    /// Which dead letters; all conditions hold at once, absent ones always do.
    #[derive(Default)]
    DeadLetterFilter {
        /// Class of the last cause, or class and digest with a space between; `-`: those without one.
        cause: Option<String>,
        /// Given up at or after this time, in milliseconds.
        from: Option<i64>,
        /// One of its keys, or its unique key.
        key: Option<String>,
        /// Sent again at least this often before.
        min_redriven: i32,
        /// Its tag.
        tag: Option<String>,
        /// Topic that it came from.
        topic: Option<String>,
        /// Given up before this time, in milliseconds.
        until: Option<i64>,
    }

    /// Dead letters of one group, oldest first (540,021).
    #[derive(Default)]
    ShowDeadLetters {
        /// Letters at most; 0: as many as one answer holds.
        count: i32,
        /// Which ones.
        filter: DeadLetterFilter,
        /// Offset to begin at; absent: the oldest.
        from: Option<i64>,
        /// The group.
        group: String,
        /// Whether to add bodies and properties, for an export.
        whole: bool,
    }

    /// A page of dead letters.
    #[derive(Default)]
    DeadLetterPage {
        /// They.
        letters: Vec<DeadLetter>,
        /// `from` of the next page, which may hold none as one answer looks at a bounded number; absent at the end.
        next: Option<i64>,
    }

    /// One dead letter.
    #[derive(Default)]
    DeadLetter {
        /// Body as base64, as it is stored. Only when asked for.
        body: Option<String>,
        /// Length of the stored body in bytes.
        body_length: i64,
        /// When its producer made it, in milliseconds.
        born: i64,
        /// Why its last tries failed, oldest first.
        causes: Vec<DeadLetterCause>,
        /// How the body is compressed: `ZLIB`, `LZ4`, `ZSTD`; absent: it is not.
        compression: Option<String>,
        /// Id of the dead letter.
        id: String,
        /// Its keys, separated by spaces.
        keys: Option<String>,
        /// Offset in the dead-letter topic.
        offset: i64,
        /// Id of the message that it was at first.
        origin_id: Option<String>,
        /// Topic that it came from.
        origin_topic: Option<String>,
        /// All properties. Only when asked for.
        properties: BTreeMap<String, String>,
        /// How often it was sent again out of the dead letters before it died this time.
        redriven: i32,
        /// How often it was tried in vain, this time.
        retries: i32,
        /// Whether a redrive job has sent this letter again.
        sent_again: bool,
        /// When it was given up, in milliseconds.
        stored: i64,
        /// Its tag.
        tags: Option<String>,
        /// The client's id of the message.
        unique_key: Option<String>,
    }

    /// Why one try failed.
    #[derive(Default, Eq)]
    DeadLetterCause {
        /// When the broker heard of it, in milliseconds.
        at: i64,
        /// Which try it was, from 1.
        attempt: i32,
        /// Class of the error.
        class: String,
        /// What tells errors of one class apart.
        digest: String,
        /// The host that it failed on.
        host: String,
    }

    /// Begins a redrive job (540,022). The answer says what it is to do; it runs behind.
    #[derive(Default)]
    StartRedrive {
        /// Whether to send those again that a job has sent before.
        again: bool,
        /// Counts what would be sent, by cause, and sends nothing.
        dry_run: bool,
        /// Which dead letters.
        filter: DeadLetterFilter,
        /// Sends quarantined ones too.
        force: bool,
        /// The group.
        group: String,
        /// Exactly these, by the ids of the dead letters, instead of a filter.
        ids: Vec<String>,
        /// Ends after so many were sent; 0: no end.
        max_messages: i64,
        /// Messages a second; 0: as configured.
        per_second: i32,
        /// Where to.
        target: RedriveTarget,
        /// The topic, when that is the target.
        topic: Option<String>,
    }

    /// A redrive job and how far it is.
    #[derive(Default)]
    RedriveJob {
        /// Matching dead letters by cause: class, a space and digest, or `-` without one.
        causes: BTreeMap<String, i64>,
        /// When it last got on, in milliseconds.
        changed: i64,
        /// Offset at which it ends; what comes back meanwhile lies behind.
        end: i64,
        /// Not sent, with a reason each.
        failed: i64,
        /// Its number.
        id: i64,
        /// Those that the filter accepts.
        matched: i64,
        /// Offset that it has come to.
        next: i64,
        /// Not sent, because they came back too often.
        quarantined: i64,
        /// Why it does not run, when it could.
        reason: Option<String>,
        /// Dead letters looked at.
        scanned: i64,
        /// Sent again. In a dry run: would have been.
        sent: i64,
        /// Not sent, because a job has sent them before.
        skipped: i64,
        /// When it began, in milliseconds.
        started: i64,
        /// What it is doing.
        state: RedriveState,
        /// What it was told.
        wanted: StartRedrive,
    }

    /// Redrive jobs, newest first (540,023).
    #[derive(Default)]
    ListRedrives {
        /// Only this one.
        id: Option<i64>,
    }

    /// The jobs.
    #[derive(Default)]
    RedriveJobs {
        /// They.
        jobs: Vec<RedriveJob>,
    }

    /// Pauses, resumes or cancels a job (540,024). The answer is the job as it is then.
    #[derive(Default)]
    SteerRedrive {
        /// What to do.
        action: RedriveAction,
        /// The job.
        id: i64,
    }

    /// What became of each dead letter (540,025), in the order of the work.
    #[derive(Default)]
    ShowRedriveResults {
        /// Results at most; 0: as many as one answer holds.
        count: i32,
        /// Where to go on: 0, or `next` of the page before.
        from: i64,
        /// The job.
        id: i64,
        /// Leaves out those that were sent.
        only_not_sent: bool,
    }

    /// A page of results.
    #[derive(Default)]
    RedriveResults {
        /// `from` of the next page; absent at the end.
        next: Option<i64>,
        /// They.
        results: Vec<RedriveResult>,
    }

    /// What became of one dead letter.
    #[derive(Default, Eq)]
    RedriveResult {
        /// Id of the dead letter.
        id: String,
        /// Offset in the dead-letter topic; -1 for an id that is none of the group's dead letters.
        offset: i64,
        /// What became of it.
        outcome: RedriveOutcome,
        /// Queue that it was sent to.
        queue_id: Option<i32>,
        /// Id of the new message.
        sent_id: Option<String>,
        /// Topic that it was sent to.
        topic: Option<String>,
        /// Why it was not sent.
        why: Option<String>,
    }
}

macro_rules! asks {
    ($($request:ident = $code:ident -> $answer:ident;)*) => {$(
        impl DeskRequest for $request {
            const CODE: RequestCode = RequestCode::$code;
            type Answer = $answer;
        }
    )*};
}

asks! {
    ListDeadLetters = DEAD_LETTER_GROUPS -> DeadLetterGroups;
    ShowDeadLetters = DEAD_LETTERS -> DeadLetterPage;
    StartRedrive = REDRIVE_START -> RedriveJob;
    ListRedrives = REDRIVE_JOBS -> RedriveJobs;
    SteerRedrive = REDRIVE_STEER -> RedriveJob;
    ShowRedriveResults = REDRIVE_RESULTS -> RedriveResults;
}
