//! PULL_MESSAGE (11) and LITE_PULL_MESSAGE (361).

use std::sync::Arc;

use tenonmq_protocol::{
    FieldSink,
    code::{RequestCode, ResponseCode},
    header::{PullFlags, PullMessage, PullResult, RequestHeader, ResponseHeader},
};

use super::{Handled, Outbox, Request, refuse};
use crate::{
    core::Core,
    offset::{self, Puller},
    pull::{self, Answer, Refused, long_poll},
    remoting::Response,
};

const MASTER_ID: i64 = 0;

/// Answers at once, or holds the pull until there is something for it.
pub(crate) fn pull(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let header = match PullMessage::decode(&request.command.fields) {
        Ok(header) => header,
        Err(error) => return refuse(request, out, error.into()),
    };
    let config = core.config.load();
    let is_lite = request.command.request_code() == RequestCode::LITE_PULL_MESSAGE;
    let read = match pull::admit(core, &config, &header, request.connection, is_lite) {
        Ok(read) => read,
        Err(refused) => return refuse_pull(request, out, refused),
    };
    let (group, topic, queue_id) = (header.consumer_group, header.topic, header.queue_id);
    if PullFlags(header.sys_flag).has(PullFlags::COMMIT) {
        offset::commit(core, (group, topic, queue_id), header.commit_offset, request.connection);
    }
    let puller = Puller { connection: request.connection.id(), at_ms: core.clock.now_ms() };
    let answer = match core.offsets.begin_pull(group, topic, queue_id, puller) {
        Some(offset) => read.reset_to(offset),
        None => read.answer(core),
    };
    if answer.code == ResponseCode::PULL_NOT_FOUND
        && let Some(hold) = pull::hold_time(&config, &header)
    {
        let core = Arc::clone(core);
        let group = group.to_owned();
        return Handled::later(async move {
            let queue = Arc::clone(&read.queue);
            let answer = long_poll::hold(Arc::clone(&core), &group, read, hold).await;
            core.offsets.note_pull(&group, queue.topic(), queue_id, answer.next_begin);
            core.stats.given(queue.topic(), &group, answer.count, answer.size());
            owned(answer)
        });
    }
    core.offsets.note_pull(group, topic, queue_id, answer.next_begin);
    core.stats.given(topic, group, answer.count, answer.size());
    let place_of = |records: &_| core.store.place_of(records);
    let outcome = (answer.code, answer.status);
    out.reply_records(request, outcome, |writer| write(&answer, writer), &answer.records, place_of);
    Handled::Done
}

fn owned(answer: Answer) -> Response {
    let mut response = Response::ok().remark(answer.status);
    response.code = answer.code;
    write(&answer, &mut response);
    response.body = answer.records;
    response
}

fn write(answer: &Answer, out: &mut impl FieldSink) {
    let header = PullResult {
        suggest_broker_id: MASTER_ID,
        next_begin_offset: answer.next_begin,
        min_offset: answer.min,
        max_offset: answer.max,
        offset_delta: None,
        topic_sys_flag: Some(answer.topic_sys_flag),
        group_sys_flag: Some(answer.group_sys_flag),
        forbidden_type: None,
    };
    header.encode(out);
}

fn refuse_pull(request: &Request<'_>, out: &mut Outbox, refused: Refused) -> Handled {
    let Refused { refusal, forbidden } = refused;
    let fields = |writer: &mut tenonmq_protocol::FrameWriter<'_>| {
        if let Some(by) = forbidden {
            writer.field("forbiddenType", by as i32);
        }
    };
    out.reply(request, refusal.code, Some(&refusal.remark), fields, &[]);
    Handled::Done
}
