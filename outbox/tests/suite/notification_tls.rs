//! Endpoints that are called by https.

use std::time::Duration;

use tenonmq_outbox::{
    Schedule,
    notification::{Courier, Notification},
};
use tokio::{
    io::{AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use super::{
    authority::Authority,
    bench::{Bench, SECOND, TestDatabase},
    endpoint::Endpoint,
    notification::{courier, notifier, notify},
    notification_target::Names,
};

const NAME: &str = "shop.example";

/// TLS in front of an endpoint; returns its port.
async fn tls_before(endpoint: &Endpoint, tls: TlsAcceptor) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, behind) = (listener.local_addr().unwrap().port(), endpoint.port());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                let Ok(mut outside) = tls.accept(stream).await else { return };
                let mut inside = TcpStream::connect(("127.0.0.1", behind)).await.unwrap();
                let _ = copy_bidirectional(&mut outside, &mut inside).await;
            });
        }
    });
    port
}

/// Something else that listens there; returns its port.
async fn speaks_no_tls() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"220 mail.example ESMTP\r\n").await;
        }
    });
    port
}

fn https(port: u16, id: &str) -> Notification {
    Notification::to("merchant-7", format!("https://{NAME}:{port}/paid")).about("paid", id).json("{}")
}

/// A courier for which every name is this machine.
fn courier_at_home<D: TestDatabase>(bench: &Bench<D>) -> Courier<D> {
    let courier = courier(bench).resolver(Names::that(&[&["127.0.0.1"]])).otherwise(Schedule::listed([SECOND], 50));
    courier.call_limits(Duration::from_millis(500), 5 * SECOND)
}

pub async fn an_endpoint_with_a_certificate_of_a_private_authority_is_called_if_that_is_trusted<D: TestDatabase>(
    bench: &Bench<D>,
) {
    let (authority, endpoint) = (Authority::new(), Endpoint::well().await);
    let port = tls_before(&endpoint, authority.server(NAME)).await;
    let row = notify(bench, &https(port, "order-1")).await;

    assert_eq!(courier_at_home(bench).pass().await.unwrap().failed, 1);
    let task = notifier(bench).task(row).await.unwrap().unwrap();
    let cause = task.last_error.unwrap();
    assert!(cause.starts_with("TLS: ") && cause.contains("UnknownIssuer"), "{cause}");
    assert!(endpoint.calls().is_empty(), "whom nobody vouches for is told nothing");

    bench.clock.advance(SECOND);
    let trusting = courier_at_home(bench).trust(authority.pem().as_bytes()).unwrap();
    assert_eq!(trusting.pass().await.unwrap().delivered, 1);
    assert_eq!(endpoint.calls()[0].header("host"), format!("{NAME}:{port}"));
}

pub async fn a_certificate_that_does_not_hold_is_a_failure_with_its_cause<D: TestDatabase>(bench: &Bench<D>) {
    let (authority, endpoint) = (Authority::new(), Endpoint::well().await);
    let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap(); // accepts, and says nothing
    for (id, port, told) in [
        ("other-name", tls_before(&endpoint, authority.server("other.example")).await, "not valid for name"),
        ("wildcard", tls_before(&endpoint, authority.server("*.shop.example")).await, "not valid for name"),
        ("expired", tls_before(&endpoint, authority.late_server(NAME)).await, "expired"),
        ("no-tls", speaks_no_tls().await, "TLS: "),
        ("hangs", hanging.local_addr().unwrap().port(), "no connection within 500ms"),
    ] {
        let row = notify(bench, &https(port, id)).await;
        let trusting = courier_at_home(bench).trust(authority.pem().as_bytes()).unwrap();
        assert_eq!(trusting.otherwise(Schedule::listed([], 1)).pass().await.unwrap().exhausted, 1, "{id}");
        let log = notifier(bench).log(row, 0, 10).await.unwrap();
        let cause = log[0].cause.as_deref().unwrap();
        assert!(cause.contains(told) && log[0].code.is_none(), "{id}: {cause}");
    }
    assert!(endpoint.calls().is_empty());
}

pub async fn what_is_no_authority_is_refused<D: TestDatabase>(bench: &Bench<D>) {
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for pem in ["", "no pem at all", broken] {
        let refused = courier(bench).trust(pem.as_bytes()).err().unwrap().to_string();
        assert!(refused.starts_with("no authority to trust: "), "{refused}");
    }
}
