//! A store in a temporary directory with small files, a clock that stands still, and producers that only take notes.

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::Mutex;
use tenonmq_protocol::message::{NewRecord, Properties, RecordView, body_crc, properties::tags_code};
use tenonmq_storage::{
    AppendClass, Appended, Environment, ManualClock, Queue, Store, StoreConfig,
    fs::{FileSystem, RealFs},
};

use super::super::{
    End, EndRefused, Ended, Host, Question, SafeOffsets, Transactions, Verdict, half,
    records::{HALF_TOPIC, OP_TOPIC, PARKED_TOPIC},
    state::Next,
};
use crate::config::{Input, LiveConfig, Machine, load};

pub(super) const NOON: i64 = 1_800_000_000_000;
pub(super) const SECOND: i64 = 1_000;
pub(super) const MINUTE: i64 = 60 * SECOND;
pub(super) const HOUR: i64 = 60 * MINUTE;

/// Everything around the transactions.
pub(super) struct Surroundings {
    store: Mutex<Option<Store>>,
    topics: Mutex<HashMap<String, i32>>,
    online: Mutex<Vec<String>>,
    pub(super) deaf: AtomicBool,
    pub(super) asked: Mutex<Vec<Question>>,
    pub(super) woken: Mutex<Vec<(String, i64)>>,
}

impl Surroundings {
    fn store(&self) -> Store {
        self.store.lock().clone().expect("the store is open")
    }

    pub(super) fn delete_topic(&self, topic: &str) {
        self.topics.lock().remove(topic);
    }

    pub(super) fn set_online(&self, groups: &[&str]) {
        *self.online.lock() = groups.iter().map(|group| (*group).to_owned()).collect();
    }

    /// Questions since the last call: half-queue offset and number of the check.
    pub(super) fn take_asked(&self) -> Vec<(i64, u32)> {
        self.asked.lock().drain(..).map(|question| (question.half_offset, question.attempt)).collect()
    }
}

impl Host for Surroundings {
    fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 10911))
    }

    fn broker_name(&self) -> String {
        "broker-a".into()
    }

    fn real_queue(&self, topic: &str, queue_id: i32) -> Option<Arc<Queue>> {
        self.topics.lock().contains_key(topic).then(|| self.store().queue(topic, queue_id))
    }

    fn parked_queue(&self) -> Arc<Queue> {
        self.store().queue(PARKED_TOPIC, 0)
    }

    fn arrived(&self, queue: &Queue, queue_offset: i64, _tags_code: i64) {
        self.woken.lock().push((queue.topic().to_owned(), queue_offset));
    }

    fn is_online(&self, group: &str) -> bool {
        self.online.lock().iter().any(|online| online == group)
    }

    fn ask(&self, group: &str, _turn: usize, question: &Question) -> Option<Arc<str>> {
        if self.deaf.load(Ordering::Relaxed) || !self.is_online(group) {
            return None;
        }
        self.asked.lock().push(question.clone());
        Some("10.0.0.7:4711".into())
    }
}

/// A half message as its producer knows it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    pub(super) half_offset: i64,
    pub(super) log_offset: i64,
}

