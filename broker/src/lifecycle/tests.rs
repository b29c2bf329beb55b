use std::time::Duration;

use tenonmq_protocol::{Command, RequestCode, ResponseCode};

use super::*;
use crate::config::ConfigError;
use crate::route::Link;

fn config(folder: &tempfile::TempDir, settings: &[(&str, &str)]) -> Arc<LiveConfig> {
    let root = folder.path().display().to_string();
    let always = [
        ("storePathRootDir", root.as_str()),
        ("listenPort", "0"),
        ("namesrvListenPort", "0"),
        ("bindAddress", "127.0.0.1"),
        ("mappedFileSizeCommitLog", "1048576"),
        ("maxHashSlotNum", "1000"),
        ("maxIndexNum", "4000"),
    ];
    LiveConfig::embedded(always.into_iter().chain(settings.iter().copied())).unwrap()
}

async fn start(config: Arc<LiveConfig>) -> Running {
    Running::start(config, Clock::system()).await.unwrap()
}

async fn ask(address: SocketAddr, request: Command) -> Command {
    Link::new(&address.to_string()).request(request, Duration::from_secs(10)).await.unwrap()
}

fn route_of(topic: &str) -> Command {
    Command::request(RequestCode::GET_ROUTEINFO_BY_TOPIC).with_field("topic", topic)
}

#[tokio::test]
async fn a_fresh_process_gives_the_route_to_itself() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(config(&folder, &[])).await;
    let broker = running.addresses().broker.unwrap();
    let route = ask(running.addresses().name_server.unwrap(), route_of("TBW102")).await;
    let body = String::from_utf8(route.body.to_vec()).unwrap();
    assert!(body.contains(&format!("{{\"0\":\"{broker}\"}}")), "{body}");
    assert_eq!(running.advertised().unwrap().text, broker.to_string());
    running.shutdown().await;
}

#[tokio::test]
async fn a_stopped_process_leaves_no_mark_of_a_crash_and_can_be_started_again() {
    let folder = tempfile::tempdir().unwrap();
    let abort = folder.path().join("abort");
    for _ in 0..2 {
        let running = start(config(&folder, &[])).await;
        assert!(abort.exists());
        assert!(running.core().unwrap().store.recovery().clean);
        running.shutdown().await;
        assert!(!abort.exists());
    }
}

#[tokio::test]
async fn a_broker_alone_registers_with_a_name_server_alone() {
    let folders = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let name_server = start(config(&folders.0, &[("brokerEnable", "false")])).await;
    assert!(name_server.core().is_none());
    let at = name_server.addresses().name_server.unwrap();
    let broker = start(config(&folders.1, &[("namesrvAddr", &at.to_string())])).await;
    assert!(broker.name_server().is_none());
    assert_eq!(ask(at, route_of("TBW102")).await.code, ResponseCode::SUCCESS.0);
    broker.shutdown().await;
    assert_eq!(ask(at, route_of("TBW102")).await.code, ResponseCode::TOPIC_NOT_EXIST.0);
    name_server.shutdown().await;
}

#[tokio::test]
async fn a_topic_that_a_send_creates_has_a_route_when_the_send_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(config(&folder, &[])).await;
    let send = Command::request(RequestCode::SEND_MESSAGE_V2)
        .with_field("a", "group")
        .with_field("b", "fresh")
        .with_field("c", "TBW102")
        .with_field("d", 4)
        .with_field("e", 0)
        .with_field("f", 0)
        .with_field("g", 1)
        .with_field("h", 0)
        .with_field("i", "")
        .with_field("j", 0)
        .with_field("k", false)
        .with_field("m", false)
        .with_body("hello");
    let sent = ask(running.addresses().broker.unwrap(), send).await;
    assert_eq!(sent.code, ResponseCode::SUCCESS.0, "{:?}", sent.remark);
    let route = ask(running.addresses().name_server.unwrap(), route_of("fresh")).await;
    assert_eq!(route.code, ResponseCode::SUCCESS.0);
    running.shutdown().await;
}

#[tokio::test]
async fn a_port_in_use_is_named_before_the_data_is_touched() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let Err(error) = Running::start(config(&folder, &[("namesrvListenPort", &port)]), Clock::system()).await else {
        panic!("started on a port in use");
    };
    assert_eq!(error.to_string(), format!("the name server cannot listen on 127.0.0.1:{port}"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_data_directory_in_use_is_named_and_nothing_is_left_running() {
    let folder = tempfile::tempdir().unwrap();
    let first = start(config(&folder, &[])).await;
    let Err(error) = Running::start(config(&folder, &[]), Clock::system()).await else {
        panic!("two processes on one directory");
    };
    assert!(matches!(error, StartError::Data { .. }), "{error:?}");
    first.shutdown().await;
}

#[test]
fn an_embedded_configuration_names_an_unknown_key() {
    let error = LiveConfig::embedded([("listenPrt", "0")]).unwrap_err();
    assert!(matches!(error, ConfigError::Usage(text) if text.contains("did you mean listenPort?")));
}

#[tokio::test]
async fn an_http_port_in_use_does_not_keep_the_broker_from_starting() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let exporter = [("metricsExporterType", "PROM"), ("metricsPromExporterHost", "127.0.0.1")];
    let ports = [("httpPort", port.as_str()), ("metricsPromExporterPort", &port)];
    let running = start(config(&folder, &[exporter, ports].concat())).await;
    assert_eq!((running.addresses().http, running.addresses().exporter), (None, None));
    assert_eq!(
        ask(running.addresses().broker.unwrap(), Command::request(RequestCode::GET_BROKER_CONFIG)).await.code,
        0
    );
    running.shutdown().await;
}

#[tokio::test]
async fn metrics_are_at_the_http_port_and_where_apaches_exporter_has_them() {
    let folder = tempfile::tempdir().unwrap();
    let exporter =
        [("metricsExporterType", "prom"), ("metricsPromExporterHost", "localhost"), ("metricsPromExporterPort", "0")];
    let running = start(config(&folder, &exporter)).await;
    for address in [running.addresses().http.unwrap(), running.addresses().exporter.unwrap()] {
        assert!(address.ip().is_loopback());
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"GET /metrics HTTP/1.0\r\n\r\n").await.unwrap();
        let mut page = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut page).await.unwrap();
        assert!(page.contains("rocketmq_broker_permission{"), "{page}");
    }
    running.shutdown().await;
    let off = [("httpEnable", "false"), ("metricsExporterType", "LOG")];
    let running = start(config(&folder, &off)).await;
    assert_eq!((running.addresses().http, running.addresses().exporter), (None, None));
    running.shutdown().await;
}
