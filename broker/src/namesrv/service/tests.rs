use super::*;

fn name_server(settings: &[(&str, &str)]) -> (tempfile::TempDir, NameServer) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display().to_string();
    let settings = [("storePathRootDir", path.as_str())].into_iter().chain(settings.iter().copied());
    let config = LiveConfig::embedded(settings).unwrap();
    (folder, NameServer::open(config, 0).unwrap())
}

fn ask_as(server: &NameServer, version: i32, code: RequestCode, fields: &[(&str, &str)], body: &str) -> Answer {
    let pairs: Vec<(String, String)> = fields.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let origin = Origin::Connection(1);
    let call = Call { code, version, fields: Fields::pairs(&pairs), body: body.as_bytes(), origin };
    server.answer(&call, 0)
}

fn ask(server: &NameServer, code: RequestCode, fields: &[(&str, &str)], body: &str) -> Answer {
    ask_as(server, 479, code, fields, body)
}

const BROKER: [(&str, &str); 5] = [
    ("clusterName", "c"),
    ("brokerName", "b"),
    ("brokerId", "0"),
    ("brokerAddr", "h:10911"),
    ("haServerAddr", "h:10912"),
];
const TOPICS: &str = "{\"topicConfigSerializeWrapper\":{\"dataVersion\":{\"counter\":3},\"topicConfigTable\":{\
    \"t\":{\"perm\":6,\"readQueueNums\":1,\"writeQueueNums\":1},\"u\":{\"perm\":6}}}}";

fn register(server: &NameServer) -> Answer {
    ask(server, RequestCode::REGISTER_BROKER, &BROKER, TOPICS)
}

fn text(answer: &Answer) -> &str {
    std::str::from_utf8(&answer.body).unwrap()
}

#[test]
fn a_route_is_standard_json_for_new_clients_and_the_dialect_for_old_ones_that_do_not_ask() {
    let (_folder, server) = name_server(&[]);
    assert_eq!(register(&server), Answer::ok());
    let route = |version, fields: &[(&str, &str)]| {
        let answer = ask_as(&server, version, RequestCode::GET_ROUTEINFO_BY_TOPIC, fields, "");
        text(&answer).contains("{\"0\":\"h:10911\"}")
    };
    assert!(route(401, &[("topic", "t")]));
    assert!(!route(400, &[("topic", "t")]));
    assert!(route(400, &[("topic", "t"), ("acceptStandardJsonOnly", "true")]));
}

#[test]
fn an_unknown_topic_is_answered_with_upstreams_words() {
    let (_folder, server) = name_server(&[]);
    let answer = ask(&server, RequestCode::GET_ROUTEINFO_BY_TOPIC, &[("topic", "x")], "");
    assert_eq!(answer.code, ResponseCode::TOPIC_NOT_EXIST);
    assert!(answer.remark.unwrap().starts_with("No topic route info in name server for the topic: x\nSee https://"));
}

#[test]
fn a_missing_field_is_named() {
    let (_folder, server) = name_server(&[]);
    let answer = ask(&server, RequestCode::GET_ROUTEINFO_BY_TOPIC, &[], "");
    assert_eq!(answer.code, ResponseCode::SYSTEM_ERROR);
    assert!(answer.remark.unwrap().contains("topic"));
}

#[test]
fn an_unknown_code_is_not_supported() {
    let (_folder, server) = name_server(&[]);
    let answer = ask(&server, RequestCode::SEND_MESSAGE, &[], "");
    assert_eq!(answer.code, ResponseCode::REQUEST_CODE_NOT_SUPPORTED);
    assert_eq!(answer.remark.as_deref(), Some(" request type 10 not supported"));
}

#[test]
fn a_body_that_its_checksum_does_not_fit_is_refused() {
    let (_folder, server) = name_server(&[]);
    let crc = (crc32fast::hash(TOPICS.as_bytes()) & 0x7fff_ffff).to_string();
    let with_crc = |crc: &str| {
        let fields: Vec<_> = BROKER.into_iter().chain([("bodyCrc32", crc)]).collect();
        ask(&server, RequestCode::REGISTER_BROKER, &fields, TOPICS)
    };
    assert_eq!(with_crc("1").remark.as_deref(), Some("crc32 not match"));
    assert_eq!(with_crc(&crc), Answer::ok());
}

#[test]
fn a_first_registration_of_one_topic_fails_and_a_broken_body_says_why() {
    let (_folder, server) = name_server(&[]);
    let one = "{\"topicConfigSerializeWrapper\":{\"topicConfigTable\":{\"t\":{}}}}";
    let answer = ask(&server, RequestCode::REGISTER_BROKER, &BROKER, one);
    assert_eq!((answer.code, answer.remark.as_deref()), (ResponseCode::SYSTEM_ERROR, Some("register broker failed")));
    let answer = ask(&server, RequestCode::REGISTER_BROKER, &BROKER, "{");
    assert!(answer.remark.unwrap().contains("body is not JSON at byte 1"));
}

