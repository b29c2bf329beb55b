//! `tenonmq admin NOUN VERB …`: the operator's desk.
//!
//! Each noun is a file with its verbs: what is typed, which of TenonMQ's own requests that becomes, and how the answer
//! reads as a table. To add one: a file with a `clap` subcommand enum that has `run`, and an arm of [`Noun`]. All of
//! them speak to one broker's remoting port through [`Desk`].

mod dlq;
mod lease;
mod offset;
mod output;
mod queue;
mod subscription;
mod timer;
mod transaction;

use std::{error::Error, process::ExitCode, time::Duration};

use serde::Serialize;
use tenonmq_client::{Admin as Client, ClientConfig, ResponseCode};
use tenonmq_protocol::body::desk::DeskRequest;

pub(crate) use output::{shown, table, time};

/// Which broker, how the answer is to look, and what is wanted.
#[derive(Debug, clap::Args)]
pub(crate) struct Admin {
    /// The broker: HOST:PORT, or its name when --namesrv is given
    #[arg(long, global = true, value_name = "HOST:PORT", default_value = "127.0.0.1:10911")]
    broker: String,

    /// Name servers that know the broker's name
    #[arg(long, global = true, value_name = "HOST:PORT;...")]
    namesrv: Option<String>,

    /// Prints the broker's answer as JSON
    #[arg(long, global = true)]
    json: bool,

    /// Longest wait for an answer
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 15)]
    timeout: u64,

    #[command(subcommand)]
    noun: Noun,
}

/// What is asked about. One file each.
#[derive(Debug, clap::Subcommand)]
enum Noun {
    /// How far groups have come, and moving them
    #[command(subcommand)]
    Offset(offset::Offset),
    /// Queues of a topic, and who reads them
    #[command(subcommand)]
    Queue(queue::Queue),
    /// Dead letters, and sending them again
    #[command(subcommand)]
    Dlq(dlq::Dlq),
    /// What groups want
    #[command(subcommand)]
    Subscription(subscription::Subscription),
    /// Messages that were popped and not acknowledged
    #[command(subcommand)]
    Lease(lease::Lease),
    /// Messages that wait for their time
    #[command(subcommand)]
    Timer(timer::Timer),
    /// Transactions that nobody has decided, and settling them
    #[command(subcommand)]
    Transaction(transaction::Transaction),
}

impl Noun {
    async fn run(self, desk: &Desk) -> Result<(), Failure> {
        match self {
            Self::Offset(verb) => verb.run(desk).await,
            Self::Queue(verb) => verb.run(desk).await,
            Self::Dlq(verb) => verb.run(desk).await,
            Self::Subscription(verb) => verb.run(desk).await,
            Self::Lease(verb) => verb.run(desk).await,
            Self::Timer(verb) => verb.run(desk).await,
            Self::Transaction(verb) => verb.run(desk).await,
        }
    }
}

/// Why a verb did not do what it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The broker could not be asked, or it refused.
    #[error("{0}")]
    Broker(#[from] tenonmq_client::Error),
    /// It is no TenonMQ broker, or an older one.
    #[error("the broker at {0} does not know this request; it is not TenonMQ, or an older one")]
    Unknown(String),
    /// What was typed makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The terminal is gone.
    #[error("cannot write the answer")]
    Output(#[from] std::io::Error),
}

/// One broker, and how answers are printed.
pub(crate) struct Desk {
    client: Client,
    broker: String,
    json: bool,
}

impl Desk {
    async fn new(admin: &Admin) -> Result<Self, Failure> {
        let config = ClientConfig::new(admin.namesrv.as_deref().unwrap_or_default())
            .request_timeout(Duration::from_secs(admin.timeout.max(1)));
        let (client, broker) = match &admin.namesrv {
            None => (Client::direct(config), admin.broker.clone()),
            Some(_) => {
                let client = Client::connect(config).await?;
                let is_address = admin.broker.contains(':');
                let broker = if is_address { admin.broker.clone() } else { client.master(&admin.broker).await? };
                (client, broker)
            }
        };
        Ok(Self { client, broker, json: admin.json })
    }

    /// Asks the broker.
    pub(crate) async fn ask<R: DeskRequest>(&self, request: &R) -> Result<R::Answer, Failure> {
        self.client.ask(&self.broker, request).await.map_err(|error| match error {
            tenonmq_client::Error::Refused { code: ResponseCode::REQUEST_CODE_NOT_SUPPORTED, .. } => {
                Failure::Unknown(self.broker.clone())
            }
            other => other.into(),
        })
    }

    /// Prints an answer: as JSON if that was asked for, otherwise as `text` puts it.
    pub(crate) fn show<T: Serialize>(&self, answer: &T, text: impl FnOnce(&T) -> String) -> Result<(), Failure> {
        output::print(&if self.json { output::json(answer) } else { text(answer) })?;
        Ok(())
    }
}

/// Does what was typed. Whatever fails is told on standard error, and the exit code says so.
pub(crate) fn run(admin: Admin) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let done = runtime.block_on(async {
        let desk = Desk::new(&admin).await?;
        let done = admin.noun.run(&desk).await;
        desk.client.shutdown().await;
        done
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failed(&failure),
    }
}

fn failed(error: &dyn Error) -> ExitCode {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    eprintln!("tenonmq admin: {text}");
    ExitCode::FAILURE
}
