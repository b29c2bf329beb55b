//! A broker with half messages that does what the test says.

use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc};

use parking_lot::Mutex;
use tenonmq_client::{Error, HalfPlace, LocalState, ResponseCode};
use tenonmq_outbox::{Dialect, Halves, Outgoing, PublishError, Publisher, Transactional};

/// Clones are one broker.
#[derive(Clone, Default)]
pub struct HalfBroker(Arc<Mutex<Inner>>);

type Asker = Arc<dyn Fn(String) -> Pin<Box<dyn Future<Output = LocalState> + Send>> + Send + Sync>;

#[derive(Default)]
struct Inner {
    asker: Option<Asker>,
    halves: BTreeMap<String, Half>,
    ordinary: Vec<String>,
    trouble: Trouble,
    tries: usize,
}

#[derive(Debug)]
struct Half {
    business_id: String,
    fate: Fate,
}

/// What became of a half message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Undecided,
    Committed,
    RolledBack,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Trouble {
    #[default]
    None,
    /// Nobody can connect.
    Down,
    /// Nobody can connect to the broker of the half messages; another one takes ordinary messages.
    Away,
    /// Half messages are stored; nobody is told.
    StoredWithoutAWord,
    /// Commits are carried out; nobody is told.
    CommittedWithoutAWord,
    /// Commits get lost after the connection was made.
    CommitsLost,
}

impl HalfBroker {
    pub fn trouble(&self, trouble: Trouble) {
        self.0.lock().trouble = trouble;
    }

    /// Business ids that became visible by their half message.
    pub fn by_half(&self) -> Vec<String> {
        let inner = self.0.lock();
        let visible = inner.halves.values().filter(|half| half.fate == Fate::Committed);
        visible.map(|half| half.business_id.clone()).collect()
    }

    /// Business ids of ordinary messages, sorted: a relay sends side by side.
    pub fn ordinary(&self) -> Vec<String> {
        let mut ids = self.0.lock().ordinary.clone();
        ids.sort();
        ids
    }

    /// Half messages with that fate.
    pub fn halves(&self, fate: Fate) -> Vec<String> {
        let inner = self.0.lock();
        inner.halves.iter().filter(|(_, half)| half.fate == fate).map(|(id, _)| id.clone()).collect()
    }

    /// How often somebody tried to store a half message.
    pub fn tries(&self) -> usize {
        self.0.lock().tries
    }

    /// An operator, or nobody's answer, drops what is undecided.
    pub fn roll_back_all(&self) {
        for half in self.0.lock().halves.values_mut().filter(|half| half.fate == Fate::Undecided) {
            half.fate = Fate::RolledBack;
        }
    }

    /// Asks about each half message as soon as it is stored, before its sender hears of that.
    pub fn check_at_once<D: Dialect>(&self, service: &Transactional<D, Self>) {
        let service = service.clone();
        self.0.lock().asker = Some(Arc::new(move |id| {
            let service = service.clone();
            Box::pin(async move { service.answer_check(&id).await.unwrap_or(LocalState::Unknown) })
        }));
    }

    /// Asks about everything that is undecided, and does what it is told.
    pub async fn check<D: Dialect>(&self, service: &Transactional<D, Self>) {
        if self.is_away() {
            return;
        }
        for id in self.halves(Fate::Undecided) {
            // an error is what a process that dies while it is asked looks like, and one whose query fails
            let answer = service.answer_check(&id).await.unwrap_or(LocalState::Unknown);
            self.decide(&id, answer);
        }
    }

    fn is_away(&self) -> bool {
        matches!(self.0.lock().trouble, Trouble::Down | Trouble::Away)
    }

    pub fn decide(&self, id: &str, answer: LocalState) {
        let mut inner = self.0.lock();
        let half = inner.halves.get_mut(id).expect("the half message is there");
        match (answer, half.fate) {
            (LocalState::Commit, Fate::Undecided) => half.fate = Fate::Committed,
            (LocalState::Rollback, Fate::Undecided) => half.fate = Fate::RolledBack,
            _ => {}
        }
    }
}

fn away() -> Error {
    Error::Connect { address: "broker".into(), source: std::io::ErrorKind::ConnectionRefused.into() }
}

fn silence() -> Error {
    Error::Disconnected { address: "broker".into() }
}

impl Halves for HalfBroker {
    type Ordinary = Self;

    async fn prepare(&self, id: &str, message: &Outgoing) -> Result<HalfPlace, Error> {
        let asker = {
            let mut inner = self.0.lock();
            inner.tries += 1;
            if matches!(inner.trouble, Trouble::Down | Trouble::Away) {
                return Err(away());
            }
            let half = Half { business_id: message.business_id().to_owned(), fate: Fate::Undecided };
            inner.halves.insert(id.to_owned(), half);
            inner.asker.clone()
        };
        if let Some(asker) = asker {
            self.decide(id, asker(id.to_owned()).await);
        }
        let inner = self.0.lock();
        if inner.trouble == Trouble::StoredWithoutAWord {
            return Err(silence());
        }
        Ok(HalfPlace {
            topic: message.topic().to_owned(),
            broker: "b".to_owned(),
            half_queue_offset: i64::try_from(inner.halves.len()).unwrap(),
            commit_log_offset: 4711,
            message_id: id.to_owned(),
        })
    }

    async fn reach(&self, _: &HalfPlace) -> Result<(), Error> {
        if self.is_away() { Err(away()) } else { Ok(()) }
    }

    async fn commit(&self, place: &HalfPlace) -> Result<(), Error> {
        let mut inner = self.0.lock();
        let trouble = inner.trouble;
        match trouble {
            Trouble::Down | Trouble::Away => return Err(away()),
            Trouble::CommitsLost => return Err(silence()),
            _ => {}
        }
        let half = inner.halves.get_mut(&place.message_id).expect("the half message is there");
        if half.fate == Fate::RolledBack {
            let remark = "the transaction is rolled back already".to_owned();
            return Err(Error::Refused { operation: "END_TRANSACTION", code: ResponseCode::ILLEGAL_OPERATION, remark });
        }
        half.fate = Fate::Committed;
        if trouble == Trouble::CommittedWithoutAWord { Err(silence()) } else { Ok(()) }
    }

    fn ordinary(&self) -> &Self {
        self
    }
}

impl Publisher for HalfBroker {
    async fn publish(&self, message: &Outgoing) -> Result<String, PublishError> {
        let mut inner = self.0.lock();
        if inner.trouble == Trouble::Down {
            return Err(PublishError::passing("the broker is away"));
        }
        inner.ordinary.push(message.business_id().to_owned());
        Ok(format!("M{}", inner.ordinary.len()))
    }
}
