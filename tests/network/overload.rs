//! More than the broker can take: sends come at a set rate, whatever becomes of those before.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::BytesMut;
use tenonmq_protocol::{Command, Serialization, header::SendMessage};
use tenonmq_tests::network::TOPIC;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use crate::{Failure, broker::BrokerProcess};

const CONNECTIONS: u64 = 16;
const BODY: usize = 128;
/// Where a frame with a binary header has its code and its opaque.
const CODE: usize = 8;
const OPAQUE: usize = 13;
/// Send times that are remembered for each connection.
const REMEMBERED: usize = 1 << 20;

/// What became of sends.
#[derive(Default)]
struct Outcome {
    /// Microseconds from writing to the answer, of those that were stored.
    stored: Vec<u32>,
    refused: u64,
    other: u64,
}

/// Finds the sustainable rate, then offers half of it, five times as much, and half of it again.
pub(crate) async fn overload(broker: &BrokerProcess, seconds: u64) -> Result<(), Failure> {
    let calm = Duration::from_secs(seconds.div_ceil(2));
    let sustainable = rate(&offered(broker, calm, f64::MAX, Some(32)).await?.1, calm);
    println!("overload: {sustainable:.0} sends/s of {BODY} B with {CONNECTIONS} connections × 32 in flight");
    for (times, time) in [(0.5, calm), (5.0, Duration::from_secs(seconds)), (0.5, calm)] {
        let (written, outcome) = offered(broker, time, sustainable * times, None).await?;
        let Outcome { refused, other, .. } = outcome;
        let stored = rate(&outcome, time);
        let offered = sustainable * times;
        println!(
            "  {times} x: {offered:.0}/s offered, {:.0}/s read by the broker, {stored:.0}/s stored, {:.0}/s refused with 2, \
             {other} others; stored in {}",
            written as f64 / time.as_secs_f64(),
            refused as f64 / time.as_secs_f64(),
            quantiles(outcome.stored)
        );
    }
    println!("  {} MiB private", broker.memory()?);
    Ok(())
}

fn rate(outcome: &Outcome, time: Duration) -> f64 {
    outcome.stored.len() as f64 / time.as_secs_f64()
}

fn quantiles(mut micros: Vec<u32>) -> String {
    micros.sort_unstable();
    let at = |share: f64| micros.get(((micros.len() as f64 * share) as usize).min(micros.len().saturating_sub(1)));
    let show = |share| at(share).map_or(0.0, |&micros| f64::from(micros) / 1000.0);
    format!("{:.1} ms median, {:.1} ms p99, {:.1} ms p99.9", show(0.5), show(0.99), show(0.999))
}

/// How many were written, and what became of them.
async fn offered(
    broker: &BrokerProcess,
    time: Duration,
    rate: f64,
    in_flight: Option<u64>,
) -> Result<(u64, Outcome), Failure> {
    let mut tasks = Vec::new();
    for _ in 0..CONNECTIONS {
        let (read, write) = TcpStream::connect(broker.address).await?.into_split();
        let shared = Arc::new(Shared::new());
        let writing = tokio::spawn(write_all(write, Arc::clone(&shared), time, rate / CONNECTIONS as f64, in_flight));
        tasks.push((writing, tokio::spawn(read_all(read, shared))));
    }
    let (mut written, mut all) = (0, Outcome::default());
    for (writing, reading) in tasks {
        let _open_until_all_is_read = writing.await??;
        let (count, one) = reading.await??;
        written += count;
        all.stored.extend(one.stored);
        all.refused += one.refused;
        all.other += one.other;
    }
    Ok((written, all))
}

struct Shared {
    begin: Instant,
    /// When the send with that number was written, in µs since the beginning.
    written_at: Vec<AtomicU64>,
    written: AtomicU64,
    answered: AtomicU64,
    is_over: AtomicBool,
}

