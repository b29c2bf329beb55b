//! What the tools of an operator read out of answers, as Apache spells it.

use tenonmq_protocol::{
    Command,
    body::{
        ColdReads, ConsumeQueueEntries, ConsumerData, HeartbeatData, KvTable, ProducerData, ProducerTable,
        SubscriptionData, json,
    },
    code::RequestCode as Code,
    header::SendMessage,
};

use crate::remoting::testing::{Peer, TestBroker};

async fn ask(broker: &TestBroker, code: Code, fields: &[(&str, &str)]) -> Command {
    let command = fields.iter().fold(Command::request(code), |command, (name, value)| command.with_field(*name, value));
    broker.call(&Peer::new(99), command).await
}

async fn connect(broker: &TestBroker, peer: &Peer, kind: &str, expression: &str) {
    let data = SubscriptionData {
        topic: "orders".into(),
        sub_string: expression.into(),
        expression_type: Some(kind.into()),
        sub_version: kind.len() as i64, // a newer one counts
        ..SubscriptionData::default()
    };
    let consumer =
        ConsumerData { group_name: "billing".into(), subscription_data_set: vec![data], ..ConsumerData::default() };
    let data = HeartbeatData {
        client_id: "one".into(),
        consumer_data_set: vec![consumer],
        producer_data_set: vec![ProducerData { group_name: "shop".into() }],
        ..HeartbeatData::default()
    };
    let command = Command::request(Code::HEART_BEAT).with_body(json::to_vec(&data));
    assert_eq!(broker.call(peer, command).await.code, 0);
}

#[tokio::test]
async fn the_address_of_a_producer_is_spelt_as_java_does() {
    let (broker, peer) = (TestBroker::new(), Peer::new(1));
    connect(&broker, &peer, "TAG", "*").await;
    let table: ProducerTable = json::from_slice(&ask(&broker, Code::GET_ALL_PRODUCER_INFO, &[]).await.body).unwrap();
    let addresses: Vec<_> = table.data.values().flatten().map(|producer| producer.remote_ip.clone()).collect();
    assert_eq!(addresses, [format!("/{}", peer.connection.peer())]);
}

#[tokio::test]
async fn a_look_into_a_queue_tells_how_the_group_filters() {
    let (broker, peer) = (TestBroker::new(), Peer::new(1));
    broker.topic("orders", 1);
    broker.store("orders", 0, b"a");
    let fields = [("topic", "orders"), ("queueId", "0"), ("index", "0"), ("count", "1"), ("consumerGroup", "billing")];
    for (kind, expression, expected) in [("TAG", "a || b", "null"), ("SQL92", "price > 5", "price > 5")] {
        connect(&broker, &peer, kind, expression).await;
        let answer = ask(&broker, Code::QUERY_CONSUME_QUEUE, &fields).await;
        let found: ConsumeQueueEntries = json::from_slice(&answer.body).unwrap();
        let text = found.filter_data.unwrap_or_default();
        assert!(text.contains(expected), "{text}");
    }
}

#[tokio::test]
async fn how_long_storing_took_is_among_the_numbers_that_the_exporter_reads() {
    let broker = TestBroker::new();
    broker.topic("orders", 1);
    let header = SendMessage { producer_group: "shop", topic: "orders", ..SendMessage::default() };
    assert_eq!(broker.call(&Peer::new(1), Command::with_header(&header).with_body("order")).await.code, 0);
    let runtime: KvTable = json::from_slice(&ask(&broker, Code::GET_BROKER_RUNTIME_INFO, &[]).await.body).unwrap();
    for key in ["putMessageEntireTimeMax", "putLatency99", "putLatency999"] {
        assert!(runtime.table[key].parse::<f64>().is_ok(), "{key}");
    }
    assert!(runtime.table["putMessageDistributeTime"].starts_with("[<=0ms]:"));
}

#[tokio::test]
async fn what_this_broker_does_not_do_is_told_as_apache_tells_it() {
    let broker = TestBroker::new();
    let answer = ask(&broker, Code::GET_BROKER_EPOCH_CACHE, &[]).await;
    assert_eq!((answer.code, answer.remark.as_deref()), (1, Some("this request only for controllerMode ")));
    let answer = ask(&broker, Code::GET_COLD_DATA_FLOW_CTR_INFO, &[]).await;
    let cold: ColdReads = json::from_slice(&answer.body).unwrap();
    assert_eq!((cold.cg_cold_read_threshold, cold.global_cold_read_threshold), (3_145_728, 104_857_600));
    assert!(cold.runtime_table.is_empty());
}

#[tokio::test]
async fn traces_of_messages_go_to_a_topic_that_is_there_when_it_is_asked_for() {
    for (settings, name) in [
        (&[("traceTopicEnable", "true")][..], "RMQ_SYS_TRACE_TOPIC"),
        (&[("traceTopicEnable", "true"), ("msgTraceTopicName", "traces")][..], "traces"),
    ] {
        let broker = TestBroker::with(settings);
        let topic = broker.core.topics.get(name).unwrap();
        assert_eq!((topic.config.read_queue_nums, topic.config.write_queue_nums, topic.config.perm), (1, 1, 6));
        let header = SendMessage { producer_group: "_INNER_TRACE_PRODUCER", topic: name, ..SendMessage::default() };
        assert_eq!(broker.call(&Peer::new(1), Command::with_header(&header).with_body("Pub")).await.code, 0);
    }
    assert!(TestBroker::new().core.topics.get("RMQ_SYS_TRACE_TOPIC").is_none());
}
