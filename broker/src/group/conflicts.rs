//! What groups want (540,041), and whose members want different things (540,040).

use std::sync::Arc;

use tenonmq_protocol::{
    body::{GroupSubscriptions, GroupTopic, GroupWants, ListConflicts, ListSubscriptions, SubscriptionConflicts},
    code::ResponseCode,
};

use crate::{
    core::{
        Core,
        clients::{ConsumerGroup, Subscription},
    },
    error::Refusal,
    filter::{self, Filter, TAG},
};

/// Groups in one answer.
const MOST_GROUPS: usize = 500;

/// The conflicts of one group or of all.
///
/// # Errors
/// 26: the group that is asked for has no members.
pub fn list(core: &Core, asked: &ListConflicts) -> Result<SubscriptionConflicts, Refusal> {
    let groups = groups(core, asked.group.as_deref())?;
    let mut groups: Vec<_> = groups.iter().filter_map(|group| group.conflict()).collect();
    groups.sort_unstable_by(|one, other| one.group.cmp(&other.group));
    let changes = i64::try_from(core.clients.counts().conflict_changes).unwrap_or(i64::MAX);
    Ok(SubscriptionConflicts { changes, groups: groups.iter().map(|conflict| (**conflict).clone()).collect() })
}

/// What one group or all want, by name, so many at a time.
///
/// # Errors
/// 26: the group that is asked for has no members.
pub fn subscriptions(core: &Core, asked: &ListSubscriptions) -> Result<GroupSubscriptions, Refusal> {
    let mut groups = groups(core, asked.group.as_deref())?;
    groups.retain(|group| asked.after.as_deref().is_none_or(|after| **group.name() > *after));
    groups.sort_unstable_by(|one, other| one.name().cmp(other.name()));
    let more = groups.len() > MOST_GROUPS;
    groups.truncate(MOST_GROUPS);
    Ok(GroupSubscriptions { groups: groups.iter().map(|group| wants(core, group)).collect(), more })
}

fn groups(core: &Core, name: Option<&str>) -> Result<Vec<Arc<ConsumerGroup>>, Refusal> {
    let Some(name) = name else { return Ok(core.clients.consumer_groups()) };
    let group = core.clients.consumer_group(name).ok_or_else(|| {
        Refusal::new(ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST, format!("group [{name}] has no members"))
    })?;
    Ok(vec![group])
}

fn wants(core: &Core, group: &ConsumerGroup) -> GroupWants {
    let view = group.view();
    let mut topics: Vec<_> = view.subscriptions().map(|subscription| wanted(core, subscription)).collect();
    topics.sort_unstable_by(|one, other| one.topic.cmp(&other.topic));
    GroupWants {
        group: group.name().to_string(),
        in_conflict: group.conflict().is_some(),
        members: group.client_ids().iter().map(ToString::to_string).collect(),
        topics,
    }
}

fn wanted(core: &Core, subscription: &Subscription) -> GroupTopic {
    let data = &subscription.data;
    let does_not_compile = !subscription.is_tag_type() && subscription.filter == Filter::NOTHING;
    GroupTopic {
        expression: data.sub_string.clone(),
        expression_type: data.expression_type.clone().filter(|kind| !kind.is_empty()).unwrap_or_else(|| TAG.to_owned()),
        reason: does_not_compile
            .then(|| filter::check(core, data).err().map(|refusal| refusal.remark.into_owned()))
            .flatten(),
        topic: data.topic.clone(),
        version: data.sub_version,
    }
}
