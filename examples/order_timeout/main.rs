//! Orders that nobody pays within two to three seconds are cancelled, and the stock that they held is free again, once.
//!
//! The deadline is set in the order's transaction (`deadlines.set(&mut tx, "order-42", within, "")`). Some orders are paid in time,
//! some at the very moment of their deadline, some never. Two instances of the service run side by side. One dies in the middle
//! of an order, one before and one after it has cancelled something, and some of the delayed messages are lost: the keeper
//! makes up for them a second later.
//!
//! ```text
//! cargo run --release --example order_timeout [-- --orders 60 --name-server 127.0.0.1:9876]
//! ```
//!
//! Ends with the books: every order is paid or cancelled, never both, and every piece of stock is free or sold.

mod shop;

use std::{collections::BTreeMap, error::Error, path::Path, process::ExitCode, time::Duration};

use clap::Parser;
use comfy_table::{Table, presets::UTF8_BORDERS_ONLY};
use sqlx::SqlitePool;
use tenonmq_client::{Admin, ConsumeFrom, Producer, PushConsumer};
use tenonmq_examples::Broker;
use tenonmq_outbox::{RunningRelay, deadline::RunningKeeper, fault::Point};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use crate::shop::{CancelUnpaid, STOCK, Shop};

/// The kind of deadline, and the topic of its messages.
const TOPIC: &str = "order_timeout";

/// Places orders, pays some of them, and looks what became of all.
#[derive(Parser)]
struct Args {
    /// Orders to place.
    #[arg(long, default_value_t = 60)]
    orders: u32,
    /// Name server to use; a broker is started here when nobody listens there.
    #[arg(long, default_value = "127.0.0.1:9876")]
    name_server: String,
}

/// What the customer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Customer {
    PaysInTime,
    PaysAtTheSameMoment,
    NeverPays,
}

impl Customer {
    fn of(order: u32) -> Self {
        [Self::PaysInTime, Self::PaysAtTheSameMoment, Self::NeverPays][order as usize % 3]
    }
}

/// An instance at work.
struct Running {
    shop: Shop,
    relay: RunningRelay,
    keeper: RunningKeeper,
    consumer: PushConsumer,
}

async fn start(name_server: &str, pool: &SqlitePool) -> Result<Running, Box<dyn Error>> {
    let shop = Shop::instance(pool);
    let producer = Producer::builder(name_server).group("orders").connect().await?;
    let relay = shop.outbox.relay(producer).send_limit(Duration::from_secs(1)).lease(Duration::from_secs(2)).start();
    let keeper = shop.deadlines.keeper(CancelUnpaid).start();
    let consumer = PushConsumer::builder(name_server)
        .group("order_timeout")
        .subscribe(TOPIC, "*")
        .consume_from(ConsumeFrom::Earliest)
        .listener(shop.deadlines.listener(CancelUnpaid))
        .connect()
        .await?;
    Ok(Running { shop, relay, keeper, consumer })
}

/// Places all orders and lets the customers pay. Returns the orders that were placed.
async fn trade(instances: &[Running; 2], orders: u32) -> Result<Vec<u32>, Box<dyn Error>> {
    let [first, second] = instances;
    first.shop.faults.crash_at_nth(Point::DeadlinePassed, 5); // its cancellation is committed, and nobody knows
    second.shop.faults.crash_at_nth(Point::DeadlineClosed, 3); // the order is cancelled, its stock is not free, no commit
    let (mut placed, mut customers) = (Vec::new(), JoinSet::new());
    for order in 0..orders {
        let (id, within) = (format!("order-{order}"), Duration::from_millis(2_000 + u64::from(order * 37 % 1_000)));
        let due = Instant::now() + within;
        if order == 7 {
            let mortal = Shop::instance(&first.shop.pool);
            mortal.faults.crash_at(Point::DeadlineWritten);
            let death = mortal.order(&id, 1, within).await;
            println!("{id} is not placed: {}", death.err().ok_or("it should have died")?);
            continue;
        }
        let shop = instances[order as usize % 2].shop.clone();
        shop.order(&id, 1 + order % 4, within).await?;
        if order % 10 == 2 {
            // this message is lost; the deadline's row is not
            sqlx::query("DELETE FROM msg_published WHERE business_id LIKE ?")
                .bind(format!("{id}/%"))
                .execute(&shop.pool)
                .await?;
        }
        placed.push(order);
        let pays_at = match Customer::of(order) {
            Customer::PaysInTime => due - Duration::from_millis(700),
            Customer::PaysAtTheSameMoment => due + Duration::from_millis(u64::from(order % 4) * 4),
            Customer::NeverPays => continue,
        };
        customers.spawn(async move {
            sleep_until(pays_at).await;
            shop.pay(&id).await
        });
        sleep(Duration::from_millis(10)).await;
    }
    while let Some(paid) = customers.join_next().await {
        paid??;
    }
    Ok(placed)
}

