//! The merchant: an endpoint that behaves badly, and books that are in order all the same.

use std::{
    collections::HashMap,
    error::Error,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use serde_json::Value as Json;
use sqlx::{Sqlite, SqlitePool, Transaction};
use tenonmq_outbox::{
    Clock, Handled, Inbox, Incoming, SystemClock,
    notification::{Key, Signed},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::fate::Fate;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
/// How old a notification may be: what is older was recorded by somebody and sent again.
const TOLERANCE: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub(crate) struct Merchant(Arc<Shared>);

struct Shared {
    pool: SqlitePool,
    inbox: Inbox<Sqlite>,
    key: Key,
    address: SocketAddr,
    /// Calls so far, by order.
    calls: Mutex<HashMap<u32, u32>>,
    copies: AtomicU32,
    forged: AtomicU32,
}

impl Merchant {
    pub(crate) async fn open(path: &Path, key: Key) -> Result<Self, Box<dyn Error>> {
        let pool = tenonmq_examples::database(path).await?;
        sqlx::query("CREATE TABLE payments (order_id INTEGER NOT NULL, amount INTEGER NOT NULL)")
            .execute(&pool)
            .await?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let merchant = Self(Arc::new(Shared {
            inbox: Inbox::builder(pool.clone(), "payments").build(),
            pool,
            key,
            address: listener.local_addr()?,
            calls: Mutex::default(),
            copies: AtomicU32::new(0),
            forged: AtomicU32::new(0),
        }));
        let serving = merchant.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let merchant = serving.clone();
                tokio::spawn(async move {
                    if let Err(error) = merchant.serve(stream).await {
                        tracing::warn!(%error, "a call ended");
                    }
                });
            }
        });
        Ok(merchant)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.address
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/paid", self.0.address)
    }

    pub(crate) fn key(&self) -> &Key {
        &self.0.key
    }

    async fn serve(&self, mut stream: TcpStream) -> Result<(), Box<dyn Error + Send + Sync>> {
        let (head, body) = read_call(&mut stream).await?;
        let (business_type, business_id) = (header(&head, "x-business-type"), header(&head, "x-business-id"));
        let signed = Signed::Notification { business_type, business_id, body: &body };
        let now_ms = SystemClock.now_ms();
        let signature = header(&head, "x-signature");
        if signed.verify(std::slice::from_ref(self.key()), signature, now_ms, TOLERANCE).is_err() {
            self.0.forged.fetch_add(1, Ordering::Relaxed);
            return Ok(stream.write_all(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n").await?);
        }
        let order = order_of(&body)?;
        let call = {
            let mut calls = self.0.calls.lock().unwrap_or_else(PoisonError::into_inner);
            let call = calls.entry(order).or_default();
            *call += 1;
            *call
        };
        let answer = match (Fate::of(order), call) {
            (Fate::Hangs, 1) => {
                let _closed = stream.read(&mut [0]).await?; // until the courier hangs up
                return Ok(());
            }
            (Fate::Fails, 1 | 2) | (Fate::NeverAnswers, _) => "HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n",
            (Fate::Redirects, 1) => "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
            (Fate::Lies, 1) => "HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nwe have it, hon",
            (Fate::AsksForPause, 1) => "HTTP/1.1 503 Busy\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n",
            (Fate::LosesAnswer, 1) => {
                self.book(business_id, &body).await?;
                return Ok(());
            }
            _ => {
                self.book(business_id, &body).await?;
                OK
            }
        };
        Ok(stream.write_all(answer.as_bytes()).await?)
    }

    /// Books a payment once, however often it is told of it. False for a copy.
    pub(crate) async fn book(&self, business_id: &str, body: &[u8]) -> Result<bool, Box<dyn Error + Send + Sync>> {
        let payment: Json = serde_json::from_slice(body)?;
        let (order, amount) = (order_of(body)?, payment["amount"].as_i64().ok_or("no amount")?);
        let message = Incoming::new("paid", business_id, body.to_vec());
        let mut transaction = self.0.pool.begin_with("BEGIN IMMEDIATE").await?;
        let book = async |transaction: &mut Transaction<'_, Sqlite>| {
            let book = sqlx::query("INSERT INTO payments (order_id, amount) VALUES (?, ?)").bind(order).bind(amount);
            book.execute(&mut **transaction).await
        };
        let handled = self.0.inbox.handle(&mut transaction, &message, book).await?;
        transaction.commit().await?;
        let is_new = matches!(handled, Handled::Now(_));
        self.0.copies.fetch_add(u32::from(!is_new), Ordering::Relaxed);
        Ok(is_new)
    }

    /// How often an order was booked, and the sum of it.
    pub(crate) async fn booked(&self, order: u32) -> Result<(i64, i64), Box<dyn Error>> {
        let sql = "SELECT COUNT(*), COALESCE(SUM(amount), 0) FROM payments WHERE order_id = ?";
        Ok(sqlx::query_as(sql).bind(order).fetch_one(&self.0.pool).await?)
    }

    /// The number of bookings, copies that changed nothing, and calls that were refused.
    pub(crate) async fn totals(&self) -> Result<(i64, u32, u32), Box<dyn Error>> {
        let (bookings,) = sqlx::query_as("SELECT COUNT(*) FROM payments").fetch_one(&self.0.pool).await?;
        Ok((bookings, self.0.copies.load(Ordering::Relaxed), self.0.forged.load(Ordering::Relaxed)))
    }
}

/// Tells the merchant of a payment that nobody made, without the key.
pub(crate) async fn forge(merchant: SocketAddr, order: u32) -> Result<(), Box<dyn Error>> {
    let body = format!("{{\"order\":{order},\"amount\":1000000}}");
    let signed = Signed::Notification { business_type: "paid", business_id: "forged", body: body.as_bytes() };
    let signature = signed.sign(&[Key::new("a guess")], SystemClock.now_ms());
    let call = format!(
        "POST /paid HTTP/1.1\r\nhost: {merchant}\r\ncontent-length: {}\r\nx-business-type: paid\r\n\
         x-business-id: forged\r\nx-signature: {signature}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(merchant).await?;
    stream.write_all(call.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    if answer.starts_with("HTTP/1.1 401") {
        Ok(())
    } else {
        Err(format!("a forged call is answered {answer:?}").into())
    }
}

fn order_of(body: &[u8]) -> Result<u32, Box<dyn Error + Send + Sync>> {
    let payment: Json = serde_json::from_slice(body)?;
    Ok(payment["order"].as_u64().and_then(|order| u32::try_from(order).ok()).ok_or("no order")?)
}

fn header<'a>(head: &'a str, name: &str) -> &'a str {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
}

async fn read_call(stream: &mut TcpStream) -> Result<(String, Vec<u8>), Box<dyn Error + Send + Sync>> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4) {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let length: usize = header(&head, "content-length").parse()?;
            if bytes.len() >= end + length {
                return Ok((head, bytes[end..].to_vec()));
            }
        }
        if bytes.len() > 1 << 16 || stream.read_buf(&mut bytes).await? == 0 {
            return Err("no whole call".into());
        }
    }
}
