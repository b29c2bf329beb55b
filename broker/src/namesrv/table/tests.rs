use super::*;
use crate::namesrv::model::keep_zone;

const RULES: Rules =
    Rules { acting_master: false, delete_missing_topics: false, max_brokers: 10_000, max_topics: 1_000_000 };
const ACTING: Rules = Rules { acting_master: true, ..RULES };

fn broker(name: &str, id: i64) -> Registrant {
    Registrant {
        cluster: "c".into(),
        name: name.into(),
        id,
        address: format!("{name}-{id}:10911"),
        ha_address: format!("{name}-{id}:10912"),
        zone: None,
        acting_master: None,
        timeout_ms: None,
        origin: Origin::Connection(u64::try_from(id).unwrap() + 1),
    }
}

fn acting(name: &str, id: i64) -> Registrant {
    Registrant { acting_master: Some(true), ..broker(name, id) }
}

const READ: i32 = PERM_READ;
const READ_WRITE: i32 = PERM_READ | PERM_WRITE;

fn config(queues: i32) -> TopicConfig {
    TopicConfig { read_queue_nums: queues, write_queue_nums: queues, perm: READ_WRITE, ..TopicConfig::default() }
}

fn serving(counter: i64, topics: &[&str]) -> RegisterBrokerBody {
    let mut body = RegisterBrokerBody::default();
    let table = &mut body.topic_config_serialize_wrapper;
    table.data_version.counter = counter;
    table.topic_config_table = topics.iter().map(|topic| ((*topic).to_owned(), config(4))).collect();
    body
}

fn register(table: &mut RouteTable, who: &Registrant, what: RegisterBrokerBody) -> Registered {
    table.register(who, what, RULES, 0).unwrap()
}

fn addresses(table: &RouteTable, topic: &str) -> Vec<(i64, String)> {
    let route = table.route(topic, ACTING).unwrap();
    route.brokers.iter().flat_map(|broker| broker.broker_addrs.clone()).collect()
}

fn permission(table: &RouteTable, topic: &str) -> i32 {
    table.route(topic, RULES).unwrap().queues[0].perm
}

#[test]
fn a_topic_has_a_route_once_its_master_registered() {
    let mut table = RouteTable::default();
    assert_eq!(table.route("t", RULES), None);
    register(&mut table, &broker("a", 0), serving(0, &["t", "u"]));
    let route = table.route("t", RULES).unwrap();
    assert_eq!(route.queues, [queues_of("a", &config(4))]);
    assert_eq!(route.brokers[0].broker_addrs[&0], "a-0:10911");
    assert_eq!((route.brokers[0].broker_name.as_str(), route.brokers[0].cluster.as_str()), ("a", "c"));
    assert_eq!(table.topics(), ["t", "u"]);
}

#[test]
fn a_first_registration_with_exactly_one_topic_is_refused_and_leaves_no_trace() {
    let mut table = RouteTable::default();
    let refused = table.register(&broker("a", 0), serving(3, &["t"]), RULES, 0);
    assert_eq!(refused, Err(Refused::Incomplete));
    assert_eq!(table.cluster_info(), ClusterInfo::default());
    register(&mut table, &broker("a", 0), serving(3, &[]));
    register(&mut table, &broker("a", 0), serving(4, &["t"]));
    assert_eq!(table.topics(), ["t"]);
}

#[test]
fn one_changed_topic_does_not_touch_the_others() {
    let mut table = RouteTable::default();
    register(&mut table, &broker("a", 0), serving(0, &["t", "u"]));
    let mut change = serving(1, &["t"]);
    let table_told = &mut change.topic_config_serialize_wrapper.topic_config_table;
    table_told.insert("t".into(), config(8));
    register(&mut table, &broker("a", 0), change);
    assert_eq!(table.route("t", RULES).unwrap().queues[0].write_queue_nums, 8);
    assert_eq!(table.route("u", RULES).unwrap().queues[0].write_queue_nums, 4);
}

