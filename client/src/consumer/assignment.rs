//! Which queues fall to this member: by a division that all members compute alike, or by the broker's word.

use tenonmq_protocol::{
    RequestCode,
    body::{
        heartbeat::MessageModel,
        json,
        queue::{Assignments, MessageRequestMode, QueryAssignment},
    },
    message::queue::MessageQueue,
};

use super::{allocate_averagely, push::Member, queries};
use crate::{
    error::Error,
    session::from_json,
    transport::{Reply, TopicRoute, expect_success},
    wire::AskAssignment,
};

/// The queues of a topic that this member should have.
#[derive(Debug, Default)]
pub(super) struct Share {
    pub(super) pull: Vec<MessageQueue>,
    pub(super) pop: Vec<MessageQueue>,
}

pub(super) async fn my_share(member: &Member, topic: &str) -> Result<Share, Error> {
    let route = member.session.route(topic).await?;
    if member.is_broadcast() {
        return Ok(Share { pull: route.subscribe.clone(), pop: Vec::new() });
    }
    if member.settings.broker_assigned {
        return ask_broker(member, topic, &route).await;
    }
    let mut members = queries::group_members(&member.session, &route, &member.settings.group).await?;
    members.sort();
    let mine = allocate_averagely(&route.subscribe, &members, &member.session.client_id);
    if !members.iter().any(|id| *id == member.session.client_id) {
        return Err(Error::Protocol {
            operation: "GET_CONSUMER_LIST_BY_GROUP",
            reason: "this member is not listed".into(),
        });
    }
    Ok(Share { pull: mine.to_vec(), pop: Vec::new() })
}

/// Any broker of the topic divides all of its queues.
async fn ask_broker(member: &Member, topic: &str, route: &TopicRoute) -> Result<Share, Error> {
    let question = QueryAssignment {
        client_id: member.session.client_id.clone(),
        consumer_group: member.settings.group.clone(),
        message_model: MessageModel::Clustering,
        strategy_name: "AVG".to_owned(),
        topic: topic.to_owned(),
    };
    let body = json::to_vec(&question);
    let mut last = Error::NoBroker { broker: "(any)".into() };
    for address in route.masters() {
        let decode = |reply: Reply<'_>| {
            expect_success(RequestCode::QUERY_ASSIGNMENT, &reply)?;
            Ok(reply.body)
        };
        let limit = member.session.config.request_timeout;
        match member.session.call(address, &AskAssignment, &body, limit, decode).await {
            Ok(body) => return read_share(&body),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn read_share(body: &bytes::Bytes) -> Result<Share, Error> {
    let answer: Assignments = from_json("QUERY_ASSIGNMENT", body)?;
    let unknown = || Error::Protocol { operation: "QUERY_ASSIGNMENT", reason: "the broker does not know yet".into() };
    let mut share = Share::default();
    for assignment in answer.message_queue_assignments.ok_or_else(unknown)? {
        let Some(queue) = assignment.message_queue else { continue };
        match assignment.mode {
            MessageRequestMode::Pull => share.pull.push(queue),
            MessageRequestMode::Pop => share.pop.push(queue),
        }
    }
    Ok(share)
}
