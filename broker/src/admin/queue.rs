//! Looking into a consume queue (321).

use tenonmq_protocol::{
    body::{ConsumeQueueEntries, ConsumeQueueEntry, SubscriptionData},
    code::ResponseCode,
    header::QueryConsumeQueue,
};

use super::client;
use crate::{core::Core, error::Refusal};

/// Most entries in one answer.
const MOST: usize = 10_000;

/// What the group's expression is, in the shape of Apache's filter table; a group that goes by tags has no place there.
fn filter_text(group: &str, data: &SubscriptionData) -> String {
    if data.expression_type.as_deref().is_none_or(|kind| kind.is_empty() || kind == "TAG") {
        return "null".to_owned();
    }
    let filter = serde_json::json!({
        "clientVersion": data.sub_version,
        "consumerGroup": group,
        "expression": data.sub_string,
        "expressionType": data.expression_type,
        "topic": data.topic,
    });
    serde_json::to_string_pretty(&filter).unwrap_or_default()
}

/// Entries of a queue from an index on. `None` where the queue has no such index: success without a body, as Apache has
/// it, with a remark for people.
///
/// # Errors
/// 1: there is no such queue.
pub fn entries(core: &Core, asked: &QueryConsumeQueue<'_>) -> Result<Option<ConsumeQueueEntries>, Refusal> {
    let Some(queue) = core.store.find_queue(asked.topic, asked.queue_id) else {
        let remark = format!("{}@{} is not exist!", asked.queue_id, asked.topic);
        return Err(Refusal::new(ResponseCode::SYSTEM_ERROR, remark));
    };
    let (min, max) = (queue.min_offset(), queue.max_offset());
    let mut found =
        ConsumeQueueEntries { max_queue_index: max, min_queue_index: min, ..ConsumeQueueEntries::default() };
    if let Some(group) = asked.consumer_group {
        found.subscription_data = client::subscription_data(core, group, asked.topic);
        found.filter_data = Some(match &found.subscription_data {
            None => format!("{group}@{} is not online!", asked.topic),
            Some(data) => filter_text(group, data),
        });
    }
    if !(min..max).contains(&asked.index) {
        return Ok(None);
    }
    let end = asked.index.saturating_add(i64::from(asked.count));
    let wanted = queue.entries(asked.index).take_while(|one| one.queue_offset < end).take(MOST);
    found.queue_data = wanted
        .map(|one| ConsumeQueueEntry {
            physic_offset: one.entry.physical_offset.cast_signed(),
            physic_size: one.entry.size.cast_signed(),
            tags_code: core.store.tags_code(&queue, &one.entry).unwrap_or(one.entry.tags_code),
            ..ConsumeQueueEntry::default()
        })
        .collect();
    Ok(Some(found))
}
