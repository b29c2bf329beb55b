//! The query interface: a receiver fetches what it missed.
//!
//! `GET /notifications`, with the headers `X-Receiver` and `X-Signature` ([`Signed::Query`]) and these parameters, all
//! optional:
//!
//! | parameter | what |
//! |---|---|
//! | `which` | `missed` (default): what the receiver has not answered 200; `all`: the others too |
//! | `type` | only this business type |
//! | `limit` | most notifications of a page, 1 to 100; default 50 |
//! | `after` | the cursor of the page before |
//!
//! The answer is `{"notifications": [...], "next": "...", "more": true}`. While `more` is true, go on with `next`: a page may be
//! short, and even empty, for it looks at a bounded number of rows and has a bounded size. Keep the last `next`, and begin
//! with it the next time. Each notification has `businessType`,
//! `businessId`, `status` (pending, done, exhausted, dropped), `createdAt` (ms since the Unix epoch), `contentType` and either
//! `content` or, where the content is no text, `contentBase64`.
//!
//! Fetching changes nothing: what is pending is still delivered, and the receiver recognises it by its key.
//!
//! | status | when |
//! |---|---|
//! | 400 | a parameter is wrong or unknown, or a cursor is not one that this receiver was given |
//! | 401 | no signature, or one that does not hold; an unknown receiver is told the same |
//! | 503 | the database is away |

use axum::{
    Router,
    body::Body,
    extract::{RawQuery, State},
    http::{HeaderMap, Response, StatusCode, header},
    routing,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, Mac};
use serde_json::{Value as Json, json};
use sha2::Sha256;

use super::{
    Key, Notifier, Signed,
    signature::{hex, unhex},
};
use crate::{
    database::{Dialect, Row, Unreadable, Value, padded},
    error::Error,
    message::LONGEST_KEY,
    work::Status,
};

/// Rows that one page looks at.
const MOST_ROWS: u32 = 1_000;
/// Bytes of content after which a page ends; one notification may be larger.
const MOST_BYTES: usize = 4 << 20;
const MOST_A_PAGE: usize = 100;

impl<D: Dialect> Notifier<D> {
    /// The query interface, to be mounted in a service: `Router::new().nest("/messaging", notifier.router())`. Signatures
    /// cover the query string, not the path, so that proxies may move it. Limit requests in front of it as for any other.
    pub fn router(&self) -> Router {
        Router::new().route("/notifications", routing::get(fetch::<D>)).with_state(self.clone())
    }
}

/// A request that is not served.
#[derive(Debug)]
struct Refusal(StatusCode, String);

async fn fetch<D: Dialect>(
    State(notifier): State<Notifier<D>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response<Body> {
    let page = async {
        let query = query.unwrap_or_default();
        let (receiver, keys) = notifier.authenticate(&headers, &query)?;
        let wanted = Wanted::parse(&query, receiver, &keys).map_err(|what| Refusal(StatusCode::BAD_REQUEST, what))?;
        notifier.page(&wanted).await.map(|page| page.into_json(&wanted, &keys)).map_err(|error| {
            tracing::warn!(%error, receiver, "a receiver cannot be shown its notifications");
            Refusal(StatusCode::SERVICE_UNAVAILABLE, "not available at this moment; try again".to_owned())
        })
    };
    match page.await {
        Ok(page) => answer(StatusCode::OK, &page),
        Err(Refusal(status, error)) => answer(status, &json!({ "error": error })),
    }
}

fn answer(status: StatusCode, body: &Json) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

/// What a receiver asks for.
#[derive(Debug, PartialEq, Eq)]
struct Wanted<'a> {
    receiver: &'a str,
    only_missed: bool,
    business_type: Option<String>,
    limit: usize,
    after: i64,
}

