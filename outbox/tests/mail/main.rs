//! Notices by e-mail, to a mail server of the tests.

#[path = "../suite/authority.rs"]
#[allow(unreachable_pub, missing_docs, dead_code)]
mod authority;
#[allow(unreachable_pub, missing_docs)]
mod server;

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tenonmq_outbox::{
    Backlog, Error, ManualClock,
    monitoring::{
        AlertSettings, Alerts, Channel, Counts, Finding, Mail, MailBuilder, Monitor, Notice, Part, Reading, Rules,
        Security, Severity,
    },
};

use crate::{
    authority::Authority,
    server::{Manner, Server},
};

const TICK: Duration = Duration::from_secs(15);

/// To two people, without protection.
fn mail_by(server: &Server) -> MailBuilder {
    let mail = Mail::by("127.0.0.1").port(server.port).security(Security::Plain);
    mail.from("Alerts <alerts@shop.example>").to("ann@shop.example").to("bob@shop.example")
}

fn notice() -> Notice {
    let finding = Finding {
        group: "messaging".to_owned(),
        rule: "exhausted".to_owned(),
        part: "outbox".to_owned(),
        severity: Severity::Critical,
        text: "订单 2 rows are given up".to_owned(),
    };
    let settings = AlertSettings { gather: Duration::ZERO, ..AlertSettings::default() };
    Alerts::new(settings).observe(1_700_000_000_000, &[finding]).remove(0)
}

#[tokio::test]
async fn a_notice_is_one_mail_to_all_receivers() {
    let server = Server::that(Manner::default()).await;
    mail_by(&server).build().unwrap().tell(&notice()).await.unwrap();
    let taken = server.taken();
    assert_eq!((taken.len(), server.calls()), (1, 1));
    assert_eq!(taken[0].receivers, ["<ann@shop.example>", "<bob@shop.example>"]);
    assert!(taken[0].lines[0].starts_with("EHLO shop.example"), "{:?}", taken[0].lines);
    assert!(taken[0].text.contains("Subject: [messaging] trouble since Tue, 14 Nov 2023 22:13:20 GMT\n"));
    assert!(!taken[0].is_encrypted);
}

#[tokio::test]
async fn a_password_goes_out_encrypted_by_starttls_or_tls() {
    let authority = Authority::new();
    for security in [Security::StartTls, Security::Tls] {
        let tls = Some(authority.server("localhost"));
        let is_tls_from_the_start = security == Security::Tls;
        let server = Server::that(Manner { tls, is_tls_from_the_start, ..Manner::default() }).await;
        let mail = || {
            let mail = Mail::by("localhost").port(server.port).security(security).login("alerts", "secret");
            mail.from("alerts@shop.example").to("ann@shop.example")
        };
        mail().trust(authority.pem()).build().unwrap().tell(&notice()).await.unwrap();
        let taken = server.taken().remove(0);
        assert!(taken.is_encrypted, "{security:?}");
        // base64 of "\0alerts\0secret"
        assert!(taken.lines.iter().any(|line| line == "AUTH PLAIN AGFsZXJ0cwBzZWNyZXQ="), "{:?}", taken.lines);

        let stranger = mail().build().unwrap().tell(&notice()).await.unwrap_err();
        assert!(stranger.contains("UnknownIssuer"), "{security:?}: {stranger}");
        assert_eq!(server.taken().len(), 1);
    }
}

#[tokio::test]
async fn a_server_without_starttls_is_told_nothing() {
    let server = Server::that(Manner::default()).await;
    let mail = mail_by(&server).security(Security::StartTls).login("alerts", "secret").build().unwrap();
    let cause = mail.tell(&notice()).await.unwrap_err();
    assert!(cause.contains("STARTTLS"), "{cause}");
    assert!(server.taken().is_empty());
}

