//! Bodies that the name server writes.
//!
//! Written by hand, because one body has two forms: standard JSON, with quoted keys and ASCII only, for clients
//! since 4.9.4, and the older dialect in which numeric keys stand without quotes. Keys are in alphabetical order.

use std::fmt::Write as _;

use super::model::{Broker, Queues, Route, Version};
use super::table::RouteTable;

/// How numeric keys and text beyond ASCII are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `{"0":…}`, `\u6d4b`.
    Standard,
    /// `{0:…}`, text as it is.
    Dialect,
}

/// Upstream `TopicRouteData`.
#[must_use]
pub fn route(route: &Route, form: Form) -> String {
    let mut json = Writer { out: String::with_capacity(512), form };
    json.out.push_str("{\"brokerDatas\":[");
    json.list(&route.brokers, |json, (name, data)| json.broker(name, data));
    json.out.push_str("],\"filterServerTable\":{");
    json.list(&route.filter_servers, |json, (address, servers)| {
        json.text(address);
        json.out.push_str(":[");
        json.list(servers, |json, server| json.text(server));
        json.out.push(']');
    });
    json.out.push('}');
    if let Some(order) = &route.order {
        json.out.push_str(",\"orderTopicConf\":");
        json.text(order);
    }
    json.out.push_str(",\"queueDatas\":[");
    json.list(&route.queues, |json, (name, queues)| json.queues(name, queues));
    json.out.push(']');
    if !route.mappings.is_empty() {
        json.out.push_str(",\"topicQueueMappingByBroker\":{");
        json.list(&route.mappings, |json, (name, mapping)| {
            json.text(name);
            json.out.push(':');
            json.out.push_str(mapping);
        });
        json.out.push('}');
    }
    json.out.push('}');
    json.out
}

/// Upstream `ClusterInfo`, always in the dialect.
#[must_use]
pub fn cluster_info(table: &RouteTable) -> String {
    let mut json = Writer { out: String::with_capacity(512), form: Form::Dialect };
    json.out.push_str("{\"brokerAddrTable\":{");
    json.list(table.brokers(), |json, (name, broker)| {
        json.text(name);
        json.out.push(':');
        json.broker(name, broker);
    });
    json.out.push_str("},\"clusterAddrTable\":{");
    json.list(table.clusters(), |json, (cluster, names)| {
        json.text(cluster);
        json.out.push_str(":[");
        json.list(names, |json, name| json.text(name));
        json.out.push(']');
    });
    json.out.push_str("}}");
    json.out
}

/// Upstream `GetBrokerMemberGroupResponseBody`, in the dialect. A name that is not known has no addresses.
#[must_use]
pub fn member_group(cluster: &str, name: &str, broker: Option<&Broker>) -> String {
    let mut json = Writer { out: String::with_capacity(128), form: Form::Dialect };
    json.out.push_str("{\"brokerMemberGroup\":{\"brokerAddrs\":");
    match broker {
        Some(broker) => json.addresses(broker),
        None => json.out.push_str("{}"),
    }
    json.out.push_str(",\"brokerName\":");
    json.text(name);
    json.out.push_str(",\"cluster\":");
    json.text(cluster);
    json.out.push_str("}}");
    json.out
}

/// Upstream `TopicList`.
#[must_use]
pub fn topic_list(topics: &[&str], broker_address: Option<&str>) -> String {
    let mut json = Writer { out: String::with_capacity(512), form: Form::Dialect };
    json.out.push('{');
    if let Some(address) = broker_address {
        json.out.push_str("\"brokerAddr\":");
        json.text(address);
        json.out.push(',');
    }
    json.out.push_str("\"topicList\":[");
    json.list(topics, |json, topic| json.text(topic));
    json.out.push_str("]}");
    json.out
}

/// Upstream `KVTable`.
#[must_use]
pub fn kv_table<'a>(table: impl IntoIterator<Item = (&'a String, &'a String)>) -> String {
    let mut json = Writer { out: String::with_capacity(128), form: Form::Dialect };
    json.out.push_str("{\"table\":{");
    json.list(table, |json, (key, value)| {
        json.text(key);
        json.out.push(':');
        json.text(value);
    });
    json.out.push_str("}}");
    json.out
}

/// Upstream `DataVersion`.
#[must_use]
pub fn version(version: Version) -> String {
    let Version { state, timestamp, counter } = version;
    format!("{{\"counter\":{counter},\"stateVersion\":{state},\"timestamp\":{timestamp}}}")
}

struct Writer {
    out: String,
    form: Form,
}

