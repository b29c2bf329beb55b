use std::time::Duration;

use super::*;

fn file(text: &str) -> Input {
    let path = "broker.conf".into();
    let text = text.to_owned();
    Input { file: Some(FileText { path, text }), ..Input::default() }
}

fn with_env(mut input: Input, name: &str, value: &str) -> Input {
    input.environment.push((name.to_owned(), value.to_owned()));
    input
}

fn with_flag(mut input: Input, key: &str, value: &str) -> Input {
    let flag = format!("--set {key}={value}");
    input.flags.push((key.to_owned(), value.to_owned(), flag));
    input
}

fn loaded(input: &Input) -> Loaded {
    load(input, &Machine::for_tests()).unwrap()
}

fn error(input: &Input) -> String {
    load(input, &Machine::for_tests()).unwrap_err().to_string()
}

fn live(input: &Input) -> LiveConfig {
    let loaded = loaded(input);
    LiveConfig::new(loaded.config, loaded.values, Machine::for_tests())
}

#[test]
fn nothing_configured_gives_upstreams_defaults_and_both_roles() {
    let config = loaded(&Input::default()).config;
    assert_eq!(config.identity.cluster, "DefaultCluster");
    assert_eq!(config.identity.name, "localhost");
    assert_eq!((config.identity.port, config.identity.ha_port), (10911, 10912));
    assert_eq!(config.name_server.port, 9876);
    assert!(config.roles.broker && config.roles.name_server);
    assert_eq!(config.transactions.immunity, Duration::from_secs(6));
    assert_eq!(config.transactions.checks.interval_ms, 30_000);
    assert_eq!(config.transactions.checks.max_checks, 15);
    assert_eq!(config.messages.delay_levels.len(), 18);
    assert_eq!(config.messages.delay_levels[17], Duration::from_secs(7200));
    assert_eq!(config.remoting.max_frame, 16 * 1024 * 1024);
    assert_eq!(config.clients.expiry, Duration::from_secs(120));
    assert_eq!(config.name_server.kv_path, std::path::Path::new("data/kvConfig.json"));
}

#[test]
fn flags_win_over_environment_and_environment_over_file_and_file_over_defaults() {
    let max = |input: &Input| loaded(input).config.transactions.checks.max_checks;
    let input = file("transactionCheckMax=1");
    assert_eq!(max(&input), 1);
    let input = with_env(input, "TENONMQ_TRANSACTION_CHECK_MAX", "2");
    assert_eq!(max(&input), 2);
    let input = with_flag(input, "transactionCheckMax", "3");
    assert_eq!(max(&input), 3);
    let input = with_flag(input, "transactionCheckMax", "4");
    assert_eq!(max(&input), 4, "the last flag counts");
}

#[test]
fn environment_variables_match_with_and_without_underscores_in_any_case() {
    for name in ["TENONMQ_BROKER_NAME", "TENONMQ_brokerName", "tenonmq_brokername"] {
        let input = with_env(Input::default(), name, "b7");
        assert_eq!(loaded(&input).config.identity.name, "b7", "{name}");
    }
}

#[test]
fn namesrv_addr_comes_from_the_environment_variable_of_every_rocketmq_program() {
    let input = with_env(Input::default(), "NAMESRV_ADDR", "ns1:9876;ns2:9876");
    let config = loaded(&input).config;
    assert_eq!(config.registration.name_servers, ["ns1:9876", "ns2:9876"]);
    let input = with_env(input, "TENONMQ_NAMESRVADDR", "ns3:1");
    assert_eq!(loaded(&input).config.registration.name_servers, ["ns3:1"]);
}

#[test]
fn the_embedded_name_server_is_off_when_another_is_named_unless_it_is_switched_on() {
    let input = file("namesrvAddr=ns1:9876");
    assert!(!loaded(&input).config.roles.name_server);
    let input = with_flag(input, "namesrvEnable", "true");
    let config = loaded(&input).config;
    assert!(config.roles.name_server);
    assert_eq!(config.registration.name_servers, ["ns1:9876"]);
}

#[test]
fn listen_port_is_the_name_servers_when_it_is_alone() {
    let input = with_flag(file("listenPort=19876"), "brokerEnable", "false");
    assert_eq!(loaded(&input).config.name_server.port, 19876);
    let input = with_flag(input, "namesrvListenPort", "29876");
    assert_eq!(loaded(&input).config.name_server.port, 29876);
}

#[test]
fn an_unknown_key_is_a_warning_that_names_the_nearest_known_one() {
    let loaded = loaded(&file("# c\ntransactionCheckMaks=3\nbrokerName=x"));
    assert_eq!(loaded.warnings.len(), 1);
    assert_eq!(
        loaded.warnings[0].to_string(),
        "unknown key transactionCheckMaks (broker.conf:2) is ignored; did you mean transactionCheckMax?"
    );
}

