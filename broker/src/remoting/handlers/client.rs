//! HEART_BEAT (34), UNREGISTER_CLIENT (35), GET_CONSUMER_LIST_BY_GROUP (38), CHECK_CLIENT_CONFIG (46).

use std::sync::Arc;

use tenonmq_protocol::{
    body::{CheckClientConfig, HeartbeatData, json},
    header::{
        ResponseHeader,
        group::{GetConsumerList, HeartbeatAnswer, UnregisterClient},
    },
};

use super::{Handled, Outbox, Request, answer, body, header};
use crate::{
    core::Core,
    error::Refusal,
    group::{
        heartbeat::{self, Beat, Sender},
        members,
    },
    remoting::Response,
};

/// A heartbeat. Its answer waits for the name servers only when a retry topic is new.
pub(crate) fn heartbeat(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let sender =
        Sender { connection: request.connection, language: request.command.language, version: request.command.version };
    let beat = body::<HeartbeatData>(request).and_then(|data| heartbeat::heartbeat(core, sender, &data));
    match beat {
        Ok(beat) if !beat.created.is_empty() && !request.command.is_oneway() => {
            let core = Arc::clone(core);
            Handled::later(async move {
                for topic in &beat.created {
                    core.topic_changed(&topic.config).await;
                }
                alive(&beat)
            })
        }
        beat => answer(request, out, beat.map(|beat| alive(&beat))),
    }
}

fn alive(beat: &Beat) -> Response {
    let mut response = Response::ok();
    HeartbeatAnswer { supports_v2: true, subscription_changed: beat.wants_subscriptions }.encode(&mut response);
    response
}

/// A client leaves its groups; always granted.
pub(crate) fn unregister(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let outcome = header::<UnregisterClient<'_>>(request).map(|asked| {
        heartbeat::unregister(core, request.connection, asked.producer_group, asked.consumer_group);
        Response::ok()
    });
    answer(request, out, outcome)
}

/// The members of a group.
pub(crate) fn consumer_list(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let outcome = header::<GetConsumerList<'_>>(request)
        .and_then(|asked| members::client_ids(core, asked.consumer_group))
        .map(|ids| Response::ok().body(json::to_vec(&ids)));
    answer(request, out, outcome)
}

/// Whether a filter can be evaluated here.
pub(crate) fn check_config(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let outcome: Result<Response, Refusal> = body::<CheckClientConfig>(request)
        .and_then(|asked| members::check_filter(core, &asked))
        .map(|()| Response::ok());
    answer(request, out, outcome)
}
