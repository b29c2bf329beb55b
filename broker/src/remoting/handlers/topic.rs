//! Topics, for administrators: 17, 18, 21, 202, 215, 305, 351.

use std::sync::Arc;

use serde::Serialize;
use tenonmq_protocol::{
    body::{TopicConfig, TopicConfigAndMappingTable, TopicConfigList, TopicList, json},
    code::ResponseCode,
    header::{CreateTopic, DeleteTopic, GetTopicConfig, GetTopicStats},
};

use super::{Handled, Outbox, Request, answer, body, header, refuse};
use crate::{admin::topic, core::Core, remoting::Response};

/// A success with a JSON body.
pub(super) fn with_json(body: &impl Serialize) -> Response {
    Response::ok().body(json::to_vec(body))
}

/// Answers with success once the name servers know the topics, and the file has them.
fn announce(core: &Arc<Core>, changed: Vec<TopicConfig>) -> Handled {
    let core = Arc::clone(core);
    Handled::later(async move {
        for topic in changed {
            core.topic_changed(&topic).await;
        }
        let saved = tokio::task::spawn_blocking(move || core.topics.ensure_saved()).await;
        match saved.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(()) => Response::ok(),
            Err(why) => {
                Response::error(ResponseCode::SYSTEM_ERROR, format!("the change is in force but not saved: {why}"))
            }
        }
    })
}

pub(crate) fn create(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let changed = header::<CreateTopic<'_>>(request).and_then(|header| topic::put(core, &header));
    match changed {
        Ok(config) => announce(core, config.into_iter().collect()),
        Err(refusal) => refuse(request, out, refusal),
    }
}

pub(crate) fn create_list(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let changed = body::<TopicConfigList>(request).and_then(|list| {
        let put = list.topic_config_list.into_iter().map(|config| topic::put_config(core, config));
        put.collect::<Result<Vec<_>, _>>()
    });
    match changed {
        Ok(changed) => announce(core, changed.into_iter().flatten().collect()),
        Err(refusal) => refuse(request, out, refusal),
    }
}

pub(crate) fn delete(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let outcome = header::<DeleteTopic<'_>>(request)
        .and_then(|header| topic::delete(core, header.topic, &request.connection.peer().to_string()));
    match outcome {
        Ok(()) => announce(core, Vec::new()),
        Err(refusal) => refuse(request, out, refusal),
    }
}

pub(crate) fn stats(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let stats = header::<GetTopicStats<'_>>(request).and_then(|header| topic::stats(core, header.topic));
    answer(request, out, stats.map(|stats| with_json(&stats)))
}

pub(crate) fn config(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let config = header::<GetTopicConfig<'_>>(request).and_then(|header| topic::config(core, header.topic));
    answer(request, out, config.map(|config| with_json(&config)))
}

pub(crate) fn all(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let table = core.topics.snapshot();
    let body = TopicConfigAndMappingTable {
        data_version: table.data_version,
        topic_config_table: table.topic_config_table,
        ..TopicConfigAndMappingTable::default()
    };
    answer(request, out, Ok(with_json(&body)))
}

pub(crate) fn system(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let broker_addr = Some(core.identity.get().address.to_string());
    answer(request, out, Ok(with_json(&TopicList { broker_addr, topic_list: topic::system_topics(core) })))
}
