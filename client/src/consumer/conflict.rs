//! Members of one group that want different messages of a topic.
//!
//! Brokers keep one subscription for a group. When members differ, each heartbeat replaces the others', and messages that
//! only one of them wants are passed over for all. So a member asks what its group wants before it joins.

use tenonmq_protocol::{
    RequestCode,
    body::heartbeat::{ConsumerConnection, SubscriptionData},
    header::GetConsumerConnections,
};
use tracing::warn;

use super::Subscriptions;
use crate::{
    error::Error,
    session::{Session, from_json},
    transport::{Reply, expect_success},
};

/// Compares this member's filters with those of members that are connected. Differences are logged, and an error when
/// `strict`. What no broker can tell is no difference.
pub(crate) async fn check_conflicts(
    session: &Session,
    group: &str,
    subscriptions: &Subscriptions,
    strict: bool,
) -> Result<(), Error> {
    for (topic, subscription) in subscriptions {
        let Ok(route) = session.route(topic).await else { continue };
        let own = subscription.data(topic);
        for address in route.masters() {
            let Ok(members) = connected(session, address, group).await else { continue };
            let theirs = members.subscription_table.get(&**topic).filter(|_| !members.connection_set.is_empty());
            let Some(theirs) = theirs.filter(|theirs| !is_same(&own, theirs)) else { continue };
            let (mine, theirs) = (&own.sub_string, &theirs.sub_string);
            if strict {
                return Err(Error::Config(format!(
                    "members of the group {group:?} subscribe to {topic:?} with {theirs:?}, this one with {mine:?}: \
                     messages would be lost for both"
                )));
            }
            warn!(group, %topic, mine, theirs, "members of the group have different filters: messages are lost for both");
        }
    }
    Ok(())
}

async fn connected(session: &Session, address: &str, group: &str) -> Result<ConsumerConnection, Error> {
    let header = GetConsumerConnections { consumer_group: group };
    let decode = |reply: Reply<'_>| {
        expect_success(RequestCode::GET_CONSUMER_CONNECTION_LIST, &reply)?;
        Ok(reply.body)
    };
    let body = session.call(address, &header, &[], session.config.request_timeout, decode).await?;
    from_json("GET_CONSUMER_CONNECTION_LIST", &body)
}

/// Whether both choose the same messages, in whatever order they name their tags.
fn is_same(one: &SubscriptionData, other: &SubscriptionData) -> bool {
    let kind = |data: &SubscriptionData| data.expression_type.clone().unwrap_or_else(|| "TAG".to_owned());
    let tags = |data: &SubscriptionData| {
        let mut tags: Vec<String> = data.sub_string.split("||").map(|tag| tag.trim().to_owned()).collect();
        tags.sort();
        tags
    };
    kind(one) == kind(other)
        && if kind(one) == "TAG" { tags(one) == tags(other) } else { one.sub_string == other.sub_string }
}
