use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

use super::*;
use crate::remoting::testing::TestBroker;

struct Served {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

async fn served(site: Site, limits: Limits) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    Served { address, stop, task: tokio::spawn(serve(listener, Arc::new(site), limits, stopped)) }
}

/// A deadline that no test on a busy machine reaches.
fn patient() -> Limits {
    Limits { connections: 8, timeout: Duration::from_secs(600) }
}

/// What comes back until the other side closes.
async fn all(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await; // a reset ends it as well
    String::from_utf8(answer).unwrap()
}

async fn raw(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    all(stream).await
}

async fn get(address: SocketAddr, path: &str) -> String {
    raw(address, &format!("GET {path} HTTP/1.1\r\nhost: broker\r\n\r\n")).await
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

#[tokio::test]
async fn a_scrape_gets_the_page_in_prometheus_format_and_the_connection_ends() {
    let (broker, site) = (TestBroker::new(), Site::new());
    site.set_core(&broker.core);
    let served = served(site, patient()).await;
    let answer = get(served.address, "/metrics").await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
    assert!(head.contains("connection: close"), "{head}");
    assert!(body.starts_with("# TYPE rocketmq_processor_watermark gauge\n"));
    assert!(body.ends_with('\n'));
}

#[tokio::test]
async fn what_is_not_there_is_not_found_and_what_is_not_allowed_is_refused() {
    let served = served(Site::new(), patient()).await;
    for path in ["/", "/metrics/", "/nothing", "/../etc/passwd", "*"] {
        assert_eq!(status(&get(served.address, path).await), "404", "{path}");
    }
    assert_eq!(status(&get(served.address, "/health?why=not").await), "200", "a query does not matter");
    let answer = raw(served.address, "POST /metrics HTTP/1.1\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(status(&answer), "405");
    assert!(answer.contains("allow: GET, HEAD"), "{answer}");
    let head = raw(served.address, "HEAD /health HTTP/1.1\r\nhost: broker\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
}

#[tokio::test]
async fn what_is_no_request_is_told_so_or_closed() {
    let served = served(Site::new(), patient()).await;
    assert_eq!(status(&raw(served.address, "no request at all\r\n\r\n").await), "400");
    let long = format!("GET /health HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(64 * 1024));
    assert_eq!(status(&raw(served.address, &long).await), "431");
    assert_eq!(status(&get(served.address, "/health").await), "200", "others are served as before");
}

#[tokio::test]
async fn the_program_is_alive_before_the_broker_is_ready_and_after_it_is_gone() {
    let (broker, site) = (TestBroker::new(), Arc::new(Site::new()));
    let ask = async |path: &str| site.answer(&hyper::Method::GET, path).await.status().as_u16();
    assert_eq!((ask("/health").await, ask("/ready").await, ask("/metrics").await), (200, 503, 503));
    site.set_core(&broker.core);
    assert_eq!((ask("/health").await, ask("/ready").await, ask("/metrics").await), (200, 200, 200));
    drop(broker);
    assert_eq!((ask("/health").await, ask("/ready").await, ask("/metrics").await), (200, 503, 503));
}

#[tokio::test]
async fn a_name_server_alone_is_ready_and_has_no_metrics() {
    let site = Site::new().without_broker();
    let ask = async |path: &str| site.answer(&hyper::Method::GET, path).await.status().as_u16();
    assert_eq!((ask("/health").await, ask("/ready").await, ask("/metrics").await), (200, 200, 404));
}

#[tokio::test]
async fn at_the_exporters_address_every_path_of_apaches_has_its_page() {
    let (broker, site) = (TestBroker::new(), Site::exporter());
    site.set_core(&broker.core);
    let ask = async |path: &str| site.answer(&hyper::Method::GET, path).await.status().as_u16();
    assert_eq!((ask("/").await, ask("/metrics").await, ask("/-/healthy").await), (200, 200, 200));
    assert_eq!(ask("/ready").await, 404);
}

#[tokio::test]
async fn who_is_slow_loses_the_connection_and_its_place() {
    let served = served(Site::new(), Limits { connections: 1, timeout: Duration::from_millis(50) }).await;
    let mut slow = TcpStream::connect(served.address).await.unwrap();
    slow.write_all(b"GET /health HT").await.unwrap();
    // The only place is free again once the slow one has lost it.
    let mut answers = Vec::new();
    while answers.is_empty() {
        answers.extend(Some(get(served.address, "/health").await).filter(|answer| status(answer) == "200"));
    }
    assert_ne!(status(&all(slow).await), "200");
}

#[tokio::test]
async fn more_connections_than_allowed_wait_for_their_turn() {
    let served = served(Site::new(), Limits { connections: 2, ..patient() }).await;
    let idle = [TcpStream::connect(served.address).await.unwrap(), TcpStream::connect(served.address).await.unwrap()];
    let waiting: Vec<_> = (0..20).map(|_| tokio::spawn(get(served.address, "/health"))).collect();
    tokio::task::yield_now().await;
    assert!(waiting.iter().all(|answer| !answer.is_finished()));
    drop(idle);
    for answer in waiting {
        assert_eq!(status(&answer.await.unwrap()), "200");
    }
}

#[tokio::test]
async fn stopping_ends_what_is_open() {
    let served = served(Site::new(), patient()).await;
    let idle = TcpStream::connect(served.address).await.unwrap();
    assert_eq!(status(&get(served.address, "/health").await), "200");
    served.stop.send_replace(true);
    served.task.await.unwrap();
    assert_eq!(all(idle).await, "");
}
