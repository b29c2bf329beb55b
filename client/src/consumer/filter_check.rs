//! Asking brokers whether they take a filter, before a group relies on it.

use futures_util::future::try_join_all;
use tenonmq_protocol::body::{heartbeat::CheckClientConfig, json};

use super::{Filter, Subscription, Subscriptions};
use crate::{error::Error, session::Session, wire::CheckFilter};

/// Asks about the SQL filters of all topics; see [`check_filter`].
pub(crate) async fn check_filters(session: &Session, group: &str, subscriptions: &Subscriptions) -> Result<(), Error> {
    for (topic, subscription) in subscriptions {
        check_filter(session, group, topic, subscription).await?;
    }
    Ok(())
}

/// Asks every known broker of a topic about its SQL filter. Fails with the first refusal; a broker that cannot be asked
/// is left to the pulls. (Apache's answers a pull whose expression does not parse with every message.)
pub(crate) async fn check_filter(
    session: &Session,
    group: &str,
    topic: &str,
    subscription: &Subscription,
) -> Result<(), Error> {
    let (Filter::Sql(_), Ok(route)) = (&subscription.filter, session.route(topic).await) else { return Ok(()) };
    let question = CheckClientConfig {
        client_id: session.client_id.clone(),
        group: group.to_owned(),
        namespace: None,
        subscription_data: subscription.data(topic),
    };
    let body = &json::to_vec(&question);
    let ask = |address| async move {
        match session.order(address, &CheckFilter, body).await {
            Err(error @ Error::Refused { .. }) => Err(error),
            _ => Ok(()),
        }
    };
    try_join_all(route.masters().map(ask)).await.map(drop)
}
