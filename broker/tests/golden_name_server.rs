//! Frames that an Apache name server was sent, sent to ours: the answers have to be the captured ones.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use serde_json::Value;
use tenonmq_broker::config::LiveConfig;
use tenonmq_broker::namesrv::{Answer, Call, NameServer, Origin};
use tenonmq_protocol::{Command, DEFAULT_MAX_FRAME, FrameView, RequestCode, ResponseCode};

fn golden(folder: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../golden")).join(folder)
}

/// One captured request with the answer that it got; `None` for oneway requests.
struct Exchange {
    at_ms: i64,
    connection: u64,
    request: Command,
    answer: Option<Command>,
}

/// Everything said to the name server, in the order in which it was asked.
fn exchanges(folder: &str) -> Vec<Exchange> {
    let folder = golden(folder);
    let index = std::fs::read_to_string(folder.join("index.jsonl")).unwrap();
    let mut files: HashMap<String, Vec<u8>> = HashMap::new();
    let mut exchanges: Vec<Exchange> = Vec::new();
    let mut open: HashMap<(u64, i32), usize> = HashMap::new();
    for line in index.lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        if entry["link"] != "namesrv" {
            continue;
        }
        let file = entry["file"].as_str().unwrap();
        let bytes = files.entry(file.to_owned()).or_insert_with(|| std::fs::read(folder.join(file)).unwrap());
        let start = usize::try_from(entry["offset"].as_u64().unwrap()).unwrap();
        let frame = FrameView::peek(&bytes[start..], DEFAULT_MAX_FRAME).unwrap().unwrap();
        let command = Command::decode(&frame).unwrap();
        let connection = entry["connection"].as_u64().unwrap();
        let key = (connection, command.opaque);
        if command.is_response() {
            exchanges[open.remove(&key).unwrap()].answer = Some(command);
        } else {
            if !command.is_oneway() {
                open.insert(key, exchanges.len());
            }
            let at_ms = entry["timeMs"].as_i64().unwrap();
            exchanges.push(Exchange { at_ms, connection, request: command, answer: None });
        }
    }
    exchanges
}

fn name_server() -> (tempfile::TempDir, NameServer) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display().to_string();
    let config = LiveConfig::embedded([("storePathRootDir", path.as_str())]).unwrap();
    (folder, NameServer::open(config, 0).unwrap())
}

fn ask(server: &NameServer, exchange: &Exchange) -> Answer {
    server.expire(exchange.at_ms);
    let request = &exchange.request;
    let call = Call {
        code: RequestCode(request.code),
        version: request.version,
        fields: request.fields(),
        body: &request.body,
        origin: Origin::Connection(exchange.connection),
    };
    server.answer(&call, exchange.at_ms)
}

/// The order configuration that the name server of the later captures had from the first one.
fn with_order_configuration(server: &NameServer) {
    let fields = [("namespace", "ORDER_TOPIC_CONFIG"), ("key", "W_adm"), ("value", "golden-a:3")];
    let request = fields
        .into_iter()
        .fold(Command::request(RequestCode::PUT_KV_CONFIG), |request, (name, value)| request.with_field(name, value));
    let exchange = Exchange { at_ms: 0, connection: 0, request, answer: None };
    assert_eq!(ask(server, &exchange).code, ResponseCode::SUCCESS);
}

/// Lists of topics have no order, and the configuration names paths of the machine it was captured on.
fn comparable_body(code: RequestCode, body: &[u8]) -> String {
    let text = String::from_utf8(body.to_vec()).unwrap();
    match code {
        RequestCode::GET_ALL_TOPIC_LIST_FROM_NAMESERVER => {
            let list: Value = serde_json::from_str(&text).unwrap();
            let topics: BTreeSet<_> = list["topicList"].as_array().unwrap().iter().map(Value::to_string).collect();
            format!("{topics:?}")
        }
        RequestCode::GET_NAMESRV_CONFIG => {
            let of_the_machine =
                |line: &&str| ["kvConfigPath=", "listenPort=", "rocketmqHome="].iter().any(|key| line.starts_with(key));
            let lines: Vec<_> = text.lines().filter(|line| !of_the_machine(line)).collect();
            lines.join("\n")
        }
        _ => text,
    }
}

fn replay(folder: &str, server: &NameServer) -> usize {
    let exchanges = exchanges(folder);
    for exchange in &exchanges {
        let ours = ask(server, exchange);
        let Some(theirs) = &exchange.answer else {
            continue;
        };
        let code = RequestCode(exchange.request.code);
        let what = format!("{code} at {} ms {:?}", exchange.at_ms, exchange.request.fields);
        assert_eq!(ours.code.0, theirs.code, "{what}");
        let remark = theirs.remark.as_deref().filter(|remark| *remark != "not set any response code");
        assert_eq!(ours.remark.as_deref(), remark, "{what}");
        let fields: Vec<_> = ours.fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        assert_eq!(fields, theirs.fields, "{what}");
        assert_eq!(comparable_body(code, &ours.body), comparable_body(code, &theirs.body), "{what}");
    }
    exchanges.len()
}

#[test]
fn a_whole_run_of_broker_clients_and_mqadmin_gets_the_captured_answers() {
    let (_folder, server) = name_server();
    assert!(replay("wire", &server) > 300);
}

#[test]
fn a_second_run_gets_the_captured_answers() {
    let (_folder, server) = name_server();
    with_order_configuration(&server);
    assert!(replay("wire/extra-run", &server) > 30);
}

#[test]
fn a_broker_with_acting_master_gets_the_captured_answers() {
    let (_folder, server) = name_server();
    with_order_configuration(&server);
    assert!(replay("wire/acting-master", &server) > 80);
}

/// Upstream 5.3.3 sends a compressed body without saying so, and its own name server then fails with a
/// NullPointerException. Ours reads it.
#[test]
fn a_compressed_registration_that_upstream_fails_on_is_taken() {
    let (_folder, server) = name_server();
    let exchanges = exchanges("wire/compressed-register");
    let registrations = exchanges.iter().filter(|exchange| exchange.request.code == 103);
    let mut count = 0;
    for exchange in registrations {
        assert_eq!(exchange.request.body[0], 0x78);
        assert_eq!(exchange.answer.as_ref().unwrap().code, ResponseCode::SYSTEM_ERROR.0);
        assert_eq!(ask(&server, exchange).code, ResponseCode::SUCCESS);
        count += 1;
    }
    assert!(count > 0);
    let request = Command::request(RequestCode::GET_ROUTEINFO_BY_TOPIC).with_field("topic", "TBW102");
    let route = ask(&server, &Exchange { at_ms: 0, connection: 9, request, answer: None });
    assert!(String::from_utf8_lossy(&route.body).contains("\"brokerName\":\"golden-hb\",\"perm\":7"));
}
