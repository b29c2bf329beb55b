//! Subscription groups, for administrators: 200, 201, 207, 225, 352, 353.

use std::sync::Arc;

use tenonmq_protocol::{
    body::{SubscriptionGroupConfig, SubscriptionGroupList},
    code::ResponseCode,
    header::{DeleteGroup, GetGroupConfig, GroupForbidden},
};

use super::{Handled, Outbox, Request, answer, body, header, refuse, topic::with_json};
use crate::{admin::group, core::Core, error::Refusal, remoting::Response};

/// Answers once the table is in its file, which is written off this task.
fn saved(core: &Arc<Core>, response: Response) -> Handled {
    let core = Arc::clone(core);
    Handled::later(async move {
        let failure = match tokio::task::spawn_blocking(move || core.groups.save()).await {
            Ok(Ok(())) => return response,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::error!(failure, "subscription groups not saved");
        Response::error(ResponseCode::SYSTEM_ERROR, format!("the change is in force but not saved: {failure}"))
    })
}

fn put(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox, groups: Vec<SubscriptionGroupConfig>) -> Handled {
    match group::put_all(core, groups) {
        Ok(()) => saved(core, Response::ok()),
        Err(refusal) => refuse(request, out, refusal),
    }
}

pub(crate) fn create(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    match body::<SubscriptionGroupConfig>(request) {
        Ok(config) => put(core, request, out, vec![config]),
        Err(refusal) => refuse(request, out, refusal),
    }
}

pub(crate) fn create_list(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    match body::<SubscriptionGroupList>(request) {
        Ok(list) => put(core, request, out, list.group_config_list),
        Err(refusal) => refuse(request, out, refusal),
    }
}

pub(crate) fn delete(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    match header::<DeleteGroup<'_>>(request) {
        Ok(asked) => {
            group::delete(core, &asked, &request.connection.peer().to_string());
            saved(core, Response::ok())
        }
        Err(refusal) => refuse(request, out, refusal),
    }
}

pub(crate) fn all(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    answer(request, out, Ok(with_json(&core.groups.snapshot())))
}

pub(crate) fn config(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let config = header::<GetGroupConfig<'_>>(request).and_then(|asked| group::config(core, asked.group));
    answer(request, out, config.map(|config| with_json(&config)))
}

pub(crate) fn forbidden(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let asked: Result<GroupForbidden<'_>, Refusal> = header(request);
    match asked {
        Ok(asked) => {
            let state = with_json(&group::forbidden(core, &asked));
            if asked.readable.is_some() { saved(core, state) } else { answer(request, out, Ok(state)) }
        }
        Err(refusal) => refuse(request, out, refusal),
    }
}
