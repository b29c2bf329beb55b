//! Peers that vanish, dribble, do not read or send too much, and networks that cut and mix up: nobody else notices, and
//! nothing stays of them. The long form, with figures, is the program `network`.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::future::join_all;
use tenonmq_broker::remoting::Load;
use tenonmq_client::{Message, Producer, PullConsumer};
use tenonmq_tests::{
    network::{
        self, TOPIC, frames,
        proxy::{Manner, Proxy},
        wire::Wire,
    },
    temporary_broker::TemporaryBroker,
};
use tokio::{io::AsyncReadExt, time::timeout};

/// Longer than anything takes here.
const PATIENCE: Duration = Duration::from_secs(60);

struct Broker(TemporaryBroker);

impl Broker {
    /// With one message in queue 0 of the topic.
    async fn start(more: &[(&str, &str)]) -> Self {
        let own = [("httpEnable", "false"), ("mappedFileSizeCommitLog", "67108864")];
        let settings = [own.as_slice(), more].concat();
        let broker = Self(TemporaryBroker::start(&settings).await.expect("the broker starts"));
        assert_eq!(broker.connect().await.ask(&network::send(1, b"first", "")).await.expect("an answer"), 0);
        broker
    }

    async fn connect(&self) -> Wire {
        Wire::connect(self.0.address).await.expect("the broker accepts")
    }

    fn load(&self) -> Load {
        let core = self.0.running.core().expect("the broker role");
        core.loads.lock().iter().find(|(port, _)| *port == "main").expect("the main port").1.clone()
    }

    /// Messages in queue 0.
    fn stored(&self) -> i64 {
        let core = self.0.running.core().expect("the broker role");
        core.store.queue(TOPIC, 0).max_offset()
    }

    fn producers(&self) -> usize {
        let core = self.0.running.core().expect("the broker role");
        core.clients.producer_groups().iter().map(|group| group.members().len()).sum()
    }