#[test]
fn an_unknown_key_in_a_flag_is_an_error() {
    let text = error(&with_flag(Input::default(), "brokerNam", "x"));
    assert!(text.contains("unknown key brokerNam; did you mean brokerName?"), "{text}");
}

#[test]
fn a_known_key_without_effect_is_accepted_and_shown_again() {
    let input = file("sendMessageThreadPoolNums=64\nbrokerName=x\ntransientStorePoolEnable=nonsense");
    let loaded = loaded(&input);
    assert!(loaded.warnings.is_empty());
    assert_eq!(loaded.without_effect, ["sendMessageThreadPoolNums", "transientStorePoolEnable"]);
    assert_eq!(live(&input).get_all()["sendMessageThreadPoolNums"], "64");
}

#[test]
fn a_bad_value_is_an_error_that_names_key_value_source_and_what_is_allowed() {
    assert_eq!(
        error(&file("listenPort=70000")),
        "listenPort = \"70000\" (broker.conf:1) is not allowed: use a number from 0 to 65535"
    );
    assert_eq!(
        error(&with_env(Input::default(), "TENONMQ_AUTO_CREATE_TOPIC_ENABLE", "yes")),
        "autoCreateTopicEnable = \"yes\" (environment variable TENONMQ_AUTO_CREATE_TOPIC_ENABLE) is not allowed: \
         use true or false"
    );
    assert_eq!(
        error(&with_flag(Input::default(), "namesrvEnable", "maybe")),
        "namesrvEnable = \"maybe\" (--set namesrvEnable=maybe) is not allowed: use auto or true or false"
    );
    for text in ["namesrvAddr=ns1", "messageDelayLevel=1s 5x", "bindAddress=here", "brokerName="] {
        assert!(error(&file(text)).contains("is not allowed"), "{text}");
    }
}

#[test]
fn values_that_exclude_each_other_are_an_error() {
    assert!(error(&file("brokerEnable=false\nnamesrvEnable=false")).contains("nothing to do"));
    assert!(error(&file("listenPort=9876")).contains("cannot listen on 9876"));
    assert!(error(&file("listenPort=9878")).contains("cannot listen on 9876"));
    assert!(error(&file("listenPort=1")).contains("no room"));
}

#[test]
fn a_file_named_toml_is_toml_with_any_headings() {
    let path = "broker.toml".into();
    let text = "listenPort = 7\nnamesrvAddr = [\"a:1\", \"b:2\"]\n[any.thing]\nbrokerName = \"x\"\ntraceOn = false\n";
    let text = text.to_owned();
    let file = Some(FileText { path, text });
    let input = Input { file, ..Input::default() };
    let config = loaded(&input).config;
    assert_eq!(config.identity.port, 7);
    assert_eq!(config.identity.name, "x");
    assert_eq!(config.registration.name_servers, ["a:1", "b:2"]);
    assert!(!config.messages.trace_on);
}

#[test]
fn a_file_that_does_not_parse_is_named() {
    assert_eq!(error(&file("a=1\n=x")), "broker.conf: line 2: there is no key before the separator");
    let path = "b.toml".into();
    let text = "x = ".to_owned();
    let file = Some(FileText { path, text });
    assert!(error(&Input { file, ..Input::default() }).starts_with("b.toml: "));
}

#[test]
fn the_registration_period_stays_between_ten_seconds_and_one_minute() {
    let period = |text: &str| loaded(&file(text)).config.registration.period.as_secs();
    assert_eq!(period("registerNameServerPeriod=1"), 10);
    assert_eq!(period("registerNameServerPeriod=20000"), 20);
    assert_eq!(period("registerNameServerPeriod=900000"), 60);
}

#[test]
fn the_running_configuration_shows_every_key_that_upstream_shows() {
    let all = live(&Input::default()).get_all();
    assert_eq!(all["brokerName"], "localhost");
    assert_eq!(all["brokerIP1"], "127.0.0.1");
    assert_eq!(all["haListenPort"], "10912");
    assert_eq!(all["flushIntervalCommitLog"], "500");
    assert!(!all.contains_key("haMasterAddress"), "unset keys are not shown");
    assert!(LiveConfig::text_of(&all).contains("\ntransactionCheckMax=15\n"));
    let of_name_server = live(&Input::default()).get_all_of_name_server();
    assert_eq!(of_name_server["listenPort"], "9876");
    assert_eq!(of_name_server["scanNotActiveBrokerInterval"], "5000");
}

#[test]
fn an_update_changes_snapshot_and_values_together() {
    let live = live(&file("transactionCheckMax=3"));
    let changed = live.apply("transactionCheckMax=4\nnoSuchKey=1\nlistenPort=10911\n").unwrap();
    let change = Changed { key: "transactionCheckMax", from: "3".into(), to: "4".into() };
    assert_eq!(changed, [change]);
    assert_eq!(live.load().transactions.checks.max_checks, 4);
    assert_eq!(live.get_all()["transactionCheckMax"], "4");
    assert_eq!(live.changes(), 1);
}

