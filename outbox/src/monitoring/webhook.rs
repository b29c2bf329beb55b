//! Notices by HTTP: a web-hook of one's own, or a chat's.

use std::{future::Future, pin::Pin, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use hyper::{Request, header};
use serde_json::{Value as Json, json};

use super::{Channel, Kind, Notice};
use crate::notification::{Caller, Key, Reach, Signed};

/// Longest text that chats take, with room for their own: WeCom's 4,096 bytes are the least.
const LONGEST_TEXT: usize = 3_800;

/// What the other side understands.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Format {
    /// A JSON object with `kind`, `group`, `severity`, `since`, `at`, `title` and `findings`; signed as a notification of type
    /// `alert` when there is a key.
    Json(Option<Key>),
    /// A robot of DingTalk; with a secret, its URL is signed as it demands.
    DingTalk(Option<Key>),
    /// A robot of WeCom.
    WeCom,
    /// An incoming web-hook of Slack.
    Slack,
}

/// Posts notices to a URL. Chats are reached by https, for which the feature `notification-tls` is needed.
#[derive(Clone)]
pub struct WebHook {
    url: String,
    format: Format,
    caller: Caller,
}

impl WebHook {
    /// Posts to that URL, at public addresses, in 3 s for the connection and 10 s in all.
    pub fn new(url: impl Into<String>, format: Format) -> Self {
        let caller = Caller::new(Reach::public(), Duration::from_secs(3), Duration::from_secs(10));
        Self { url: url.into(), format, caller }
    }

    /// Which addresses are called.
    #[must_use]
    pub fn reach(mut self, reach: Reach) -> Self {
        self.caller = self.caller.reach(reach);
        self
    }

    /// Trusts certificates of these authorities (PEM) too, beside those that Mozilla trusts.
    ///
    /// # Errors
    /// [`NoAuthority`](crate::notification::NoAuthority) when there is no certificate in the text, or one that cannot be read.
    #[cfg(feature = "notification-tls")]
    pub fn trust(mut self, pem: &[u8]) -> Result<Self, crate::notification::NoAuthority> {
        self.caller.trust(pem)?;
        Ok(self)
    }

    async fn post(&self, notice: &Notice) -> Result<(), String> {
        let body = self.format.body(notice).to_string();
        let mut url = self.url.clone();
        let mut request = Request::post("/").header(header::CONTENT_TYPE, "application/json");
        match &self.format {
            Format::Json(Some(key)) => {
                let id = format!("{}/{}/{}", notice.group, notice.since_ms, notice.at_ms);
                let signed = Signed::Notification { business_type: "alert", business_id: &id, body: body.as_bytes() };
                let signature = signed.sign(std::slice::from_ref(key), notice.at_ms);
                request = request.header("X-Business-Type", "alert").header("X-Business-ID", &id);
                request = request.header("X-Signature", signature);
            }
            Format::DingTalk(Some(secret)) => {
                url.push(if url.contains('?') { '&' } else { '?' });
                url.push_str(&signed_by_dingtalk(secret, notice.at_ms));
            }
            _ => {}
        }
        let answer = self.caller.post(&url, request, body.into()).await?;
        // chats say 200 and mean no
        let code = serde_json::from_str::<Json>(&answer).ok().and_then(|answer| answer.get("errcode")?.as_i64());
        match code {
            None | Some(0) => Ok(()),
            Some(code) => Err(format!("the answer is errcode {code}: {answer}")),
        }
    }
}

impl Channel for WebHook {
    fn name(&self) -> &str {
        self.format.name() // and not the URL, which is a chat's secret
    }

    fn tell<'a>(&'a self, notice: &'a Notice) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>> {
        Box::pin(self.post(notice))
    }
}

