//! The HTTP port: metrics, liveness, readiness.
//!
//! One request a connection, at most so many connections at a time, and a deadline for each: whoever is slow loses the
//! connection and holds nobody else up. Answers are made beside the network threads, one page at a time.
//!
//! ```text
//! GET /metrics   the page of `metrics`, as Prometheus reads it
//! GET /health    200 as long as the program runs
//! GET /ready     200 when the broker serves and takes messages, otherwise 503 with the reason
//! ```

mod site;

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::{debug, warn};

pub use site::Site;

use crate::group::stopped;

/// Bytes of a request's head at most; the rest of the program has use for none that is longer.
const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;

/// Bounds on what callers may cost us.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at one time; further ones wait.
    pub connections: usize,
    /// From accepting a connection until its answer has been taken.
    pub timeout: Duration,
}

/// Serves `site` until `stop`, then drops what is open.
pub async fn serve(listener: TcpListener, site: Arc<Site>, limits: Limits, mut stop: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let mut open = JoinSet::new();
    loop {
        let next = tokio::select! {
            next = accept(&listener, &places) => next,
            Some(_) = open.join_next(), if !open.is_empty() => continue,
            () = stopped(&mut stop) => return,
        };
        match next {
            Ok((stream, place)) => {
                let site = Arc::clone(&site);
                open.spawn(async move {
                    if timeout(limits.timeout, answer(stream, site, limits.timeout)).await.is_err() {
                        debug!("HTTP connection closed: too slow");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                warn!(%error, "accept failed on the HTTP port");
                sleep(Duration::from_millis(100)).await; // out of descriptors, most likely
            }
        }
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

async fn answer(stream: TcpStream, site: Arc<Site>, head: Duration) {
    let service = service_fn(|request: Request<Incoming>| {
        let site = Arc::clone(&site);
        async move { Ok::<Response<Full<Bytes>>, Infallible>(site.answer(request.method(), request.uri().path()).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .keep_alive(false)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.await {
        debug!(%error, "HTTP connection ended");
    }
}

#[cfg(test)]
mod tests;