#[test]
fn an_update_with_a_bad_value_or_a_black_listed_key_changes_nothing() {
    let live = live(&Input::default());
    let error = live.apply("regionId=r\ntransactionCheckMax=0").unwrap_err();
    assert!(matches!(error, ConfigError::BadValue { key: "transactionCheckMax", .. }));
    for text in ["brokerConfigPath=/x", "regionId=r\nconfigBlackList=", "kvConfigPath=/etc/x"] {
        let error = live.apply(text).unwrap_err();
        assert!(matches!(error, ConfigError::Refused { .. }), "{text}");
    }
    assert_eq!(live.load().identity.region, "DefaultRegion");
    assert_eq!(live.changes(), 0);
}

#[test]
fn store_keys_become_the_settings_of_the_data_directory() {
    let store = loaded(&Input::default()).config.store;
    let defaults = tenonmq_storage::StoreConfig::new("data");
    assert_eq!(format!("{store:?}"), format!("{defaults:?}"), "the defaults are upstream's");

    let text = "storePathRootDir=/d\nstorePathCommitLog=/a,/b\nflushDiskType=sync_flush\ndeleteWhen=04;16\n\
                fileReservedTime=1\ndiskMaxUsedSpaceRatio=99\nmaxMessageSize=1024";
    let config = loaded(&file(text)).config;
    assert_eq!(config.data_directory, config.store.root);
    assert_eq!(config.store.commit_log_dirs, [std::path::Path::new("/a"), std::path::Path::new("/b")]);
    assert_eq!(config.store.flush, tenonmq_storage::FlushPolicy::Sync);
    assert_eq!(config.store.retention.delete_hours, [4, 16]);
    assert_eq!(config.store.retention.reserved_time, Duration::from_secs(3600));
    assert_eq!(config.store.retention.max_used_percent, 95);
    assert_eq!(config.store.max_message_size, 1024);
    assert!(error(&file("deleteWhen=24")).contains("hours of the day"));
    assert!(error(&file("flushDiskType=SYNC")).contains("ASYNC_FLUSH or SYNC_FLUSH"));
}

#[test]
fn a_change_is_kept_for_the_next_start_and_gives_way_to_flags() {
    let folder = tempfile::tempdir().unwrap();
    let path = updates::path(folder.path());
    let before = live(&file("transactionCheckMax=3")).keeping_changes_in(path.clone());
    let mut woken = before.subscribe();
    before.apply("transactionCheckMax=4\nregionId=a b").unwrap();
    assert!(woken.has_changed().unwrap() && *woken.borrow_and_update() == 1);
    before.apply("regionId=here").unwrap();

    let mut input = file("transactionCheckMax=3");
    input.changes = Some(FileText::read(&path).unwrap());
    let config = loaded(&input).config;
    assert_eq!((config.transactions.checks.max_checks, config.identity.region.as_str()), (4, "here"));
    let input = with_flag(input, "transactionCheckMax", "5");
    assert_eq!(loaded(&input).config.transactions.checks.max_checks, 5);
}

#[test]
fn a_change_that_cannot_be_kept_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tenonmq"), "a file where a folder should be").unwrap();
    let live = live(&Input::default()).keeping_changes_in(updates::path(folder.path()));
    assert!(matches!(live.apply("regionId=r").unwrap_err(), ConfigError::NotKept { .. }));
    assert_eq!(live.load().identity.region, "DefaultRegion");
}

#[test]
fn groups_can_be_asked_otherwise_while_the_broker_runs_and_nonsense_is_named() {
    let live = live(&file("transactionCheckMax=20"));
    live.apply("transactionCheckPolicies=orders:perSecond=50,backOff=2;bills:jitter=10\ntransactionCheckBackOff=1.5")
        .unwrap();
    let config = live.load();
    let groups = config.transactions.group_checks.as_ref().unwrap();
    let orders = (groups["orders"].per_second, groups["orders"].back_off_percent, groups["orders"].max_checks);
    assert_eq!((orders, groups["bills"].back_off_percent), ((50, 200, 20), 150));
    for text in
        ["transactionCheckPolicies=orders:perSecond=many", "transactionCheckBackOff=9", "transactionCheckJitter=101"]
    {
        let error = live.apply(text).unwrap_err();
        assert!(error.to_string().contains(text.split('=').next().unwrap()), "{error}");
    }
    let error = live.apply("transactionCheckPolicies=orders:perSecond=many").unwrap_err().to_string();
    assert!(error.contains("of group orders, perSecond is [many]"), "{error}");
}
