//! Timers across stops, crashes and the removal of old log files.

use std::{fs, path::PathBuf, time::SystemTime};

use super::*;

fn journal(broker: &TestBroker) -> PathBuf {
    broker.folder().join("tenonmq").join("timers")
}

#[tokio::test]
async fn rabbitmq_8_pending_timers_survive_stops_and_crashes() {
    let (mut broker, peer) = broker();
    for n in 0..10 {
        timed(&broker, &peer, &n.to_string(), 1_000 * (n + 1)).await;
    }
    for round in 0..10 {
        broker = if round % 2 == 0 { broker.crashed() } else { broker.restarted() };
        broker.advance(SECOND);
        step(&broker);
        assert_eq!(delivered(&broker), round + 1);
    }
    assert_eq!(step(&broker), Next::Idle);
}

#[tokio::test]
async fn a_delivery_that_the_journal_did_not_learn_of_is_found_in_the_log() {
    let (broker, peer) = broker();
    for key in ["FD01", "FD02", "FD03"] {
        timed(&broker, &peer, key, 1_000).await;
    }
    timed(&broker, &peer, "FD04", 9_000).await;
    step(&broker);
    let path = journal(&broker);
    let before = fs::read(&path).unwrap();
    broker.advance(SECOND);
    step(&broker);
    assert_eq!(delivered(&broker), 3);
    let broker = broker.crashed_after(|| fs::write(&path, &before).unwrap());
    step(&broker);
    assert_eq!(delivered(&broker), 3, "none came twice");
    let broker = broker.crashed();
    broker.advance(10 * SECOND);
    step(&broker);
    assert_eq!(keys(&broker), ["FD01", "FD02", "FD03", "FD04"]);
}

#[tokio::test]
async fn what_apache_delivered_between_its_last_check_and_its_kill_does_not_come_again() {
    let (broker, peer) = broker();
    for key in ["FD01", "FD02", "FD03"] {
        timed(&broker, &peer, key, 1_000).await;
    }
    timed(&broker, &peer, "FD04", 9_000).await;
    step(&broker);
    broker.advance(SECOND);
    step(&broker);
    assert_eq!(delivered(&broker), 3);
    let (ours, check) = (journal(&broker), broker.folder().join("config").join("timercheck"));
    let words = [START_MS, 0, 4, 4, 0, START_MS, 1]; // all four are on the wheel, and none was delivered
    let bytes: Vec<u8> = words.iter().flat_map(|word: &i64| word.to_be_bytes()).collect();
    let broker = broker.crashed_after(|| {
        fs::remove_file(ours).unwrap();
        fs::write(check, bytes).unwrap();
    });
    step(&broker);
    assert_eq!(delivered(&broker), 3, "none came twice");
    broker.advance(10 * SECOND);
    step(&broker);
    assert_eq!(keys(&broker), ["FD01", "FD02", "FD03", "FD04"]);
}

#[tokio::test]
async fn two_equal_messages_are_two_even_after_a_crash_between_them() {
    let (broker, peer) = broker();
    for _ in 0..2 {
        timed(&broker, &peer, "FD01", 1_000).await;
    }
    step(&broker);
    let path = journal(&broker);
    let before = fs::read(&path).unwrap();
    broker.advance(SECOND);
    step(&broker);
    let end_of_first = {
        let queue = broker.core.store.find_queue("orders", 1).unwrap();
        queue.entry(1).unwrap().physical_offset
    };
    broker.core.store.cut(end_of_first).unwrap(); // the crash came between the two appends
    let broker = broker.crashed_after(|| fs::write(&path, &before).unwrap());
    step(&broker);
    assert_eq!(delivered(&broker), 2);
}

#[tokio::test]
async fn what_a_crash_of_the_machine_took_from_the_log_is_delivered_again_whatever_the_journal_says() {
    let (broker, peer) = broker();
    timed(&broker, &peer, "FD01", 1_000).await;
    step(&broker);
    broker.advance(SECOND);
    let end = broker.core.store.watermarks().appended;
    step(&broker);
    assert_eq!(delivered(&broker), 1);
    broker.core.store.cut(end).unwrap();
    assert_eq!(delivered(&broker), 0);
    let broker = broker.crashed();
    step(&broker);
    assert_eq!(delivered(&broker), 1);
    let broker = broker.crashed();
    step(&broker);
    assert_eq!(delivered(&broker), 1);
}

#[tokio::test]
async fn thread_9735_without_any_file_the_pending_timers_are_found_in_the_log() {
    let (broker, peer) = broker();
    for n in 0..5 {
        timed(&broker, &peer, &n.to_string(), 5_000).await;
    }
    let folder = broker.folder().to_owned();
    let broker = broker.restarted_after(|| {
        let _ = fs::remove_dir_all(folder.join("tenonmq"));
        let _ = fs::remove_dir_all(folder.join("timerlog"));
        let _ = fs::remove_file(folder.join("timerwheel"));
        let _ = fs::remove_file(folder.join("config").join("timercheck"));
    });
    broker.advance(5 * SECOND);
    step(&broker);
    assert_eq!(delivered(&broker), 5);
}

