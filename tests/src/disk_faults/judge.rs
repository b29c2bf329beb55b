//! Whether a directory holds what was acknowledged.

use std::collections::{BTreeMap, BTreeSet};

use tenonmq_protocol::{Command, message::RecordView};

use super::{
    Checked,
    bench::Broker,
    ledger::{Ledger, Stored, Visible},
    requests::popping,
    script::{POPPING, Script},
};

/// Looks at everything, over a disk that is well again. `is_last`: lets pass the time of whatever still waits, too.
pub(super) fn directory(script: &mut Script<'_>, broker: &mut Broker, is_last: bool) -> Checked {
    script.ledger.stored.iter().try_for_each(|stored| is_there(broker, stored))?;
    tables(script, broker)?;
    // what waits for less than a day is delivered
    for seconds in [1, 60, 120, 10] {
        script.pass(broker, seconds);
    }
    undecided(script, broker)?;
    if is_last {
        popped(script, broker)?;
        for seconds in [100_000, 1, 1] {
            script.pass(broker, seconds);
        }
    }
    visible(script, broker, is_last)?;
    order(broker)
}

fn is_there(broker: &Broker, stored: &Stored) -> Checked {
    let Stored { topic, queue_id, offset, log_offset, body } = stored;
    let store = &broker.core.store;
    if *log_offset < store.watermarks().min {
        return Ok(()); // its file was too old
    }
    let at = format!("{topic} {queue_id} {offset} (at {log_offset})");
    let queue = store.find_queue(topic, *queue_id).ok_or_else(|| format!("{at}: the queue is gone"))?;
    let entry = queue.entry(*offset).ok_or_else(|| format!("{at}: no entry"))?;
    let record = store.read_entry(&entry).ok_or_else(|| format!("{at}: no record"))?;
    let record = RecordView::parse(&record).map_err(|error| format!("{at}: {error}"))?;
    if record.body() != body.as_bytes() || entry.physical_offset != *log_offset {
        return Err(format!("{at}: another message lies there"));
    }
    Ok(())
}

fn tables(script: &Script<'_>, broker: &Broker) -> Checked {
    let core = &broker.core;
    if let Some(topic) = script.ledger.topics.iter().find(|topic| core.topics.get(topic).is_none()) {
        return Err(format!("topic {topic} is gone"));
    }
    if let Some(group) = script.ledger.groups.iter().find(|group| !core.groups.contains(group)) {
        return Err(format!("group {group} is gone"));
    }
    if let Some(key) = script.ledger.keys.iter().find(|key| broker.keys.get("script", key).is_none()) {
        return Err(format!("key {key} is gone"));
    }
    let (config, regions) = (core.config.load(), &script.ledger.regions);
    if !regions.contains(&config.identity.region) {
        return Err(format!("the region is {}, not one of {regions:?}", config.identity.region));
    }
    for ((group, topic, queue_id), committed) in &script.ledger.offsets {
        let found = core.offsets.get(group, topic, *queue_id);
        let fits = match found {
            Some(found) => {
                committed.allowed.contains(&found)
                    || (committed.before.contains(&found) && script.offsets_may_fall_back())
            }
            None => !committed.is_acknowledged || script.offsets_may_fall_back(),
        };
        if !fits {
            return Err(format!(
                "offset of {group} in {topic} {queue_id} is {found:?}, not one of {:?}",
                committed.allowed
            ));
        }
    }
    Ok(())
}

fn undecided(script: &Script<'_>, broker: &Broker) -> Checked {
    let (pending, at_least) = (broker.core.transactions.pending(), script.ledger.undecided.len());
    if pending < at_least { Err(format!("{pending} of {at_least} undecided transactions are known")) } else { Ok(()) }
}