pub(super) struct Bench {
    folder: tempfile::TempDir,
    pub(super) clock: Arc<ManualClock>,
    pub(super) config: Arc<LiveConfig>,
    pub(super) around: Arc<Surroundings>,
    open: Option<(Store, Transactions)>,
    saved: Option<SafeOffsets>,
    pub(super) fs: Arc<dyn FileSystem>,
    /// Share of the disk above which ordinary sends are refused.
    pub(super) refuse_percent: u8,
    sent: u32,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::over(tempfile::tempdir().expect("a directory"))
    }

    /// A bench over an existing data directory.
    pub(super) fn over(folder: tempfile::TempDir) -> Self {
        let loaded = load(&Input::default(), &Machine::for_tests()).expect("defaults");
        let config = Arc::new(LiveConfig::new(loaded.config, loaded.values, Machine::for_tests()));
        let around = Surroundings {
            store: Mutex::default(),
            topics: Mutex::new(HashMap::from([("paid".to_owned(), 4), ("T_tran".to_owned(), 4)])),
            online: Mutex::new(vec!["orders".to_owned()]),
            deaf: AtomicBool::new(false),
            asked: Mutex::default(),
            woken: Mutex::default(),
        };
        let clock = Arc::new(ManualClock::new(NOON));
        Self {
            folder,
            clock,
            config,
            around: Arc::new(around),
            open: None,
            saved: None,
            fs: Arc::new(RealFs),
            refuse_percent: 100,
            sent: 0,
        }
    }

    pub(super) fn started() -> Self {
        let mut bench = Self::new();
        bench.start();
        bench
    }

    pub(super) fn root(&self) -> &Path {
        self.folder.path()
    }

    /// What the offset table holds for `CID_RMQ_SYS_TRANS`.
    pub(super) fn saved(&mut self, offsets: Option<SafeOffsets>) {
        self.saved = offsets;
    }

    pub(super) fn start(&mut self) {
        self.try_start().expect("the transactions open");
    }

    /// A start, or why it failed.
    pub(super) fn try_start(&mut self) -> Result<(), String> {
        let mut config = StoreConfig::new(self.root());
        config.retention.refuse_percent = self.refuse_percent;
        config.segment_size = 131_072;
        config.consume_queue_file_size = 1000;
        config.batch_consume_queue_file_size = 460;
        config.consume_queue_ext_file_size = 4096;
        config.index_slots = 50;
        config.index_entries = 150;
        config.batch_topics.insert("T_bcq".to_owned());
        let env = Environment { fs: self.fs.clone(), clock: self.clock.clone() };
        let store = Store::open(config, env).map_err(|error| error.to_string())?;
        let saved = (self.saved.map(|saved| saved.half), self.saved.map(|saved| saved.op));
        let transactions = Transactions::open(store.clone(), self.config.clone(), saved, self.around.address());
        let transactions = transactions.map_err(|error| error.to_string())?;
        *self.around.store.lock() = Some(store.clone());
        self.open = Some((store, transactions));
        Ok(())
    }

    /// A stop in order: offsets are saved.
    pub(super) fn stop(&mut self) {
        let (store, transactions) = self.open.take().expect("started");
        self.saved = Some(transactions.final_offsets());
        *self.around.store.lock() = None;
        store.shutdown().expect("a clean stop");
    }

    /// The process dies: what was not saved is lost, what was appended is not.
    pub(super) fn kill(&mut self) {
        self.open = None;
        *self.around.store.lock() = None;
    }

    /// Removes what Apache has no file for: all of it can be done without.
    pub(super) fn forget_own_files(&self) {
        std::fs::remove_dir_all(self.root().join("tenonmq")).expect("our folder");
    }

    pub(super) fn pending(&self) -> Vec<i64> {
        self.transactions().unresolved(None, 1000).iter().map(|found| found.state.offset).collect()
    }

    pub(super) fn restart(&mut self) {
        self.stop();
        self.start();
    }

    pub(super) fn store(&self) -> &Store {
        &self.open.as_ref().expect("started").0
    }

    pub(super) fn transactions(&self) -> &Transactions {
        &self.open.as_ref().expect("started").1
    }

    pub(super) fn advance(&self, ms: i64) {
        self.clock.advance(ms);
    }

    /// A started one in which a half message was checked once, as often as allowed, and parked. With the id of its record.
    pub(super) fn with_parked(body: &str) -> (Self, String) {
        let mut bench = Self::started();
        bench.config.apply("transactionCheckMax=1").unwrap();
        bench.half(body);
        bench.advance(6 * SECOND);
        bench.check();
        bench.advance(30 * SECOND);
        bench.check();
        let parked = bench.records(PARKED_TOPIC, 0).remove(0);
        let id = RecordView::parse(&parked).unwrap().message_id().to_string();
        (bench, id)
    }

    pub(super) fn half(&mut self, body: &str) -> Sent {
        self.half_with(body, "")
    }

    /// A half message with more properties in their stored form.
    pub(super) fn half_with(&mut self, body: &str, more: &str) -> Sent {
        self.half_born(body, more, tenonmq_storage::Clock::now_ms(&*self.clock))
    }

    /// The last half message once more, as its client sends it that got no answer: under the same unique key.
    pub(super) fn resend(&mut self, body: &str) -> Sent {
        self.sent -= 1;
        self.half(body)
    }

    /// Waits until everything in the log can be found by its keys.
    pub(super) fn index(&self) {
        while self.store().stats().indexed < self.store().watermarks().appended {
            std::thread::yield_now();
        }
    }

    pub(super) fn half_born(&mut self, body: &str, more: &str, born_timestamp: i64) -> Sent {
        let (appended, text) = self.append_half(body, more, born_timestamp);
        let properties = Properties::parse(&text);
        self.transactions().half_stored(&appended, &properties, "orders");
        Sent { half_offset: appended.queue_offset, log_offset: appended.physical_offset.cast_signed() }
    }

    /// What a send does before it reports the half message.
    pub(super) fn append_half(&mut self, body: &str, more: &str, born_timestamp: i64) -> (Appended, String) {
        self.sent += 1;
        let text = format!(
            "TRAN_MSG\x01true\x02PGROUP\x01orders\x02UNIQ_KEY\x01FD{:04}\x02KEYS\x01{body}\x02TAGS\x01t\x02WAIT\x01true\x02{more}",
            self.sent
        );
        let mut properties = Properties::parse(&text);
        assert!(half::is_half(&properties, 0));
        let place = half::convert(&mut properties, "paid", 2, 4);
        let mut text = Vec::new();
        properties.encode_into(&mut text);
        let record = NewRecord {
            topic: place.topic,
            queue_id: place.queue_id,
            flag: 7,
            sys_flag: place.sys_flag,
            born_timestamp,
            born_host: SocketAddr::from(([10, 0, 0, 7], 4711)),
            store_host: self.around.address(),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: body.as_bytes(),
            properties: &text,
            body_crc: body_crc(body.as_bytes()),
        };
        let queue = self.transactions().half_queue().clone();
        let appended = self.store().append(&queue, &record, tags_code(Some("t")), AppendClass::Send);
        (appended.expect("appended"), String::from_utf8(text).expect("text"))
    }

    pub(super) fn end(&self, sent: Sent, verdict: Verdict) -> Result<Ended, EndRefused> {
        self.end_as(sent, verdict, |end| end)
    }

    pub(super) fn answer(&self, sent: Sent, verdict: Verdict) -> Result<Ended, EndRefused> {
        self.end_as(sent, verdict, |end| End { from_check: true, ..end })
    }

    pub(super) fn end_as(
        &self,
        sent: Sent,
        verdict: Verdict,
        change: impl FnOnce(End<'static>) -> End<'static>,
    ) -> Result<Ended, EndRefused> {
        let end = End {
            group: "orders",
            half_offset: sent.half_offset,
            log_offset: sent.log_offset,
            verdict,
            from_check: false,
        };
        self.transactions().end(&*self.around, &change(end))
    }

    /// Runs the checker until it wants to sleep: what it asked.
    pub(super) fn check(&self) -> Vec<(i64, u32)> {
        while self.transactions().check(&*self.around) == Next::Now {}
        self.around.take_asked()
    }

    /// Ordinary messages until another file of the log is begun.
    pub(super) fn roll(&self) {
        let files = self.store().stats().segments;
        let queue = self.store().queue("noise", 0);
        while self.store().stats().segments == files {
            let body = [7; 20_000];
            let record = NewRecord {
                topic: "noise",
                queue_id: 0,
                flag: 0,
                sys_flag: 0,
                born_timestamp: NOON,
                born_host: self.around.address(),
                store_host: self.around.address(),
                reconsume_times: 0,
                prepared_transaction_offset: 0,
                body: &body,
                properties: b"",
                body_crc: body_crc(&body),
            };
            self.store().append(&queue, &record, 0, AppendClass::Send).expect("appended");
        }
    }

    /// All files of the log but the last have been there too long: those that nobody holds go. How many are left.
    pub(super) fn expire(&self) -> usize {
        self.store().flush().expect("flushed");
        for file in std::fs::read_dir(self.root().join("commitlog")).expect("the log") {
            let file = std::fs::File::open(file.expect("a file").path()).expect("a file");
            file.set_modified(std::time::SystemTime::UNIX_EPOCH).expect("a time");
        }
        self.advance(20 * SECOND);
        self.store().trigger_clean();
        self.store().maintain();
        self.store().stats().segments
    }

    /// What the broker does every few seconds: carries forward, and saves how far it is.
    pub(super) fn look_after(&mut self) {
        while self.transactions().carry(&*self.around) {}
        for _ in 0..2 {
            self.store().flush().expect("flushed");
            let offsets = self.transactions().persist();
            self.saved = offsets.or(self.saved);
        }
    }

    /// Old files go, as soon as nobody needs them.
    pub(super) fn let_files_go(&mut self) {
        self.look_after();
        for _ in 0..3 {
            self.expire();
            self.look_after();
        }
        assert_eq!(self.expire(), 1, "only the last file of the log is left");
    }

    /// Bodies in a queue.
    pub(super) fn bodies(&self, topic: &str, queue_id: i32) -> Vec<String> {
        self.records(topic, queue_id).iter().map(|bytes| body(bytes)).collect()
    }

    /// What consumers of the real topic can see.
    pub(super) fn visible(&self) -> Vec<String> {
        self.bodies("paid", 2)
    }

    pub(super) fn parked(&self) -> Vec<String> {
        self.bodies(PARKED_TOPIC, 0)
    }

    pub(super) fn ops(&self) -> Vec<String> {
        self.bodies(OP_TOPIC, 0)
    }

    pub(super) fn halves(&self) -> usize {
        self.records(HALF_TOPIC, 0).len()
    }

    pub(super) fn records(&self, topic: &str, queue_id: i32) -> Vec<bytes::Bytes> {
        let Some(queue) = self.store().find_queue(topic, queue_id) else { return Vec::new() };
        queue.entries(queue.min_offset()).filter_map(|at| self.store().read_entry(&at.entry)).collect()
    }

    pub(super) fn audit(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.root().join("tenonmq/transaction-audit.jsonl")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
    }
}

fn body(bytes: &[u8]) -> String {
    let record = RecordView::parse(bytes).expect("a record");
    record.verify_crc().expect("checksum");
    String::from_utf8_lossy(record.body()).into_owned()
}