#[test]
fn a_table_with_the_version_of_the_last_one_changes_only_what_is_missing() {
    let mut table = RouteTable::default();
    register(&mut table, &broker("a", 0), serving(1, &["t", "u"]));
    table.wipe_write("a");
    table.delete_topic("u", None);
    register(&mut table, &broker("a", 0), serving(1, &["t", "u"]));
    assert_eq!(permission(&table, "t"), READ, "what an operator wiped stays wiped");
    assert_eq!(permission(&table, "u"), READ_WRITE);
    register(&mut table, &broker("a", 0), serving(2, &["t", "u"]));
    assert_eq!(permission(&table, "t"), READ_WRITE);
}

#[test]
fn missing_topics_go_only_when_the_rule_says_so() {
    let mut table = RouteTable::default();
    register(&mut table, &broker("a", 0), serving(0, &["t", "u"]));
    register(&mut table, &broker("a", 0), serving(1, &["t"]));
    assert_eq!(table.topics(), ["t", "u"]);
    let rules = Rules { delete_missing_topics: true, ..RULES };
    table.register(&broker("a", 0), serving(2, &["t"]), rules, 0).unwrap();
    assert_eq!(table.topics(), ["t"]);
}

#[test]
fn a_slave_is_told_its_master_and_tells_no_topics() {
    let mut table = RouteTable::default();
    assert_eq!(register(&mut table, &broker("a", 1), serving(0, &["x", "y"])), Registered::default());
    assert_eq!(table.topics(), Vec::<&str>::new());
    register(&mut table, &broker("a", 0), serving(0, &["t", "u"]));
    let told = register(&mut table, &broker("a", 1), serving(0, &["x", "y"]));
    assert_eq!(told.master_address.as_deref(), Some("a-0:10911"));
    assert_eq!(told.ha_address.as_deref(), Some("a-0:10912"));
    assert_eq!(table.topics(), ["t", "u"]);
}

#[test]
fn an_address_has_one_id_at_a_time() {
    let mut table = RouteTable::default();
    register(&mut table, &broker("a", 1), serving(0, &[]));
    let promoted = Registrant { id: 0, ..broker("a", 1) };
    register(&mut table, &promoted, serving(0, &["t", "u"]));
    assert_eq!(addresses(&table, "t"), [(0, "a-1:10911".to_owned())]);
}

#[test]
fn a_replaced_master_with_an_older_epoch_is_not_taken_back() {
    let mut table = RouteTable::default();
    let mut what = serving(0, &["t", "u"]);
    what.topic_config_serialize_wrapper.data_version.state_version = 2;
    register(&mut table, &broker("a", 0), what);
    let old = Registrant { address: "old:10911".into(), ..broker("a", 0) };
    assert_eq!(register(&mut table, &old, serving(9, &["t", "u"])), Registered::default());
    assert_eq!(addresses(&table, "t"), [(0, "a-0:10911".to_owned())]);
    assert_eq!(table.version("c", "old:10911"), None);
}

#[test]
fn unregistering_the_last_of_a_name_removes_its_topics_and_its_cluster() {
    let mut table = RouteTable::default();
    register(&mut table, &broker("a", 0), serving(0, &["t", "u"]));
    register(&mut table, &broker("b", 0), serving(0, &["u", "v"]));
    table.unregister("c", "a", "a-0:10911");
    assert_eq!(table.topics(), ["u", "v"]);
    assert_eq!(table.system_topics(), ["c", "b"]);
    table.unregister("c", "b", "b-0:10911");
    assert!(table.topics().is_empty());
    assert_eq!(table.cluster_info(), ClusterInfo::default());
}

