//! The name server behind a socket: a frame becomes a [`Call`], an [`Answer`] becomes a reply.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use tenonmq_protocol::{Command, RequestCode};
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::model::Origin;
use super::service::{Answer, Call, NameServer};
use crate::core::clock::Clock;
use crate::remoting::{Connection, Dispatch, Handled, Outbox, Request, Response};

/// The front end of the name-server role.
pub struct Handler {
    server: Arc<NameServer>,
    clock: Clock,
    /// Connections that a broker registered over, to be closed when it expires.
    brokers: Mutex<HashMap<u64, Weak<Connection>>>,
}

impl Handler {
    /// A front end for `server`.
    #[must_use]
    pub fn new(server: Arc<NameServer>, clock: Clock) -> Self {
        Self { server, clock, brokers: Mutex::default() }
    }

    /// Looks for expired brokers on the period, until `shutdown` turns true.
    pub async fn scan(&self, period: std::time::Duration, mut shutdown: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = self.clock.sleep(period) => self.scan_once(),
                _ = shutdown.wait_for(|stop| *stop) => return,
            }
        }
    }

    fn scan_once(&self) {
        for id in self.server.expire(self.clock.now_ms()) {
            let connection = self.brokers.lock().remove(&id).and_then(|connection| connection.upgrade());
            if let Some(connection) = connection {
                connection.close();
            }
        }
    }

    fn answer_later(&self, request: &Request<'_>) -> Handled {
        let command = Command::from_view(request.command, Bytes::copy_from_slice(request.body));
        let (server, now_ms) = (self.server.clone(), self.clock.now_ms());
        let origin = Origin::Connection(request.connection.id());
        Handled::later(async move {
            let answered = spawn_blocking(move || {
                let (code, version) = (RequestCode(command.code), command.version);
                let call = Call { code, version, fields: command.fields(), body: &command.body, origin };
                server.answer(&call, now_ms)
            });
            match answered.await {
                Ok(answer) => answer.into(),
                Err(error) => Response::error(tenonmq_protocol::ResponseCode::SYSTEM_ERROR, error.to_string()),
            }
        })
    }
}

impl Dispatch for Handler {
    fn handle(&self, request: &Request<'_>, out: &mut Outbox) -> Handled {
        let code = request.command.request_code();
        if NameServer::writes_files(code) {
            return self.answer_later(request);
        }
        let id = request.connection.id();
        if code == RequestCode::REGISTER_BROKER {
            self.brokers.lock().entry(id).or_insert_with(|| Arc::downgrade(request.connection));
        }
        let call = Call {
            code,
            version: request.command.version,
            fields: request.command.fields,
            body: request.body,
            origin: Origin::Connection(id),
        };
        out.respond(request, self.server.answer(&call, self.clock.now_ms()).into());
        Handled::Done
    }

    fn closed(&self, connection: &Arc<Connection>) {
        let registered = self.brokers.lock().remove(&connection.id()).is_some();
        if registered {
            self.server.connection_closed(connection.id());
        }
    }
}

impl From<Answer> for Response {
    fn from(answer: Answer) -> Self {
        let Answer { code, remark, fields, body } = answer;
        let mut response = Self { code, remark: remark.map(Into::into), ..Self::ok() };
        for (name, value) in fields {
            response = response.field(name, value);
        }
        if !body.is_empty() {
            response = response.body(body);
        }
        response
    }
}
