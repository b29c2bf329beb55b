//! Who reads what, and how far, for administrators: 43, 45, 203, 204, 208, 222, 300, 303, 308, 314, 317, 321, 328, 343, 345.

use std::sync::Arc;

use serde::Serialize;
use tenonmq_protocol::header::{
    CloneGroupOffset, ConsumeTimeSpan, CorrectionOffset, GetBrokerConsumeStats, GetConsumeStats,
    GetConsumerConnections, GetProducerConnections, QueryConsumeQueue, RequestHeader, ResetOffset,
    SubscriptionOfConsumer, TopicsOfConsumer, WhoConsumes,
};

use super::{Handled, Outbox, Request, answer, header, topic::with_json};
use crate::{
    admin::{client, progress, queue, reset},
    core::Core,
    error::Refusal,
    remoting::Response,
};

/// Decodes, asks, and answers with JSON.
fn json<'a, H: RequestHeader<'a>, T: Serialize>(
    request: &Request<'a>,
    out: &mut Outbox,
    ask: impl FnOnce(&H) -> Result<T, Refusal>,
) -> Handled {
    let outcome = header::<H>(request).and_then(|asked| ask(&asked));
    answer(request, out, outcome.map(|found| with_json(&found)))
}

pub(crate) fn consumers(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    json(request, out, |asked: &GetConsumerConnections<'_>| client::consumers(core, asked.consumer_group))
}

pub(crate) fn producers(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    json(request, out, |asked: &GetProducerConnections<'_>| client::producers(core, asked.producer_group))
}

pub(crate) fn all_producers(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    answer(request, out, Ok(with_json(&client::all_producers(core))))
}

pub(crate) fn groups_of_topic(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    json(request, out, |asked: &WhoConsumes<'_>| Ok(client::groups_of(core, asked.topic)))
}

pub(crate) fn topics_of_group(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    json(request, out, |asked: &TopicsOfConsumer<'_>| Ok(client::topics_of(core, asked.group)))
}

pub(crate) fn subscription(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    json(request, out, |asked: &SubscriptionOfConsumer<'_>| {
        Ok(client::subscription(core, asked.group, asked.topic.unwrap_or_default()))
    })
}

pub(crate) fn of_group(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    json(request, out, |asked: &GetConsumeStats<'_>| Ok(progress::of_group(core, asked)))
}

pub(crate) fn of_all_groups(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    json(request, out, |asked: &GetBrokerConsumeStats| Ok(progress::of_all(core, asked.order)))
}

pub(crate) fn time_spans(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    json(request, out, |asked: &ConsumeTimeSpan<'_>| progress::time_spans(core, asked.topic, asked.group))
}

pub(crate) fn all_offsets(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    answer(request, out, Ok(with_json(&core.offsets.body(core.clock.now_ms()))))
}

/// How far delay levels have been delivered.
pub(crate) fn delay_offsets(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    answer(request, out, Ok(with_json(&core.delays.body(core.clock.now_ms()))))
}

pub(crate) fn reset(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    json(request, out, |asked: &ResetOffset<'_>| {
        reset::reset(core, asked, request.command.language, &request.connection.peer().to_string())
    })
}

pub(crate) fn correction(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    json(request, out, |asked: &CorrectionOffset<'_>| Ok(reset::correction(core, asked)))
}

pub(crate) fn copy(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let outcome = header::<CloneGroupOffset<'_>>(request)
        .map(|asked| reset::copy(core, &asked, &request.connection.peer().to_string()));
    answer(request, out, outcome.map(|()| Response::ok()))
}

pub(crate) fn queue_entries(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let outcome = header::<QueryConsumeQueue<'_>>(request).and_then(|asked| {
        Ok(match queue::entries(core, &asked)? {
            Some(entries) => with_json(&entries),
            None => {
                let remark = format!("Index {} of {}@{} is not exist!", asked.index, asked.queue_id, asked.topic);
                Response::ok().remark(remark)
            }
        })
    });
    answer(request, out, outcome)
}
