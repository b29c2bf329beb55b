//! One counter of a topic, of a group in a topic, or of the broker, over the last minute, hour and day (315).
//!
//! The names are Apache's. Not kept: counts of single queues (`QUEUE_*`), latencies, and how far reads are behind.

use tenonmq_protocol::{
    body::{BrokerStatsData, BrokerStatsItem},
    code::ResponseCode,
};

use crate::{
    core::{
        Core,
        stats::{Overall, Span, history::Summary, readers::Reading, topics::Writing},
    },
    error::Refusal,
};

/// The counter of that name. A counter exists from its first count on, and is sampled every ten seconds.
///
/// # Errors
/// 1: no such counter.
pub fn view(core: &Core, name: &str, key: &str) -> Result<BrokerStatsData, Refusal> {
    let found = match name {
        "TOPIC_PUT_NUMS" => of_topic(core, key, Writing::Messages),
        "TOPIC_PUT_SIZE" => of_topic(core, key, Writing::Bytes),
        "GROUP_GET_NUMS" => of_group(core, key, Reading::Messages, Reading::Requests),
        "GROUP_GET_SIZE" => of_group(core, key, Reading::Bytes, Reading::Requests),
        "SNDBCK_PUT_NUMS" => of_group(core, key, Reading::SentBack, Reading::SentBack),
        "GROUP_ACK_NUMS" => of_group(core, key, Reading::Acknowledged, Reading::Acknowledged),
        "GROUP_CK_NUMS" => of_group(core, key, Reading::Leases, Reading::Leases),
        "BROKER_PUT_NUMS" => of_broker(core, key, Overall::Put),
        "BROKER_PUT_NUMS_WITHOUT_SYSTEM_TOPIC" => of_broker(core, key, Overall::PutByUsers),
        "BROKER_GET_NUMS" => of_broker(core, key, Overall::Got),
        "BROKER_GET_NUMS_WITHOUT_SYSTEM_TOPIC" => of_broker(core, key, Overall::GotByUsers),
        "BROKER_ACK_NUMS" => of_broker(core, key, Overall::Acknowledged),
        "BROKER_CK_NUMS" => of_broker(core, key, Overall::Leases),
        _ => None,
    };
    found.ok_or_else(|| Refusal::new(ResponseCode::SYSTEM_ERROR, format!("The stats <{name}> <{key}> not exist")))
}

/// Apache averages over send requests; here every message counts as one, in a batch too.
fn of_topic(core: &Core, topic: &str, what: Writing) -> Option<BrokerStatsData> {
    let writers = &core.stats.writers;
    let sampled = writers.summary(topic, what, Span::Minute).is_some();
    let stored = || core.store.topic_queues(topic).iter().any(|queue| queue.appended() != [0, 0]);
    (sampled || stored()).then(|| {
        spans(|span| {
            let of = |what| writers.summary(topic, what, span).unwrap_or_default();
            (of(what), of(Writing::Messages).sum)
        })
    })
}

fn of_group(core: &Core, key: &str, what: Reading, times: Reading) -> Option<BrokerStatsData> {
    let reader = core.stats.readers.find(key)?;
    reader.summary(what, Span::Minute)?;
    let of = |what, span| reader.summary(what, span).unwrap_or_default();
    Some(spans(|span| (of(what, span), of(times, span).sum)))
}

/// Apache does not count the times here, so there is no average.
fn of_broker(core: &Core, cluster: &str, what: Overall) -> Option<BrokerStatsData> {
    let is_ours =
        core.identity.get().cluster == cluster && core.stats.counted(what, core.store.stats().appended_records);
    is_ours.then(|| spans(|span| (core.stats.overall(what, span), 0)))
}

fn spans(of: impl Fn(Span) -> (Summary, u64)) -> BrokerStatsData {
    let item = |span| {
        let (Summary { sum, per_second }, times) = of(span);
        let avgpt = if times > 0 { sum as f64 / times as f64 } else { 0.0 };
        BrokerStatsItem { avgpt, sum: sum.cast_signed(), tps: per_second }
    };
    BrokerStatsData { stats_day: item(Span::Day), stats_hour: item(Span::Hour), stats_minute: item(Span::Minute) }
}

#[cfg(test)]
mod tests {
    use tenonmq_protocol::{
        Command,
        body::{BrokerStatsData, ConsumeStats, TopicStatsTable, json},
        code::RequestCode as Code,
        header::{PullFlags, PullMessage, SendMessage},
    };

    use crate::remoting::testing::{Peer, START_MS, TestBroker};

    async fn view(broker: &TestBroker, name: &str, key: &str) -> Option<BrokerStatsData> {
        let command =
            Command::request(Code::VIEW_BROKER_STATS_DATA).with_field("statsName", name).with_field("statsKey", key);
        let answer = broker.call(&Peer::new(9), command).await;
        if answer.code == 0 {
            return Some(json::from_slice(&answer.body).unwrap());
        }
        assert_eq!((answer.code, answer.remark), (1, Some(format!("The stats <{name}> <{key}> not exist"))));
        None
    }