impl<'a> Wanted<'a> {
    /// The error names the parameter.
    fn parse(query: &str, receiver: &'a str, keys: &[Key]) -> Result<Self, String> {
        let mut wanted = Self { receiver, only_missed: true, business_type: None, limit: 50, after: 0 };
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match (&*name, &*value) {
                ("which", "missed") => wanted.only_missed = true,
                ("which", "all") => wanted.only_missed = false,
                ("which", _) => return Err("which: neither missed nor all".to_owned()),
                ("type", "") => return Err("type: it is empty".to_owned()),
                ("type", value) => wanted.business_type = Some(value.to_owned()),
                ("limit", value) => {
                    let limit = value.parse().ok().filter(|limit| (1..=MOST_A_PAGE).contains(limit));
                    wanted.limit = limit.ok_or_else(|| format!("limit: no number from 1 to {MOST_A_PAGE}"))?;
                }
                ("after", value) => {
                    let after = read_cursor(value, receiver, keys);
                    wanted.after = after.ok_or_else(|| "after: no cursor that this receiver was given".to_owned())?;
                }
                (other, _) => {
                    let shown: String = other.chars().take(40).collect();
                    return Err(format!("{shown}: there is no such parameter"));
                }
            }
        }
        Ok(wanted)
    }

    fn covers(&self, seen: &Seen) -> bool {
        let is_missed = seen.status != Status::Done.as_str();
        (is_missed || !self.only_missed)
            && self.business_type.as_ref().is_none_or(|wanted| *wanted == seen.business_type)
    }
}

/// A cursor is the last row that was seen, sealed with the receiver's key.
fn cursor(row: i64, receiver: &str, key: &Key) -> String {
    format!("{row}-{}", hex(&seal(row, receiver, key).finalize().into_bytes()))
}

fn read_cursor(text: &str, receiver: &str, keys: &[Key]) -> Option<i64> {
    let (row, sealed) = text.split_once('-')?;
    let row: i64 = row.parse().ok()?;
    let sealed = unhex(sealed)?;
    keys.iter().any(|key| seal(row, receiver, key).verify_slice(&sealed).is_ok()).then_some(row)
}

fn seal(row: i64, receiver: &str, key: &Key) -> Hmac<Sha256> {
    key.digest(&[b"cursor\n", receiver.as_bytes(), b"\n", row.to_string().as_bytes()])
}

/// A row, without its content.
struct Seen {
    row: i64,
    status: String,
    business_type: String,
    created_ms: i64,
    bytes: usize,
}

/// One answer.
struct Page {
    notifications: Vec<Json>,
    /// The last row that was looked at.
    last: i64,
    is_cut: bool,
}

impl Page {
    fn into_json(self, wanted: &Wanted<'_>, keys: &[Key]) -> Json {
        let next = keys.first().map(|key| cursor(self.last, wanted.receiver, key));
        json!({ "notifications": self.notifications, "next": next, "more": self.is_cut })
    }
}