/// What was popped and acknowledged does not come again; what was not acknowledged does.
fn popped(script: &mut Script<'_>, broker: &Broker) -> Checked {
    let mut seen = BTreeMap::<i64, usize>::new();
    for topic in ["bills".to_owned(), format!("%RETRY%{POPPING}_bills"), format!("%RETRY%{POPPING}+bills")] {
        let answer = broker.call(&Command::with_header(&popping(&topic, 32)));
        for record in RecordView::iter_all(&answer.body).filter_map(Result::ok) {
            let body = String::from_utf8_lossy(record.body()).into_owned();
            let stored = script.ledger.stored.iter().find(|stored| stored.topic == "bills" && stored.body == body);
            *seen.entry(stored.map_or(-1, |stored| stored.offset)).or_default() += 1;
        }
    }
    if let Some(offset) = script.ledger.acked.iter().find(|offset| seen.contains_key(offset)) {
        return Err(format!("bill {offset} was acknowledged, and comes again"));
    }
    let min = broker.core.store.watermarks().min;
    for stored in script.ledger.stored.iter().filter(|stored| stored.topic == "bills" && stored.log_offset >= min) {
        let settled =
            [&script.ledger.acked, &script.ledger.perhaps_acked].iter().any(|set| set.contains(&stored.offset));
        if !settled && !seen.contains_key(&stored.offset) {
            return Err(format!("bill {} was not acknowledged, and does not come again", stored.offset));
        }
    }
    Ok(())
}

/// Notes where what was delayed, sent back or committed is visible now: later its file may be too old.
pub(super) fn observe(ledger: &mut Ledger, broker: &Broker) {
    for (topic, body) in ledger.later.keys() {
        let places = places(broker, topic, body);
        ledger.seen.entry((topic.clone(), body.clone())).or_default().extend(places);
    }
}

/// Delayed messages, timers, retries and transactions are visible as often as they should be.
fn visible(script: &mut Script<'_>, broker: &Broker, is_last: bool) -> Checked {
    observe(&mut script.ledger, broker);
    for (key @ (topic, body), wanted) in &script.ledger.later {
        let count = script.ledger.seen.get(key).map_or(0, BTreeSet::len);
        let fits = match wanted {
            Visible::Once if is_last => count == 1,
            Visible::Once | Visible::Perhaps => count <= 1,
            Visible::Never => count == 0,
        };
        if !fits {
            return Err(format!("{} is {count} times in {topic}, wanted: {wanted:?}", body.trim()));
        }
    }
    Ok(())
}

fn places(broker: &Broker, topic: &str, body: &str) -> Vec<(i32, i64)> {
    let store = &broker.core.store;
    let mut places = Vec::new();
    for queue_id in 0..4 {
        let Some(queue) = store.find_queue(topic, queue_id) else { continue };
        for at in queue.entries(queue.min_offset()) {
            let record = store.read_entry(&at.entry);
            if record.is_some_and(|record| RecordView::parse(&record).is_ok_and(|view| view.body() == body.as_bytes()))
            {
                places.push((queue_id, at.queue_offset));
            }
        }
    }
    places
}

/// Every entry of every queue points to a record of this queue and place.
fn order(broker: &Broker) -> Checked {
    let store = &broker.core.store;
    let min = store.watermarks().min;
    for (topic, queues) in store.topics_with_queues() {
        for queue_id in queues {
            let Some(queue) = store.find_queue(&topic, queue_id) else { continue };
            for at in queue.entries(queue.min_offset()) {
                let offset = at.queue_offset;
                if at.entry.physical_offset < min || at.entry.is_blank() {
                    continue;
                }
                let record =
                    store.read_entry(&at.entry).ok_or_else(|| format!("{topic} {queue_id} {offset}: no record"))?;
                let fits = RecordView::parse(&record).is_ok_and(|view| {
                    view.topic() == topic && view.queue_id() == queue_id && view.queue_offset() == offset
                });
                if !fits {
                    return Err(format!("{topic} {queue_id} {offset}: not its record"));
                }
            }
        }
    }
    Ok(())
}