    /// Waits until nothing is left of all peers.
    async fn is_forgotten(&self) {
        let load = self.load();
        let forgotten = async {
            while (load.connections(), load.held(), load.stuck_bytes(), self.producers()) != (0, 0, 0, 0) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let left = || (load.connections(), load.held(), load.stuck_bytes(), self.producers());
        assert!(timeout(PATIENCE, forgotten).await.is_ok(), "connections, held, stuck, producers: {:?}", left());
    }

    async fn stop(self) {
        timeout(PATIENCE, self.0.running.shutdown()).await.expect("the stop does not wait for anybody");
    }
}

/// A client that behaves: a send is stored and wakes its long poll.
async fn is_served(broker: &Broker) {
    let (mut reader, mut writer) = (broker.connect().await, broker.connect().await);
    let polled = async { reader.ask(&network::pull(1, broker.stored(), 30_000)).await };
    let sent = async {
        while broker.load().held() == 0 {
            tokio::task::yield_now().await;
        }
        writer.ask(&network::send(2, b"served", "")).await
    };
    let both = async { tokio::join!(polled, sent) };
    let (polled, sent) = timeout(PATIENCE, both).await.expect("answers");
    assert_eq!((polled.expect("a pull"), sent.expect("a send")), (0, 0));
}

#[tokio::test]
async fn a_request_cut_at_any_byte_does_nothing_and_leaves_nothing() {
    let broker = Broker::start(&[]).await;
    for (name, frame) in frames() {
        for cut in 0..frame.len() {
            let mut peer = broker.connect().await;
            peer.send(&frame[..cut]).await.unwrap_or_else(|error| panic!("{name} up to byte {cut}: {error}"));
            if cut.is_multiple_of(2) {
                peer.reset();
            }
        }
    }
    broker.is_forgotten().await;
    assert_eq!(broker.stored(), 1);
    is_served(&broker).await;
    broker.stop().await;
}

#[tokio::test]
async fn a_reply_cut_at_any_byte_leaves_nothing() {
    let broker = Broker::start(&[]).await;
    for (_, frame) in frames() {
        let mut peer = broker.connect().await;
        peer.send(&frame).await.expect("the broker reads");
        let mut reply = [0; 4096];
        let len = peer.stream.read(&mut reply).await.expect("a reply");
        for cut in 0..len {
            let mut peer = broker.connect().await;
            peer.send(&frame).await.expect("the broker reads");
            let read = peer.stream.read(&mut reply[..cut.max(1)]).await.expect("some of the reply");
            assert!(read > 0, "there is a reply");
            if cut.is_multiple_of(2) {
                peer.reset();
            }
        }
    }
    broker.is_forgotten().await;
    is_served(&broker).await;
    broker.stop().await;
}

#[tokio::test]
async fn requests_that_come_byte_by_byte_are_served_and_their_replies_are_read_so() {
    let broker = Broker::start(&[]).await;
    let lives = frames().into_iter().map(|(name, frame)| {
        let broker = &broker;
        async move {
            let mut peer = broker.connect().await;
            for byte in &frame {
                peer.send(std::slice::from_ref(byte)).await.expect("the broker reads");
                tokio::task::yield_now().await;
            }
            let mut reply = Vec::new();
            while reply.len() < 4 || reply.len() < 4 + reply_len(&reply) {
                reply.push(peer.stream.read_u8().await.unwrap_or_else(|error| panic!("reply to {name}: {error}")));
            }
        }
    });
    timeout(PATIENCE, join_all(lives)).await.expect("replies");
    broker.is_forgotten().await;
    broker.stop().await;
}

fn reply_len(reply: &[u8]) -> usize {
    reply.first_chunk().map_or(0, |len| u32::from_be_bytes(*len) as usize)
}

#[tokio::test]
async fn a_peer_that_says_nothing_more_is_forgotten_after_the_idle_time() {
    let broker = Broker::start(&[("serverChannelMaxIdleTimeSeconds", "1")]).await;
    let mut silent = Vec::new();
    for (number, (_, frame)) in frames().iter().enumerate() {
        let mut peer = broker.connect().await;
        peer.ask(&network::heartbeat(1, &format!("10.0.0.1@{number}"))).await.expect("an answer");
        peer.send(&frame[..frame.len() / 2]).await.expect("the broker reads");
        silent.push(peer);
    }
    broker.is_forgotten().await; // the sockets are open still at this end
    drop(silent);
    broker.stop().await;
}

#[tokio::test]
async fn memory_for_frames_that_never_end_and_replies_that_nobody_reads_is_bounded() {
    const LIMIT: usize = 4 << 20;
    let broker = Broker::start(&[("remotingStuckBytesMax", "4194304")]).await;
    let load = broker.load();
    let announced = [&(16_000_000_u32).to_be_bytes()[..], &[0; 60_000]].concat();
    let questions: Vec<u8> = (0..2_000).flat_map(|opaque| network::pull(opaque, 0, 0)).collect();
    let mut peers = Vec::new();
    for number in 0..300 {
        let mut peer = broker.connect().await;
        let bytes = if number % 2 == 0 { &announced } else { &questions };
        // who is refused has lost its connection
        drop(timeout(Duration::from_millis(20), peer.send(bytes)).await);
        assert!(load.stuck_bytes() <= LIMIT, "{}", load.stuck_bytes());
        peers.push(peer);
    }
    assert!(load.connections() < 300, "some were disconnected");
    is_served(&broker).await;
    assert!(load.stuck_bytes() <= LIMIT, "{}", load.stuck_bytes());
    drop(peers);
    broker.is_forgotten().await;
    broker.stop().await;
}

#[tokio::test]
async fn held_requests_are_bounded_for_all_connections_together() {
    let broker = Broker::start(&[("remotingHeldRequestsMax", "10")]).await;
    let (mut one, mut other) = (broker.connect().await, broker.connect().await);
    for opaque in 0..6 {
        one.send(&network::pull(opaque, 1, 60_000)).await.expect("the broker reads");
    }
    while broker.load().held() < 6 {
        tokio::task::yield_now().await;
    }
    for opaque in 0..6 {
        other.send(&network::pull(opaque, 1, 60_000)).await.expect("the broker reads");
    }
    for _ in 0..2 {
        let refused = other.answer().await.expect("a frame").expect("an answer");
        assert_eq!(refused.code, 2);
        assert!(refused.remark.expect("a reason").starts_with("[OVERLOAD]system busy"));
    }
    drop((one, other));
    broker.is_forgotten().await;
    is_served(&broker).await;
    broker.stop().await;
}

#[tokio::test]
async fn storms_of_peers_that_come_and_go_leave_nothing() {
    let broker = Broker::start(&[]).await;
    for round in 0..4 {
        let life = |number: usize| {
            let broker = &broker;
            async move {
                let mut peer = broker.connect().await;
                let code = peer.ask(&network::heartbeat(1, &format!("10.0.0.1@{number}"))).await;
                assert_eq!(code.expect("an answer"), 0);
                peer.send(&network::pull(2, 1_000_000, 60_000)).await.expect("the broker reads");
                if number.is_multiple_of(2) {
                    peer.reset();
                }
            }
        };
        join_all((0..250).map(|number| life(round * 1000 + number))).await;
        is_served(&broker).await;
    }
    broker.is_forgotten().await;
    broker.stop().await;
}

#[tokio::test]
async fn a_peer_far_ahead_is_refused_with_a_reason_and_served_again_when_it_is_caught_up_with() {
    const SENDS: i32 = 30_000;
    let broker = Broker::start(&[("waitTimeMillsInSendQueue", "1")]).await;
    let peer = broker.connect().await;
    let (mut read, mut write) = peer.stream.into_split();
    let sends: Vec<u8> = (0..SENDS).flat_map(|opaque| network::send(opaque, &[7; 100], "")).collect();
    let writing = tokio::spawn(async move {
        tokio::io::AsyncWriteExt::write_all(&mut write, &sends).await.expect("the broker reads");
        write
    });
    let (mut codes, mut input, mut last) = (HashMap::<i32, i64>::new(), bytes::BytesMut::new(), None);
    while codes.values().sum::<i64>() < i64::from(SENDS) {
        let read = timeout(PATIENCE, read.read_buf(&mut input)).await.expect("in time").expect("open");
        assert_ne!(read, 0, "every send is answered");
        while let Some(frame) = tenonmq_protocol::FrameView::peek(&input, 1 << 20).expect("a frame") {
            let (len, answer) = (frame.len, tenonmq_protocol::Command::decode(&frame).expect("an answer"));
            drop(input.split_to(len));
            *codes.entry(answer.code).or_default() += 1;
            last = answer.remark.filter(|_| answer.code == 2).or(last);
        }
    }
    let (stored, refused) = (codes[&0], codes.get(&2).copied().unwrap_or(0));
    assert_eq!((stored + refused, stored), (i64::from(SENDS), broker.stored() - 1), "{codes:?}");
    assert!(refused > 0, "{codes:?}");
    assert_eq!(u64::try_from(refused).ok(), Some(broker.load().refused()));
    assert!(last.expect("a reason").starts_with("[TIMEOUT_CLEAN_QUEUE]broker busy, start flow control for a while"));
    let mut again = Wire::connect(broker.0.address).await.expect("the broker accepts");
    assert_eq!(again.ask(&network::send(1, b"after", "")).await.expect("an answer"), 0);
    drop((again, read, writing.await.expect("written")));
    broker.is_forgotten().await;
    broker.stop().await;
}

/// Through a proxy on the way to the broker: all sends end, and every receipt names the place of its own message.
async fn receipts_match(manner: Manner) {
    const SENDS: usize = 400;
    let broker = Broker::start(&[]).await;
    let name_server = broker.0.running.addresses().name_server.expect("the name server listens");
    let bad = Proxy::start(broker.0.address, manner).await.expect("a proxy");
    let rewrite = Some((broker.0.address.to_string(), bad.address.to_string()));
    let routes = Proxy::start(name_server, Manner { rewrite, ..Manner::default() }).await.expect("a proxy");
    let producer = Producer::builder(routes.address.to_string())
        .group("P_mixed")
        .retries(100)
        .send_timeout(PATIENCE)
        .connect()
        .await
        .expect("a producer");
    let producer = Arc::new(producer);
    let sends = (0..SENDS).map(|number| {
        let producer = Arc::clone(&producer);
        async move { producer.send(Message::new(TOPIC, format!("message {number}"))).await }
    });
    let receipts = timeout(PATIENCE, join_all(sends)).await.expect("every send ends");
    let consumer = PullConsumer::builder(name_server.to_string()).group("C_mixed").connect().await.expect("a consumer");
    let mut found = HashMap::new();
    for queue in consumer.queues(TOPIC).await.expect("queues") {
        consumer.seek(&queue, 0);
        loop {
            let pulled = consumer.pull(&queue).await.expect("a pull");
            if pulled.messages.is_empty() {
                break;
            }
            for message in pulled.messages {
                found.insert((queue.queue_id, message.queue_offset()), message.body().clone());
            }
            consumer.seek(&queue, pulled.next_offset);
        }
    }
    for (number, receipt) in receipts.into_iter().enumerate() {
        let receipt = receipt.unwrap_or_else(|error| panic!("message {number}: {error}"));
        let place = (receipt.queue.queue_id, receipt.queue_offset);
        assert_eq!(found[&place], format!("message {number}"));
    }
    broker.stop().await;
}

#[tokio::test]
async fn receipts_belong_to_their_messages_when_replies_come_in_any_order() {
    receipts_match(Manner { mixed: 50, seed: 1, ..Manner::default() }).await;
}

#[tokio::test]
async fn receipts_belong_to_their_messages_when_connections_are_cut_in_the_middle_of_replies() {
    receipts_match(Manner { mixed: 20, cut_within: 150, seed: 2, ..Manner::default() }).await;
}
