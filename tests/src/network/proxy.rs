//! A proxy that hands replies over in another order, later, or cuts the connection in the middle of one.

use std::{io, net::SocketAddr};

use bytes::BytesMut;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};
use tenonmq_protocol::{Command, DEFAULT_MAX_FRAME, FrameView, Serialization};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinHandle,
};

use super::wire::invalid;

/// What it does to what the server says.
#[derive(Debug, Clone, Default)]
pub struct Manner {
    /// So many replies at most are kept back and then handed over in another order; 0 leaves the order.
    pub mixed: usize,
    /// A connection is cut within so many frames, at a byte of the last; 0 leaves it.
    pub cut_within: usize,
    /// In bodies the first text becomes the second: other addresses, in routes.
    pub rewrite: Option<(String, String)>,
    /// Choices are made from it.
    pub seed: u64,
}

/// A running proxy; ends when it is dropped, but for connections that it has.
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a port of its own.
    ///
    /// # Errors
    /// The system's.
    pub async fn start(to: SocketAddr, manner: Manner) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            let mut seed = manner.seed;
            while let Ok((client, _)) = listener.accept().await {
                seed += 1;
                tokio::spawn(carry(client, to, Manner { seed, ..manner.clone() }));
            }
        });
        Ok(Self { address, task })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Ends both connections when either side does, or when it is time to cut.
async fn carry(client: TcpStream, to: SocketAddr, manner: Manner) -> io::Result<()> {
    let (mut from_client, to_client) = client.into_split();
    let (from_server, mut to_server) = TcpStream::connect(to).await?.into_split();
    tokio::select! {
        asked = tokio::io::copy(&mut from_client, &mut to_server) => asked.map(drop),
        said = say(from_server, to_client, manner) => said,
    }
}

async fn say(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, manner: Manner) -> io::Result<()> {
    let mut random = StdRng::seed_from_u64(manner.seed);
    let mut left = if manner.cut_within > 0 { random.random_range(1..=manner.cut_within) } else { usize::MAX };
    let (mut input, mut kept) = (BytesMut::new(), Vec::new());
    loop {
        let read = from.read_buf(&mut input);
        // what is kept leaves when nothing more comes for a moment, so that nobody waits for ever
        let read = if kept.is_empty() { Some(read.await) } else { tokio::time::timeout(PAUSE, read).await.ok() };
        match read {
            Some(Ok(0)) => return Ok(()),
            Some(read) => drop(read?),
            None => left = hand_over(&mut to, &mut kept, &mut random, left).await?,
        }
        while let Some(frame) = next(&mut input, &manner)? {
            kept.push(frame);
            if kept.len() > manner.mixed {
                left = hand_over(&mut to, &mut kept, &mut random, left).await?;
            }
        }
    }
}

const PAUSE: std::time::Duration = std::time::Duration::from_millis(5);

/// How many frames are left until the cut.
async fn hand_over(
    to: &mut OwnedWriteHalf,
    kept: &mut Vec<BytesMut>,
    random: &mut StdRng,
    mut left: usize,
) -> io::Result<usize> {
    kept.shuffle(random);
    for frame in kept.drain(..) {
        left -= 1;
        if left == 0 {
            to.write_all(frame.get(..random.random_range(0..frame.len())).unwrap_or_default()).await?;
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        to.write_all(&frame).await?;
    }
    Ok(left)
}

/// The next frame as it is to be handed over.
fn next(input: &mut BytesMut, manner: &Manner) -> io::Result<Option<BytesMut>> {
    let Some(frame) = FrameView::peek(input, DEFAULT_MAX_FRAME).map_err(invalid)? else { return Ok(None) };
    let (len, command) = (frame.len, Command::decode(&frame).map_err(invalid)?);
    let bytes = input.split_to(len);
    let Some((from, to)) = &manner.rewrite else { return Ok(Some(bytes)) };
    let Ok(text) = std::str::from_utf8(&command.body) else { return Ok(Some(bytes)) };
    let mut out = BytesMut::new();
    Command { body: text.replace(from, to).into(), ..command }.encode(Serialization::Json, &mut out);
    Ok(Some(out))
}
