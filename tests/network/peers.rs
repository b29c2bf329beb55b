//! Peers in great number: idle ones, storms, and those that keep the broker waiting.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use tenonmq_tests::network::{self, wire::Wire};

use crate::{Failure, broker::BrokerProcess};

/// Connections that are being made at one time.
const AT_ONCE: usize = 200;

/// Connections with a heartbeat each that then say nothing.
pub(crate) async fn idle(broker: &BrokerProcess, count: usize) -> Result<(), Failure> {
    let before = broker.memory()?;
    let begin = Instant::now();
    let made = stream::iter(0..count).map(|number| greeted(broker, number)).buffer_unordered(AT_ONCE);
    let peers: Vec<Wire> = made.collect::<Vec<_>>().await.into_iter().collect::<Result<_, _>>()?;
    let took = begin.elapsed();
    let slowest = well_behaved(broker, 100).await?;
    let after = broker.memory()?;
    println!(
        "{count} connections: made in {took:.1?}, {before} -> {after} MiB private, slowest of 100 sends {slowest:.1?}"
    );
    drop(peers);
    println!("  forgotten after {:.1?}", broker.is_forgotten().await?);
    Ok(())
}

async fn greeted(broker: &BrokerProcess, number: usize) -> Result<Wire, Failure> {
    let mut peer = Wire::connect(broker.address).await?;
    match peer.ask(&network::heartbeat(1, &format!("10.0.0.1@{number}"))).await? {
        0 => Ok(peer),
        code => Err(format!("a heartbeat was answered with {code}").into()),
    }
}

/// Thousands connect, say who they are, begin a long poll, and vanish; again and again.
pub(crate) async fn storms(broker: &BrokerProcess, count: usize, rounds: usize) -> Result<(), Failure> {
    let begin = Instant::now();
    let watched = Watched::begin(broker)?;
    let mut slowest = Duration::ZERO;
    for round in 0..rounds {
        let lives = stream::iter(0..count).map(|number| async move {
            let mut peer = greeted(broker, round * count + number).await?;
            peer.send(&network::pull(2, 1_000_000_000, 60_000)).await?;
            if number.is_multiple_of(2) {
                peer.reset();
            }
            Ok::<_, Failure>(())
        });
        let storm = lives.buffer_unordered(AT_ONCE * 5).collect::<Vec<_>>();
        let (lived, served) = tokio::join!(storm, well_behaved(broker, 20));
        lived.into_iter().collect::<Result<Vec<()>, _>>()?;
        slowest = slowest.max(served?);
    }
    let (before, most) = watched.end(broker)?;
    let took = begin.elapsed();
    println!(
        "{rounds} storms of {count}: {took:.1?}, {before} -> {most} MiB private at most, slowest send {slowest:.1?}"
    );
    println!("  forgotten after {:.1?}", broker.is_forgotten().await?);
    Ok(())
}

/// Half of them announce a long frame and send a piece, the others ask for messages and do not read.
pub(crate) async fn stuck(broker: &BrokerProcess, count: usize) -> Result<(), Failure> {
    let mut filler = Wire::connect(broker.address).await?;
    for opaque in 0..200 {
        filler.ask(&network::send(opaque, &[7; 60_000], "")).await?;
    }
    let watched = Watched::begin(broker)?;
    let announced = [&16_000_000_u32.to_be_bytes()[..], &vec![0; 300_000]].concat();
    let questions: Vec<u8> = (0..2_000).flat_map(|opaque| network::pull(opaque, 0, 0)).collect();
    let peers = stream::iter(0..count).map(|number| {
        let bytes = if number.is_multiple_of(2) { &announced } else { &questions };
        async move {
            let mut peer = Wire::connect(broker.address).await?;
            // who is refused has lost its connection
            drop(tokio::time::timeout(Duration::from_millis(500), peer.send(bytes)).await);
            Ok::<_, Failure>(peer)
        }
    });
    let peers = peers.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await;
    let slowest = well_behaved(broker, 100).await?;
    let (stuck, left) = (broker.gauge("tenonmq_stuck_bytes")? >> 20, broker.gauge("tenonmq_connections")?);
    let (before, most) = watched.end(broker)?;
    println!(
        "{count} peers that keep the broker waiting: {stuck} MiB held for {left} of them, {before} -> {most} MiB private at \
         most, slowest of 100 sends {slowest:.1?}"
    );
    drop((peers, filler));
    println!("  forgotten after {:.1?}, then {} MiB private", broker.is_forgotten().await?, broker.memory()?);
    Ok(())
}

/// The slowest of some sends one after the other, each of which wakes a long poll.
async fn well_behaved(broker: &BrokerProcess, sends: i32) -> Result<Duration, Failure> {
    let mut writer = Wire::connect(broker.address).await?;
    let mut slowest = Duration::ZERO;
    for opaque in 0..sends {
        let begin = Instant::now();
        match writer.ask(&network::send(opaque, b"good", "")).await? {
            0 => slowest = slowest.max(begin.elapsed()),
            code => return Err(format!("a send was answered with {code}").into()),
        }
    }
    Ok(slowest)
}

/// Private memory at its most.
struct Watched {
    before: u64,
    most: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Watched {
    fn begin(broker: &BrokerProcess) -> Result<Self, Failure> {
        let before = broker.memory()?;
        let (most, over) = (Arc::new(AtomicU64::new(before)), Arc::new(AtomicBool::new(false)));
        let (noted, ended, reader) = (Arc::clone(&most), Arc::clone(&over), broker.memory_reader());
        std::thread::spawn(move || {
            while !ended.load(Relaxed) {
                noted.fetch_max(reader().unwrap_or(0), Relaxed);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Ok(Self { before, most, over })
    }

    /// Before and at most, in MiB.
    fn end(self, broker: &BrokerProcess) -> Result<(u64, u64), Failure> {
        self.over.store(true, Relaxed);
        Ok((self.before, self.most.load(Relaxed).max(broker.memory()?)))
    }
}