impl Writer {
    fn list<T>(&mut self, items: impl IntoIterator<Item = T>, mut each: impl FnMut(&mut Self, T)) {
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                self.out.push(',');
            }
            each(self, item);
        }
    }

    fn broker(&mut self, name: &str, broker: &Broker) {
        self.out.push_str("{\"brokerAddrs\":");
        self.addresses(broker);
        self.out.push_str(",\"brokerName\":");
        self.text(name);
        self.out.push_str(",\"cluster\":");
        self.text(&broker.cluster);
        let _ = write!(self.out, ",\"enableActingMaster\":{}", broker.acting_master);
        if let Some(zone) = &broker.zone {
            self.out.push_str(",\"zoneName\":");
            self.text(zone);
        }
        self.out.push('}');
    }

    fn addresses(&mut self, broker: &Broker) {
        self.out.push('{');
        self.list(&broker.addresses, |json, (id, address)| {
            let _ = match json.form {
                Form::Standard => write!(json.out, "\"{id}\":"),
                Form::Dialect => write!(json.out, "{id}:"),
            };
            json.text(address);
        });
        self.out.push('}');
    }

    fn queues(&mut self, name: &str, queues: &Queues) {
        self.out.push_str("{\"brokerName\":");
        self.text(name);
        let Queues { read, write, permission, system_flag } = queues;
        let _ = write!(
            self.out,
            ",\"perm\":{permission},\"readQueueNums\":{read},\"topicSysFlag\":{system_flag},\"writeQueueNums\":{write}}}"
        );
    }

    fn text(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                c if c < ' ' => self.escape(c),
                c if !c.is_ascii() && self.form == Form::Standard => self.escape(c),
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }

    fn escape(&mut self, c: char) {
        for unit in c.encode_utf16(&mut [0; 2]) {
            let _ = write!(self.out, "\\u{unit:04X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Route {
        let broker = Broker {
            cluster: "c".into(),
            addresses: [(0, "1.1.1.1:10911".to_owned()), (1, "1.1.1.2:10911".to_owned())].into(),
            zone: None,
            acting_master: false,
        };
        let queues = Queues { read: 2, write: 3, permission: 6, system_flag: 0 };
        let named = |name: &str| name.to_owned();
        Route { queues: vec![(named("b"), queues)], brokers: vec![(named("b"), broker)], ..Route::default() }
    }

    #[test]
    fn a_route_in_standard_form_quotes_its_numeric_keys() {
        assert_eq!(
            route(&sample(), Form::Standard),
            "{\"brokerDatas\":[{\"brokerAddrs\":{\"0\":\"1.1.1.1:10911\",\"1\":\"1.1.1.2:10911\"},\
             \"brokerName\":\"b\",\"cluster\":\"c\",\"enableActingMaster\":false}],\"filterServerTable\":{},\
             \"queueDatas\":[{\"brokerName\":\"b\",\"perm\":6,\"readQueueNums\":2,\"topicSysFlag\":0,\
             \"writeQueueNums\":3}]}"
        );
    }

    #[test]
    fn a_route_in_the_dialect_does_not() {
        let text = route(&sample(), Form::Dialect);
        assert!(text.contains("\"brokerAddrs\":{0:\"1.1.1.1:10911\",1:\"1.1.1.2:10911\"}"), "{text}");
    }

    #[test]
    fn optional_parts_of_a_route_are_in_alphabetical_places() {
        let mut sample = sample();
        sample.order = Some("b:2".into());
        sample.brokers[0].1.zone = Some("z".into());
        sample.mappings.insert("b".into(), "{\"epoch\":1}".into());
        sample.filter_servers.insert("a:1".into(), vec!["f:1".into(), "f:2".into()]);
        let text = route(&sample, Form::Standard);
        assert!(
            text.contains("false,\"zoneName\":\"z\"}],\"filterServerTable\":{\"a:1\":[\"f:1\",\"f:2\"]},"),
            "{text}"
        );
        assert!(text.contains(",\"orderTopicConf\":\"b:2\",\"queueDatas\":["), "{text}");
        assert!(text.ends_with("}],\"topicQueueMappingByBroker\":{\"b\":{\"epoch\":1}}}"), "{text}");
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
    }

    #[test]
    fn text_beyond_ascii_is_escaped_in_standard_form_only() {
        let written = |form| {
            let mut json = Writer { out: String::new(), form };
            json.text("测\"\\\n\u{1}😀");
            json.out
        };
        assert_eq!(written(Form::Standard), "\"\\u6D4B\\\"\\\\\\n\\u0001\\uD83D\\uDE00\"");
        assert_eq!(written(Form::Dialect), "\"测\\\"\\\\\\n\\u0001😀\"");
    }

    #[test]
    fn empty_tables_are_written_empty() {
        assert_eq!(cluster_info(&RouteTable::default()), "{\"brokerAddrTable\":{},\"clusterAddrTable\":{}}");
        assert_eq!(topic_list(&[], None), "{\"topicList\":[]}");
        assert_eq!(topic_list(&["a", "b"], Some("h:1")), "{\"brokerAddr\":\"h:1\",\"topicList\":[\"a\",\"b\"]}");
        assert_eq!(
            member_group("c", "b", None),
            "{\"brokerMemberGroup\":{\"brokerAddrs\":{},\"brokerName\":\"b\",\"cluster\":\"c\"}}"
        );
    }
}
