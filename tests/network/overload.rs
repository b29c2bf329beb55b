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
use tenonmq_tests::network::{self, TOPIC, wire::Wire};
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
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Where a frame with a binary header has its code and its opaque.
const CODE: usize = 8;
const OPAQUE: usize = 13;
/// Send times that are remembered for each connection.
const REMEMBERED: usize = 1 << 20;

/// What a peer's own socket keeps of what it sends: what waits there waits at the peer.
const OWN_BUFFER: usize = 64 * 1024;

/// What became of sends.
#[derive(Default)]
struct Outcome {
    /// Microseconds from writing to the answer, of those that were stored.
    stored: Vec<u32>,
    refused: u64,
    other: u64,
    written: u64,
    /// Microseconds by which this program was late to write.
    late: Vec<u32>,
    /// Sends of a peer that behaves, meanwhile.
    good: Vec<u32>,
    /// And right after the last was written, when answers are still on their way.
    good_after: Vec<u32>,
    /// From then to the last answer.
    settled: Duration,
}

/// Finds the sustainable rate, then offers half of it, five times as much, and half of it again, on the same connections.
pub(crate) async fn overload(broker: &BrokerProcess, seconds: u64) -> Result<(), Failure> {
    let calm = Duration::from_secs(seconds.div_ceil(2));
    let mut peers = Vec::new();
    for _ in 0..CONNECTIONS {
        let stream = TcpStream::connect(broker.address).await?;
        socket2::SockRef::from(&stream).set_send_buffer_size(OWN_BUFFER)?;
        peers.push(stream.into_split());
    }
    let found = offered(broker, &mut peers, calm, f64::MAX, Some(32)).await?;
    let sustainable = rate(found.stored.len() as u64, calm);
    println!("overload: {sustainable:.0} sends/s of {BODY} B with {CONNECTIONS} connections × 32 in flight");
    for (times, time) in [(0.5, calm), (5.0, Duration::from_secs(seconds)), (0.5, calm)] {
        let outcome = offered(broker, &mut peers, time, sustainable * times, None).await?;
        println!(
            "  {times} x: {:.0}/s offered, {:.0}/s read by the broker, {:.0}/s stored, {:.0}/s refused with 2, {} others\n\
             \x20   stored in {}; written late by {}\n\
             \x20   a peer that behaves: {}; right after: {}; all answered after {:.1?}",
            sustainable * times,
            rate(outcome.written, time),
            rate(outcome.stored.len() as u64, time),
            rate(outcome.refused, time),
            outcome.other,
            quantiles(outcome.stored),
            quantiles(outcome.late),
            quantiles(outcome.good),
            quantiles(outcome.good_after),
            outcome.settled,
        );
    }
    println!("  {} MiB private", broker.memory()?);
    Ok(())
}

fn rate(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

fn quantiles(mut micros: Vec<u32>) -> String {
    micros.sort_unstable();
    let at = |share: f64| micros.get(((micros.len() as f64 * share) as usize).min(micros.len().saturating_sub(1)));
    let show = |share| at(share).map_or(0.0, |&micros| f64::from(micros) / 1000.0);
    format!("{:.1} ms median, {:.1} ms p99, {:.1} ms most", show(0.5), show(0.99), show(1.0))
}

type Peer = (OwnedReadHalf, OwnedWriteHalf);

/// Offers sends at that rate, for so long, and waits for all answers.
async fn offered(
    broker: &BrokerProcess,
    peers: &mut Vec<Peer>,
    time: Duration,
    rate: f64,
    in_flight: Option<u64>,
) -> Result<Outcome, Failure> {
    let mut tasks = Vec::new();
    for (read, write) in peers.drain(..) {
        let shared = Arc::new(Shared::new());
        let writing = tokio::spawn(write_all(write, Arc::clone(&shared), time, rate / CONNECTIONS as f64, in_flight));
        tasks.push((writing, tokio::spawn(read_all(read, shared))));
    }
    let mut all = Outcome { good: behaves(broker, time).await?, ..Outcome::default() };
    let (mut writers, mut readers) = (Vec::new(), Vec::new());
    for (writing, reading) in tasks {
        let (writer, late) = writing.await??;
        all.late.extend(late);
        writers.push(writer);
        readers.push(reading);
    }
    let end = Instant::now();
    all.good_after = behaves(broker, AFTER).await?;
    for (reading, writer) in readers.into_iter().zip(writers) {
        let (reader, last, one) = reading.await??;
        peers.push((reader, writer));
        all.settled = all.settled.max(last.saturating_duration_since(end));
        all.written += one.written;
        all.stored.extend(one.stored);
        all.refused += one.refused;
        all.other += one.other;
    }
    Ok(all)
}

/// How long the peer that behaves is watched after the last was written.
const AFTER: Duration = Duration::from_millis(500);

/// One send after the other, with a pause of a millisecond; how long each took, in µs.
async fn behaves(broker: &BrokerProcess, time: Duration) -> Result<Vec<u32>, Failure> {
    let (begin, mut peer, mut took) = (Instant::now(), Wire::connect(broker.address).await?, Vec::new());
    while begin.elapsed() < time {
        let sent = Instant::now();
        match peer.ask(&network::send(1, b"good", "")).await? {
            0 => took.push(micros(sent.elapsed())),
            code => return Err(format!("a send of the peer that behaves was answered with {code}").into()),
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(took)
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

/// Between two looks at what is due.
const PAUSE: Duration = Duration::from_millis(1);

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

    fn is_answered(&self) -> bool {
        self.answered.load(Relaxed) >= self.written.load(Relaxed)
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
) -> Result<(OwnedWriteHalf, Vec<u32>), Failure> {
    let template = template();
    let (mut chunk, mut late) = (Vec::new(), Vec::new());
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
                None => {
                    let begin = Instant::now();
                    tokio::time::sleep(PAUSE).await;
                    late.push(micros(begin.elapsed().saturating_sub(PAUSE)));
                }
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
        write.write_all(&chunk).await?;
    }
    shared.is_over.store(true, Relaxed);
    Ok((write, late))
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

/// Until the writer has ended and all is answered. When the last answer came is told too.
async fn read_all(mut read: OwnedReadHalf, shared: Arc<Shared>) -> Result<(OwnedReadHalf, Instant, Outcome), Failure> {
    let (mut input, mut outcome) = (BytesMut::with_capacity(1 << 18), Outcome::default());
    let mut last = shared.begin;
    loop {
        match tokio::time::timeout(Duration::from_millis(20), read.read_buf(&mut input)).await {
            Ok(Ok(0)) => return Err("the broker closed a connection".into()),
            Ok(read) => drop(read?),
            Err(_) if shared.is_over.load(Relaxed) && shared.is_answered() => break,
            Err(_) if last.elapsed() > PATIENCE => return Err("an answer does not come".into()),
            Err(_) => continue,
        }
        last = Instant::now();
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
    outcome.written = shared.answered.load(Relaxed);
    Ok((read, last, outcome))
}