#[test]
fn a_silent_broker_expires_after_its_own_timeout() {
    let mut table = RouteTable::default();
    register(&mut table, &broker("a", 0), serving(0, &["t", "u"]));
    let impatient = Registrant { timeout_ms: Some(10_000), ..broker("b", 1) };
    register(&mut table, &impatient, serving(0, &[]));
    assert!(table.expire(10_000).is_empty());
    assert_eq!(table.expire(10_001), [2]);
    assert!(table.expire(120_000).is_empty());
    table.seen("c", "a-0:10911", 60_000);
    assert!(table.expire(180_000).is_empty());
    assert_eq!(table.expire(180_001), [1]);
    assert_eq!(table.cluster_info(), ClusterInfo::default());
}

#[test]
fn a_closed_connection_ends_only_its_own_registrations() {
    let mut table = RouteTable::default();
    register(&mut table, &broker("a", 0), serving(0, &["t", "u"]));
    let here = Registrant { origin: Origin::InProcess, ..broker("b", 0) };
    register(&mut table, &here, serving(0, &["v", "w"]));
    table.connection_closed(1);
    assert_eq!(table.topics(), ["v", "w"]);
    assert!(table.expire(i64::MAX).is_empty());
    assert_eq!(table.topics(), ["v", "w"], "the broker of this process cannot be lost without us");
}

#[test]
fn write_permission_is_wiped_and_added_for_all_topics_of_a_broker() {
    let mut table = RouteTable::default();
    register(&mut table, &broker("a", 0), serving(0, &["t", "u"]));
    register(&mut table, &broker("b", 0), serving(0, &["u", "v"]));
    assert_eq!(table.wipe_write("a"), 2);
    assert_eq!((permission(&table, "t"), permission(&table, "v")), (READ, READ_WRITE));
    assert_eq!(table.add_write("a"), 2);
    assert_eq!(permission(&table, "t"), READ_WRITE);
    assert_eq!(table.wipe_write("nobody"), 0);
}

#[test]
fn a_topic_is_deleted_in_one_cluster_or_everywhere() {
    let mut table = RouteTable::default();
    register(&mut table, &broker("a", 0), serving(0, &["t", "u"]));
    let elsewhere = Registrant { cluster: "d".into(), ..broker("b", 0) };
    register(&mut table, &elsewhere, serving(0, &["t", "u"]));
    table.delete_topic("t", Some("c"));
    assert_eq!(table.topics_of_cluster("c"), ["u"]);
    assert_eq!(table.topics_of_cluster("d"), ["t", "u"]);
    table.delete_topic("t", Some("no such cluster"));
    table.delete_topic("u", None);
    assert_eq!(table.topics(), ["t"]);
}

#[test]
fn a_topic_alone_is_taken_only_for_known_brokers() {
    let mut table = RouteTable::default();
    table.register_topic("t", &[queues_of("a", &config(2))], RULES);
    assert!(table.topics().is_empty());
    register(&mut table, &broker("a", 0), serving(0, &[]));
    table.register_topic("t", &[queues_of("a", &config(2))], RULES);
    assert_eq!(table.topics(), ["t"]);
}

#[test]
fn the_lowest_slave_stands_in_for_a_lost_master_and_is_read_only() {
    let mut table = RouteTable::default();
    register(&mut table, &acting("a", 0), serving(0, &["t", "rmq_sys_SYNC_BROKER_MEMBER_a"]));
    register(&mut table, &acting("a", 2), serving(0, &["t", "u"]));
    register(&mut table, &acting("a", 1), serving(0, &["t", "u"]));
    assert_eq!(permission(&table, "t"), READ_WRITE);
    table.unregister("c", "a", "a-0:10911");
    assert_eq!(permission(&table, "t"), READ);
    let lowest_first = [(0, "a-1:10911".to_owned()), (2, "a-2:10911".to_owned())];
    assert_eq!(addresses(&table, "t"), lowest_first);
    assert_eq!(addresses(&table, "rmq_sys_SYNC_BROKER_MEMBER_a")[0].0, 1, "members are shown as they are");

    register(&mut table, &acting("a", 1), serving(1, &["t", "u"]));
    assert_eq!(permission(&table, "u"), READ, "what a prime slave tells is read-only as well");
    register(&mut table, &acting("a", 0), serving(2, &["t", "u"]));
    assert_eq!(permission(&table, "t"), READ_WRITE);
    assert_eq!(addresses(&table, "t")[0], (0, "a-0:10911".to_owned()));
}