#[test]
fn keys_and_values_are_put_listed_and_deleted() {
    let (_folder, server) = name_server(&[]);
    let one = [("namespace", "n"), ("key", "k"), ("value", "v")];
    let missing = ask(&server, RequestCode::GET_KV_CONFIG, &one, "");
    assert_eq!(missing.code, ResponseCode::QUERY_NOT_FOUND);
    assert_eq!(missing.remark.as_deref(), Some("No config item, Namespace: n Key: k"));
    assert_eq!(ask(&server, RequestCode::GET_KVLIST_BY_NAMESPACE, &one, "").code, ResponseCode::QUERY_NOT_FOUND);
    assert_eq!(ask(&server, RequestCode::PUT_KV_CONFIG, &one, ""), Answer::ok());
    assert_eq!(ask(&server, RequestCode::GET_KV_CONFIG, &one, "").fields, [("value", "v".to_owned())]);
    assert_eq!(text(&ask(&server, RequestCode::GET_KVLIST_BY_NAMESPACE, &one, "")), "{\"table\":{\"k\":\"v\"}}");
    assert_eq!(ask(&server, RequestCode::DELETE_KV_CONFIG, &one, ""), Answer::ok());
    assert_eq!(text(&ask(&server, RequestCode::GET_KVLIST_BY_NAMESPACE, &one, "")), "{\"table\":{}}");
}

#[test]
fn order_configuration_goes_to_brokers_and_on_request_into_routes() {
    let order = [("namespace", ORDER_NAMESPACE), ("key", "t"), ("value", "b:1")];
    for (setting, in_route) in [("false", false), ("true", true)] {
        let (_folder, server) = name_server(&[("orderMessageEnable", setting)]);
        ask(&server, RequestCode::PUT_KV_CONFIG, &order, "");
        assert_eq!(text(&register(&server)), "{\"table\":{\"t\":\"b:1\"}}");
        let route = ask(&server, RequestCode::GET_ROUTEINFO_BY_TOPIC, &[("topic", "t")], "");
        assert_eq!(text(&route).contains("\"orderTopicConf\":\"b:1\""), in_route);
    }
}

#[test]
fn a_data_version_is_compared_and_keeps_a_broker_alive() {
    let (_folder, server) = name_server(&[]);
    let asked = |body: &str| ask(&server, RequestCode::QUERY_DATA_VERSION, &BROKER, body);
    let unknown = asked("{\"counter\":3}");
    assert_eq!(unknown.fields, [("changed", "true".to_owned())]);
    assert!(unknown.body.is_empty());
    register(&server);
    let same = asked("{\"counter\":3,\"stateVersion\":0,\"timestamp\":0}");
    assert_eq!(same.fields, [("changed", "false".to_owned())]);
    assert_eq!(text(&same), "{\"counter\":3,\"stateVersion\":0,\"timestamp\":0}");
    assert_eq!(asked("{\"counter\":4}").fields, [("changed", "true".to_owned())]);
}

#[test]
fn lists_can_be_switched_off() {
    let (_folder, server) = name_server(&[("enableAllTopicList", "false"), ("enableTopicList", "false")]);
    for code in [RequestCode::GET_ALL_TOPIC_LIST_FROM_NAMESERVER, RequestCode::GET_TOPICS_BY_CLUSTER] {
        let answer = ask(&server, code, &[("cluster", "c")], "");
        assert_eq!((answer.code, answer.remark.as_deref()), (ResponseCode::SYSTEM_ERROR, Some("disable")));
    }
    register(&server);
    let system = ask(&server, RequestCode::GET_SYSTEM_TOPIC_LIST_FROM_NS, &[], "");
    assert_eq!(text(&system), "{\"brokerAddr\":\"h:10911\",\"topicList\":[\"c\",\"b\"]}");
}

#[test]
fn a_name_server_told_to_wait_gives_no_routes_at_first() {
    let (_folder, server) = name_server(&[("needWaitForService", "true"), ("waitSecondsForService", "10")]);
    let fields = [("topic".to_owned(), "t".to_owned())];
    let at = |now_ms| {
        let fields = Fields::pairs(&fields);
        let code = RequestCode::GET_ROUTEINFO_BY_TOPIC;
        let call = Call { code, version: 479, fields, body: b"", origin: Origin::Connection(1) };
        server.answer(&call, now_ms)
    };
    register(&server);
    assert_eq!(at(9_999).remark.as_deref(), Some("name server not ready"));
    assert_eq!(at(10_000).code, ResponseCode::SUCCESS);
    assert_eq!(at(0).code, ResponseCode::SUCCESS, "once ready, always ready");
}

#[test]
fn the_configuration_can_be_shown_and_changed_except_where_its_files_are() {
    let (_folder, server) = name_server(&[]);
    let change = |body| ask(&server, RequestCode::UPDATE_NAMESRV_CONFIG, &[], body);
    assert_eq!(change("orderMessageEnable=true\n"), Answer::ok());
    let shown = ask(&server, RequestCode::GET_NAMESRV_CONFIG, &[], "");
    assert!(text(&shown).contains("\norderMessageEnable=true\n"));
    assert_eq!(change("kvConfigPath=/etc/x").code, ResponseCode::NO_PERMISSION);
    assert_eq!(change("orderMessageEnable=perhaps").code, ResponseCode::SYSTEM_ERROR);
}

#[test]
fn members_are_those_of_the_name() {
    let (_folder, server) = name_server(&[]);
    register(&server);
    let answer = ask(&server, RequestCode::GET_BROKER_MEMBER_GROUP, &BROKER, "");
    let expected = "{\"brokerMemberGroup\":{\"brokerAddrs\":{0:\"h:10911\"},\"brokerName\":\"b\",\"cluster\":\"c\"}}";
    assert_eq!(text(&answer), expected);
}
