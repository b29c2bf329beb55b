//! Peers for unit tests: a name server and the broker `b`, with queues in memory. It remembers what it was asked, and a
//! test may answer any request itself, keep silent, or speak first.

#![allow(dead_code)] // a tool box: not every test run needs every tool

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bytes::BytesMut;
use serde_json::json;
use tenonmq_protocol::{
    Command, DEFAULT_MAX_FRAME, FrameView, RequestCode, RequestHeader, ResponseCode, ResponseHeader, Serialization,
    body::{heartbeat::HeartbeatData, json as dialect, queue::LockRequest},
    header::{OffsetAnswer, PullMessage, PullResult, QueryOffset, SendMessage, SendReceipt, UpdateOffset},
    message::{
        id::OffsetMessageId,
        record::{Assigned, NewRecord, body_crc},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Notify, mpsc},
    time::timeout,
};

pub(crate) const BROKER: &str = "b";
/// Longest wait for anything; only met by a failure.
const DEADLINE: Duration = Duration::from_secs(30);

/// What a test says to a request.
pub(crate) enum Say {
    /// What the fake says by itself.
    Usual,
    /// This; `opaque` is set by the fake.
    This(Command),
    /// Nothing at all.
    Nothing,
}

/// Refuses with a code.
pub(crate) fn refuse(code: ResponseCode) -> Say {
    Say::This(Command::response(code, 0).with_remark("made up"))
}

type Script = Box<dyn FnMut(&Command) -> Say + Send>;
type Writer = mpsc::UnboundedSender<Command>;

/// The running peer.
pub(crate) struct FakeBroker {
    address: String,
    shared: Arc<Shared>,
    tasks: [tokio::task::JoinHandle<()>; 2],
}

struct Shared {
    inner: Mutex<Inner>,
    changed: Notify,
    queue_count: i32,
    address: String,
}

#[derive(Default)]
struct Inner {
    queues: HashMap<(String, i32), Vec<Vec<u8>>>,
    offsets: HashMap<(String, i32), i64>,
    members: Vec<String>,
    locks: HashMap<(String, i32), String>,
    seen: Vec<Command>,
    writers: Vec<Writer>,
    connections: usize,
    script: Option<Script>,
}

