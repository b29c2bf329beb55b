//! One call of an endpoint: one connection, one POST, one answer of which little is read.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode, body::Incoming, client::conn::http1, header, http::request::Builder};
use hyper_util::rt::TokioIo;

use super::{
    Keys, Reach, Signed,
    connect::{DialError, Dialer},
    notice::Endpoint,
    retry_after,
    signature::header_text,
};
use crate::clock::{Clock, SystemClock};

/// Bytes of an answer's head; more is no answer.
const LARGEST_HEAD: usize = 32 << 10;
/// Bytes of an answer's body that are waited for; then the connection is closed.
const LARGEST_BODY: usize = 64 << 10;
/// Characters of the body that are kept.
const KEPT_BODY: usize = 500;

/// What is posted.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) receiver: String,
    pub(super) business_type: String,
    pub(super) business_id: String,
    pub(super) url: String,
    pub(super) content_type: String,
    pub(super) content: Bytes,
}

/// What came of a call.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// The answer's status, as soon as there is one.
    pub(super) code: Option<u16>,
    /// How its body begins.
    pub(super) answer: Option<String>,
    /// Why it is no success; none for a success.
    pub(super) cause: Option<String>,
    /// Whether the failure says something about the target rather than about this task.
    pub(super) is_unwell: bool,
    /// Whether no other try can do better.
    pub(super) is_final: bool,
    /// How long the endpoint asks to be left alone.
    pub(super) asked: Option<Duration>,
}

/// Makes calls.
#[derive(Clone)]
pub(super) struct Postman {
    pub(super) dialer: Dialer,
    pub(super) keys: std::sync::Arc<dyn Keys>,
    /// For the whole call.
    pub(super) limit: Duration,
}

impl Postman {
    /// Posts a letter; `attempt` counts from 1. Ends within the limit.
    pub(super) async fn post(&self, letter: &Letter, attempt: u32, now_ms: i64) -> Report {
        let mut report = Report::default();
        let result = match self.prepare(letter, attempt, now_ms) {
            Err(failure) => Err(failure),
            Ok((endpoint, request)) => {
                let call = call(&self.dialer, &endpoint, request, now_ms, &mut report);
                let timed = tokio::time::timeout(self.limit, call).await;
                timed.unwrap_or_else(|_| Err(Failure::unwell(format!("no whole answer within {:?}", self.limit))))
            }
        };
        if let Err(failure) = result {
            report.cause = Some(failure.cause);
            report.is_unwell = failure.is_unwell;
            report.is_final = failure.is_final;
        }
        report
    }

    fn prepare(&self, letter: &Letter, attempt: u32, now_ms: i64) -> Result<(Endpoint, Request<Full<Bytes>>), Failure> {
        let keys = self.keys.of(&letter.receiver);
        if keys.is_empty() {
            return Err(Failure::of_task(format!("there is no key of {:?}; it is not called", letter.receiver)));
        }
        let endpoint = Endpoint::parse(&letter.url).map_err(Failure::lasting)?;
        let (business_type, business_id) = (header_text(&letter.business_type), header_text(&letter.business_id));
        let signed =
            Signed::Notification { business_type: &business_type, business_id: &business_id, body: &letter.content };
        let signature = signed.sign(&keys, now_ms);
        let request = Request::post(endpoint.path.as_str())
            .header(header::CONTENT_TYPE, letter.content_type.as_str())
            .header("X-Business-Type", business_type)
            .header("X-Business-ID", business_id)
            .header("X-Attempt", attempt)
            .header("X-Signature", signature);
        let request = addressed(request, &endpoint, letter.content.clone()).map_err(Failure::lasting)?;
        Ok((endpoint, request))
    }
}

/// Adds what every call has.
fn addressed(request: Builder, endpoint: &Endpoint, body: Bytes) -> Result<Request<Full<Bytes>>, String> {
    let request = request
        .uri(endpoint.path.as_str())
        .header(header::HOST, endpoint.host_header())
        .header(header::CONNECTION, "close")
        .header(header::USER_AGENT, "tenonmq-notification");
    request.body(Full::new(body)).map_err(|error| error.to_string())
}

/// Makes calls that are no tasks: notices of the monitor.
#[derive(Clone)]
pub(crate) struct Caller {
    dialer: Dialer,
    limit: Duration,
}

