//! Mistakes that can be switched on, to see that the run finds them. They are made around the engine, not in it.

use tenonmq_broker::transaction::Verdict;
use tenonmq_protocol::message::{NewRecord, RecordView};
use tenonmq_storage::{AppendClass, AppendError};

use super::broker::Broker;

/// A mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Mutation {
    /// A commit that is repeated is published again, as Apache does.
    PublishTwice,
    /// The op record is written before the visible message.
    OpFirst,
    /// Whatever is undecided at a restart is taken for decided.
    ForgetAtRestart,
    /// Offsets of `CID_RMQ_SYS_TRANS` pass what is undecided.
    OffsetsAhead,
    /// A producer is asked about what is decided.
    AskAgain,
    /// Attempts are spent while nobody is online.
    SpendOffline,
    /// A contradiction is answered with success.
    TakesContradictions,
    /// Now and then another body is stored.
    OtherBody,
    /// A rolled back message is published.
    PublishesRollbacks,
    /// Durability is promised before the flush.
    AckEarly,
}

impl Mutation {
    /// All of them.
    pub fn all() -> &'static [Self] {
        clap::ValueEnum::value_variants()
    }

    /// As on the command line.
    pub fn name(self) -> String {
        clap::ValueEnum::to_possible_value(&self).map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

pub(super) fn wanted(mutation: Option<Mutation>, verdict: Verdict) -> Verdict {
    if mutation == Some(Mutation::PublishesRollbacks) { Verdict::Committed } else { verdict }
}

/// Publishes the half message at `log_offset` whatever was decided.
pub(super) fn publish_again(broker: &Broker, log_offset: i64) -> Result<(), AppendError> {
    let Some(bytes) = broker.store.read(log_offset.cast_unsigned()) else { return Ok(()) };
    let Ok(half) = RecordView::parse(&bytes) else { return Ok(()) };
    let properties = half.properties();
    let topic = properties.get("REAL_TOPIC").unwrap_or_default();
    let queue_id = properties.number("REAL_QID").unwrap_or(0);
    let record = NewRecord {
        topic,
        queue_id,
        flag: half.flag(),
        sys_flag: half.sys_flag().0 | 8,
        born_timestamp: half.born_timestamp(),
        born_host: half.born_host(),
        store_host: half.store_host(),
        reconsume_times: 0,
        prepared_transaction_offset: log_offset,
        body: half.body(),
        properties: half.properties_bytes(),
        body_crc: half.body_crc(),
    };
    let queue = broker.store.queue(topic, queue_id);
    broker.store.append(&queue, &record, 0, AppendClass::Settle).map(drop)
}