impl Format {
    fn name(&self) -> &'static str {
        match self {
            Self::Json(_) => "web-hook",
            Self::DingTalk(_) => "DingTalk",
            Self::WeCom => "WeCom",
            Self::Slack => "Slack",
        }
    }

    fn body(&self, notice: &Notice) -> Json {
        let title = notice.title();
        let text = || cut(&format!("**{title}**\n\n{}", notice.lines()));
        match self {
            Self::Json(_) => own(notice),
            Self::DingTalk(_) => json!({ "msgtype": "markdown", "markdown": { "title": title, "text": text() } }),
            Self::WeCom => json!({ "msgtype": "markdown", "markdown": { "content": text() } }),
            Self::Slack => json!({ "text": cut(&slack(&format!("{title}\n{}", notice.lines()))) }),
        }
    }
}

fn own(notice: &Notice) -> Json {
    let findings = notice
        .findings
        .iter()
        .map(|one| json!({ "rule": one.rule, "part": one.part, "severity": one.severity.as_str(), "text": one.text }));
    let level = match notice.kind {
        Kind::Escalated(level) => Some(level),
        _ => None,
    };
    json!({
        "kind": notice.kind.as_str(),
        "level": level,
        "group": notice.group,
        "severity": notice.severity.as_str(),
        "since": notice.since_ms,
        "at": notice.at_ms,
        "title": notice.title(),
        "findings": findings.collect::<Vec<_>>(),
    })
}

/// Slack takes these three for its own.
fn slack(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn cut(text: &str) -> String {
    let end = (0..=LONGEST_TEXT.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.get(..end).unwrap_or_default().to_owned()
}

/// `timestamp=…&sign=…`: the HMAC of time and secret under the secret.
fn signed_by_dingtalk(secret: &Key, now_ms: i64) -> String {
    let sign = BASE64_STANDARD.encode(secret.authenticate_with_itself(now_ms));
    let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("sign", &sign).finish();
    format!("timestamp={now_ms}&{query}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitoring::{Finding, Severity};

    fn notice(findings: usize) -> Notice {
        let finding = |n: usize| Finding {
            group: "messaging".to_owned(),
            rule: "old".to_owned(),
            part: format!("inbox/{n}"),
            severity: Severity::Warning,
            text: "the oldest row waits for <301> s".to_owned(),
        };
        Notice {
            kind: Kind::Opened,
            group: "messaging".to_owned(),
            severity: Severity::Warning,
            since_ms: 0,
            at_ms: 120_000,
            findings: (0..findings).map(finding).collect(),
        }
    }

    #[test]
    fn each_chat_gets_its_own_format() {
        let ding = Format::DingTalk(None).body(&notice(1));
        assert_eq!(ding["msgtype"], "markdown");
        assert_eq!(ding["markdown"]["title"], "[messaging] warning (for 2 min)");
        assert!(
            ding["markdown"]["text"].as_str().unwrap().contains("- inbox/0: the oldest row waits for <301> s (old)")
        );
        let wecom = Format::WeCom.body(&notice(1));
        assert!(wecom["markdown"]["content"].as_str().unwrap().starts_with("**[messaging] warning"));
        let slack = Format::Slack.body(&notice(1));
        assert!(slack["text"].as_str().unwrap().contains("&lt;301&gt;"));
        let own = Format::Json(None).body(&notice(1));
        assert_eq!((&own["kind"], &own["findings"][0]["part"]), (&"opened".into(), &"inbox/0".into()));
    }

    #[test]
    fn a_long_notice_fits_into_every_chat() {
        let wecom = Format::WeCom.body(&notice(500));
        let text = wecom["markdown"]["content"].as_str().unwrap();
        assert!(text.len() <= 4_096 && text.contains("and 480 more"), "{text}");
        assert_eq!(cut(&"é".repeat(3_000)).len(), LONGEST_TEXT);
    }

    #[test]
    fn dingtalks_signature_is_the_documented_one() {
        // printf '1700000000000\nSEC1' | openssl dgst -sha256 -hmac SEC1 -binary | base64
        let query = signed_by_dingtalk(&Key::new("SEC1"), 1_700_000_000_000);
        assert_eq!(query, "timestamp=1700000000000&sign=ukR4%2BWoOOBTGaOauYqugxVrMSFyr92q4hPxJxuOkiio%3D");
    }
}
