//! The connection to the brokers, which may come later than the service: what is published before goes out by the relay.

use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, OnceLock},
    time::Duration,
};

use parking_lot::Mutex;
use tenonmq_client::{Error, HalfPlace, TransactionProducer, TransactionProducerBuilder};
use tokio::task::JoinHandle;
use tracing::{debug, info, warn};

use super::{Answers, Halves};
use crate::{
    database::Dialect,
    message::Outgoing,
    relay::{PublishError, Publisher},
};

/// Pause between two tries to connect.
const RETRY: Duration = Duration::from_secs(1);

type Producer<D> = TransactionProducer<Answers<D>>;

/// A transactional producer that is connected as soon as a name server can be reached.
pub struct Link<D: Dialect> {
    shared: Arc<Shared<D>>,
    connecting: Option<JoinHandle<()>>,
}

struct Shared<D: Dialect> {
    producer: OnceLock<Producer<D>>,
    /// Topics to be watched once it is connected.
    watched: Mutex<BTreeSet<String>>,
}

impl<D: Dialect> Link<D> {
    /// Connects, or goes on trying in the background. `make` sets the producer up for each try.
    pub(super) async fn begin(
        make: impl Fn() -> TransactionProducerBuilder<Answers<D>> + Send + 'static,
    ) -> Result<Self, Error> {
        let shared = Arc::new(Shared { producer: OnceLock::new(), watched: Mutex::default() });
        let connecting = match make().connect().await {
            Ok(producer) => {
                shared.arrived(producer).await;
                None
            }
            Err(error @ Error::Config(_)) => return Err(error),
            Err(error) => {
                warn!(%error, "no name server yet: messages wait in the outbox");
                let shared = Arc::clone(&shared);
                Some(tokio::spawn(async move { shared.keep_trying(make).await }))
            }
        };
        Ok(Self { shared, connecting })
    }

    /// Has the brokers of a topic ask this instance, now or as soon as it is connected.
    pub(super) async fn watch(&self, topic: &str) -> Result<(), Error> {
        self.shared.watched.lock().insert(topic.to_owned());
        match self.shared.producer.get() {
            Some(producer) => producer.watch(topic).await,
            None => Ok(()),
        }
    }

    pub(super) async fn shutdown(&self) {
        if let Some(connecting) = &self.connecting {
            connecting.abort();
        }
        if let Some(producer) = self.shared.producer.get() {
            producer.shutdown().await;
        }
    }

    fn producer(&self) -> Result<&Producer<D>, Error> {
        let away = || Error::Connect { address: "any name server".into(), source: io::ErrorKind::NotConnected.into() };
        self.shared.producer.get().ok_or_else(away)
    }
}

impl<D: Dialect> Shared<D> {
    async fn keep_trying(&self, make: impl Fn() -> TransactionProducerBuilder<Answers<D>> + Send) {
        loop {
            tokio::time::sleep(RETRY).await;
            match make().connect().await {
                Ok(producer) => {
                    info!("a name server is reached");
                    return self.arrived(producer).await;
                }
                Err(error) => debug!(%error, "no name server yet"),
            }
        }
    }

    async fn arrived(&self, producer: Producer<D>) {
        let producer = self.producer.get_or_init(|| producer);
        let watched = self.watched.lock().clone();
        for topic in watched {
            if let Err(error) = producer.watch(&topic).await {
                warn!(topic, %error, "its brokers do not know this instance before its first half message");
            }
        }
    }
}

impl<D: Dialect> Drop for Link<D> {
    fn drop(&mut self) {
        if let Some(connecting) = &self.connecting {
            connecting.abort();
        }
    }
}

impl<D: Dialect> Halves for Link<D> {
    type Ordinary = Self;

    async fn prepare(&self, id: &str, message: &Outgoing) -> Result<HalfPlace, Error> {
        let mut transaction = self.producer()?.begin_as(id)?;
        transaction.prepare(message.to_message()).await?;
        // dropping the transaction decides nothing
        transaction.places().next().ok_or(Error::Closed)
    }

    async fn reach(&self, place: &HalfPlace) -> Result<(), Error> {
        self.producer()?.adopt(place.clone()).await?.reach().await
    }

    async fn commit(&self, place: &HalfPlace) -> Result<(), Error> {
        self.producer()?.adopt(place.clone()).await?.commit().await
    }

    fn ordinary(&self) -> &Self {
        self
    }
}

impl<D: Dialect> Publisher for Link<D> {
    async fn publish(&self, message: &Outgoing) -> Result<String, PublishError> {
        match self.producer() {
            Ok(producer) => producer.producer().publish(message).await,
            Err(error) => Err(PublishError::passing(error.to_string())),
        }
    }
}
