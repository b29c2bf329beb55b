//! How mails are sent, checked before the first one.

use std::{fmt::Display, time::Duration};

use lettre::{
    message::Mailbox,
    transport::smtp::{
        authentication::Credentials,
        client::{Certificate, TlsParameters},
        extension::ClientId,
    },
};

use super::{Mail, session::Server};

/// How the connection to the mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Security {
    /// By STARTTLS, without which nothing is sent; port 587.
    #[default]
    StartTls,
    /// By TLS from the first byte; port 465.
    Tls,
    /// Not at all: for a server on this machine or in one's own network, and without a password; port 25.
    Plain,
}

/// Why mails cannot be sent this way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("e-mail: {0}")]
pub struct MailFault(String);

impl MailFault {
    fn of(what: &str, value: &str, error: impl Display) -> Self {
        Self(format!("the {what} {:?}: {error}", value.chars().take(100).collect::<String>()))
    }
}

/// Settings of a [`Mail`].
#[must_use]
pub struct MailBuilder {
    host: String,
    port: Option<u16>,
    security: Security,
    login: Option<Credentials>,
    authorities: Vec<Vec<u8>>,
    from: String,
    to: Vec<String>,
    limit: Duration,
}

impl MailBuilder {
    pub(super) fn new(host: String) -> Self {
        Self {
            host,
            port: None,
            security: Security::default(),
            login: None,
            authorities: Vec::new(),
            from: String::new(),
            to: Vec::new(),
            limit: Duration::from_secs(10),
        }
    }

    /// The server's port. Default that of the [`Security`].
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// How the connection is protected. Default [`Security::StartTls`].
    pub fn security(mut self, security: Security) -> Self {
        self.security = security;
        self
    }

    /// Logs in, by PLAIN or LOGIN.
    pub fn login(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.login = Some(Credentials::new(user.into(), password.into()));
        self
    }

    /// Trusts certificates of these authorities (PEM) too, beside those that Mozilla trusts.
    pub fn trust(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.authorities.push(pem.into());
        self
    }

    /// The sender: `alerts@shop.example` or `Alerts <alerts@shop.example>`. Required.
    pub fn from(mut self, mailbox: impl Into<String>) -> Self {
        self.from = mailbox.into();
        self
    }

    /// One more receiver. At least one is required.
    pub fn to(mut self, mailbox: impl Into<String>) -> Self {
        self.to.push(mailbox.into());
        self
    }

    /// Longest time for one mail, the connection included. Default 10 s.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// The channel.
    ///
    /// # Errors
    /// [`MailFault`] names what is missing or wrong: a mailbox, a certificate, the server's name, a password without
    /// encryption.
    pub fn build(self) -> Result<Mail, MailFault> {
        let from = mailbox("sender", &self.from)?;
        let to: Vec<Mailbox> = self.to.iter().map(|one| mailbox("receiver", one)).collect::<Result<_, _>>()?;
        if to.is_empty() {
            return Err(MailFault("there is no receiver".to_owned()));
        }
        if self.security == Security::Plain && self.login.is_some() {
            return Err(MailFault("a password is not sent without encryption".to_owned()));
        }
        let port = self.port.unwrap_or(match self.security {
            Security::StartTls => 587,
            Security::Tls => 465,
            Security::Plain => 25,
        });
        let tls = self.tls()?;
        let hello = ClientId::Domain(from.email.domain().to_owned());
        let Self { host, security, login, limit, .. } = self;
        Ok(Mail { server: Server { host, port, security, tls, login, hello, limit }, from, to })
    }

    fn tls(&self) -> Result<Option<TlsParameters>, MailFault> {
        if self.security == Security::Plain {
            return Ok(None);
        }
        let mut tls = TlsParameters::builder(self.host.clone());
        for pem in &self.authorities {
            let shown = String::from_utf8_lossy(pem);
            if !shown.contains("-----BEGIN CERTIFICATE-----") {
                return Err(MailFault::of("authority", &shown, "there is no certificate in it"));
            }
            let authority = Certificate::from_pem(pem).map_err(|error| MailFault::of("authority", &shown, error))?;
            tls = tls.add_root_certificate(authority);
        }
        tls.build().map(Some).map_err(|error| MailFault::of("server", &self.host, error))
    }
}

/// Addresses in other letters than ASCII need what few servers have.
fn mailbox(what: &str, text: &str) -> Result<Mailbox, MailFault> {
    let mailbox: Mailbox = text.parse().map_err(|error| MailFault::of(what, text, error))?;
    let address: &str = mailbox.email.as_ref();
    if address.is_ascii() { Ok(mailbox) } else { Err(MailFault::of(what, text, "its address is not ASCII")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(builder: MailBuilder) -> String {
        builder.build().err().map(|fault| fault.to_string()).unwrap_or_default()
    }

    #[test]
    fn what_cannot_work_is_refused_and_named() {
        let whole = || Mail::by("smtp.shop.example").from("Alerts <alerts@shop.example>").to("ann@shop.example");
        assert_eq!(fault(whole()), "");
        assert!(fault(Mail::by("smtp.shop.example").to("ann@shop.example")).contains("the sender \"\""));
        assert!(fault(Mail::by("smtp.shop.example").from("a@b.example")).contains("no receiver"));
        assert!(fault(whole().to("bob at home")).contains("the receiver \"bob at home\""));
        assert!(fault(whole().to("bob@shop.example\r\nBcc: eve@evil.example")).contains("the receiver"));
        assert!(fault(whole().to("böb@shop.example")).contains("not ASCII"));
        assert!(fault(whole().security(Security::Plain).login("a", "b")).contains("without encryption"));
        assert!(fault(whole().trust("no pem")).contains("no certificate"));
        assert!(
            fault(whole().trust("-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n")).contains("authority")
        );
    }
}