impl<D: Dialect> Notifier<D> {
    /// Who asks, and their keys.
    fn authenticate<'h>(&self, headers: &'h HeaderMap, query: &str) -> Result<(&'h str, Vec<Key>), Refusal> {
        let refused = |what: &str| Refusal(StatusCode::UNAUTHORIZED, what.to_owned());
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let receiver = text("x-receiver").filter(|name| !name.is_empty() && name.len() <= LONGEST_KEY);
        let receiver = receiver.ok_or_else(|| refused("the header X-Receiver is missing or too long"))?;
        let signature = text("x-signature").ok_or_else(|| refused("the header X-Signature is missing"))?;
        let keys = self.0.keys.of(receiver);
        let now_ms = self.0.clock.now_ms();
        Signed::Query { receiver, query }
            .verify(&keys, signature, now_ms, self.0.tolerance)
            .map_err(|fault| refused(&fault.to_string()))?;
        Ok((receiver, keys))
    }

    async fn page(&self, wanted: &Wanted<'_>) -> Result<Page, Error> {
        // PostgreSQL's length is no BIGINT, as all numbers here; this sum is
        let sql = self.0.table.sql(
            "SELECT id, status, business_type, created_at, LENGTH(content) + 0 * id FROM {table} \
             WHERE receiver = ? AND id > ? ORDER BY id LIMIT ?",
        );
        let values = [wanted.receiver.into(), wanted.after.into(), MOST_ROWS.into()];
        let rows = D::fetch(&mut *self.0.pool.acquire().await?, &sql, &values).await?;
        let is_whole = rows.len() == MOST_ROWS as usize;
        // what is younger may have neighbours with lower ids that are not committed yet
        let settled_ms = self.0.clock.now_ms().saturating_sub(crate::clock::millis(self.0.settling));
        let (mut ids, mut last, mut bytes, mut is_cut) = (Vec::new(), wanted.after, 0, is_whole);
        for seen in rows.into_iter().map(read_seen) {
            let Ok(seen) = seen else { continue }; // a row that nobody can read holds no other up
            if seen.created_ms > settled_ms {
                is_cut = false;
                break;
            }
            let is_wanted = wanted.covers(&seen);
            if is_wanted && (ids.len() == wanted.limit || (!ids.is_empty() && bytes + seen.bytes > MOST_BYTES)) {
                is_cut = true;
                break;
            }
            last = seen.row;
            if is_wanted {
                bytes += seen.bytes;
                ids.push(seen.row);
            }
        }
        Ok(Page { notifications: self.contents(&ids).await?, last, is_cut })
    }

    async fn contents(&self, ids: &[i64]) -> Result<Vec<Json>, Error> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let sql = self.0.table.sql_of_ids(
            "SELECT business_type, business_id, status, created_at, content_type, content FROM {table} \
             WHERE id IN ({ids}) ORDER BY id",
            ids,
        );
        let values: Vec<Value<'_>> = padded(ids).map(Value::Int).collect();
        let rows = D::fetch(&mut *self.0.pool.acquire().await?, &sql, &values).await?;
        Ok(rows.into_iter().filter_map(|row| shown(row).ok()).collect())
    }
}

fn read_seen(mut row: Row) -> Result<Seen, Unreadable> {
    Ok(Seen {
        row: row.int("id")?,
        status: row.text("status")?,
        business_type: row.text("business_type")?,
        created_ms: row.int("created_at")?,
        bytes: usize::try_from(row.int("length").unwrap_or(0)).unwrap_or(0),
    })
}

fn shown(mut row: Row) -> Result<Json, Unreadable> {
    let mut shown = json!({
        "businessType": row.text("business_type")?,
        "businessId": row.text("business_id")?,
        "status": row.text("status")?,
        "createdAt": row.int("created_at")?,
        "contentType": row.text("content_type")?,
    });
    let content = row.bytes("content")?;
    match std::str::from_utf8(&content) {
        Ok(text) => shown["content"] = text.into(),
        Err(_) => shown["contentBase64"] = BASE64_STANDARD.encode(&content).into(),
    }
    Ok(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Result<Wanted<'static>, String> {
        Wanted::parse(query, "merchant-7", &[Key::new("k")])
    }

    #[test]
    fn a_wrong_parameter_is_named() {
        for (query, told) in [
            ("which=some", "which"),
            ("limit=0", "limit"),
            ("limit=101", "limit"),
            ("limit=-1", "limit"),
            ("type=", "type"),
            ("after=7", "after"),
            ("after=7-00", "after"),
            ("afer=7", "afer: there is no such"),
        ] {
            let error = parse(query).unwrap_err();
            assert!(error.starts_with(told), "{query}: {error}");
        }
        let wanted = parse("which=all&type=paid&limit=100").unwrap();
        assert_eq!((wanted.only_missed, wanted.business_type.as_deref(), wanted.limit), (false, Some("paid"), 100));
    }

    #[test]
    fn a_cursor_is_good_for_the_receiver_that_it_was_given_to() {
        let (key, other) = (Key::new("k"), Key::new("l"));
        let given = cursor(42, "merchant-7", &key);
        assert_eq!(read_cursor(&given, "merchant-7", &[other.clone(), key.clone()]), Some(42));
        assert_eq!(read_cursor(&given, "merchant-8", std::slice::from_ref(&key)), None);
        assert_eq!(read_cursor(&given, "merchant-7", &[other]), None);
        assert_eq!(read_cursor(&given.replace("42", "43"), "merchant-7", &[key]), None);
    }
}
