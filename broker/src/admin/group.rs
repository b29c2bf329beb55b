//! Creating, changing, deleting and describing subscription groups (200, 207, 225, 352, 353).
//!
//! A change is in force at once; the caller has the file written before it answers ([`crate::core::groups`]).

use std::collections::BTreeMap;

use tenonmq_protocol::{
    body::{GroupForbiddenState, SubscriptionGroupConfig},
    code::ResponseCode,
    header::{DeleteGroup, GroupForbidden},
};

use super::attributes::{Changes, apply_group, parse};
use crate::{
    core::{
        Core,
        names::{GROUP_MAX, illegal_character},
        topics::MAX_QUEUES,
    },
    error::Refusal,
    offset::history::{Moved, taken_away},
};

/// Bit number of reading in a forbidden value (`PermName.INDEX_PERM_READ`).
const READ: u32 = 2;
/// Pauses that a retry policy may list.
const MAX_PAUSES: usize = 1000;

/// Creates or changes groups. All are checked before the first one changes.
///
/// # Errors
/// 29 for a name that no consumer could use, 1 for attributes or when there are too many groups.
pub fn put_all(core: &Core, groups: Vec<SubscriptionGroupConfig>) -> Result<(), Refusal> {
    let checked: Vec<_> = groups.into_iter().map(|group| checked(core, group)).collect::<Result<_, _>>()?;
    for group in checked {
        let name = group.group_name.clone();
        let full = |_| Refusal::new(ResponseCode::SYSTEM_ERROR, format!("there are too many groups to add {name}"));
        let change = core.groups.put(group).map_err(full)?;
        tracing::info!(group = name, ?change, "an administrator set a subscription group");
    }
    Ok(())
}

fn checked(core: &Core, mut group: SubscriptionGroupConfig) -> Result<SubscriptionGroupConfig, Refusal> {
    let name = &group.group_name;
    if name.trim().is_empty() || name.chars().count() > GROUP_MAX || illegal_character(name).is_some() {
        return Err(Refusal::invalid(format!(
            "the group name [{name}] is not 1 to {GROUP_MAX} letters, digits, or signs of %|_-"
        )));
    }
    check_retries(&group)?;
    let current = core.groups.get(name);
    let asked = signed(std::mem::take(&mut group.attributes));
    let changes: Changes<'_> = parse(&asked)?;
    group.attributes = apply_group(current.as_ref().map(|group| &group.attributes), &changes)?;
    Ok(group)
}

/// Numbers of retries that could never work. Apache takes them and fails when the first message comes back.
fn check_retries(group: &SubscriptionGroupConfig) -> Result<(), Refusal> {
    let invalid = |field: &str, what: String| Err(Refusal::invalid(format!("{field}: {what}")));
    if group.retry_queue_nums > MAX_QUEUES {
        return invalid("retryQueueNums", format!("{} is more than {MAX_QUEUES}", group.retry_queue_nums));
    }
    if let Some(policy) = &group.group_retry_policy.customized_retry_policy {
        let field = "groupRetryPolicy.customizedRetryPolicy.next";
        if !(1..=MAX_PAUSES).contains(&policy.next.len()) {
            return invalid(field, format!("{} pauses; 1 to {MAX_PAUSES} are allowed", policy.next.len()));
        }
        if let Some(pause) = policy.next.iter().find(|pause| **pause < 0) {
            return invalid(field, format!("{pause} is negative"));
        }
    }
    if let Some(policy) = &group.group_retry_policy.exponential_retry_policy {
        let numbers = [("initial", policy.initial, 0), ("max", policy.max, 0), ("multiplier", policy.multiplier, 1)];
        for (name, number, least) in numbers {
            if number < least {
                let field = format!("groupRetryPolicy.exponentialRetryPolicy.{name}");
                return invalid(&field, format!("{number} is less than {least}"));
            }
        }
    }
    Ok(())
}

/// Attributes whose names carry their signs, as text.
fn signed(attributes: BTreeMap<String, String>) -> String {
    let pieces = attributes.into_iter();
    let pieces = pieces.map(|(key, value)| if key.starts_with('-') { key } else { format!("{key}={value}") });
    pieces.collect::<Vec<_>>().join(",")
}

/// Deletes a group, and its offsets if that is asked for. A group that does not exist is no error.
pub fn delete(core: &Core, header: &DeleteGroup<'_>, by: &str) {
    core.groups.remove(header.group);
    core.pops.remove_group(header.group);
    if header.clean_offset {
        for topic in core.offsets.topics_of(header.group) {
            let steps = taken_away(&core.offsets, header.group, &topic);
            if !steps.is_empty() {
                let (group, topic, reason) = (header.group, &*topic, "the group was deleted");
                let moved = Moved { action: "delete-group", by, group, topic, reason, undoes: None };
                core.offset_history.moved(&moved, steps, core.clock.now_ms());
            }
        }
        core.offsets.remove_group(header.group);
    }
    tracing::info!(group = header.group, offsets = header.clean_offset, "an administrator deleted a group");
}

/// One group's configuration; one that consumers may create is created, as Apache does.
///
/// # Errors
/// 26: there is none.
pub fn config(core: &Core, group: &str) -> Result<SubscriptionGroupConfig, Refusal> {
    let found = core.groups.find_or_create(group);
    found
        .map(|found| (*found).clone())
        .ok_or_else(|| Refusal::new(ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST, "No group in this broker"))
}

/// Whether a group may read a topic; first changes that if the request says so.
pub fn forbidden(core: &Core, header: &GroupForbidden<'_>) -> GroupForbiddenState {
    if let Some(readable) = header.readable {
        core.groups.set_forbidden(header.group, header.topic, READ, !readable);
    }
    GroupForbiddenState {
        group: header.group.to_owned(),
        readable: !core.groups.is_forbidden(header.group, header.topic),
        topic: header.topic.to_owned(),
    }
}
