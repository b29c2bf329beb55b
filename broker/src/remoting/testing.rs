//! A broker for tests, without sockets unless it is asked to serve some: requests go in as commands, answers come out as
//! commands, time stands still.

use std::{io, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use bytes::BytesMut;
use tenonmq_protocol::{
    Command, CommandView, FrameView, HeaderScratch, RequestHeader, ResponseCode, Serialization,
    body::{
        desk::{DeskHeader, DeskRequest},
        json,
    },
    frame::DEFAULT_MAX_FRAME,
    message::{
        properties::tags_code,
        record::{NewRecord, body_crc},
    },
};
use tenonmq_storage::{
    AppendClass, Durability, FlushPolicy, Store, StoreConfig,
    fs::{FaultyFs, FileSystem, RealFs},
};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    time::timeout,
};

use super::{Connection, Dispatch, Handled, Limits, Outbox, Request, Server, dispatch::BrokerDispatch};
use crate::{
    config::{Input, LiveConfig, Machine, load},
    core::{
        Core,
        clock::{Clock, ManualClock},
        identity::{Identity, Who},
        topics::{perm, topic},
    },
};

/// When every test begins, in milliseconds since the epoch.
pub(crate) const START_MS: i64 = 1_795_247_000_000;

/// A test has failed when a broker is silent for so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A broker over a directory of its own.
pub(crate) struct TestBroker {
    pub(crate) core: Arc<Core>,
    pub(crate) clock: Arc<ManualClock>,
    dispatch: BrokerDispatch,
    folder: tempfile::TempDir,
}

/// One client's connection.
pub(crate) struct Peer {
    pub(crate) connection: Arc<Connection>,
    inbox: mpsc::Receiver<Command>,
}

impl Peer {
    pub(crate) fn new(id: u64) -> Self {
        let (connection, inbox) = Connection::detached(id);
        Self { connection, inbox }
    }

    /// Codes of what the broker has sent of its own accord since the last call.
    pub(crate) fn received(&mut self) -> Vec<i32> {
        self.take().into_iter().map(|command| command.code).collect()
    }

    /// What the broker sends next of its own accord.
    pub(crate) async fn next(&mut self) -> Command {
        self.inbox.recv().await.expect("the connection is open")
    }

    /// Answers a request of the broker.
    pub(crate) fn answer(&self, request: &Command, code: i32, remark: &str) {
        let answer = Command::response(ResponseCode(code), request.opaque).with_remark(remark);
        assert!(self.connection.complete(answer), "somebody waits for it");
    }

    /// The same connection, for requests while this one awaits what the broker sends.
    pub(crate) fn again(&self) -> Self {
        let (_, inbox) = mpsc::channel(1);
        Self { connection: Arc::clone(&self.connection), inbox }
    }

    /// What the broker has sent of its own accord since the last call.
    pub(crate) fn take(&mut self) -> Vec<Command> {
        std::iter::from_fn(|| self.inbox.try_recv().ok()).collect()
    }
}

impl TestBroker {
    /// A broker with these settings, in Apache's keys.
    pub(crate) fn with(settings: &[(&str, &str)]) -> Self {
        Self::over(tempfile::tempdir().unwrap(), ManualClock::at(START_MS), settings)
    }

    /// With these settings, over a disk with faults.
    pub(crate) fn on(disk: Arc<FaultyFs>, settings: &[(&str, &str)]) -> Self {
        Self::over_disk(disk, tempfile::tempdir().unwrap(), ManualClock::at(START_MS), settings)
    }

    /// A broker as nobody configured it.
    pub(crate) fn new() -> Self {
        Self::with(&[])
    }

    /// A broker over a directory that Apache wrote: `clean`, `killed` or `ext` of the golden data.
    pub(crate) fn of_apache(variant: &str, now_ms: i64) -> Self {
        let from = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/store")).join(variant).join("data");
        let folder = tempfile::tempdir().unwrap();
        copy_tree(&from, folder.path());
        Self::over(folder, ManualClock::at(now_ms), &[])
    }

    fn over(folder: tempfile::TempDir, clock: Arc<ManualClock>, settings: &[(&str, &str)]) -> Self {
        Self::over_disk(Arc::new(RealFs), folder, clock, settings)
    }