/// Orders of one kind of customer: how many, paid, cancelled, released.
type Line = [i64; 4];

/// Shows the books; true when they balance.
async fn books(pool: &SqlitePool, placed: &[u32]) -> Result<bool, Box<dyn Error>> {
    let (mut lines, mut sold, mut is_right) = (BTreeMap::<Customer, Line>::new(), 0, true);
    for &order in placed {
        let id = format!("order-{order}");
        let state: String =
            sqlx::query_scalar("SELECT state FROM orders WHERE id = ?").bind(&id).fetch_one(pool).await?;
        let released: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM released WHERE order_id = ?").bind(&id).fetch_one(pool).await?;
        let (is_paid, is_cancelled) = (state == "paid", state == "cancelled");
        is_right &= (is_paid || is_cancelled) && released == i64::from(is_cancelled);
        is_right &= match Customer::of(order) {
            Customer::PaysInTime => is_paid,
            Customer::PaysAtTheSameMoment => true,
            Customer::NeverPays => is_cancelled,
        };
        sold += if is_paid { i64::from(1 + order % 4) } else { 0 };
        let line = lines.entry(Customer::of(order)).or_default();
        for (sum, one) in line.iter_mut().zip([1, i64::from(is_paid), i64::from(is_cancelled), released]) {
            *sum += one;
        }
    }
    let mut table = Table::new();
    table.load_preset(UTF8_BORDERS_ONLY).set_header(["customer", "orders", "paid", "cancelled", "stock released"]);
    for (customer, line) in lines {
        table.add_row([vec![format!("{customer:?}")], line.map(|sum| sum.to_string()).to_vec()].concat());
    }
    let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM orders").fetch_one(pool).await?;
    let (free, held, is_sold): (i64, i64, i64) =
        sqlx::query_as("SELECT free, held, sold FROM stock").fetch_one(pool).await?;
    let late: Vec<i64> = sqlx::query_scalar("SELECT late_ms FROM orders WHERE state = 'cancelled' ORDER BY late_ms")
        .fetch_all(pool)
        .await?;
    println!("{table}\nstock: {free} free, {held} held, {is_sold} sold of {STOCK}");
    let [median, latest] = [late.get(late.len() / 2), late.last()].map(|ms| ms.copied().unwrap_or(0));
    println!("cancelled after their deadline by {median} ms (median), {latest} ms at most");
    let is_never_early = late.iter().all(|ms| *ms >= 0);
    Ok(is_right && is_never_early && count == placed.len() as i64 && (held, is_sold, free) == (0, sold, STOCK - sold))
}

async fn run(args: Args, folder: &Path) -> Result<bool, Box<dyn Error>> {
    let broker = Broker::unless_reachable(&args.name_server).await?;
    let name_server = broker.as_ref().map_or(args.name_server, Broker::name_server);
    let admin = Admin::connect(name_server.as_str()).await?;
    admin.create_topic(TOPIC, 4).await?;
    admin.shutdown().await;
    let pool = shop::open(&folder.join("orders.db")).await?;
    let instances = [start(&name_server, &pool).await?, start(&name_server, &pool).await?];
    let placed = trade(&instances, args.orders).await?;
    let patience = Instant::now() + Duration::from_secs(30);
    let open = "SELECT COUNT(*) FROM msg_deadline WHERE status <> 'done'";
    while sqlx::query_scalar::<_, i64>(open).fetch_one(&pool).await? > 0 && Instant::now() < patience {
        sleep(Duration::from_millis(100)).await;
    }
    let have_died = instances.iter().all(|instance| !instance.shop.faults.is_armed());
    let is_balanced = books(&pool, &placed).await? && have_died;
    for Running { relay, keeper, consumer, .. } in instances {
        consumer.shutdown().await;
        keeper.shutdown().await;
        relay.shutdown().await;
    }
    Broker::shutdown(broker).await;
    Ok(is_balanced)
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let is_balanced = run(Args::parse(), folder.path()).await?;
    println!("{}", if is_balanced { "the books balance" } else { "THE BOOKS DO NOT BALANCE" });
    Ok(if is_balanced { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
