//! Requests that a member of a group answers: the broker passes them on and hands the answer back (223, 307, 309).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::join_all;
use tenonmq_protocol::{
    Command, Fields,
    body::{ConsumerStatus, json},
    code::{RequestCode, ResponseCode},
    header::group::{ConsumeDirectly, GetClientStatus},
    message::{MessageQueue, OffsetMessageId},
};

use crate::{
    core::{Core, clients::Member},
    error::Refusal,
    remoting::RequestError,
};

/// How long one member may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long one of all members may take to tell its offsets.
const PATIENCE_WITH_ALL: Duration = Duration::from_secs(5);

/// A request that waits to be passed on to one member.
pub struct Relay {
    member: Arc<Member>,
    group: String,
    command: Command,
}

impl Relay {
    /// A request with the same fields and no body.
    ///
    /// # Errors
    /// 1: the member is not connected.
    pub fn new(
        core: &Core,
        code: RequestCode,
        (group, client_id): (&str, &str),
        fields: &Fields<'_>,
    ) -> Result<Self, Refusal> {
        let found = core.clients.consumer_group(group).and_then(|group| group.member(client_id));
        let Some(member) = found else {
            let remark = format!("The Consumer <{group}> <{client_id}> not online");
            return Err(Refusal::new(ResponseCode::SYSTEM_ERROR, remark));
        };
        let mut command = Command::request(code);
        command.fields = fields.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Ok(Self { member, group: group.to_owned(), command })
    }

    /// A request to process one message (309): with the message, and with what members cannot know.
    ///
    /// # Errors
    /// 1: the member is not connected, or there is no such message.
    pub fn consume(core: &Core, asked: &ConsumeDirectly<'_>, fields: &Fields<'_>) -> Result<Self, Refusal> {
        let whom = (asked.consumer_group, asked.client_id.unwrap_or_default());
        let relay = Self::new(core, RequestCode::CONSUME_MESSAGE_DIRECTLY, whom, fields)?;
        let id = asked.message_id.unwrap_or_default();
        let place = id.parse::<OffsetMessageId>().ok().and_then(|id| u64::try_from(id.offset).ok());
        let Some(record) = place.and_then(|place| core.store.read(place)) else {
            return Err(Refusal::new(ResponseCode::SYSTEM_ERROR, format!("can not find message by the id, {id}")));
        };
        let mut added = vec![("brokerName", core.identity.get().broker.clone())];
        if let Some(topic) = asked.topic.and_then(|topic| core.topics.get(topic)) {
            added.push(("topicSysFlag", topic.config.topic_sys_flag.to_string()));
        }
        if let Some(group) = core.groups.get(asked.consumer_group) {
            added.push(("groupSysFlag", group.group_sys_flag.to_string()));
        }
        let Self { member, group, mut command } = relay;
        command.fields.retain(|(name, _)| added.iter().all(|(new, _)| name != new));
        command.fields.extend(added.into_iter().map(|(name, value)| (name.to_owned(), value)));
        command.body = record;
        Ok(Self { member, group, command })
    }

    /// Asks; the member's own answer, whatever its code.
    ///
    /// # Errors
    /// 207: no answer in time. 1: the connection is gone.
    pub async fn ask(self) -> Result<Command, Refusal> {
        let answer = self.member.connection().request(self.command, PATIENCE).await;
        answer.map_err(|error| {
            let (group, client_id) = (&self.group, self.member.client_id());
            match error {
                RequestError::Timeout(_) => Refusal::new(
                    ResponseCode::CONSUME_MSG_TIMEOUT,
                    format!("consumer <{group}> <{client_id}> Timeout: {error}"),
                ),
                RequestError::Gone(_) => Refusal::new(
                    ResponseCode::SYSTEM_ERROR,
                    format!("invoke consumer <{group}> <{client_id}> Exception: {error}"),
                ),
            }
        })
    }
}

/// Members to ask for their offsets (223): one, or all when `client_id` is blank.
///
/// # Errors
/// 1: the group has no members.
pub fn members(core: &Core, group: &str, client_id: &str) -> Result<Vec<Arc<Member>>, Refusal> {
    let members = core.clients.consumer_group(group).map(|group| group.members()).unwrap_or_default();
    if members.is_empty() {
        let remark = format!("No Any Consumer online in the consumer group: [{group}]");
        return Err(Refusal::new(ResponseCode::SYSTEM_ERROR, remark));
    }
    let is_meant = |member: &Arc<Member>| client_id.trim().is_empty() || **member.client_id() == *client_id;
    Ok(members.into_iter().filter(is_meant).collect())
}

/// What members say about their offsets in a topic. Those that do not answer, or refuse, are left out.
pub async fn offsets(members: Vec<Arc<Member>>, group: &str, topic: &str) -> ConsumerStatus {
    let command = Command::with_header(&GetClientStatus { topic, group, client_address: None });
    let asked = members.iter().map(|member| offsets_of(member, command.clone()));
    let answers = join_all(asked).await;
    let told = members.iter().zip(answers);
    let told = told.filter_map(|(member, answer)| Some((member.client_id().to_string(), answer?)));
    ConsumerStatus { consumer_table: told.collect(), message_queue_table: BTreeMap::new() }
}

async fn offsets_of(member: &Member, command: Command) -> Option<BTreeMap<MessageQueue, i64>> {
    let answer = member.connection().request(command, PATIENCE_WITH_ALL).await;
    match answer {
        Ok(answer) if answer.code == ResponseCode::SUCCESS.0 => {
            json::from_slice::<ConsumerStatus>(&answer.body).ok().map(|status| status.message_queue_table)
        }
        Ok(_) => None,
        Err(error) => {
            tracing::warn!(client_id = %member.client_id(), %error, "a member does not tell its offsets");
            None
        }
    }
}
