//! Who is connected, and who reads what (203, 204, 300, 328, 343, 345).

use std::sync::Arc;

use tenonmq_protocol::{
    body::{
        Connection, ConsumerConnection, GroupList, LanguageName, ProducerConnection, ProducerInfo, ProducerTable,
        QuerySubscription, SubscriptionData, TopicList,
    },
    code::ResponseCode,
};

use crate::{
    core::{Core, clients::Member},
    error::Refusal,
};

/// Members of a consumer group and what it reads.
///
/// # Errors
/// 206: nobody is connected.
pub fn consumers(core: &Core, group: &str) -> Result<ConsumerConnection, Refusal> {
    let Some(found) = core.clients.consumer_group(group) else {
        let remark = format!("the consumer group[{group}] not online");
        return Err(Refusal::new(ResponseCode::CONSUMER_NOT_ONLINE, remark));
    };
    let view = found.view();
    let subscriptions = view.subscriptions().map(|one| (one.data.topic.clone(), one.data.clone()));
    Ok(ConsumerConnection {
        connection_set: found.members().iter().map(connection).collect(),
        consume_from_where: view.consume_from_where,
        consume_type: view.consume_type,
        message_model: view.message_model,
        subscription_table: subscriptions.collect(),
    })
}

/// Members of a producer group.
///
/// # Errors
/// 1: nobody is connected.
pub fn producers(core: &Core, group: &str) -> Result<ProducerConnection, Refusal> {
    let Some(found) = core.clients.producer_group(group) else {
        return Err(Refusal::new(ResponseCode::SYSTEM_ERROR, format!("the producer group[{group}] not exist")));
    };
    Ok(ProducerConnection { connection_set: found.members().iter().map(connection).collect() })
}

/// Members of all producer groups.
pub fn all_producers(core: &Core) -> ProducerTable {
    let groups = core.clients.producer_groups().into_iter();
    let data = groups.map(|group| (group.name().to_string(), group.members().iter().map(producer).collect()));
    ProducerTable { data: data.collect() }
}

fn connection(member: &Arc<Member>) -> Connection {
    Connection {
        client_addr: member.connection().peer().to_string(),
        client_id: member.client_id().to_string(),
        language: LanguageName(member.language()),
        version: member.version(),
    }
}

fn producer(member: &Arc<Member>) -> ProducerInfo {
    ProducerInfo {
        client_id: member.client_id().to_string(),
        language: LanguageName(member.language()),
        last_update_timestamp: member.last_seen_ms(),
        remote_ip: format!("/{}", member.connection().peer()), // as Java spells an address
        version: member.version(),
    }
}

/// Groups that subscribe to a topic or have offsets in it. Apache adds the topic's own name by mistake when somebody
/// subscribes to it; we do not.
pub fn groups_of(core: &Core, topic: &str) -> GroupList {
    let online = core.clients.subscribers(topic).into_iter().map(|group| group.name().to_string());
    let offline = core.offsets.groups_of(topic).into_iter();
    let offline = offline.filter(|group| !core.offsets.of_topic(group, topic).is_empty());
    let mut group_list: Vec<String> = online.chain(offline).collect();
    group_list.sort_unstable();
    group_list.dedup();
    GroupList { group_list }
}

/// Topics in which a group has offsets, in order.
pub fn topics_with_offsets(core: &Core, group: &str) -> Vec<String> {
    let mut topics = core.offsets.topics_of(group);
    topics.retain(|topic| !core.offsets.of_topic(group, topic).is_empty()); // one that was only pulled has none
    topics.sort_unstable();
    topics
}

/// The same as an answer.
pub fn topics_of(core: &Core, group: &str) -> TopicList {
    let broker_addr = Some(core.identity.get().address.to_string());
    TopicList { broker_addr, topic_list: topics_with_offsets(core, group) }
}

/// What a group wants of a topic, if it is connected.
pub fn subscription(core: &Core, group: &str, topic: &str) -> QuerySubscription {
    QuerySubscription {
        group: group.to_owned(),
        subscription_data: subscription_data(core, group, topic),
        topic: topic.to_owned(),
    }
}

pub(super) fn subscription_data(core: &Core, group: &str, topic: &str) -> Option<SubscriptionData> {
    core.clients.subscription(group, topic).map(|found| found.data.clone())
}

/// Whether a connected group reads other topics but not this one.
pub(super) fn reads_others_only(core: &Core, group: &str, topic: &str) -> bool {
    core.clients.consumer_group(group).is_some_and(|group| {
        let view = group.view();
        view.subscription(topic).is_none() && view.subscriptions().next().is_some()
    })
}
