//! Check points that Apache's broker left.

use tenonmq_protocol::message::properties::tags_code;

use super::*;
use crate::pop::revive;

const REVIVE: &str = "rmq_sys_REVIVE_LOG_DefaultCluster";
const REVIVERS: &str = "CID_RMQ_SYS_REVIVE_GROUP";
/// After the last thing that Apache did in the golden directories.
const AFTER_APACHE: i64 = 1_795_247_810_000;

/// A broker whose directory another one had, which popped `count` messages from offset 0 on for a minute.
fn taken_over(bodies: &[&str], count: i32) -> TestBroker {
    let broker = TestBroker::with_messages(&[], bodies);
    broker.core.groups.find_or_create(GROUP).unwrap();
    broker.core.offsets.set(GROUP, TOPIC, 0, i64::from(count));
    let now = broker.core.clock.now_ms();
    let point = format!(
        r#"{{"bm":0,"bn":"b","c":"{GROUP}","d":null,"it":60000,"n":{count},"pt":{now},"q":0,"reviveTime":{},"ro":0,"so":0,"t":"{TOPIC}"}}"#,
        now + 60_000
    );
    revived(&broker, "ck", &point);
    broker
}

fn revived(broker: &TestBroker, tags: &str, body: &str) {
    let text = format!("TAGS\u{1}{tags}\u{2}");
    broker.store_with(REVIVE, 0, body.as_bytes(), &text, tags_code(Some(tags)));
}

fn acked(broker: &TestBroker, offsets: &str) {
    let now = broker.core.clock.now_ms();
    let body = format!(r#"{{{offsets},"bn":"b","c":"{GROUP}","pt":{now},"q":0,"so":0,"t":"{TOPIC}"}}"#);
    revived(broker, if offsets.contains("aol") { "bAck" } else { "ack" }, &body);
}

#[tokio::test]
async fn a_check_point_of_apache_is_a_lease_here_and_its_acknowledgements_end_it() {
    let broker = taken_over(&["a", "b", "c", "d", "e"], 4);
    acked(&broker, r#""ao":1"#);
    acked(&broker, r#""ao":0,"aol":[2]"#);
    revive::step(&broker.core);
    assert_eq!(broker.offset(0), Some(0), "what is leased is not passed");
    assert_eq!(bodies(&broker.pop().await), ["e"], "and not given to others");
    broker.pass(INVISIBLE - Duration::from_millis(1));
    assert_eq!(broker.pop().await, []);
    broker.pass(Duration::from_millis(1));
    let again = broker.pop().await;
    assert_eq!((bodies(&again), again[0].times), (vec!["a", "d", "e"], 1));
}

#[tokio::test]
async fn what_is_popped_here_because_the_offset_fell_back_does_not_come_again_from_its_check_point() {
    let broker = taken_over(&["a", "b", "c"], 3);
    broker.core.offsets.set(GROUP, TOPIC, 0, 1); // the last that Apache saved before it was killed
    let again = broker.pop().await;
    assert_eq!(bodies(&again), ["b", "c"]);
    for message in &again {
        broker.ack(message).await;
    }
    revive::step(&broker.core);
    broker.pass(INVISIBLE);
    assert_eq!(bodies(&broker.pop().await), ["a"]);
    broker.pass(INVISIBLE * 10);
    assert_eq!(broker.offset(0), Some(3));
}

#[tokio::test]
async fn what_is_late_is_given_back_when_its_acknowledgements_had_time_to_come() {
    let broker = taken_over(&["a", "b"], 2);
    let popped = broker.core.clock.now_ms();
    broker.advance(INVISIBLE * 10);
    revive::step(&broker.core);
    broker.pass(Duration::from_secs(2));
    assert_eq!(broker.pop().await, []);
    let ack = format!(r#"{{"ao":0,"bn":"b","c":"{GROUP}","pt":{popped},"q":0,"so":0,"t":"{TOPIC}"}}"#);
    revived(&broker, "ack", &ack);
    revive::step(&broker.core);
    broker.pass(Duration::from_secs(1));
    assert_eq!(bodies(&broker.pop().await), ["b"]);
}

#[tokio::test]
async fn no_record_is_taken_over_twice_and_none_is_forgotten() {
    let broker = taken_over(&["a"], 1);
    revive::step(&broker.core);
    assert_eq!(broker.core.offsets.get(REVIVERS, REVIVE, 0), Some(0), "the last record, as Apache stores it");
    broker.pass(INVISIBLE);
    let again = broker.pop().await;
    assert_eq!(bodies(&again), ["a"]);
    broker.ack(&again[0]).await;
    let broker = broker.crashed();
    revive::step(&broker.core);
    broker.pass(INVISIBLE * 10);
    assert_eq!(broker.pop().await, []);
}

#[tokio::test]
async fn records_that_make_no_sense_are_passed_over() {
    let broker = taken_over(&["a"], 1);
    for body in
        ["", "{", r#"{"so":1}"#, r#"{"c":"CG","t":"orders","n":2,"d":[1,0]}"#, r#"{"c":"CG","t":"orders","n":999}"#]
    {
        revived(&broker, "ck", body);
        revived(&broker, "bAck", body);
    }
    revived(&broker, "ck", r#"{"c":"nobody","t":"orders","n":1,"it":1,"pt":1}"#);
    revived(&broker, "ck", r#"{"c":"CG","t":"nothing","n":1,"it":1,"pt":1}"#);
    revived(&broker, "other", "{}");
    revive::step(&broker.core);
    assert_eq!(broker.core.offsets.get(REVIVERS, REVIVE, 0), Some(13));
    assert_eq!(broker.core.pops.open_leases(), 1);
}

#[tokio::test]
async fn what_apache_gave_back_before_it_stopped_is_not_given_again() {
    for variant in ["clean", "killed"] {
        let broker = TestBroker::of_apache(variant, AFTER_APACHE);
        let retry = "%RETRY%CG_pop_T_pop";
        revive::step(&broker.core);
        assert_eq!(broker.core.pops.open_leases(), 0, "Apache was through with it: {variant}");
        let revive = "rmq_sys_REVIVE_LOG_GoldenCluster";
        broker.core.offsets.set(REVIVERS, revive, 0, -1); // as if it had not come to note that
        revive::step(&broker.core);
        assert_eq!(broker.core.pops.open_leases(), 1, "{variant}");
        broker.pass(Duration::from_secs(10));
        assert_eq!(broker.core.pops.open_leases(), 0, "{variant}");
        assert_eq!(broker.core.store.find_queue(retry, 0).unwrap().max_offset(), 2, "{variant}");
    }
}