impl FakeBroker {
    /// Every topic that does not begin with `%` has `queue_count` queues.
    pub(crate) async fn start(queue_count: i32) -> Self {
        let name_server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let broker = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = name_server.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared {
            inner: Mutex::default(),
            changed: Notify::new(),
            queue_count,
            address: broker.local_addr().unwrap().to_string(),
        });
        let accept = |listener: TcpListener| {
            let shared = Arc::clone(&shared);
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(Arc::clone(&shared), stream));
                }
            })
        };
        let tasks = [accept(name_server), accept(broker)];
        Self { address, shared, tasks }
    }

    /// The name server's.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Asks `script` first about every request from now on.
    pub(crate) fn script(&self, script: impl FnMut(&Command) -> Say + Send + 'static) {
        self.shared.lock().script = Some(Box::new(script));
    }

    /// Appends a message.
    pub(crate) fn put(&self, topic: &str, queue: i32, body: &str, properties: &[(&str, &str)]) {
        let text: String = properties.iter().map(|(name, value)| format!("{name}\u{1}{value}\u{2}")).collect();
        self.shared.lock().append(topic, queue, body.as_bytes(), &text);
        self.shared.changed.notify_waiters();
    }

    /// The records of a queue, as answers hold them.
    pub(crate) fn records(&self, topic: &str, queue: i32) -> Vec<u8> {
        records(&self.shared.lock(), topic, queue, 0).0
    }

    /// The group's offset of a queue, whichever group it was.
    pub(crate) fn offset(&self, topic: &str, queue: i32) -> Option<i64> {
        self.shared.lock().offsets.get(&(topic.to_owned(), queue)).copied()
    }

    /// Makes somebody the owner of a queue's lock, or nobody.
    pub(crate) fn set_lock(&self, topic: &str, queue: i32, owner: Option<&str>) {
        let mut inner = self.shared.lock();
        let key = (topic.to_owned(), queue);
        match owner {
            Some(owner) => drop(inner.locks.insert(key, owner.to_owned())),
            None => drop(inner.locks.remove(&key)),
        }
    }

    pub(crate) fn lock_owner(&self, topic: &str, queue: i32) -> Option<String> {
        self.shared.lock().locks.get(&(topic.to_owned(), queue)).cloned()
    }

    /// Connections that are open, to the name server and to the broker.
    pub(crate) fn connections(&self) -> usize {
        self.shared.lock().connections
    }

    /// Adds a member to every group.
    pub(crate) fn add_member(&self, id: &str) {
        self.shared.lock().members.push(id.to_owned());
    }

    pub(crate) fn remove_member(&self, id: &str) {
        self.shared.lock().members.retain(|member| member != id);
    }

    /// What was asked with that code, in order.
    pub(crate) fn seen(&self, code: RequestCode) -> Vec<Command> {
        self.shared
            .lock()
            .seen
            .iter()
            .filter(|command| command.code == code.0 && !command.is_response())
            .cloned()
            .collect()
    }

    /// All requests, in order.
    pub(crate) fn all(&self) -> Vec<Command> {
        self.shared.lock().seen.iter().filter(|command| !command.is_response()).cloned().collect()
    }

    /// What clients answered.
    pub(crate) fn answers(&self) -> Vec<Command> {
        self.shared.lock().seen.iter().filter(|command| command.is_response()).cloned().collect()
    }

    /// Waits until `count` requests with that code have come.
    pub(crate) async fn saw(&self, code: RequestCode, count: usize) -> Vec<Command> {
        self.until(|fake| fake.seen(code).len() >= count).await;
        self.seen(code)
    }

    /// Waits until a condition holds. It is looked at with every request, and now and then for what changes without one.
    pub(crate) async fn until(&self, condition: impl Fn(&Self) -> bool) {
        let wait = async {
            loop {
                let changed = self.shared.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if condition(self) {
                    return;
                }
                drop(timeout(Duration::from_millis(10), changed).await);
            }
        };
        assert!(timeout(DEADLINE, wait).await.is_ok(), "seen: {:?}", self.codes());
    }

    /// Sends a request to every client.
    pub(crate) fn tell(&self, request: &Command) {
        self.shared.lock().writers.retain(|writer| writer.send(request.clone()).is_ok());
    }

    /// Sends a request over the connection that was made last.
    pub(crate) fn tell_last(&self, request: &Command) {
        let told = self.shared.lock().writers.last().map(|writer| writer.send(request.clone()));
        assert!(matches!(told, Some(Ok(()))), "nobody is connected");
    }

    /// How often each code was asked.
    fn codes(&self) -> BTreeMap<RequestCode, usize> {
        let mut counts = BTreeMap::new();
        for command in &self.shared.lock().seen {
            *counts.entry(RequestCode(command.code)).or_default() += 1;
        }
        counts
    }
}

impl Drop for FakeBroker {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }
}

impl Inner {
    fn append(&mut self, topic: &str, queue: i32, body: &[u8], properties: &str) -> i64 {
        let log = self.queues.entry((topic.to_owned(), queue)).or_default();
        let at = log.len() as i64;
        let record = NewRecord {
            topic,
            queue_id: queue,
            flag: 0,
            sys_flag: 0,
            born_timestamp: 1,
            born_host: ([127, 0, 0, 1], 1).into(),
            store_host: ([127, 0, 0, 1], 2).into(),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body,
            properties: properties.as_bytes(),
            body_crc: body_crc(body),
        };
        let mut bytes = vec![0; record.encoded_len()];
        record.encode(&mut bytes, Assigned { queue_offset: at, physical_offset: at * 1000, store_timestamp: 1 });
        log.push(bytes);
        at
    }
}

