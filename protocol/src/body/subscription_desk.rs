//! What groups want (540,041), and members of one group that want different things (540,040).

use super::desk::DeskRequest;
use crate::code::RequestCode;

bodies! {
    /// Asks which groups have members that want different things (540,040).
    #[derive(Default)]
    ListConflicts {
        /// Only this group; absent: all.
        group: Option<String>,
    }

    /// Asks what groups want (540,041).
    #[derive(Default)]
    ListSubscriptions {
        /// Only groups whose names come after this one; absent: from the first on.
        after: Option<String>,
        /// Only this group; absent: all.
        group: Option<String>,
    }

    /// What groups want.
    #[derive(Default)]
    GroupSubscriptions {
        /// The groups, by name.
        groups: Vec<GroupWants>,
        /// There are more groups after the last one.
        more: bool,
    }

    /// What one group wants.
    #[derive(Default)]
    GroupWants {
        /// The group.
        group: String,
        /// Whether its members want different things.
        in_conflict: bool,
        /// Its members' client ids.
        members: Vec<String>,
        /// The topics that it is subscribed to, by name.
        topics: Vec<GroupTopic>,
    }

    /// What a group wants of one topic.
    #[derive(Default)]
    GroupTopic {
        /// The expression that counts for all members.
        expression: String,
        /// `TAG` or `SQL92`.
        expression_type: String,
        /// Why nothing passes: the expression does not compile.
        reason: Option<String>,
        /// The topic.
        topic: String,
        /// The subscription's version, in milliseconds.
        version: i64,
    }

    /// Groups whose members want different things.
    #[derive(Default)]
    SubscriptionConflicts {
        /// How often a group's conflict came, changed or went since the broker started.
        changes: i64,
        /// The groups, by name.
        groups: Vec<GroupConflict>,
    }

    /// One group whose members want different things.
    #[derive(Default)]
    GroupConflict {
        /// The group.
        group: String,
        /// Since when its members disagree, in milliseconds.
        since: i64,
        /// The topics that they disagree on.
        topics: Vec<TopicConflict>,
    }

    /// One topic that members of a group disagree on.
    #[derive(Default)]
    TopicConflict {
        /// What the broker goes by for all of them: the newest.
        effective: Option<WantedExpression>,
        /// The topic.
        topic: String,
        /// Members that do not want it at all.
        unwanted_by: Vec<String>,
        /// What the others want.
        wanted: Vec<WantedExpression>,
    }

    /// An expression and who wants it.
    #[derive(Default)]
    WantedExpression {
        /// The members' client ids; none in `effective`.
        clients: Vec<String>,
        /// The expression, alternatives of tags in order.
        expression: String,
        /// `TAG` or `SQL92`.
        expression_type: String,
    }
}

impl DeskRequest for ListConflicts {
    const CODE: RequestCode = RequestCode::SUBSCRIPTION_CONFLICTS;
    type Answer = SubscriptionConflicts;
}

impl DeskRequest for ListSubscriptions {
    const CODE: RequestCode = RequestCode::SUBSCRIPTION_LIST;
    type Answer = GroupSubscriptions;
}
