//! The process itself, for administrators: 25, 26, 28, 315, 907, 1007, 2003, and cleaning on request (306, 316, 329).

use std::sync::Arc;

use tenonmq_protocol::{code::ResponseCode, header::ViewBrokerStats};

use super::{Handled, Outbox, Request, answer, header, refuse, topic::with_json};
use crate::{
    admin::{broker, statistics},
    core::Core,
    error::Refusal,
    remoting::Response,
};

pub(crate) fn settings(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let (version, text) = broker::settings(core);
    answer(request, out, Ok(Response::ok().field("version", broker::version_text(&version)).body(text)))
}

pub(crate) fn update(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    answer(request, out, broker::update(core, request.body).map(|()| Response::ok()))
}

pub(crate) fn runtime(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    answer(request, out, Ok(with_json(&broker::runtime(core))))
}

pub(crate) fn statistic(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let outcome =
        header::<ViewBrokerStats<'_>>(request).and_then(|asked| statistics::view(core, asked.name, asked.key));
    answer(request, out, outcome.map(|found| with_json(&found)))
}

pub(crate) fn replication(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    answer(request, out, Ok(with_json(&broker::replication(core))))
}

pub(crate) fn cold_reads(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    answer(request, out, Ok(with_json(&broker::cold_reads(core))))
}

/// Epochs belong to brokers under a controller; the text is Apache's.
pub(crate) fn epochs(request: &Request<'_>, out: &mut Outbox) -> Handled {
    refuse(request, out, Refusal::new(ResponseCode::SYSTEM_ERROR, "this request only for controllerMode "))
}

/// Removes what is old now instead of at the configured hour.
pub(crate) fn clean(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    core.store.trigger_clean();
    answer(request, out, Ok(Response::ok()))
}
