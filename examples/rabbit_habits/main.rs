//! What people know from RabbitMQ, and what it is called here: each habit is shown, and what happened is compared with what
//! should have.
//!
//! | habit | file |
//! |---|---|
//! | publisher confirms, and publishing again when none came | [`confirm`] |
//! | manual acknowledgement; a worker that dies before its own; doing nothing twice | [`ack`] |
//! | reject, requeue, dead-letter exchange | [`reject`] |
//! | prefetch | [`prefetch`] |
//! | a replenishment consumer, for what automatic acknowledgements lose | [`replenish`] |
//!
//! ```text
//! cargo run --release --example rabbit_habits [-- --name-server 127.0.0.1:9876]
//! ```
//!
//! Uses the name server that is given or the default one; when nobody listens there it starts a broker of its own, and takes
//! that one away for a moment. Fails when something happens otherwise than the table says it should.

mod ack;
mod confirm;
mod habit;
mod prefetch;
mod reject;
mod replenish;

use std::{error::Error, process::ExitCode};

use clap::Parser;
use comfy_table::{ContentArrangement, Table, presets::UTF8_BORDERS_ONLY};
use tenonmq_client::Admin;
use tenonmq_examples::Broker;

use crate::habit::{Habit, Place};

/// Shows the habits of RabbitMQ's users, one after the other.
#[derive(Parser)]
struct Args {
    /// Name server to use; a broker is started here when nobody listens there.
    #[arg(long, default_value = "127.0.0.1:9876")]
    name_server: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
    match run(Args::parse()).await {
        Ok(habits) => {
            println!("{}", table(&habits));
            let is_all_well = habits.iter().all(|habit| habit.is_well);
            println!("{}", if is_all_well { "all as it should be" } else { "SOMETHING IS NOT AS IT SHOULD BE" });
            if is_all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("rabbit_habits: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<Vec<Habit>, Box<dyn Error>> {
    let databases = tempfile::tempdir()?;
    let mut broker = Broker::unless_reachable(&args.name_server).await?;
    let name_server = broker.as_ref().map_or(args.name_server.clone(), Broker::name_server);
    println!("name server {name_server}, databases in {}", databases.path().display());
    let admin = Admin::connect(name_server.as_str()).await?;
    for topic in [confirm::TOPIC, ack::TOPIC, reject::TOPIC, prefetch::TOPIC, replenish::TOPIC] {
        admin.create_topic(topic, 2).await?;
    }
    let place = Place { name_server, folder: databases.path().to_owned() };
    let mut habits = confirm::show(&place, &mut broker).await?;
    let (acks, rejects, fetched, replenished) = tokio::try_join!(
        ack::show(&place),
        reject::show(&place, &admin),
        prefetch::show(&place),
        replenish::show(&place)
    )?;
    habits.extend(acks.into_iter().chain(rejects).chain(fetched).chain(replenished));
    admin.shutdown().await;
    Broker::shutdown(broker).await;
    Ok(habits)
}

fn table(habits: &[Habit]) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(140).set_header(["in RabbitMQ", "here", "what happened", "well"]);
    for habit in habits {
        let well = if habit.is_well { "yes" } else { "NO" };
        table.add_row([habit.in_rabbit, habit.here, &habit.happened, well]);
    }
    table
}
