//! What members ask about their group.

use tenonmq_protocol::{
    body::{CheckClientConfig, ConsumerIds},
    code::ResponseCode,
};

use crate::{core::Core, error::Refusal, filter};

/// The client ids of a group's members (38), each once and in order, so that all members divide the queues alike.
///
/// # Errors
/// 1: the group has no members.
pub fn client_ids(core: &Core, group: &str) -> Result<ConsumerIds, Refusal> {
    let ids = core.clients.consumer_group(group).map(|group| group.client_ids()).unwrap_or_default();
    if ids.is_empty() {
        let remark = format!("no consumer for this group, {group}");
        return Err(Refusal::new(ResponseCode::SYSTEM_ERROR, remark));
    }
    Ok(ConsumerIds { consumer_id_list: ids.iter().map(|id| id.to_string()).collect() })
}

/// Whether this broker can evaluate a client's filter (46).
///
/// # Errors
/// 1: only tags can be filtered by. 23: the expression does not compile.
pub fn check_filter(core: &Core, asked: &CheckClientConfig) -> Result<(), Refusal> {
    filter::check(core, &asked.subscription_data)
}
