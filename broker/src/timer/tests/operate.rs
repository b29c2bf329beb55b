//! What operators see and switch.

use tenonmq_protocol::{
    body::{KvTable, TimerMetrics, json},
    code::RequestCode,
};
use tenonmq_storage::{Permit, Role};

use super::*;

async fn ask(broker: &TestBroker, peer: &Peer, code: RequestCode) -> Command {
    broker.call(peer, Command::request(code)).await
}

#[tokio::test]
async fn counters_tell_how_many_wait_and_for_which_topic() {
    let (broker, peer) = broker();
    for n in 0..3 {
        timed(&broker, &peer, &n.to_string(), 2_000).await;
    }
    let runtime = async |key: &str| {
        let table: KvTable =
            json::from_slice(&ask(&broker, &peer, RequestCode::GET_BROKER_RUNTIME_INFO).await.body).unwrap();
        table.table[key].clone()
    };
    assert_eq!((runtime("timerOffsetBehind").await, runtime("timerCongestNum").await), ("3".into(), "0".into()));
    step(&broker);
    assert_eq!((runtime("timerOffsetBehind").await, runtime("timerCongestNum").await), ("0".into(), "3".into()));
    broker.advance(5 * SECOND);
    assert_eq!(runtime("timerReadBehind").await, "3");
    let metrics = async || {
        let answer = ask(&broker, &peer, RequestCode::GET_TIMER_METRICS).await;
        json::from_slice::<TimerMetrics>(&answer.body).unwrap().timing_count["orders"].count
    };
    assert_eq!(metrics().await, 3);
    step(&broker);
    assert_eq!(
        (metrics().await, runtime("timerCongestNum").await, runtime("timerReadBehind").await),
        (0, "0".into(), "0".into())
    );
    broker.advance(SECOND);
    timed(&broker, &peer, "again", 2_000).await;
    step(&broker);
    broker.core.timers.save_counts().unwrap();
    let saved = std::fs::read(broker.folder().join("config").join("timermetrics")).unwrap();
    assert_eq!(json::from_slice::<TimerMetrics>(&saved).unwrap().timing_count["orders"].count, 1);
}

#[tokio::test]
async fn the_check_point_never_promises_more_than_the_oldest_pending_timer() {
    let (broker, peer) = broker();
    timed(&broker, &peer, "early", 1_000).await;
    timed(&broker, &peer, "late", 100_000).await;
    for n in 0..2_000 {
        timed(&broker, &peer, &n.to_string(), 1_000).await;
    }
    broker.advance(2 * SECOND);
    step(&broker);
    let answer = ask(&broker, &peer, RequestCode::GET_TIMER_CHECK_POINT).await;
    let file = std::fs::read(broker.folder().join("config").join("timercheck")).unwrap();
    assert_eq!((answer.body.len(), file.len()), (56, 4096));
    assert_eq!(answer.body[..], file[..56]);
    let number = |at: usize| i64::from_be_bytes(file[at..at + 8].try_into().unwrap());
    assert!(number(16) <= 1 && number(24) <= 1, "the second message is pending");
    assert!(!broker.folder().join("timerwheel").exists() && !broker.folder().join("timerlog").exists());
}

#[tokio::test]
async fn without_timers_there_is_no_check_point() {
    let broker = TestBroker::with(&[("timerWheelEnable", "false")]);
    let peer = Peer::new(1);
    for code in [RequestCode::GET_TIMER_CHECK_POINT, RequestCode::GET_TIMER_METRICS] {
        assert_eq!(ask(&broker, &peer, code).await.code, 1);
    }
}

#[tokio::test]
async fn taking_in_and_delivering_can_be_stopped_and_nothing_is_lost() {
    let (broker, peer) = broker();
    timed(&broker, &peer, "FD01", 1_000).await;
    broker.core.config.apply("timerStopDequeue=true").unwrap();
    broker.advance(2 * SECOND);
    step(&broker);
    assert_eq!((delivered(&broker), pending(&broker)), (0, 1));
    broker.core.config.apply("timerStopDequeue=false\ntimerStopEnqueue=true").unwrap();
    timed(&broker, &peer, "FD02", 1_000).await;
    broker.advance(2 * SECOND);
    step(&broker);
    assert_eq!(keys(&broker), ["FD01"]);
    broker.core.config.apply("timerStopEnqueue=false").unwrap();
    step(&broker);
    assert_eq!(keys(&broker), ["FD01", "FD02"]);
}

