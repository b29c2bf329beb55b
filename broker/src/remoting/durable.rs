//! Replies that are written already, and leave when the log is on disk up to the records they tell of.
//!
//! A connection's replies wait in the order of their records, so one waiter serves all of them: a flush wakes each connection
//! once, however many of its messages it was for, and no message needs a future of its own.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tenonmq_protocol::{
    code::ResponseCode,
    command::Command,
    frame::{FrameView, Serialization},
};
use tenonmq_storage::{Durability, Store, Ticket};

use super::{Outbox, Response};

struct Waiting {
    ticket: Ticket,
    /// Length of the reply's frame.
    len: usize,
    serialization: Serialization,
    deadline: Instant,
}

/// What waits of one connection.
#[derive(Default)]
pub(super) struct DurableReplies {
    /// The frames, back to back, each saying that it went well.
    frames: Vec<u8>,
    waiting: VecDeque<Waiting>,
    first: Option<Pin<Box<dyn Future<Output = Durability> + Send>>>,
}

impl DurableReplies {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn push(&mut self, ticket: Ticket, timeout: Duration, serialization: Serialization, frame: &[u8]) {
        self.frames.extend_from_slice(frame);
        let deadline = Instant::now() + timeout;
        self.waiting.push_back(Waiting { ticket, len: frame.len(), serialization, deadline });
    }

    /// Resolves when it is known what became of the first one. Never when there is none.
    pub(super) fn poll_first(&mut self, cx: &mut Context<'_>, store: &Store) -> Poll<Durability> {
        let Some(reply) = self.waiting.front() else { return Poll::Pending };
        let first = self.first.get_or_insert_with(|| {
            let timeout = reply.deadline.saturating_duration_since(Instant::now());
            Box::pin(store.durable(reply.ticket, timeout))
        });
        let outcome = ready!(first.as_mut().poll(cx));
        self.first = None;
        Poll::Ready(outcome)
    }

    /// Lets the first reply go with this outcome, and with a good one all behind it that need no more than what is on disk.
    /// Returns how many went.
    pub(super) fn settle(&mut self, first: Durability, store: &Store, out: &mut Outbox) -> usize {
        let flushed = store.watermarks().flushed;
        let durable = match first {
            Durability::Ok => self.waiting.iter().skip(1).take_while(|reply| reply.ticket.end <= flushed).count() + 1,
            _ => 1,
        };
        let replies = self.waiting.drain(..durable.min(self.waiting.len()));
        let went = replies.len();
        let mut serialization = Serialization::Json;
        let mut bytes = 0;
        for reply in replies {
            bytes += reply.len;
            serialization = reply.serialization;
        }
        let frames = &self.frames[..bytes];
        match first {
            Durability::Ok => out.push_frames(frames),
            other => push_changed(frames, other, serialization, out),
        }
        if self.waiting.is_empty() {
            self.frames = Vec::new(); // idle connections hold nothing
        } else {
            self.frames.drain(..bytes);
        }
        went
    }
}

/// The reply, with the code of what became of its record in place of success.
fn push_changed(frame: &[u8], outcome: Durability, serialization: Serialization, out: &mut Outbox) {
    // We wrote the frame ourselves, so it can be read.
    let Ok(Some(view)) = FrameView::peek(frame, usize::MAX) else { return };
    let Ok(mut reply) = Command::decode(&view) else { return };
    let Response { code, remark, .. } = answer(outcome, Response::ok());
    reply.code = code.0;
    if let Some(remark) = remark {
        reply.remark = Some(remark.into_owned());
        reply.fields.clear();
    }
    out.push_command(&reply, serialization);
}

/// The answer to a message that became as durable as this, when `response` is that all went well.
pub(crate) fn answer(outcome: Durability, response: Response) -> Response {
    let code = match outcome {
        Durability::Ok => ResponseCode::SUCCESS,
        Durability::FlushTimeout => ResponseCode::FLUSH_DISK_TIMEOUT,
        Durability::ReplicaTimeout => ResponseCode::FLUSH_SLAVE_TIMEOUT,
        Durability::NotMaster => ResponseCode::SLAVE_NOT_AVAILABLE,
        Durability::Poisoned => {
            let remark = "the message may not survive a crash: a flush of the disk failed";
            return Response::error(ResponseCode::SERVICE_NOT_AVAILABLE, remark);
        }
    };
    Response { code, ..response }
}