#[tokio::test]
async fn thread_10668_a_start_reads_only_what_may_be_pending() {
    let (broker, peer) = broker();
    for n in 0..3_000 {
        timed(&broker, &peer, &n.to_string(), 1_000).await;
    }
    broker.advance(SECOND);
    step(&broker);
    timed(&broker, &peer, "last", 60_000).await;
    broker.advance(SECOND);
    step(&broker);
    let broker = broker.crashed();
    let frontier = broker.core.timers.state.lock().index.frontier();
    assert!((1_977..=3_000).contains(&frontier), "{frontier}");
    step(&broker);
    assert_eq!((pending(&broker), delivered(&broker)), (1, 3_000));
}

#[tokio::test]
async fn a_clock_that_is_set_back_neither_loses_nor_repeats() {
    let (broker, peer) = broker();
    timed(&broker, &peer, "FD01", 1_000).await;
    broker.advance(3_600 * SECOND);
    step(&broker);
    assert_eq!(delivered(&broker), 1);
    let at = START_MS + 10_000; // the clock shows an hour more; the message is overdue as soon as it is stored
    let late = send(&broker, &peer, &[("UNIQ_KEY", "FD02"), ("TIMER_DELIVER_MS", &at.to_string())]).await;
    assert_eq!(late.code, 0);
    step(&broker);
    let broker = broker.crashed();
    step(&broker);
    assert_eq!(keys(&broker), ["FD01", "FD02"]);
}

#[tokio::test]
async fn thread_7927_a_timer_outlives_its_log_file() {
    let (broker, peer) = broker();
    broker.core.config.apply("timerMaxDelaySec=3456000").unwrap();
    let day = 24 * 3_600_000_i64;
    timed(&broker, &peer, "near", 1_234).await;
    let handle = timed(&broker, &peer, "recalled", 30 * day + 1_234).await;
    timed(&broker, &peer, "far", 30 * day + 1_234).await;
    let asked = tenonmq_protocol::header::RecallMessage {
        producer_group: None,
        topic: "orders",
        recall_handle: &handle,
        broker_name: None,
    };
    assert_eq!(broker.ask(&peer, &asked).await.code, 0);
    let body = vec![7; 100_000];
    for _ in 0..25 {
        broker.store("other", 0, &body);
    }
    step(&broker);
    let store = &broker.core.store;
    store.flush().unwrap();
    let log = broker.folder().join("commitlog");
    let old = SystemTime::UNIX_EPOCH + Duration::from_millis(START_MS.unsigned_abs());
    for file in fs::read_dir(&log).unwrap() {
        fs::File::options().write(true).open(file.unwrap().path()).unwrap().set_modified(old).unwrap();
    }
    let clean = || {
        for _ in 0..2 {
            broker.core.transactions.persist(); // no undecided half message holds the file
        }
        store.trigger_clean();
        store.maintain();
    };
    broker.advance(Duration::from_millis(4 * day.unsigned_abs()));
    clean();
    assert_eq!(store.watermarks().min, 0, "the file of a pending timer stays");
    step(&broker);
    clean();
    assert_eq!(store.watermarks().min, 0, "until the copy is on disk");
    store.flush().unwrap();
    broker.advance(2 * SECOND);
    step(&broker);
    broker.advance(10 * SECOND);
    clean();
    assert!(store.watermarks().min > 0, "then it goes");
    assert_eq!(delivered(&broker), 1);
    let rolled = waiting(&broker);
    let rolled = RecordView::parse(rolled.last().unwrap()).unwrap();
    assert_eq!(property(&rolled, "TIMER_ROLL_TIMES"), Some("1"));
    let broker = broker.crashed();
    let due = START_MS + 30 * day + 1_234;
    broker.advance(Duration::from_millis((due - 1 - broker.core.clock.now_ms()).unsigned_abs()));
    step(&broker);
    assert_eq!(delivered(&broker), 1, "to the millisecond, though the delay was counted from the first storing");
    broker.advance(MILLI);
    step(&broker);
    broker.advance(SECOND);
    step(&broker);
    assert_eq!(keys(&broker), ["near", "far"]);
    assert_eq!(pending(&broker), 0);
}

#[tokio::test]
async fn a_crash_in_the_middle_of_carrying_on_leaves_one_of_each() {
    let (broker, peer) = broker();
    for n in 0..100 {
        timed(&broker, &peer, &n.to_string(), 5_000).await;
    }
    step(&broker);
    let path = journal(&broker);
    let before = fs::read(&path).unwrap();
    {
        let mut state = broker.core.timers.state.lock();
        let mut scheduler = Scheduler::new(Arc::clone(&broker.core));
        let now_ms = broker.core.clock.now_ms();
        assert_eq!(scheduler.roll(&broker.core, &mut state, now_ms), 100);
    }
    assert_eq!(waiting(&broker).len(), 200);
    let broker = broker.crashed_after(|| fs::write(&path, &before).unwrap());
    step(&broker);
    assert_eq!(pending(&broker), 100);
    broker.advance(5 * SECOND);
    step(&broker);
    assert_eq!(delivered(&broker), 100);
}
