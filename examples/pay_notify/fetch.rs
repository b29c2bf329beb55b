//! How a receiver fetches what it missed: signed GETs, page by page.

use std::{error::Error, net::SocketAddr, slice};

use serde_json::Value as Json;
use tenonmq_outbox::{Clock, SystemClock, notification::Signed};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{merchant::Merchant, shop::MERCHANT};

/// Fetches what the merchant has not answered 200, and books it. Returns how much was new to it.
pub(crate) async fn missed(merchant: &Merchant, shop: SocketAddr) -> Result<u32, Box<dyn Error>> {
    let (mut new, mut query) = (0, "limit=2".to_owned());
    loop {
        let page = page(merchant, shop, &query).await?;
        for one in page["notifications"].as_array().ok_or("no notifications in the page")? {
            let text = |name: &str| one[name].as_str().ok_or_else(|| format!("a notification has no {name}"));
            let booked = merchant.book(text("businessId")?, text("content")?.as_bytes()).await;
            new += u32::from(booked.map_err(|error| error.to_string())?);
        }
        if page["more"] != true {
            return Ok(new);
        }
        query = format!("limit=2&after={}", page["next"].as_str().ok_or("no cursor")?);
    }
}

async fn page(merchant: &Merchant, shop: SocketAddr, query: &str) -> Result<Json, Box<dyn Error>> {
    let signed = Signed::Query { receiver: MERCHANT, query };
    let signature = signed.sign(slice::from_ref(merchant.key()), SystemClock.now_ms());
    let call = format!(
        "GET /notifications?{query} HTTP/1.1\r\nhost: {shop}\r\nconnection: close\r\n\
         x-receiver: {MERCHANT}\r\nx-signature: {signature}\r\n\r\n"
    );
    let mut stream = TcpStream::connect(shop).await?;
    stream.write_all(call.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
    if !head.starts_with("HTTP/1.1 200") {
        return Err(format!("the query is answered {head}: {body}").into());
    }
    Ok(serde_json::from_str(body)?)
}