#[tokio::test]
async fn what_the_server_refuses_is_told_with_its_words() {
    let server = Server::that(Manner::default()).await;
    let mail = mail_by(&server).build().unwrap();
    for (begin, answer) in [
        ("EHLO", "554 5.7.1 go away"),
        ("MAIL", "550 5.7.1 not you"),
        ("RCPT", "550 5.1.1 no such user"),
        ("RCPT", "451 4.7.1 greylisted, come back"),
        ("DATA", "452 4.3.1 disk is full"),
    ] {
        server.behaves(Manner { answers: Some((begin, answer)), ..Manner::default() });
        let cause = mail.tell(&notice()).await.unwrap_err();
        assert!(cause.contains(answer.split_once(' ').unwrap().1), "{cause}");
    }
    assert!(server.taken().is_empty());
}

#[tokio::test]
async fn a_receiver_who_is_refused_does_not_hold_up_the_others() {
    let refused = ("RCPT TO:<ann@shop.example>", "550 no such user");
    let server = Server::that(Manner { answers: Some(refused), ..Manner::default() }).await;
    mail_by(&server).build().unwrap().tell(&notice()).await.unwrap();
    assert_eq!(server.taken()[0].receivers, ["<bob@shop.example>"]);
}

#[tokio::test]
async fn a_server_that_hangs_ends_with_the_limit_and_one_that_is_away_at_once() {
    let server = Server::that(Manner::default()).await;
    let mail = mail_by(&server).limit(Duration::from_millis(300)).build().unwrap();
    for begin in ["EHLO", "MAIL", "RCPT", "DATA"] {
        server.behaves(Manner { hangs_at: Some(begin), ..Manner::default() });
        let cause = mail.tell(&notice()).await.unwrap_err();
        assert!(cause.contains("not taken within 300ms"), "{begin}: {cause}");
    }
    assert!(server.taken().is_empty());
    server.behaves(Manner { hangs_at: Some("QUIT"), ..Manner::default() });
    mail.tell(&notice()).await.unwrap();
    assert_eq!(server.taken().len(), 1, "who took the mail and says no goodbye has the mail");

    let away = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let cause = mail_by(&server).port(away).build().unwrap().tell(&notice()).await.unwrap_err();
    assert!(cause.to_lowercase().contains("refused"), "{cause}");
}

/// A part that is as it is told.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<u64>>);

impl Part for Told {
    fn name(&self) -> String {
        "outbox".to_owned()
    }

    fn read(&self) -> Pin<Box<dyn Future<Output = Result<Reading, Error>> + Send + '_>> {
        let mut backlog = Backlog::default();
        backlog.exhausted = *self.0.lock();
        Box::pin(std::future::ready(Ok(Reading::of(self.name(), backlog, Counts::default()))))
    }
}

#[tokio::test]
async fn one_outage_is_one_mail_and_then_resolved_even_if_the_server_was_away() {
    let (clock, part) = (ManualClock::at(1_700_000_000_000), Told::default());
    let server = Server::that(Manner { answers: Some(("EHLO", "421 later")), ..Manner::default() }).await;
    let mut monitor = Monitor::new(Rules::default(), AlertSettings::default()).clock(clock.clone());
    monitor = monitor.watch(part.clone()).tell(mail_by(&server).build().unwrap());
    let mut watch = async |seconds: u64| {
        for _ in 0..seconds / TICK.as_secs() {
            monitor.pass().await;
            clock.advance(TICK);
        }
    };
    *part.0.lock() = 2;
    watch(300).await;
    assert!(server.taken().is_empty() && server.calls() > 1, "it is tried again");
    server.behaves(Manner::default());
    watch(900).await;
    *part.0.lock() = 0;
    watch(600).await;

    let taken = server.taken();
    let head = |mail: usize, name: &str| {
        let line = taken[mail].text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim_start_matches(": ").to_owned()
    };
    assert_eq!(taken.len(), 2, "{taken:?}");
    assert_eq!(head(1, "Subject"), format!("Re: {}", head(0, "Subject")));
    assert_eq!(head(1, "In-Reply-To"), head(0, "Message-ID"));
    assert!(taken[0].text.contains("[messaging] critical") && taken[1].text.contains("[messaging] resolved"));
}
