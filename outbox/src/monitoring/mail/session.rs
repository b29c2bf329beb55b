//! One mail, one connection, one limit of time.

use std::{error::Error as StdError, time::Duration};

use lettre::{
    Message,
    transport::smtp::{
        Error,
        authentication::{Credentials, Mechanism},
        client::{AsyncSmtpConnection, TlsParameters},
        commands::{Data, Mail, Rcpt},
        extension::ClientId,
    },
};
use tracing::warn;

use super::Security;

/// How long a server that has taken the mail may take to say goodbye.
const FAREWELL: Duration = Duration::from_secs(1);

/// The mail server.
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) security: Security,
    /// Unless it is plain.
    pub(super) tls: Option<TlsParameters>,
    pub(super) login: Option<Credentials>,
    pub(super) hello: ClientId,
    /// For the whole talk.
    pub(super) limit: Duration,
}

impl Server {
    /// Sends a mail to all its receivers. Those that the server refuses for good are logged and do not hold up the others;
    /// an error when none is left, and for whatever else goes wrong.
    pub(super) async fn send(&self, letter: &Message) -> Result<(), String> {
        let talk = async {
            let mut connection = self.connect().await.map_err(told)?;
            if let Some(login) = &self.login {
                connection.auth(&[Mechanism::Plain, Mechanism::Login], login).await.map_err(told)?;
            }
            deliver(&mut connection, letter).await?;
            Ok(connection)
        };
        let whole = tokio::time::timeout(self.limit, talk).await;
        let mut connection = whole.unwrap_or_else(|_| Err(format!("the mail is not taken within {:?}", self.limit)))?;
        // it has the mail: whatever it says now, there is no second one
        let _ = tokio::time::timeout(FAREWELL, connection.abort()).await;
        Ok(())
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, Error> {
        let from_the_start = self.tls.clone().filter(|_| self.security == Security::Tls);
        let address = (self.host.as_str(), self.port);
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(address, Some(self.limit), &self.hello, from_the_start, None).await?;
        if let (Security::StartTls, Some(tls)) = (self.security, &self.tls) {
            connection.starttls(tls.clone(), &self.hello).await?;
        }
        Ok(connection)
    }
}

async fn deliver(connection: &mut AsyncSmtpConnection, letter: &Message) -> Result<(), String> {
    let envelope = letter.envelope();
    connection.command(Mail::new(envelope.from().cloned(), Vec::new())).await.map_err(told)?;
    let (mut taken, mut refusal) = (0_usize, None);
    for receiver in envelope.to() {
        match connection.command(Rcpt::new(receiver.clone(), Vec::new())).await {
            Ok(_) => taken += 1,
            Err(error) if error.is_permanent() => {
                let cause = format!("{receiver}: {}", told(error));
                warn!(cause, "a receiver of notices is refused");
                refusal = Some(cause);
            }
            Err(error) => return Err(format!("{receiver}: {}", told(error))),
        }
    }
    if let (0, Some(refusal)) = (taken, refusal) {
        return Err(refusal);
    }
    connection.command(Data).await.map_err(told)?;
    connection.message(&letter.formatted()).await.map_err(told)?;
    Ok(())
}

/// The error with its sources.
fn told(error: Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(&format!(": {inner_text}"));
        }
        source = inner.source();
    }
    text
}
