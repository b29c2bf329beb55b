//! What is where.

use std::sync::{Arc, OnceLock, Weak};

use http_body_util::Full;
use hyper::{Method, Response, StatusCode, body::Bytes, header};
use tenonmq_storage::Unwritable;
use tokio::{sync::Mutex, task::spawn_blocking};

use crate::{core::Core, metrics};

const PLAIN: &str = "text/plain; charset=utf-8";

type Answer = Response<Full<Bytes>>;

/// The pages, which are there before the broker is.
#[derive(Default)]
pub struct Site {
    /// Set when the broker serves. Weak, so that a page in the making does not keep a stopped broker's data open.
    core: OnceLock<Weak<Core>>,
    /// The page of metrics is made for one caller at a time.
    making: Mutex<()>,
    /// `/` is the page of metrics too, as at Apache's exporter.
    only_metrics: bool,
    /// There will be no broker: the program is a name server alone.
    without_broker: bool,
}

impl Site {
    /// The pages of the HTTP port.
    pub fn new() -> Self {
        Self::default()
    }

    /// The pages at the address of Apache's exporter.
    pub fn exporter() -> Self {
        Self { only_metrics: true, ..Self::default() }
    }

    /// The pages of a program that is a name server alone.
    pub fn without_broker(self) -> Self {
        Self { without_broker: true, ..self }
    }

    /// The broker serves from now on.
    pub fn set_core(&self, core: &Arc<Core>) {
        let _ = self.core.set(Arc::downgrade(core)); // there is one broker in a program
    }

    /// The answer to a request, whose body does not matter.
    pub(super) async fn answer(&self, method: &Method, path: &str) -> Answer {
        let page = match path {
            "/metrics" => Page::Metrics,
            "/" if self.only_metrics => Page::Metrics,
            "/health" | "/-/healthy" => Page::Health,
            "/ready" if !self.only_metrics => Page::Ready,
            _ => return plain(StatusCode::NOT_FOUND, "there is nothing here; try /metrics, /health or /ready\n"),
        };
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "use GET\n");
            answer.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        match page {
            Page::Metrics => self.metrics().await,
            Page::Health => plain(StatusCode::OK, "ok\n"),
            Page::Ready => self.ready(),
        }
    }

    fn core(&self) -> Option<Arc<Core>> {
        self.core.get()?.upgrade()
    }

    async fn metrics(&self) -> Answer {
        if self.without_broker {
            return plain(StatusCode::NOT_FOUND, "a name server has no metrics yet\n");
        }
        let Some(core) = self.core() else { return not_serving() };
        let _one_at_a_time = self.making.lock().await;
        match spawn_blocking(move || metrics::page(&core)).await {
            Ok(page) => with_type(StatusCode::OK, metrics::CONTENT_TYPE, page.into()),
            Err(error) => {
                tracing::error!(%error, "the page of metrics could not be made");
                plain(StatusCode::INTERNAL_SERVER_ERROR, "the page could not be made; the log says more\n")
            }
        }
    }

    fn ready(&self) -> Answer {
        if self.without_broker {
            return plain(StatusCode::OK, "ready\n");
        }
        let Some(core) = self.core() else { return not_serving() };
        match core.store.writable() {
            Ok(()) | Err(Unwritable::NotMaster) => plain(StatusCode::OK, "ready\n"),
            Err(why) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("no messages are taken: {why}\n")),
        }
    }
}

enum Page {
    Metrics,
    Health,
    Ready,
}

fn not_serving() -> Answer {
    plain(StatusCode::SERVICE_UNAVAILABLE, "the broker is starting or stopping\n")
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    with_type(status, PLAIN, text.into())
}

fn with_type(status: StatusCode, content_type: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    answer
}