    fn over_disk(
        disk: Arc<dyn FileSystem>,
        folder: tempfile::TempDir,
        clock: Arc<ManualClock>,
        settings: &[(&str, &str)],
    ) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], 10911));
        let identity = Identity::new(Who {
            cluster: "DefaultCluster".into(),
            broker: "broker-a".into(),
            broker_id: 0,
            address,
            ha_address: address,
        });
        let mut store = StoreConfig::new(folder.path());
        store.segment_size = 1 << 20;
        store.consume_queue_file_size = 20 * 1000;
        store.index_enabled = settings.contains(&("messageIndexEnable", "true"));
        (store.index_slots, store.index_entries) = (1000, 1000);
        store.reserve_bytes = 0;
        if folder.path().join("timerwheel.gz").exists() {
            // the sizes of the golden data
            store.segment_size = 131_072;
            store.consume_queue_file_size = 1000;
            store.batch_consume_queue_file_size = 460;
        }
        if settings.contains(&("flushDiskType", "SYNC_FLUSH")) {
            store.flush = FlushPolicy::Sync;
        }
        if settings.contains(&("enableLmq", "true")) {
            store.light_queues = 100;
        }
        let time = Clock::manual(clock.clone());
        let core = Core::open_on(disk, Store::open, config(settings), store, time, identity).unwrap();
        let core = Arc::new(core);
        Self { dispatch: BrokerDispatch::new(Arc::clone(&core)), core, clock, folder }
    }

    /// Stops in order and starts again on the same directory.
    pub(crate) fn restarted(self) -> Self {
        self.restarted_after(|| ())
    }

    /// As [`restarted`](Self::restarted), with something done to the directory in between.
    pub(crate) fn restarted_after(self, change: impl FnOnce()) -> Self {
        self.core.offsets.save(self.core.clock.now_ms()).unwrap();
        self.core.groups.save().unwrap();
        self.core.filters.save(self.core.clock.now_ms()).unwrap();
        self.core.delays.save(&self.core.store, self.core.clock.now_ms()).unwrap();
        self.core.timers.close(&self.core).unwrap();
        self.core.store.shutdown().unwrap();
        let Self { core, dispatch, folder, clock } = self;
        drop((dispatch, core));
        change();
        Self::over(folder, clock, &[])
    }

    /// Ends without saving anything and starts again on the same directory.
    pub(crate) fn crashed(self) -> Self {
        self.crashed_after(|| ())
    }

    /// As [`crashed`](Self::crashed), with something done to the directory in between.
    pub(crate) fn crashed_after(self, change: impl FnOnce()) -> Self {
        let Self { core, dispatch, folder, clock } = self;
        drop((dispatch, core));
        change();
        Self::over(folder, clock, &[])
    }

    /// All files of the log but the one that is written have been there too long, and are removed.
    pub(crate) fn expire_log(&self) {
        self.core.store.flush().unwrap();
        let mut timers = crate::timer::Scheduler::new(Arc::clone(&self.core));
        for _ in 0..4 {
            timers.step(); // it keeps files from going until it has seen that they hold no timer
            self.core.transactions.persist(); // and so do transactions
            self.clock.advance(Duration::from_secs(1));
        }
        let modified = std::time::SystemTime::UNIX_EPOCH;
        for file in std::fs::read_dir(self.folder().join("commitlog")).unwrap() {
            std::fs::File::open(file.unwrap().path()).unwrap().set_modified(modified).unwrap();
        }
        self.core.store.trigger_clean();
        self.core.store.maintain();
    }

    /// The data directory.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// A topic that can be read and written.
    pub(crate) fn topic(&self, name: &str, queues: i32) {
        self.core.topics.put(topic(name, queues, perm::READ_WRITE), START_MS);
    }

    /// Stores a message; its queue offset.
    pub(crate) fn store(&self, topic: &str, queue_id: i32, body: &[u8]) -> i64 {
        self.store_with(topic, queue_id, body, "", tags_code(None))
    }

    /// Stores a message with these properties and tags code; its queue offset.
    pub(crate) fn store_with(&self, topic: &str, queue_id: i32, body: &[u8], text: &str, tags_code: i64) -> i64 {
        let host = SocketAddr::from(([127, 0, 0, 1], 10911));
        let record = NewRecord {
            topic,
            queue_id,
            flag: 0,
            sys_flag: 0,
            born_timestamp: START_MS,
            born_host: host,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body,
            properties: text.as_bytes(),
            body_crc: body_crc(body),
        };
        let queue = self.core.store.queue(topic, queue_id);
        self.core.store.append(&queue, &record, tags_code, AppendClass::Send).unwrap().queue_offset
    }

    /// A typed request and its answer.
    pub(crate) async fn ask<'a>(&self, peer: &Peer, header: &impl RequestHeader<'a>) -> Command {
        self.call(peer, Command::with_header(header)).await
    }

    /// A request of our own and its answer, or code and remark of the refusal.
    pub(crate) async fn desk<R: DeskRequest>(&self, peer: &Peer, request: &R) -> Result<R::Answer, (i32, String)> {
        let command = Command::with_header(&DeskHeader::<R>::default()).with_body(json::to_vec_standard(request));
        let answer = self.call(peer, command).await;
        match answer.code {
            0 => Ok(json::from_slice(&answer.body).unwrap()),
            code => Err((code, answer.remark.unwrap_or_default())),
        }
    }

    /// A request and its answer.
    pub(crate) async fn call(&self, peer: &Peer, command: Command) -> Command {
        let mut bytes = BytesMut::new();
        command.encode(Serialization::Json, &mut bytes);
        let answer = self.frame(peer, &bytes).await.unwrap();
        assert_eq!((answer.opaque, answer.is_response()), (command.opaque, true));
        answer
    }

    /// A whole frame as it came over the wire, and the answer if one is due.
    pub(crate) async fn frame(&self, peer: &Peer, bytes: &[u8]) -> Option<Command> {
        let frame = FrameView::peek(bytes, DEFAULT_MAX_FRAME).unwrap().unwrap();
        let mut scratch = HeaderScratch::default();
        let command = CommandView::parse(&frame, &mut scratch).unwrap();
        let request = request(&command, &frame, peer);
        let mut out = Outbox::default();
        match self.dispatch.handle(&request, &mut out) {
            Handled::Done => {}
            Handled::WhenDurable(ticket, timeout) => {
                assert_eq!(self.core.store.durable(ticket, timeout).await, Durability::Ok);
            }
            Handled::Later(reply) => {
                let response = reply.await;
                out.respond(&request, response);
            }
        }
        let written = out.take_all();
        let answer = FrameView::peek(&written, DEFAULT_MAX_FRAME).unwrap()?;
        assert_eq!(answer.serialization, frame.serialization, "the answer's header is encoded as the request's");
        assert_eq!(answer.len, written.len(), "one answer");
        Some(Command::decode(&answer).unwrap())
    }

    /// Serves a request whose answer is known at once.
    pub(crate) fn handle(&self, peer: &Peer, command: &Command, out: &mut Outbox) {
        let mut bytes = BytesMut::new();
        command.encode(Serialization::Json, &mut bytes);
        let frame = FrameView::peek(&bytes, DEFAULT_MAX_FRAME).unwrap().unwrap();
        let mut scratch = HeaderScratch::default();
        let command = CommandView::parse(&frame, &mut scratch).unwrap();
        assert!(matches!(self.dispatch.handle(&request(&command, &frame, peer), out), Handled::Done));
    }

    /// Serves sockets at this address until the sender says so, or is dropped.
    pub(crate) async fn served(&self) -> (SocketAddr, watch::Sender<bool>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let server = Server::new(Arc::new(BrokerDispatch::new(Arc::clone(&self.core))), Limits::default());
        tokio::spawn(async move { server.run(vec![listener], stopped).await });
        (address, stop)
    }

    /// The connection ends.
    pub(crate) fn close(&self, peer: &Peer) {
        peer.connection.end();
        self.dispatch.closed(&peer.connection);
    }
}

