//! From a notice to a mail.

use std::time::{Duration, SystemTime};

use lettre::{
    Message,
    message::{
        Mailbox,
        header::{ContentType, HeaderName, HeaderValue},
    },
};

use crate::monitoring::{Kind, Notice};

/// The mail, in ASCII whatever the notice holds.
pub(super) fn written(notice: &Notice, from: &Mailbox, to: &[Mailbox]) -> Result<Message, lettre::error::Error> {
    let domain = from.email.domain();
    let outage = format!("outage-{}-{}", plain(&notice.group), notice.since_ms);
    let first = format!("<{outage}@{domain}>");
    let is_first = notice.kind == Kind::Opened;
    let since = httpdate::fmt_http_date(time(notice.since_ms));
    let re = if is_first { "" } else { "Re: " };
    let mut mail = Message::builder()
        .from(from.clone())
        .date(time(notice.at_ms))
        .subject(format!("{re}[{}] trouble since {since}", notice.group))
        .header(ContentType::TEXT_PLAIN)
        // nobody's holiday answers it
        .raw_header(HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned()));
    mail = if is_first {
        mail.message_id(Some(first))
    } else {
        let own = format!("<{outage}-{}-{}@{domain}>", notice.kind.as_str(), notice.at_ms);
        mail.message_id(Some(own)).in_reply_to(first.clone()).references(first)
    };
    for receiver in to {
        mail = mail.to(receiver.clone());
    }
    mail.body(format!("{}\n\n{}", notice.title(), notice.lines()))
}

/// A time that HTTP's dates can hold: they end with the year 9999.
fn time(ms: i64) -> SystemTime {
    const LAST_MS: i64 = 253_402_300_799_000;
    let ms = u64::try_from(ms.clamp(0, LAST_MS)).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::from_millis(ms)
}

/// A group's name, as far as it can be part of an id.
fn plain(group: &str) -> String {
    group.chars().take(60).map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitoring::{Finding, Severity};

    fn mail(kind: Kind, group: &str, text: &str) -> String {
        let finding = Finding {
            group: group.to_owned(),
            rule: "exhausted".to_owned(),
            part: "outbox".to_owned(),
            severity: Severity::Critical,
            text: text.to_owned(),
        };
        let notice = Notice {
            kind,
            group: group.to_owned(),
            severity: Severity::Critical,
            since_ms: 1_700_000_000_000,
            at_ms: 1_700_000_060_000,
            findings: vec![finding],
        };
        let mailbox = |text: &str| text.parse::<Mailbox>().unwrap();
        let to = [mailbox("ann@shop.example"), mailbox("Bob <bob@shop.example>")];
        let written = written(&notice, &mailbox("alerts@shop.example"), &to).unwrap();
        String::from_utf8(written.formatted()).unwrap()
    }

    #[test]
    fn the_mails_of_one_outage_are_a_thread() {
        let first = mail(Kind::Opened, "messaging", "2 rows are given up");
        let id = "<outage-messaging-1700000000000@shop.example>";
        for line in [
            "Subject: [messaging] trouble since Tue, 14 Nov 2023 22:13:20 GMT",
            "To: ann@shop.example, Bob <bob@shop.example>",
            "Auto-Submitted: auto-generated",
            "[messaging] critical (for 1 min)",
            "- outbox: 2 rows are given up (exhausted)",
            &format!("Message-ID: {id}"),
        ] {
            assert!(first.lines().any(|found| found == line), "{line} in\n{first}");
        }
        for (kind, own) in [(Kind::Changed, "changed"), (Kind::Escalated(1), "escalated"), (Kind::Resolved, "resolved")]
        {
            let next = mail(kind, "messaging", "");
            for line in [
                "Subject: Re: [messaging] trouble since Tue, 14 Nov 2023 22:13:20 GMT".to_owned(),
                format!("References: {id}"),
                format!("In-Reply-To: {id}"),
                format!("Message-ID: <outage-messaging-1700000000000-{own}-1700000060000@shop.example>"),
            ] {
                assert!(next.lines().any(|found| found == line), "{line} in\n{next}");
            }
        }
    }

    #[test]
    fn whatever_a_notice_holds_adds_no_header_and_is_ascii() {
        let evil = mail(Kind::Opened, "a\r\nBcc: eve@evil.example\r\n\r\nx", "订单\r\n.\r\nQUIT\0");
        assert!(evil.is_ascii(), "{evil}");
        let head = evil.split("\r\n\r\n").next().unwrap();
        assert!(!head.lines().any(|line| line.starts_with("Bcc")), "{head}");
    }
}
