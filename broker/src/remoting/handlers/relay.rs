//! What members of a group answer, for administrators: 223, 307, 309.

use std::sync::Arc;

use smallvec::smallvec;
use tenonmq_protocol::{
    Command,
    code::{RequestCode, ResponseCode},
    header::{
        GetConsumerStatus,
        group::{ConsumeDirectly, GetRunningInfo},
    },
};

use super::{Handled, Outbox, Request, header, refuse, topic::with_json};
use crate::{
    admin::relay::{self, Relay},
    core::Core,
    error::Refusal,
    remoting::Response,
};

fn pass_on(request: &Request<'_>, out: &mut Outbox, relay: Result<Relay, Refusal>) -> Handled {
    match relay {
        Ok(relay) => Handled::later(async move { relay.ask().await.map_or_else(Response::from, handed_back) }),
        Err(refusal) => refuse(request, out, refusal),
    }
}

fn handed_back(answer: Command) -> Response {
    Response {
        code: ResponseCode(answer.code),
        remark: answer.remark.map(Into::into),
        fields: answer.fields,
        body: smallvec![answer.body],
    }
}

pub(crate) fn running_info(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let relay = header::<GetRunningInfo<'_>>(request).and_then(|asked| {
        let whom = (asked.consumer_group, asked.client_id);
        Relay::new(core, RequestCode::GET_CONSUMER_RUNNING_INFO, whom, &request.command.fields)
    });
    pass_on(request, out, relay)
}

pub(crate) fn consume(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let relay =
        header::<ConsumeDirectly<'_>>(request).and_then(|asked| Relay::consume(core, &asked, &request.command.fields));
    pass_on(request, out, relay)
}

pub(crate) fn offsets(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let asked = header::<GetConsumerStatus<'_>>(request).and_then(|asked| {
        let members = relay::members(core, asked.group, asked.client_address.unwrap_or_default())?;
        Ok((members, asked.group.to_owned(), asked.topic.to_owned()))
    });
    match asked {
        Ok((members, group, topic)) => {
            Handled::later(async move { with_json(&relay::offsets(members, &group, &topic).await) })
        }
        Err(refusal) => refuse(request, out, refusal),
    }
}