/// So many answers, or what ended the connection before.
pub(crate) async fn answers(stream: &mut TcpStream, count: usize) -> io::Result<Vec<Command>> {
    let (mut input, mut answers) = (BytesMut::new(), Vec::new());
    while answers.len() < count {
        match FrameView::peek(&input, DEFAULT_MAX_FRAME).unwrap().map(|frame| (frame.len, Command::decode(&frame))) {
            Some((len, answer)) => {
                answers.push(answer.unwrap());
                let _ = input.split_to(len);
            }
            None if timeout(PATIENCE, stream.read_buf(&mut input)).await?? == 0 => {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            None => {}
        }
    }
    Ok(answers)
}

fn request<'a>(command: &'a CommandView<'a>, frame: &FrameView<'a>, peer: &'a Peer) -> Request<'a> {
    Request { command, body: frame.body, serialization: frame.serialization, connection: &peer.connection }
}

/// Settings as a file of Apache's would give them.
pub(crate) fn config(settings: &[(&str, &str)]) -> Arc<LiveConfig> {
    let flags = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned(), "--set".to_owned()));
    let input = Input { flags: flags.collect(), ..Input::default() };
    let loaded = load(&input, &Machine::for_tests()).unwrap();
    Arc::new(LiveConfig::new(loaded.config, loaded.values, Machine::for_tests()))
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            std::fs::write(target, std::fs::read(entry.path()).unwrap()).unwrap(); // writable, whatever the original
        }
    }
}