impl Shared {
    fn new() -> Self {
        let written_at = std::iter::repeat_with(AtomicU64::default).take(REMEMBERED).collect();
        let (written, answered, is_over) = Default::default();
        Self { begin: Instant::now(), written_at, written, answered, is_over }
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

async fn write_all(
    mut write: OwnedWriteHalf,
    shared: Arc<Shared>,
    time: Duration,
    rate: f64,
    in_flight: Option<u64>,
) -> Result<OwnedWriteHalf, Failure> {
    let template = template();
    let mut chunk = Vec::new();
    while shared.begin.elapsed() < time {
        let written = shared.written.load(Relaxed);
        let due = match in_flight {
            Some(most) => (shared.answered.load(Relaxed) + most).saturating_sub(written),
            None => ((shared.begin.elapsed().as_secs_f64() * rate) as u64).saturating_sub(written),
        };
        let due = due.min(256).min((REMEMBERED as u64 + shared.answered.load(Relaxed)).saturating_sub(written));
        if due == 0 {
            match in_flight {
                Some(_) => tokio::task::yield_now().await,
                None => tokio::time::sleep(Duration::from_millis(1)).await,
            }
            continue;
        }
        chunk.clear();
        let now = shared.micros();
        for number in written..written + due {
            let at = chunk.len() + OPAQUE;
            chunk.extend_from_slice(&template);
            let opaque = number as usize % REMEMBERED;
            if let Some(place) = chunk.get_mut(at..at + 4) {
                place.copy_from_slice(&(opaque as i32).to_be_bytes());
            }
            if let Some(at) = shared.written_at.get(opaque) {
                at.store(now, Relaxed);
            }
        }
        shared.written.store(written + due, Relaxed);
        let left = time.saturating_sub(shared.begin.elapsed()).max(Duration::from_millis(1));
        match tokio::time::timeout(left, write.write_all(&chunk)).await {
            Ok(done) => done?,
            Err(_) => break, // the broker reads no more: what is left was not offered in time
        }
    }
    shared.is_over.store(true, Relaxed);
    Ok(write)
}

fn template() -> BytesMut {
    let header = SendMessage {
        producer_group: "P_network",
        topic: TOPIC,
        default_topic: "TBW102",
        default_topic_queue_nums: 1,
        ..SendMessage::default()
    };
    let mut frame = BytesMut::new();
    Command::with_header(&header).with_body(vec![7; BODY]).encode(Serialization::Binary, &mut frame);
    frame
}

/// Until the writer has ended and no answer came for a second.
async fn read_all(mut read: OwnedReadHalf, shared: Arc<Shared>) -> Result<(u64, Outcome), Failure> {
    let (mut input, mut outcome) = (BytesMut::with_capacity(1 << 18), Outcome::default());
    loop {
        match tokio::time::timeout(Duration::from_secs(1), read.read_buf(&mut input)).await {
            Ok(Ok(0)) => return Err("the broker closed a connection".into()),
            Ok(read) => drop(read?),
            Err(_) if shared.is_over.load(Relaxed) => break,
            Err(_) => continue,
        }
        let now = shared.micros();
        while let Some(len) = input.first_chunk().map(|len| u32::from_be_bytes(*len) as usize + 4) {
            let Some(frame) = input.get(..len) else { break };
            let code = frame.get(CODE..).and_then(|rest| rest.first_chunk()).map(|code| i16::from_be_bytes(*code));
            let opaque = frame.get(OPAQUE..).and_then(|rest| rest.first_chunk()).map(|at| u32::from_be_bytes(*at));
            let written_at = shared.written_at.get(opaque.unwrap_or(0) as usize).map_or(now, |at| at.load(Relaxed));
            match code {
                Some(0) => outcome.stored.push(u32::try_from(now.saturating_sub(written_at)).unwrap_or(u32::MAX)),
                Some(2) => outcome.refused += 1,
                _ => outcome.other += 1,
            }
            drop(input.split_to(len));
            shared.answered.fetch_add(1, Relaxed);
        }
    }
    Ok((shared.answered.load(Relaxed), outcome))
}