/// Records of a queue from an offset on, as pull answers hold them.
fn records(inner: &Inner, topic: &str, queue: i32, from: i64) -> (Vec<u8>, i64) {
    let log = inner.queues.get(&(topic.to_owned(), queue)).map_or(&[][..], Vec::as_slice);
    (log.iter().skip(from as usize).flatten().copied().collect(), log.len() as i64)
}

async fn serve(shared: Arc<Shared>, stream: TcpStream) -> Option<()> {
    let (mut read, mut write) = stream.into_split();
    let (writer, mut outgoing) = mpsc::unbounded_channel::<Command>();
    shared.lock().writers.push(writer.clone());
    shared.lock().connections += 1;
    let _gone = Counted(Arc::clone(&shared));
    tokio::spawn(async move {
        while let Some(command) = outgoing.recv().await {
            let mut out = BytesMut::new();
            command.encode(Serialization::Json, &mut out);
            if write.write_all(&out).await.is_err() {
                return;
            }
        }
    });
    let mut buffer = BytesMut::new();
    loop {
        while let Some(frame) = FrameView::peek(&buffer, DEFAULT_MAX_FRAME).ok()? {
            let (request, len) = (Command::decode(&frame).ok()?, frame.len);
            let _handled = buffer.split_to(len);
            let said = {
                let mut inner = shared.lock();
                inner.seen.push(request.clone());
                match &mut inner.script {
                    Some(script) if !request.is_response() => script(&request),
                    _ => Say::Usual,
                }
            };
            let (shared, writer) = (Arc::clone(&shared), writer.clone());
            if let Say::This(answer) = said {
                drop(writer.send(Command { opaque: request.opaque, ..answer }));
            } else if matches!(said, Say::Usual) && !request.is_response() {
                tokio::spawn(async move {
                    let answer = usual(&shared, &request).await;
                    if !request.is_oneway() {
                        drop(writer.send(Command { opaque: request.opaque, ..answer }));
                    }
                    shared.changed.notify_waiters();
                });
                continue;
            }
            shared.changed.notify_waiters();
        }
        if read.read_buf(&mut buffer).await.ok()? == 0 {
            return None;
        }
    }
}

/// A connection that is open.
struct Counted(Arc<Shared>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.lock().connections -= 1;
    }
}

fn success() -> Command {
    Command::response(ResponseCode::SUCCESS, 0)
}

fn with<'a>(code: ResponseCode, header: &impl ResponseHeader<'a>) -> Command {
    let mut answer = Command::response(code, 0);
    header.encode(&mut answer.fields);
    answer
}

fn header<'a, H: RequestHeader<'a>>(request: &'a Command) -> H {
    request.request_header().unwrap()
}

