//! What is killed: a broker's process, or the machine under a broker.

use std::{collections::BTreeMap, path::Path, sync::atomic::Ordering, time::Duration};

use rand::{Rng, rngs::StdRng};
use tenonmq_protocol::body::ConsumerOffsets;

use super::{End, Failure, Plan, Scene};
use crate::{broker_process::BrokerProcess, power_cut::Machine};

/// A debug build starts within about this time.
const START_MS: u64 = 120;

pub(super) enum Victim {
    Process(BrokerProcess),
    Machine { machine: Box<Machine>, saved: Option<Saved> },
}

/// Offsets in `consumerOffset.json`.
#[derive(Default)]
pub(super) struct Saved(ConsumerOffsets);

impl Saved {
    fn read(machine: &Machine) -> Result<Self, Failure> {
        match std::fs::read(machine.root().join("config").join("consumerOffset.json")) {
            Ok(bytes) => Ok(Self(tenonmq_protocol::body::json::from_slice(&bytes)?)),
            Err(_) => Ok(Self::default()), // nothing was saved, or its backup counts
        }
    }

    /// What is less in `started`: the start brought offsets back to the ends of their queues. None may fall behind what was
    /// answered before it.
    fn brought_back(&mut self, started: &Self, scene: &Scene, last: &BTreeMap<(&'static str, i32), (i64, String)>) {
        for (key, queues) in &mut self.0.offset_table {
            let Some((topic, group)) = key.split_once('@') else { continue };
            for (queue, offset) in queues {
                let now = started.of(group, topic, *queue);
                let answered = last.iter().find(|((name, id), _)| (*name, *id) == (topic, *queue));
                let end = answered.map_or(0, |(_, (offset, _))| offset + 1);
                if now < *offset && now < end {
                    let what = format!(
                        "offset of {group} in {topic} {queue}: saved was {offset}, it was brought back to {now}"
                    );
                    scene.ledger.violation(what);
                }
                *offset = now.min(*offset);
            }
        }
    }

    pub(super) fn of(&self, group: &str, topic: &str, queue: i32) -> i64 {
        let queues = self.0.offset_table.get(&format!("{topic}@{group}"));
        queues.and_then(|queues| queues.get(&queue)).copied().unwrap_or(0)
    }
}

impl Victim {
    pub(super) async fn start(plan: &Plan, folder: &Path, settings: &'static str) -> Result<Self, Failure> {
        match &plan.end {
            End::Kill(program) => {
                let flush = if plan.is_sync { "flushDiskType=SYNC_FLUSH\n" } else { "" };
                let settings = format!("{settings}{flush}");
                Ok(Self::Process(BrokerProcess::start(program, folder, &settings).await?))
            }
            End::PowerCut => {
                let mut all: Vec<(&str, &str)> = settings.lines().filter_map(|line| line.split_once('=')).collect();
                all.extend(BrokerProcess::settings());
                // small, because each sync reads its file
                all.extend([("mappedFileSizeCommitLog", "131072"), ("flushConsumerOffsetInterval", "1000")]);
                let machine = Machine::start(folder, &all, plan.seed).await?;
                Ok(Self::Machine { machine: Box::new(machine), saved: None })
            }
        }
    }

    pub(super) fn name_server(&self) -> String {
        match self {
            Self::Process(process) => process.name_server(),
            Self::Machine { machine, .. } => machine.name_server(),
        }
    }

    pub(super) fn is_running(&mut self) -> Result<(), Failure> {
        match self {
            Self::Process(process) => process.is_running(),
            Self::Machine { .. } => Ok(()),
        }
    }

    /// What the last power cut left of the offsets; `None` when nothing may be lost.
    pub(super) fn saved_offsets(&self) -> Option<&Saved> {
        match self {
            Self::Process(_) => None,
            Self::Machine { saved, .. } => saved.as_ref(),
        }
    }

    /// Ends the broker in one of several ways, and starts it until it is ready; how often.
    pub(super) async fn end_and_start(&mut self, scene: &Scene, choices: &mut StdRng) -> Result<u32, Failure> {
        match self {
            Self::Process(process) => kill_and_start(process, choices).await,
            Self::Machine { machine, saved } => {
                scene.cuts.fetch_add(1, Ordering::SeqCst);
                machine.cut().await?;
                let last = scene.ledger.last_stored();
                let mut left = Saved::read(machine)?;
                machine.boot().await?;
                left.brought_back(&Saved::read(machine)?, scene, &last);
                *saved = Some(left);
                scene.cuts.fetch_add(1, Ordering::SeqCst);
                Ok(1)
            }
        }
    }

    /// Stops it in order.
    pub(super) async fn stop(self) -> Result<(), Failure> {
        match self {
            Self::Process(mut process) => process.stop().await,
            Self::Machine { machine, .. } => {
                machine.shutdown().await;
                Ok(())
            }
        }
    }
}

async fn kill_and_start(broker: &mut BrokerProcess, choices: &mut StdRng) -> Result<u32, Failure> {
    if choices.random_bool(0.15) {
        broker.ask_to_stop()?;
        tokio::time::sleep(Duration::from_millis(choices.random_range(0..100))).await;
    }
    broker.kill()?;
    let mut starts = 1;
    while starts < 4 && choices.random_bool(0.3) {
        broker.kill_while_it_starts(Duration::from_millis(choices.random_range(0..START_MS))).await?;
        starts += 1;
    }
    broker.revive().await?;
    Ok(starts)
}