    async fn minute(broker: &TestBroker, name: &str, key: &str) -> (i64, f64, f64) {
        let item = view(broker, name, key).await.unwrap().stats_minute;
        (item.sum, item.tps, item.avgpt)
    }

    async fn send(broker: &TestBroker, count: usize) {
        for _ in 0..count {
            let header = SendMessage { producer_group: "shop", topic: "orders", ..SendMessage::default() };
            let answer = broker.call(&Peer::new(1), Command::with_header(&header).with_body("order")).await;
            assert_eq!(answer.code, 0);
        }
    }

    async fn pull(broker: &TestBroker, offset: i64) -> usize {
        let header = PullMessage {
            consumer_group: "billing",
            topic: "orders",
            queue_offset: offset,
            max_count: 32,
            sys_flag: PullFlags::SUBSCRIPTION,
            subscription: Some("*"),
            ..PullMessage::default()
        };
        broker.ask(&Peer::new(1), &header).await.body.len()
    }

    fn sample(broker: &TestBroker, tick: u64) {
        broker.core.stats.sample_all(&broker.core, START_MS + tick as i64 * 10_000, tick);
    }

    #[tokio::test]
    async fn what_was_sent_and_pulled_is_told_for_the_last_minute() {
        let broker = TestBroker::new();
        broker.topic("orders", 1);
        sample(&broker, 1);
        send(&broker, 4).await;
        let bytes = pull(&broker, 0).await;
        pull(&broker, 4).await;
        sample(&broker, 2);
        assert_eq!(minute(&broker, "TOPIC_PUT_NUMS", "orders").await, (4, 0.4, 1.0));
        assert_eq!(minute(&broker, "TOPIC_PUT_SIZE", "orders").await.0, bytes as i64);
        assert_eq!(minute(&broker, "GROUP_GET_NUMS", "orders@billing").await, (4, 0.4, 4.0));
        assert_eq!(minute(&broker, "GROUP_GET_SIZE", "orders@billing").await.0, bytes as i64);
        for name in ["BROKER_PUT_NUMS", "BROKER_PUT_NUMS_WITHOUT_SYSTEM_TOPIC", "BROKER_GET_NUMS"] {
            let (sum, _, average) = minute(&broker, name, "DefaultCluster").await;
            assert_eq!((sum, average), (4, 0.0), "{name}");
        }
    }

    #[tokio::test]
    async fn rates_are_in_the_answers_about_topics_and_groups() {
        let broker = TestBroker::new();
        broker.topic("orders", 1);
        send(&broker, 5).await;
        pull(&broker, 0).await;
        sample(&broker, 1);
        let command = Command::request(Code::GET_TOPIC_STATS_INFO).with_field("topic", "orders");
        let stats: TopicStatsTable = json::from_slice(&broker.call(&Peer::new(9), command).await.body).unwrap();
        assert_eq!(stats.topic_put_tps, 0.5);
        let command = Command::request(Code::GET_CONSUME_STATS)
            .with_field("consumerGroup", "billing")
            .with_field("topic", "orders");
        let stats: ConsumeStats = json::from_slice(&broker.call(&Peer::new(9), command).await.body).unwrap();
        assert_eq!(stats.consume_tps, 0.5);
    }

    #[tokio::test]
    async fn a_counter_exists_from_its_first_count_on() {
        let broker = TestBroker::new();
        broker.topic("orders", 1);
        assert_eq!(view(&broker, "TOPIC_PUT_NUMS", "orders").await, None);
        send(&broker, 1).await;
        assert_eq!(view(&broker, "TOPIC_PUT_NUMS", "orders").await, Some(BrokerStatsData::default()));
        assert_eq!(view(&broker, "GROUP_GET_NUMS", "orders@billing").await, None);
        assert_eq!(view(&broker, "SNDBCK_PUT_NUMS", "orders@billing").await, None);
        assert_eq!(view(&broker, "BROKER_PUT_NUMS", "OtherCluster").await, None);
    }

    #[tokio::test]
    async fn a_deleted_topic_takes_its_counters_with_it() {
        let broker = TestBroker::new();
        broker.topic("orders", 1);
        send(&broker, 3).await;
        pull(&broker, 0).await;
        sample(&broker, 1);
        crate::admin::topic::delete(&broker.core, "orders", "test").unwrap();
        sample(&broker, 2);
        assert_eq!(view(&broker, "TOPIC_PUT_NUMS", "orders").await, None);
        assert_eq!(view(&broker, "GROUP_GET_NUMS", "orders@billing").await, None);
        assert_eq!(minute(&broker, "BROKER_PUT_NUMS_WITHOUT_SYSTEM_TOPIC", "DefaultCluster").await.0, 3);
    }

    #[tokio::test]
    async fn beyond_the_limit_pairs_are_not_counted_by_themselves() {
        let broker = TestBroker::with(&[("statsItemsMax", "1")]);
        for topic in ["one", "two"] {
            broker.core.stats.given(topic, "billing", 1, 10);
        }
        assert!(broker.core.stats.readers.find("one@billing").is_some());
        assert!(broker.core.stats.readers.find("two@billing").is_none());
    }
}