async fn usual(shared: &Shared, request: &Command) -> Command {
    match RequestCode(request.code) {
        RequestCode::GET_ROUTEINFO_BY_TOPIC => route(shared, request.field("topic").unwrap_or_default()),
        RequestCode::PULL_MESSAGE => pull(shared, request).await,
        RequestCode::SEND_MESSAGE_V2 | RequestCode::SEND_REPLY_MESSAGE_V2 => send(shared, request),
        RequestCode::HEART_BEAT => {
            let said: HeartbeatData = dialect::from_slice(&request.body).unwrap();
            let mut inner = shared.lock();
            if !said.consumer_data_set.is_empty() && !inner.members.contains(&said.client_id) {
                inner.members.push(said.client_id);
            }
            success()
        }
        RequestCode::GET_CONSUMER_LIST_BY_GROUP => {
            success().with_body(json!({"consumerIdList": shared.lock().members}).to_string())
        }
        RequestCode::QUERY_CONSUMER_OFFSET => {
            let asked: QueryOffset<'_> = header(request);
            match shared.lock().offsets.get(&(asked.topic.to_owned(), asked.queue_id)) {
                Some(&offset) => with(ResponseCode::SUCCESS, &OffsetAnswer { offset }),
                None => Command::response(ResponseCode::QUERY_NOT_FOUND, 0),
            }
        }
        RequestCode::UPDATE_CONSUMER_OFFSET => {
            let told: UpdateOffset<'_> = header(request);
            shared.lock().offsets.insert((told.topic.to_owned(), told.queue_id), told.commit_offset);
            success()
        }
        RequestCode::GET_MIN_OFFSET | RequestCode::GET_MAX_OFFSET => {
            let queue = request.field("queueId").unwrap().parse().unwrap();
            let (_, max) = records(&shared.lock(), request.field("topic").unwrap(), queue, 0);
            let offset = if request.code == RequestCode::GET_MAX_OFFSET.0 { max } else { 0 };
            with(ResponseCode::SUCCESS, &OffsetAnswer { offset })
        }
        RequestCode::LOCK_BATCH_MQ => lock(shared, request),
        RequestCode::UNLOCK_BATCH_MQ => {
            let wanted: LockRequest = dialect::from_slice(&request.body).unwrap();
            let mut inner = shared.lock();
            inner.locks.retain(|(topic, id), owner| {
                *owner != wanted.client_id || !wanted.mq_set.iter().any(|q| q.topic == *topic && q.queue_id == *id)
            });
            success()
        }
        _ => success(),
    }
}

fn route(shared: &Shared, topic: &str) -> Command {
    let queues = if topic.starts_with('%') { 1 } else { shared.queue_count };
    let route = json!({
        "brokerDatas": [{"brokerName": BROKER, "cluster": "c", "brokerAddrs": {"0": shared.address}}],
        "queueDatas": [{"brokerName": BROKER, "perm": 6, "readQueueNums": queues, "writeQueueNums": queues,
            "topicSysFlag": 0}],
        "filterServerTable": {},
    });
    success().with_body(route.to_string())
}

/// Answers at once when there is something, or else when there is, or never.
async fn pull(shared: &Shared, request: &Command) -> Command {
    let asked: PullMessage<'_> = header(request);
    loop {
        let changed = shared.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        let (found, max) = records(&shared.lock(), asked.topic, asked.queue_id, asked.queue_offset);
        let next = max.max(asked.queue_offset);
        let answer = PullResult { next_begin_offset: next, max_offset: max, ..PullResult::default() };
        if !found.is_empty() {
            return with(ResponseCode::SUCCESS, &answer).with_body(found);
        }
        if asked.suspend_timeout_millis == 0 {
            return with(ResponseCode::PULL_NOT_FOUND, &answer);
        }
        changed.await;
    }
}

fn send(shared: &Shared, request: &Command) -> Command {
    let sent: SendMessage<'_> = header(request);
    let queue_offset = shared.lock().append(sent.topic, sent.queue_id, &request.body, sent.properties);
    let place = OffsetMessageId { host: ([127, 0, 0, 1], 2).into(), offset: queue_offset * 1000 }.to_string();
    let receipt = SendReceipt { message_id: &place, queue_id: sent.queue_id, queue_offset, ..SendReceipt::default() };
    with(ResponseCode::SUCCESS, &receipt)
}

fn lock(shared: &Shared, request: &Command) -> Command {
    let wanted: LockRequest = dialect::from_slice(&request.body).unwrap();
    let mut inner = shared.lock();
    let got: Vec<_> = wanted
        .mq_set
        .iter()
        .filter(|queue| {
            let owner = inner.locks.entry((queue.topic.clone(), queue.queue_id));
            *owner.or_insert_with(|| wanted.client_id.clone()) == wanted.client_id
        })
        .map(|queue| json!({"brokerName": queue.broker_name, "queueId": queue.queue_id, "topic": queue.topic}))
        .collect();
    success().with_body(json!({"lockOKMQSet": got}).to_string())
}
