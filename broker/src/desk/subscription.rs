//! `tenonmq admin subscription …`: what groups want.

use tenonmq_protocol::body::{
    GroupSubscriptions, ListConflicts, ListSubscriptions, SubscriptionConflicts, WantedExpression,
};

use super::{Desk, Failure, table, time};

/// Verbs of `subscription`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Subscription {
    /// What groups with members want, by name
    List {
        /// Only this group
        group: Option<String>,
        /// Only groups whose names come after this one
        #[arg(long)]
        after: Option<String>,
    },
    /// Groups whose members want different topics or expressions, which loses messages
    Conflicts {
        /// Only this group
        group: Option<String>,
    },
}

impl Subscription {
    pub(crate) async fn run(self, desk: &Desk) -> Result<(), Failure> {
        match self {
            Self::List { group, after } => {
                let answer = desk.ask(&ListSubscriptions { after, group }).await?;
                desk.show(&answer, subscriptions_table)
            }
            Self::Conflicts { group } => {
                let answer = desk.ask(&ListConflicts { group }).await?;
                desk.show(&answer, conflicts_table)
            }
        }
    }
}

fn subscriptions_table(found: &GroupSubscriptions) -> String {
    let mut table = table(["group", "members", "topic", "type", "expression", "version", "remark"]);
    for group in &found.groups {
        let members = group.members.len().to_string();
        for topic in &group.topics {
            let remark = match &topic.reason {
                Some(reason) => reason.as_str(),
                None if group.in_conflict => "members disagree",
                None => "",
            };
            let version = time(topic.version);
            let (kind, expression) = (&topic.expression_type, &topic.expression);
            table.add_row([&group.group, &members, &topic.topic, kind, expression, &version, remark]);
        }
    }
    let more = if found.more { "; more with --after" } else { "" };
    format!("{table}\n{} groups{more}", found.groups.len())
}

fn conflicts_table(found: &SubscriptionConflicts) -> String {
    let mut table = table(["group", "since", "topic", "type", "expression", "in force", "wanted by"]);
    for group in &found.groups {
        for topic in &group.topics {
            let mut row = |kind: &str, expression: &str, in_force: bool, clients: &[String]| {
                let in_force = if in_force { "yes" } else { "" };
                let clients = clients.join("\n");
                table.add_row([&group.group, &time(group.since), &topic.topic, kind, expression, in_force, &clients]);
            };
            for wanted in &topic.wanted {
                let in_force = topic.effective.as_ref().is_some_and(|effective| same(effective, wanted));
                row(&wanted.expression_type, &wanted.expression, in_force, &wanted.clients);
            }
            if !topic.unwanted_by.is_empty() {
                row("", "(nothing)", topic.effective.is_none(), &topic.unwanted_by);
            }
        }
    }
    format!("{table}\n{} groups; {} changes since the broker started", found.groups.len(), found.changes)
}

fn same(one: &WantedExpression, other: &WantedExpression) -> bool {
    one.expression == other.expression && one.expression_type == other.expression_type
}
