//! SEND_MESSAGE (10), SEND_MESSAGE_V2 (310), SEND_BATCH_MESSAGE (320).

use std::sync::Arc;

use tenonmq_protocol::{
    FieldSink,
    code::{RequestCode, ResponseCode},
    header::{RequestHeader, ResponseHeader, SendMessage, SendReceipt},
    message::OffsetMessageId,
};
use tenonmq_storage::{FlushPolicy, Ticket};

use super::{Handled, Outbox, Request, refuse};
use crate::{
    config::Config,
    core::Core,
    remoting::{Response, durable},
    send::{self, Incoming, Receipt},
};

/// One message, or a batch when its header says so.
pub(crate) fn message(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let header = match SendMessage::decode(&request.command.fields) {
        Ok(header) => header,
        Err(error) => return refuse(request, out, error.into()),
    };
    let incoming = Incoming {
        header: &header,
        body: request.body,
        born_host: request.connection.peer(),
        version: request.command.version,
    };
    let is_batch = header.batch || request.command.request_code() == RequestCode::SEND_BATCH_MESSAGE;
    let stored = if is_batch { send::send_batch(core, incoming) } else { send::send(core, incoming) };
    match stored {
        Ok(receipt) => reply(core, request, out, &receipt),
        Err(refusal) => refuse(request, out, refusal),
    }
}

fn reply(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox, receipt: &Receipt<'_>) -> Handled {
    let config = core.config.load();
    let waits_for_disk = receipt.ticket.filter(|_| core.store.config().flush == FlushPolicy::Sync);
    if receipt.created.is_none() && !receipt.unsaved {
        out.reply(request, ResponseCode::SUCCESS, None, |writer| write(&config, receipt, writer), &[]);
        let timeout = config.messages.flush_timeout;
        return waits_for_disk.map_or(Handled::Done, |ticket| Handled::WhenDurable(ticket, timeout));
    }
    if request.command.is_oneway() && receipt.created.is_none() {
        return Handled::Done;
    }
    later(core, &config, receipt, waits_for_disk)
}

/// A reply that waits for the name servers to know a new topic, and perhaps for the disk too.
fn later(core: &Arc<Core>, config: &Config, receipt: &Receipt<'_>, ticket: Option<Ticket>) -> Handled {
    let mut response = Response::ok();
    write(config, receipt, &mut response);
    let core = Arc::clone(core);
    let timeout = config.messages.flush_timeout;
    let (created, unsaved) = (receipt.created.clone(), receipt.unsaved);
    Handled::later(async move {
        if let Some(topic) = created {
            core.topic_changed(&topic.config).await;
        }
        if unsaved {
            core.topics.saved().await;
        }
        if let Some(ticket) = ticket {
            response = durable::answer(core.store.durable(ticket, timeout).await, response);
        }
        response
    })
}

/// The ids of a batch, with a comma between them.
fn join(ids: &[OffsetMessageId]) -> String {
    let mut joined = Vec::with_capacity(ids.len() * 33);
    for id in ids {
        if !joined.is_empty() {
            joined.push(b',');
        }
        joined.extend_from_slice(id.text().as_bytes());
    }
    String::from_utf8(joined).unwrap_or_default() // digits, letters and commas
}

/// Writes the receipt's fields.
fn write(config: &Config, receipt: &Receipt<'_>, out: &mut impl FieldSink) {
    let ids = &receipt.message_ids;
    let first = ids.first().map(OffsetMessageId::text);
    let joined: String;
    let message_id = match (&first, ids.len()) {
        (Some(id), 1) => id.as_str(),
        _ => {
            joined = join(ids);
            &joined
        }
    };
    let header = SendReceipt {
        message_id,
        queue_id: receipt.queue_id,
        queue_offset: receipt.queue_offset,
        transaction_id: Some(receipt.key.as_str()),
        batch_unique_id: receipt.inner_batch,
        recall_handle: receipt.recall_handle.as_deref(),
        region: Some(&config.identity.region),
        trace_on: Some(if config.messages.trace_on { "true" } else { "false" }),
    };
    header.encode(out);
}
