//! A coordinator, services that do what they are told, and a network between them that is moved by hand.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use parking_lot::Mutex;
use rand::{Rng, SeedableRng, rngs::StdRng};
use sqlx::Transaction;
use tenonmq_outbox::{
    Clock, Error, Inbox, Incoming, Outgoing, Received, Status,
    coordination::{
        Action, Barrier, BranchId, Command, Coordinator, CoordinatorBuilder, Ended, Ending, Global, Kind, Participant,
        Phase, Plan, Serving, Vote,
    },
    fault::Point,
};

use super::bench::{Bench, LEASE_END, SECOND, START_MS, TestDatabase, each_minute};

pub const ANSWERS: &str = "answers";
/// Services, their topics and their consumer groups; and their branches.
pub const SERVICES: [&str; 3] = ["order", "stock", "account"];

/// Writes `<global>/<branch>/<action>` down. Refuses and fails what it is told to. Clones are one.
#[derive(Debug, Clone)]
pub struct Puppet {
    table: String,
    script: Arc<Mutex<Script>>,
}

#[derive(Debug, Default)]
struct Script {
    refused: BTreeSet<String>,
    failing: BTreeMap<String, u32>,
}

impl Puppet {
    pub fn of<D: TestDatabase>(bench: &Bench<D>) -> Self {
        Self { table: bench.effects.clone(), script: Arc::default() }
    }

    /// Refuses the try of `<global>/<branch>`.
    pub fn refuse(&self, branch: &str) {
        self.script.lock().refused.insert(branch.to_owned());
    }

    /// Fails `<global>/<branch>/<action>` so many times.
    pub fn fail(&self, command: &str, times: u32) {
        self.script.lock().failing.insert(command.to_owned(), times);
    }

    async fn note<D: TestDatabase>(
        &self,
        transaction: &mut Transaction<'_, D>,
        command: &Command,
    ) -> Result<(), String> {
        let BranchId { global, branch, .. } = &command.id;
        self.write(transaction, format!("{global}/{branch}/{}", command.action.as_str())).await
    }

    async fn write<D: TestDatabase>(&self, transaction: &mut Transaction<'_, D>, key: String) -> Result<(), String> {
        let sql = format!("INSERT INTO {} (business_key) VALUES ('{key}')", self.table);
        D::run(&mut **transaction, sql).await.map_err(|error| error.to_string())?;
        match self.script.lock().failing.get_mut(&key) {
            Some(left) if *left > 0 => {
                *left -= 1;
                Err(format!("not now: {key}"))
            }
            _ => Ok(()),
        }
    }
}

impl<D: TestDatabase> Participant<D> for Puppet {
    type Error = String;

    async fn try_it(&self, transaction: &mut Transaction<'_, D>, command: &Command) -> Result<Vote, String> {
        self.note(transaction, command).await?;
        let branch = format!("{}/{}", command.id.global, command.id.branch);
        let is_refused = self.script.lock().refused.contains(&branch);
        Ok(if is_refused { Vote::Refused("none left".into()) } else { Vote::Done })
    }

    async fn confirm(&self, transaction: &mut Transaction<'_, D>, command: &Command) -> Result<(), String> {
        self.note(transaction, command).await
    }

    async fn cancel(&self, transaction: &mut Transaction<'_, D>, command: &Command) -> Result<(), String> {
        self.note(transaction, command).await
    }
}

impl<D: TestDatabase> Ending<D> for Puppet {
    type Error = String;

    /// Writes `<global>/end/<phase>` down.
    async fn ended(&self, transaction: &mut Transaction<'_, D>, ended: &Ended) -> Result<(), String> {
        assert_eq!(ended.content, "3 pieces");
        let key = format!("{}/end/{}", ended.global, ended.phase.as_str());
        self.write(transaction, key).await
    }
}

/// A command as a coordinator sends it.
pub fn command(kind: Kind, global: &str, action: Action, round: u32) -> Incoming {
    let business_id = format!("{global}/stock/{}/{round}", action.as_str());
    let message = Outgoing::new("stock", business_id, "3 pieces")
        .header("coordination_kind", kind.as_str())
        .header("coordination_global", global)
        .header("coordination_branch", "stock")
        .header("coordination_action", action.as_str())
        .header("coordination_reply_to", ANSWERS);
    Incoming::from(&message)
}

/// The network and everybody on it. Coordinator and services share a database: rows tell them apart.
pub struct Town<'a, D: TestDatabase> {
    pub bench: &'a Bench<D>,
    pub puppet: Puppet,
    /// How many of the broker's messages are taken from it.
    taken: usize,
}

