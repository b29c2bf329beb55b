//! Notices by e-mail.
//!
//! Each notice is one mail to all receivers. The first of an outage begins a thread, and what follows (more, worse, a
//! reminder, "resolved") replies to it: by `References`, and by the subject, which for that reason names the outage and
//! not its state. The state is the first line of the text.
//!
//! A mail's `Message-ID` is made from the outage and the notice, so a copy, which is sent when the server's last word got
//! lost, has the same one.

mod builder;
mod letter;
mod session;

use std::{future::Future, pin::Pin};

pub use self::builder::{MailBuilder, MailFault, Security};
use self::session::Server;
use super::{Channel, Notice};

/// Sends notices by SMTP.
///
/// ```
/// use tenonmq_outbox::monitoring::{Mail, Monitor};
/// # fn main() -> Result<(), tenonmq_outbox::monitoring::MailFault> {
/// let mail = Mail::by("smtp.shop.example")
///     .login("alerts", "secret")
///     .from("Shop alerts <alerts@shop.example>")
///     .to("ann@shop.example")
///     .to("bob@shop.example")
///     .build()?;
/// let monitor = Monitor::default().tell(mail);
/// # Ok(()) }
/// ```
pub struct Mail {
    server: Server,
    from: lettre::message::Mailbox,
    to: Vec<lettre::message::Mailbox>,
}

impl Mail {
    /// Starts building, for the mail server of that name or address.
    pub fn by(host: impl Into<String>) -> MailBuilder {
        MailBuilder::new(host.into())
    }

    async fn send(&self, notice: &Notice) -> Result<(), String> {
        let letter = letter::written(notice, &self.from, &self.to).map_err(|error| error.to_string())?;
        self.server.send(&letter).await
    }
}

impl Channel for Mail {
    fn name(&self) -> &str {
        "e-mail"
    }

    fn tell<'a>(&'a self, notice: &'a Notice) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>> {
        Box::pin(self.send(notice))
    }
}