impl Caller {
    pub(crate) fn new(reach: Reach, connect: Duration, limit: Duration) -> Self {
        Self { dialer: Dialer::new(reach, connect), limit }
    }

    pub(crate) fn reach(mut self, reach: Reach) -> Self {
        self.dialer.reach = reach;
        self
    }

    #[cfg(feature = "notification-tls")]
    pub(crate) fn trust(&mut self, pem: &[u8]) -> Result<(), super::NoAuthority> {
        self.dialer.tls.trust(pem)
    }

    /// Posts a body; returns how the answer begins, if it is 200, or why it is not.
    pub(crate) async fn post(&self, url: &str, request: Builder, body: Bytes) -> Result<String, String> {
        let endpoint = Endpoint::parse(url)?;
        let request = addressed(request, &endpoint, body)?;
        let mut report = Report::default();
        let call = call(&self.dialer, &endpoint, request, SystemClock.now_ms(), &mut report);
        match tokio::time::timeout(self.limit, call).await {
            Ok(Ok(())) => Ok(report.answer.unwrap_or_default()),
            Ok(Err(failure)) => Err(failure.cause),
            Err(_) => Err(format!("no whole answer within {:?}", self.limit)),
        }
    }
}

/// Makes one call on a connection of its own; what is known of the answer is in `report`, however it ends.
async fn call(
    dialer: &Dialer,
    endpoint: &Endpoint,
    request: Request<Full<Bytes>>,
    now_ms: i64,
    report: &mut Report,
) -> Result<(), Failure> {
    let stream = dialer.dial(endpoint).await.map_err(Failure::no_connection)?;
    let away = |error: hyper::Error| Failure::unwell(with_source(&error));
    let mut builder = http1::Builder::new();
    let (mut sender, connection) =
        builder.max_buf_size(LARGEST_HEAD).handshake(TokioIo::new(stream)).await.map_err(away)?;
    let mut driver = tokio::task::JoinSet::new(); // ends with this call, whatever way
    driver.spawn(connection);
    let response = sender.send_request(request).await.map_err(away)?;
    let status = response.status();
    report.code = Some(status.as_u16());
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        report.asked = retry_after::asked(response.headers(), now_ms);
    }
    let body = read_some(response.into_body()).await;
    report.answer = Some(kept(body.as_ref().unwrap_or_else(|(read, _)| read)));
    if let Err((_, error)) = body {
        return Err(Failure::unwell(format!("the answer {} broke off: {}", status.as_u16(), with_source(&error))));
    }
    match status {
        StatusCode::OK => Ok(()),
        _ if status.is_redirection() => {
            Err(Failure::of_task(format!("the answer is {}; redirects are not followed", status.as_u16())))
        }
        _ if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            Err(Failure::unwell(format!("the answer is {}", status.as_u16())))
        }
        _ => Err(Failure::of_task(format!("the answer is {}, not 200", status.as_u16()))),
    }
}

/// Reads a body to its end or to the limit; what was read comes with the error too.
async fn read_some(mut body: Incoming) -> Result<Vec<u8>, (Vec<u8>, hyper::Error)> {
    let (mut read, mut kept) = (0, Vec::new());
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => return Err((kept, error)),
        };
        let Some(data) = frame.data_ref() else { continue };
        read += data.len();
        let room = (4 * KEPT_BODY).saturating_sub(kept.len());
        kept.extend(data.iter().take(room));
        if read >= LARGEST_BODY {
            break;
        }
    }
    Ok(kept)
}

fn kept(body: &[u8]) -> String {
    String::from_utf8_lossy(body).chars().filter(|c| *c != '\0').take(KEPT_BODY).collect()
}

fn with_source(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Why a call is no success.
struct Failure {
    cause: String,
    is_unwell: bool,
    is_final: bool,
}

impl Failure {
    fn unwell(cause: String) -> Self {
        Self { cause, is_unwell: true, is_final: false }
    }

    fn of_task(cause: String) -> Self {
        Self { cause, is_unwell: false, is_final: false }
    }

    fn lasting(cause: String) -> Self {
        Self { cause, is_unwell: false, is_final: true }
    }

    fn no_connection(error: DialError) -> Self {
        let is_unwell = !matches!(error, DialError::OutOfReach { .. });
        Self { cause: error.to_string(), is_unwell, is_final: false }
    }
}