impl<'a, D: TestDatabase> Town<'a, D> {
    pub fn over(bench: &'a Bench<D>) -> Self {
        Self { bench, puppet: Puppet::of(bench), taken: 0 }
    }

    pub fn coordinator_builder(&self) -> CoordinatorBuilder<D> {
        Coordinator::builder(self.bench.outbox(), ANSWERS).schedule(each_minute(3)).ending(self.puppet.clone())
    }

    /// Each call is another process.
    pub fn coordinator(&self) -> Coordinator<D> {
        self.coordinator_builder().build()
    }

    pub fn serving(&self) -> Serving<D, Puppet> {
        Barrier::of(&self.bench.outbox()).serve(self.puppet.clone())
    }

    pub fn inbox(&self, group: &str) -> Inbox<D> {
        let builder = Inbox::builder(self.bench.pool.clone(), group).schema(self.bench.schema.clone());
        builder.clock(self.bench.clock.clone()).faults(self.bench.faults.clone()).schedule(each_minute(3)).build()
    }

    pub async fn begin(&self, plan: &Plan) -> Result<bool, Error> {
        let mut transaction = self.bench.pool.begin().await?;
        let begun = self.coordinator().begin(&mut transaction, plan).await?;
        transaction.commit().await?;
        Ok(begun.is_new)
    }

    /// What the relay sends now.
    pub async fn sent(&mut self) -> Result<Vec<Outgoing>, Error> {
        self.bench.relay().pass().await?;
        let messages = self.bench.broker.messages();
        let new = messages.get(self.taken..).unwrap_or_default().to_vec();
        self.taken = messages.len();
        Ok(new)
    }

    /// Brings a message where it belongs.
    pub async fn deliver(&self, message: &Outgoing) -> Result<Received, Error> {
        let incoming = Incoming::from(message);
        match message.topic() {
            ANSWERS => self.inbox("orders").receive(&incoming, &self.coordinator()).await,
            service => self.inbox(service).receive(&incoming, &self.serving()).await,
        }
    }

    /// Until nothing is on its way any more.
    pub async fn settle(&mut self) {
        loop {
            let sent = self.sent().await.unwrap();
            if sent.is_empty() {
                return;
            }
            for message in &sent {
                self.deliver(message).await.unwrap();
            }
        }
    }

    pub async fn retry(&self) -> Result<(), Error> {
        self.inbox("orders").retrier(self.coordinator()).pass().await?;
        for service in SERVICES {
            self.inbox(service).retrier(self.serving()).pass().await?;
        }
        Ok(())
    }

    pub async fn find(&self, global: &str) -> Global {
        self.coordinator().find(global).await.unwrap().unwrap()
    }

    /// How often each of try, confirm and cancel took effect.
    pub async fn effects(&self, global: &str, branch: &str) -> [i64; 3] {
        let mut times = [0; 3];
        for (at, action) in ["try", "confirm", "cancel"].into_iter().enumerate() {
            times[at] = self.bench.times(&format!("{global}/{branch}/{action}")).await;
        }
        times
    }

    /// Has it ended, with branches that agree? Returns how.
    pub async fn agreed(&self, global: &str, told: &str) -> Phase {
        let found = self.find(global).await;
        assert_eq!(found.tried.status, Status::Done, "{told}: {found:?}");
        for phase in [Phase::Confirmed, Phase::Cancelled] {
            let ended = self.bench.times(&format!("{global}/end/{}", phase.as_str())).await;
            assert_eq!(ended, i64::from(phase == found.phase), "{told}: {phase:?} of {found:?}");
        }
        for branch in &found.branches {
            let [tried, confirmed, cancelled] = self.effects(global, &branch.name).await;
            let expected = match (found.phase, found.kind) {
                (Phase::Confirmed, Kind::Tcc) => [1, 1, 0],
                (Phase::Confirmed, _) => [1, 0, 0],
                _ => [tried.min(1), 0, tried.min(1)],
            };
            assert_eq!([tried, confirmed, cancelled], expected, "{told}: {} of {found:?}", branch.name);
        }
        found.phase
    }

