//! Groups whose members want different things (540,040).

use tenonmq_protocol::{
    body::{ListConflicts, SubscriptionConflicts},
    code::ResponseCode,
};

use crate::{core::Core, error::Refusal};

/// The conflicts of one group or of all.
///
/// # Errors
/// 26: the group that is asked for has no members.
pub fn list(core: &Core, asked: &ListConflicts) -> Result<SubscriptionConflicts, Refusal> {
    let groups = match &asked.group {
        None => core.clients.consumer_groups(),
        Some(name) => vec![core.clients.consumer_group(name).ok_or_else(|| {
            Refusal::new(ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST, format!("group [{name}] has no members"))
        })?],
    };
    let mut groups: Vec<_> = groups.iter().filter_map(|group| group.conflict()).collect();
    groups.sort_unstable_by(|one, other| one.group.cmp(&other.group));
    let changes = i64::try_from(core.clients.counts().conflict_changes).unwrap_or(i64::MAX);
    Ok(SubscriptionConflicts { changes, groups: groups.iter().map(|conflict| (**conflict).clone()).collect() })
}