#[test]
fn without_the_rule_or_the_brokers_consent_nobody_stands_in() {
    let mut table = RouteTable::default();
    register(&mut table, &broker("a", 0), serving(0, &["t", "u"]));
    register(&mut table, &broker("a", 1), serving(0, &[]));
    table.unregister("c", "a", "a-0:10911");
    assert_eq!(addresses(&table, "t"), [(1, "a-1:10911".to_owned())]);
    assert_eq!(permission(&table, "t"), READ_WRITE);
}

#[test]
fn a_zone_keeps_near_brokers_and_those_without_a_master() {
    let mut table = RouteTable::default();
    let near = Registrant { zone: Some("East".into()), ..broker("a", 0) };
    let far = Registrant { zone: Some("west".into()), ..broker("b", 0) };
    for who in [&near, &far, &broker("d", 0)] {
        register(&mut table, who, serving(0, &["t", "u"]));
    }
    register(&mut table, &broker("d", 1), serving(0, &[]));
    table.unregister("c", "d", "d-0:10911");
    let mut route = table.route("t", RULES).unwrap();
    keep_zone(&mut route, "east");
    let names: Vec<&str> = route.brokers.iter().map(|broker| broker.broker_name.as_str()).collect();
    assert_eq!(names, ["a", "d"]);
    assert_eq!(route.queues.len(), 2);
}

#[test]
fn unit_topics_are_told_by_their_flags() {
    let mut table = RouteTable::default();
    let mut what = serving(0, &[]);
    let flags = [("none", 0), ("unit", 1), ("sub", 2), ("both", 3)];
    for (topic, flag) in flags {
        let config = TopicConfig { topic_sys_flag: flag, ..config(1) };
        what.topic_config_serialize_wrapper.topic_config_table.insert(topic.into(), config);
    }
    register(&mut table, &broker("a", 0), what);
    assert_eq!(table.unit_topics(UnitTopics::Own), ["both", "unit"]);
    assert_eq!(table.unit_topics(UnitTopics::Subscribed), ["both", "sub"]);
    assert_eq!(table.unit_topics(UnitTopics::SubscribedOnly), ["sub"]);
}

#[test]
fn filter_servers_are_listed_by_the_address_of_their_broker() {
    let mut table = RouteTable::default();
    let mut what = serving(0, &["t", "u"]);
    what.filter_server_list = vec!["f:1".into()];
    register(&mut table, &broker("a", 0), what);
    assert_eq!(table.route("t", RULES).unwrap().filter_server_table["a-0:10911"], ["f:1"]);
    register(&mut table, &broker("a", 0), serving(1, &["t", "u"]));
    assert!(table.route("t", RULES).unwrap().filter_server_table.is_empty());
}

#[test]
fn a_full_table_refuses_what_is_new_and_takes_what_it_knows() {
    let mut table = RouteTable::default();
    let full = Rules { max_brokers: 1, max_topics: 2, ..RULES };
    table.register(&broker("a", 0), serving(0, &["t", "u"]), full, 0).unwrap();
    let second = table.register(&broker("b", 0), serving(0, &["t", "u"]), full, 0);
    assert_eq!(second, Err(Refused::TooManyBrokers(1)));
    assert_eq!(table.system_topics(), ["c", "a"], "a refused broker leaves no trace");
    let more = table.register(&broker("a", 0), serving(1, &["t", "v"]), full, 0);
    assert_eq!(more, Err(Refused::TooManyTopics(2)));
    table.register_topic("v", &[queues_of("a", &config(2))], full);
    table.register(&broker("a", 0), serving(2, &["t"]), full, 0).unwrap();
    assert_eq!(table.topics(), ["t", "u"]);
}