    /// Ten transactions under a network that loses order, repeats, and delays; two of them hear "no".
    pub async fn shuffle(&mut self, plan: fn(&str) -> Plan, seed: u64) {
        let mut random = StdRng::seed_from_u64(seed);
        let names: Vec<String> = (0..6).map(|at| format!("g{seed}-{at}")).collect();
        self.puppet.refuse(&format!("{}/account", names[1]));
        self.puppet.refuse(&format!("{}/order", names[2]));
        self.puppet.fail(&format!("{}/stock/try", names[3]), 1);
        self.puppet.fail(&format!("{}/stock/cancel", names[1]), 1);
        for name in &names {
            self.begin(&plan(name)).await.unwrap();
        }
        let mut under_way = Vec::new();
        for turn in 0..10_000 {
            under_way.extend(self.sent().await.unwrap());
            if under_way.is_empty() && self.coordinator().backlog().await.unwrap().pending == 0 {
                break;
            }
            assert!(turn < 9_999, "seed {seed}: it does not end");
            for _ in 0..random.random_range(0..8) {
                if under_way.is_empty() {
                    break;
                }
                let at = random.random_range(0..under_way.len());
                let message = if random.random_bool(0.3) { under_way[at].clone() } else { under_way.swap_remove(at) };
                self.deliver(&message).await.unwrap();
            }
            self.bench.clock.advance(SECOND * random.random_range(0..8));
            if under_way.is_empty() {
                self.bench.clock.advance(LEASE_END);
            }
            self.coordinator().pass().await.unwrap();
            self.retry().await.unwrap();
        }
        let mut confirmed = 0;
        for name in &names {
            confirmed += u32::from(self.agreed(name, &format!("seed {seed}")).await == Phase::Confirmed);
        }
        assert!(confirmed <= 4, "seed {seed}: two heard no");
    }

    /// Goes on until nothing is left to do, or something crashes: two relays, two coordinators, two consumers that are brought
    /// the same messages.
    async fn go_on(&mut self, asked: &mut Vec<Plan>, acknowledged: &mut [usize; 2]) -> Result<(), Error> {
        while let Some(plan) = asked.first() {
            self.begin(plan).await?;
            asked.remove(0);
        }
        for _ in 0..6 {
            self.bench.relay().pass().await?;
            self.bench.relay().pass().await?;
            let messages = self.bench.broker.messages();
            for acknowledged in &mut *acknowledged {
                while let Some(message) = messages.get(*acknowledged) {
                    self.deliver(message).await?;
                    *acknowledged += 1;
                }
            }
        }
        self.retry().await?;
        self.coordinator().pass().await?;
        self.coordinator().pass().await?;
        Ok(())
    }

    /// Crashes there once, goes on, and looks whether all agree: `plans` are one that succeeds, one that `account` refuses, and one
    /// that is too late because `account` fails each time.
    pub async fn crash(bench: &'a Bench<D>, plan: fn(&str) -> Plan, point: Point, nth: u32) {
        let told = format!("{point:?} {nth}");
        let name = |at: u32| format!("{point:?}-{nth}-{at}");
        bench.broker.forget();
        bench.clock.step(START_MS - bench.clock.now_ms());
        let mut town = Self::over(bench);
        town.puppet.refuse(&format!("{}/account", name(1)));
        town.puppet.fail(&format!("{}/account/try", name(2)), 99);
        town.puppet.fail(&format!("{}/stock/try", name(0)), 1);
        town.puppet.fail(&format!("{}/order/cancel", name(1)), 1);
        let (mut asked, mut acknowledged) = ((0..3).map(|at| plan(&name(at))).collect(), [0, 0]);
        bench.faults.crash_at_nth(point, nth);
        let mut crashes = 0;
        for turn in 0..12 {
            let gone_on = match town.go_on(&mut asked, &mut acknowledged).await {
                // nothing is at work then
                Ok(()) if turn == 11 => town.clean().await,
                other => other,
            };
            match gone_on {
                Ok(()) => {}
                Err(Error::Crashed(at)) if at == point => {
                    crashes += 1;
                    bench.bury().await;
                }
                Err(other) => panic!("{told}: {other}"),
            }
            bench.clock.advance(LEASE_END);
        }
        let phases = [town.agreed(&name(0), &told).await, town.agreed(&name(1), &told).await];
        assert_eq!(phases, [Phase::Confirmed, Phase::Cancelled], "{told}");
        assert_eq!(town.agreed(&name(2), &told).await, Phase::Cancelled, "{told}");
        assert!(crashes == 1 || nth > 1, "{told} was never reached");
        bench.faults.disarm();
    }

    async fn clean(&self) -> Result<(), Error> {
        self.bench.outbox().clean(START_MS + 1).await?;
        Ok(())
    }
}
