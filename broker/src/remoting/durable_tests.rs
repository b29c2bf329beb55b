use std::{
    future::poll_fn,
    io,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::BytesMut;
use tenonmq_protocol::{
    code::ResponseCode,
    command::Command,
    frame::{DEFAULT_MAX_FRAME, FrameView, Serialization},
    message::record::NewRecord,
};
use tenonmq_storage::{
    AppendClass, Durability, Environment, FlushPolicy, Store, StoreConfig, SystemClock,
    fs::{FaultyFs, Op},
};

use super::{Outbox, durable::DurableReplies};

const TIMEOUT: Duration = Duration::from_secs(5);

/// One connection's replies over a store that flushes when the test says so.
struct Bench {
    store: Store,
    fs: Arc<FaultyFs>,
    replies: DurableReplies,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let fs = Arc::new(FaultyFs::lazy());
        let config = StoreConfig {
            segment_size: 1 << 20,
            flush: FlushPolicy::Sync,
            index_enabled: false,
            reserve_bytes: 0,
            ..StoreConfig::new(dir.path())
        };
        let environment = Environment { fs: Arc::<FaultyFs>::clone(&fs), clock: Arc::new(SystemClock) };
        let store = Store::open_in_place(config, environment).unwrap();
        Self { store, fs, replies: DurableReplies::default(), _dir: dir }
    }

    /// Stores a message and queues its reply, whose `opaque` is the number.
    fn sent(&mut self, number: i32) {
        self.sent_within(TIMEOUT, number);
    }

    fn sent_within(&mut self, timeout: Duration, number: i32) {
        let record = NewRecord {
            topic: "paid",
            queue_id: 0,
            flag: 0,
            sys_flag: 0,
            born_timestamp: 0,
            born_host: "127.0.0.1:4000".parse().unwrap(),
            store_host: "127.0.0.1:10911".parse().unwrap(),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: b"order 42",
            properties: b"",
            body_crc: 0,
        };
        let queue = self.store.queue("paid", 0);
        let ticket = self.store.append(&queue, &record, 0, AppendClass::Send).unwrap().ticket;
        let mut reply = Command::response(ResponseCode::SUCCESS, number);
        reply.fields.push(("msgId".into(), format!("id-{number}")));
        let mut frame = BytesMut::new();
        reply.encode(Serialization::Json, &mut frame);
        self.replies.push(ticket, timeout, Serialization::Json, &frame);
    }

    /// What is known of the first reply by now.
    fn first(&mut self) -> Poll<Durability> {
        self.replies.poll_first(&mut Context::from_waker(Waker::noop()), &self.store)
    }

    /// The replies that leave when the first one has this outcome.
    fn leave(&mut self, outcome: Durability) -> Vec<Command> {
        let mut out = Outbox::default();
        let before = self.replies.len();
        let went = self.replies.settle(outcome, &self.store, &mut out);
        assert_eq!(self.replies.len(), before - went);
        let mut bytes = out.take_all();
        let mut commands = Vec::new();
        while let Some(frame) = FrameView::peek(&bytes, DEFAULT_MAX_FRAME).unwrap() {
            commands.push(Command::decode(&frame).unwrap());
            let len = frame.len;
            drop(bytes.split_to(len));
        }
        assert_eq!(commands.len(), went);
        commands
    }
}

fn told(commands: &[Command]) -> Vec<(i32, ResponseCode)> {
    commands.iter().map(|command| (command.opaque, ResponseCode(command.code))).collect()
}

#[tokio::test]
async fn a_flush_lets_all_replies_go_that_it_was_for_and_no_other() {
    let mut bench = Bench::new();
    assert_eq!(bench.first(), Poll::Pending);
    bench.sent(1);
    bench.sent(2);
    assert_eq!(bench.first(), Poll::Pending);
    bench.store.flush().unwrap();
    bench.sent(3);
    assert_eq!(bench.first(), Poll::Ready(Durability::Ok));
    let left = bench.leave(Durability::Ok);
    assert_eq!(told(&left), [(1, ResponseCode::SUCCESS), (2, ResponseCode::SUCCESS)]);
    assert_eq!(left[1].fields, [("msgId".to_owned(), "id-2".to_owned())]);
    assert_eq!(bench.first(), Poll::Pending);
    bench.store.flush().unwrap();
    assert_eq!(bench.first(), Poll::Ready(Durability::Ok));
    assert_eq!(told(&bench.leave(Durability::Ok)), [(3, ResponseCode::SUCCESS)]);
    assert_eq!(bench.first(), Poll::Pending);
}

#[tokio::test]
async fn a_flush_wakes_who_waits() {
    let mut bench = Bench::new();
    bench.sent(1);
    let Bench { store, replies, .. } = &mut bench;
    let mut waits = pin!(poll_fn(|cx| replies.poll_first(cx, store)));
    let flushed = async {
        tokio::task::yield_now().await;
        store.flush().unwrap();
    };
    assert_eq!(tokio::join!(waits.as_mut(), flushed).0, Durability::Ok);
}

#[tokio::test]
async fn a_message_that_is_not_on_disk_in_time_is_said_to_be_stored_but_not_flushed() {
    let mut bench = Bench::new();
    bench.sent_within(Duration::from_millis(1), 1);
    bench.sent(2);
    let Bench { store, replies, .. } = &mut bench;
    assert_eq!(poll_fn(|cx| replies.poll_first(cx, store)).await, Durability::FlushTimeout);
    let left = bench.leave(Durability::FlushTimeout);
    assert_eq!(told(&left), [(1, ResponseCode::FLUSH_DISK_TIMEOUT)]);
    assert_eq!(left[0].fields, [("msgId".to_owned(), "id-1".to_owned())], "the receipt stays");
    bench.store.flush().unwrap();
    assert_eq!(bench.first(), Poll::Ready(Durability::Ok), "who waits behind it has its own time");
    assert_eq!(told(&bench.leave(Durability::Ok)), [(2, ResponseCode::SUCCESS)]);
}

#[tokio::test]
async fn a_failed_flush_is_told_without_a_receipt() {
    let mut bench = Bench::new();
    bench.sent(1);
    assert_eq!(bench.first(), Poll::Pending);
    bench.fs.fail(Op::Sync, io::ErrorKind::Other);
    bench.store.flush().unwrap_err();
    assert_eq!(bench.first(), Poll::Ready(Durability::Poisoned));
    let left = bench.leave(Durability::Poisoned);
    assert_eq!(told(&left), [(1, ResponseCode::SERVICE_NOT_AVAILABLE)]);
    assert!(left[0].fields.is_empty() && left[0].remark.as_deref().is_some_and(|text| text.contains("flush")));
}