#[tokio::test]
async fn a_slave_delivers_nothing_and_goes_on_when_it_is_the_master() {
    let (broker, peer) = broker();
    timed(&broker, &peer, "FD01", 1_000).await;
    broker.core.store.set_permit(Permit { role: Role::Slave, epoch: 1 });
    broker.advance(2 * SECOND);
    step(&broker);
    assert_eq!(delivered(&broker), 0);
    broker.core.store.set_permit(Permit { role: Role::Master, epoch: 2 });
    step(&broker);
    assert_eq!(delivered(&broker), 1);
}

#[tokio::test]
async fn a_disk_that_is_full_delays_and_does_not_lose() {
    let (broker, peer) = broker();
    timed(&broker, &peer, "FD01", 1_000).await;
    broker.advance(SECOND);
    step_refused(&broker);
    assert_eq!((delivered(&broker), pending(&broker)), (0, 1));
    broker.core.store.set_permit(Permit { role: Role::Master, epoch: 3 });
    broker.advance(SECOND);
    step(&broker);
    assert_eq!(delivered(&broker), 1);
}

/// A turn in which the store refuses every append.
fn step_refused(broker: &TestBroker) {
    let mut scheduler = Scheduler::new(Arc::clone(&broker.core));
    let mut state = broker.core.timers.state.lock();
    let timers = &broker.core.timers;
    let now_ms = broker.core.clock.now_ms();
    while state.take_in(&broker.core.store, &timers.queue, &timers.metrics, now_ms) {}
    broker.core.store.set_permit(Permit { role: Role::Slave, epoch: 2 });
    let next = scheduler.deliver(&broker.core, &mut state, now_ms, &mut 0);
    assert_eq!(next, Next::At(now_ms + 100));
}

#[tokio::test]
async fn what_another_master_did_meanwhile_is_known_when_this_broker_is_the_master_again() {
    let (broker, peer) = broker();
    timed(&broker, &peer, "FD01", 1_000).await;
    let end = broker.core.store.watermarks().appended;
    timed(&broker, &peer, "FD02", 1_000).await;
    step(&broker);
    assert_eq!(pending(&broker), 2);
    broker.core.store.set_permit(Permit { role: Role::Slave, epoch: 1 });
    step(&broker);
    broker.core.store.cut(end).unwrap(); // the other one never had it
    broker.core.store.set_permit(Permit { role: Role::Master, epoch: 2 });
    step(&broker);
    assert_eq!(pending(&broker), 1);
    assert_eq!(broker.core.timers.counts().timing_count["orders"].count, 1);
    timed(&broker, &peer, "FD03", 1_000).await;
    broker.advance(SECOND);
    step(&broker);
    assert_eq!(keys(&broker), ["FD01", "FD03"]);
}

#[tokio::test]
async fn the_precision_is_one_of_apache_s_four_steps() {
    for (configured, out) in
        [("1000", 1_000), ("999", 1_500), ("200", 1_600), ("150", 1_700), ("1", 1_700), ("5000", 1_000)]
    {
        let broker = TestBroker::with(&[("timerPrecisionMs", configured)]);
        broker.topic("orders", 2);
        let peer = Peer::new(1);
        send(&broker, &peer, &[("TIMER_DELAY_MS", "1789")]).await;
        let stored = waiting(&broker);
        let stored = RecordView::parse(&stored[0]).unwrap();
        assert_eq!(property(&stored, "TIMER_OUT_MS"), Some(&*(START_MS + out).to_string()), "{configured}");
        assert_eq!(step(&broker), Next::At(START_MS + 1_789));
    }
}
