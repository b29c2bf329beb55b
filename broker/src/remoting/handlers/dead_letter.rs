//! Dead letters and redrive jobs: 540,020 to 540,025. All of them may read or write files.

use std::sync::Arc;

use super::{Handled, Outbox, Request, desk::serve_blocking};
use crate::{
    core::Core,
    dead_letter::{service, view},
};

pub(crate) fn list(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    serve_blocking(core, request, out, |core, asked| view::list(core, asked))
}

pub(crate) fn show(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    serve_blocking(core, request, out, |core, asked| view::show(core, asked))
}

pub(crate) fn start(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    serve_blocking(core, request, out, |core, asked| service::start(core, asked))
}

pub(crate) fn jobs(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    serve_blocking(core, request, out, |core, asked| service::jobs(core, asked))
}

pub(crate) fn steer(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    serve_blocking(core, request, out, |core, asked| service::steer(core, asked))
}

pub(crate) fn results(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    serve_blocking(core, request, out, |core, asked| service::results(core, asked))
}
